"""The two gRPC services of a simulated Milvus."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import Message

from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

from .._models import Service
from ._calls import MESSAGES, SERVICES, CallLog, Metadata, Received
from ._faults import FAULTS, Fault
from ._messages import list_reply, old_state_reply, progress_reply, state_reply
from ._rules import NewImport, Rules, StatusError
from ._store import JobStore

_CONNECT = "/milvus.proto.milvus.MilvusService/Connect"

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Metadata], Message]


class GrpcService(grpc.GenericRpcHandler):
    """One service. Unknown methods are reported as a grpc-go server reports them."""

    def __init__(self, service: Service, store: JobStore, rules: Rules, calls: CallLog) -> None:
        self._service: Service = service
        self._store = store
        self._rules = rules
        self._calls = calls

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a path. gRPC calls this for each call."""
        path = handler_call_details.method
        full_name, slash, method = path.removeprefix("/").rpartition("/")
        service = SERVICES.get(full_name, self._service)
        if path == _CONNECT and self._service == "public":
            return grpc.unary_unary_rpc_method_handler(_connect)
        implementation = self._methods(service).get(method)
        unimplemented = ""
        if not slash:
            unimplemented = f'malformed method name: "{path}"'
        elif full_name not in SERVICES or service != self._service:
            unimplemented = f"unknown service {full_name}"
        elif implementation is None:
            unimplemented = f"unknown method {method} for service {full_name}"

        async def handle(request: Any, context: Context) -> Message | bytes:
            received = _received(service, method, request, context)
            try:
                if implementation is None or unimplemented:
                    await self._reject(received, unimplemented, context)
                return await self._reply(received, implementation, context)
            except asyncio.CancelledError:
                received.reset = True
                raise

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=MESSAGES[method][0].FromString if method in MESSAGES else None,
            response_serializer=_serialize,
        )

    def _methods(self, service: Service) -> dict[str, Method]:
        """Return what the simulated version implements."""
        if service == "public":
            return {
                "GetImportState": self._get_import_state,
                "ListImportTasks": self._list_import_tasks,
                "Import": self._import,
            }
        if self._store.version == "2.3":
            return {}
        return {
            "GetImportProgress": self._get_import_progress,
            "ListImports": self._list_imports,
            "ImportV2": self._import_v2,
        }

    async def _reject(self, received: Received, details: str, context: Context) -> NoReturn:
        self._calls.record(received, is_unimplemented=True)
        fault = self._calls.take_fault(received, is_unimplemented=True)
        if fault is not None:
            await _apply(fault, context)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, details)

    async def _reply(
        self, received: Received, implementation: Method, context: Context
    ) -> Message | bytes:
        self._calls.record(received)
        if self._store.metadata:
            await context.send_initial_metadata(self._store.metadata)
        context.set_trailing_metadata(self._store.trailing_metadata)
        reply_type = MESSAGES[received.method][1]
        fault = self._calls.take_fault(received)
        job = self._store.jobs.get(received.job_id)
        if fault is None and job is not None and job.hangs:
            fault = FAULTS["hang"]
        if fault is not None:
            await _apply(fault, context)
            if fault.reply is not None:
                return fault.reply
            if fault.status is not None:
                return reply_type(status=fault.status)
        if self._service == "public":
            await self._authenticate(received, context)
        try:
            return implementation(received.request, received.metadata)
        except StatusError as error:
            return reply_type(status=_status(error))

    async def _authenticate(self, received: Received, context: Context) -> None:
        token = self._store.token
        if token is None:
            return
        values = received.values("authorization")
        if values == [base64.b64encode(token.encode()).decode()]:
            return
        text = "auth check failure, please check username and password are correct"
        if not values:
            text = "missing authorization in header"
        elif not _is_base64(values[0]):
            text = "invalid token format"
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, text)

    # The internal service.

    def _get_import_progress(
        self, request: internal_pb2.GetImportProgressRequest, _: Metadata
    ) -> internal_pb2.GetImportProgressResponse:
        return progress_reply(self._rules.find(request.jobID))

    def _list_imports(
        self, request: internal_pb2.ListImportsRequest, _: Metadata
    ) -> internal_pb2.ListImportsResponse:
        return list_reply(self._rules.list_jobs(request.collection_name, request.db_name))

    def _import_v2(
        self, request: internal_pb2.ImportRequest, metadata: Metadata
    ) -> internal_pb2.ImportResponse:
        groups = [list(file.paths) for file in request.files]
        job = self._rules.create(_new_import(request, groups, request.db_name, metadata))
        return internal_pb2.ImportResponse(status=common_pb2.Status(), jobID=job.job_id)

    # The public service.

    def _get_import_state(
        self, request: milvus_pb2.GetImportStateRequest, _: Metadata
    ) -> milvus_pb2.GetImportStateResponse:
        job = self._rules.find(str(request.task))
        return old_state_reply(job) if self._store.version == "2.3" else state_reply(job)

    def _list_import_tasks(
        self, request: milvus_pb2.ListImportTasksRequest, metadata: Metadata
    ) -> milvus_pb2.ListImportTasksResponse:
        """Milvus 2.3 lists by ascending id; its limit keeps the newest."""
        db_name = request.db_name or _first(metadata, "dbname")
        jobs = self._rules.list_jobs(request.collection_name, db_name)
        if self._store.version != "2.3":
            tasks = [state_reply(job) for job in jobs]
        else:
            jobs.sort(key=lambda job: int(job.job.job_id))
            tasks = [old_state_reply(job) for job in jobs[-max(request.limit, 0) :]]
        return milvus_pb2.ListImportTasksResponse(status=common_pb2.Status(), tasks=tasks)

    def _import(
        self, request: milvus_pb2.ImportRequest, metadata: Metadata
    ) -> milvus_pb2.ImportResponse:
        db_name = request.db_name or _first(metadata, "dbname")
        job = self._rules.create(_new_import(request, [list(request.files)], db_name, metadata))
        return milvus_pb2.ImportResponse(status=common_pb2.Status(), tasks=[int(job.job_id)])


def _new_import(
    request: internal_pb2.ImportRequest | milvus_pb2.ImportRequest,
    groups: list[list[str]],
    db_name: str,
    metadata: Metadata,
) -> NewImport:
    return NewImport(
        request.collection_name,
        db_name,
        groups,
        {option.key: option.value for option in request.options},
        _first(metadata, "idempotency-key"),
    )


def _first(metadata: Metadata, key: str) -> str:
    return next((str(value) for name, value in metadata if name == key), "")


def _received(service: Service, method: str, request: Any, context: Context) -> Received:
    metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
    return Received(service, method, request, metadata, context.time_remaining())


async def _apply(fault: Fault, context: Context) -> None:
    """Wait for the delay of a fault, and end the RPC if it has a status code."""
    if fault.delay:
        await asyncio.sleep(fault.delay)
    if fault.code is not None:
        await context.abort(fault.code, fault.details)


def _serialize(reply: Message | bytes) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()


def _status(error: StatusError) -> common_pb2.Status:
    extra_info = {"is_input_error": "true"} if error.code == 2100 else {}
    return common_pb2.Status(
        error_code=error.error_code,
        code=error.code,
        reason=error.reason,
        detail=error.reason,
        extra_info=extra_info,
    )


def _is_base64(value: str | bytes) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        return False
    return True


async def _connect(request: bytes, context: Context) -> bytes:
    """Accept pymilvus' handshake: an empty message is a Status of Success."""
    del request, context
    return b""
