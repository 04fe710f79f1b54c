"""The two gRPC services of a simulated Milvus."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

from ._behavior import DeniedError, MilvusBehavior, NewImport, StatusError
from ._faults import MESSAGES, SERVICES, Face, Received
from ._replies import list_reply, old_state_reply, progress_reply, state_reply, task_reply
from ._store import JobStore

_CLUSTER, _NODE_ID = "by-dev", "1"
_RELEASES: Final = {"2.3": "2.3.5", "2.5": "2.5.27", "2.6": "2.6.19", "3.0": "3.0.0-beta"}
_NOT_PROTOBUF: Final = (
    "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data"
)
_ERROR_CODES: Final = {100: 4, 200: 15, 1100: 5, 1101: 5}
"""Codes in the numbering of Milvus 2.2; others are 1."""

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Received], Message]


class GrpcService(grpc.GenericRpcHandler):
    """One service. Unknown methods are reported as a grpc-go server reports them."""

    def __init__(self, service: Face, store: JobStore, behavior: MilvusBehavior) -> None:
        self._service: Face = service
        self._store = store
        self._behavior = behavior

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a path. gRPC calls this for each call."""
        path = handler_call_details.method
        full_name, slash, method = path.removeprefix("/").rpartition("/")
        service = SERVICES.get(full_name, self._service)
        other = self._other_replies().get(path)
        implementation = self._methods(service).get(method)
        unimplemented = ""
        if not slash:
            unimplemented = f'malformed method name: "{path}"'
        elif full_name not in SERVICES or service != self._service:
            unimplemented = f"unknown service {full_name}"
        elif implementation is None:
            unimplemented = f"unknown method {method} for service {full_name}"

        async def handle(data: bytes, context: Context) -> Message | bytes:
            metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
            received = Received(service, method, data, metadata, context.time_remaining())
            if other is not None:
                await self._check(received, context)
                return other
            if method in MESSAGES:
                try:
                    received.request = MESSAGES[method][0].FromString(data)
                except DecodeError:
                    await context.abort(grpc.StatusCode.INTERNAL, _NOT_PROTOBUF)
            try:
                return await self._reply(received, implementation, unimplemented, context)
            except asyncio.CancelledError:
                received.reset = True
                raise

        return grpc.unary_unary_rpc_method_handler(handle, response_serializer=_serialize)

    def _other_replies(self) -> Mapping[str, bytes]:
        """Return the replies of the methods that have nothing to do with imports."""
        health = {"/grpc.health.v1.Health/Check": b"\x08\x01"}  # SERVING
        if self._service == "internal":
            return health
        version = _RELEASES.get(self._store.version, self._store.version).encode()
        prefix = "/milvus.proto.milvus.MilvusService/"
        return {
            **health,
            f"{prefix}Connect": b"",  # an empty message is a Status of Success
            f"{prefix}GetVersion": b"\x0a\x00\x12" + bytes([len(version)]) + version,
        }

    def _methods(self, service: Face) -> dict[str, Method]:
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

    async def _reply(
        self,
        received: Received,
        implementation: Method | None,
        unimplemented: str,
        context: Context,
    ) -> Message | bytes:
        fault = self._store.receive(received, is_unimplemented=bool(unimplemented))
        if self._store.metadata and not unimplemented:
            await context.send_initial_metadata(self._store.metadata)
        context.set_trailing_metadata(self._store.trailing_metadata)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.code is not None:
                await context.abort(fault.code, fault.details)
            if fault.reply is not None:
                return fault.reply
            if fault.status is not None:
                return MESSAGES[received.method][1](status=fault.status)
        if implementation is None or unimplemented:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, unimplemented)
        await self._check(received, context)
        try:
            return implementation(received.request, received)
        except StatusError as error:
            return MESSAGES[received.method][1](status=self._status(error))
        except DeniedError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))

    async def _check(self, received: Received, context: Context) -> None:
        """End a call with wrong credentials, or of the internal service with wrong routing."""
        if self._service == "internal":
            cluster, node = _first(received, "cluster"), _first(received, "serverid")
            if cluster not in {"", _CLUSTER}:
                text = f"cross cluster routing[expectedCluster={_CLUSTER}][actualCluster={cluster}]"
                await context.abort(grpc.StatusCode.UNKNOWN, text)
            if node not in {"", _NODE_ID}:
                text = f"node not match[expectedNodeID={node}][actualNodeID={_NODE_ID}]"
                await context.abort(grpc.StatusCode.UNKNOWN, text)
        elif self._store.token is not None and not self._behavior.is_user(_token(received) or ""):
            token = _token(received)
            text = "auth check failure, please check username and password are correct"
            if not received.values("authorization"):
                text = "missing authorization in header"
            elif token is None:
                text = "invalid token format"
            elif ":" not in token:
                text = "auth check failure, please check api key is correct"
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, text)

    def _status(self, error: StatusError) -> common_pb2.Status:
        is_input_error = error.code != 2101 and self._store.is_at_least("2.6")
        return common_pb2.Status(
            error_code=_ERROR_CODES.get(error.code, 1),
            code=error.code,
            reason=error.reason,
            detail=error.reason,
            extra_info={"is_input_error": "true"} if is_input_error else {},
        )

    # The internal service.

    def _get_import_progress(self, request: Any, _: Received) -> Message:
        return progress_reply(self._behavior.find(request.jobID))

    def _list_imports(self, request: Any, _: Received) -> Message:
        return list_reply(self._behavior.list_jobs(request.collection_name, request.db_name))

    def _import_v2(self, request: Any, received: Received) -> Message:
        groups = [list(file.paths) for file in request.files]
        job = self._behavior.create(_new_import(groups, request.db_name, received))
        return internal_pb2.ImportResponse(status=common_pb2.Status(), jobID=job.job_id)

    # The public service.

    def _get_import_state(self, request: Any, _: Received) -> Message:
        job = self._behavior.find(str(request.task))
        return old_state_reply(job) if self._store.version == "2.3" else state_reply(job)

    def _list_import_tasks(self, request: Any, received: Received) -> Message:
        """Milvus 2.3 lists by ascending id; its limit keeps the newest."""
        db_name = request.db_name or _first(received, "dbname")
        jobs = self._behavior.list_jobs(request.collection_name, db_name)
        if self._store.version != "2.3":
            tasks = [task_reply(job) for job in jobs]
        else:
            jobs.sort(key=lambda job: int(job.job.job_id))
            tasks = [old_state_reply(job) for job in jobs[-max(request.limit, 0) :]]
        return milvus_pb2.ListImportTasksResponse(status=common_pb2.Status(), tasks=tasks)

    def _import(self, request: Any, received: Received) -> Message:
        db_name = request.db_name or _first(received, "dbname")
        token = None if self._store.token is None else _token(received)
        self._behavior.require_import(token, request.collection_name, db_name)
        job = self._behavior.create(_new_import([list(request.files)], db_name, received))
        return milvus_pb2.ImportResponse(status=common_pb2.Status(), tasks=[int(job.job_id)])


def _new_import(groups: list[list[str]], db_name: str, received: Received) -> NewImport:
    request = received.request
    return NewImport(
        request.collection_name,
        db_name,
        request.partition_name,
        groups,
        {option.key: option.value for option in request.options},
        _first(received, "idempotency-key"),
    )


def _first(received: Received, key: str) -> str:
    return next(map(str, received.values(key)), "")


def _token(received: Received) -> str | None:
    """Return the credentials of a call; None if they are not base64."""
    try:
        return base64.b64decode(_first(received, "authorization"), validate=True).decode()
    except ValueError:
        return None


def _serialize(reply: Message | bytes) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()
