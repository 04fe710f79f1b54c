"""The two gRPC services of a simulated Milvus."""

from __future__ import annotations

import base64
from typing import Any, Final, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

from ._behavior import EndedError, Handler, NewImport, Service
from ._faults import CROSS_CLUSTER, HOST, MESSAGES, SERVICES, Received, Tls, first
from ._jobs import state_number
from ._replies import progress_reply, state_reply

_CLUSTER, _NODE_ID = "by-dev", "1"
_PUBLIC: Final = "/milvus.proto.milvus.MilvusService/"
_RELEASES: Final = {"2.3": "2.3.5", "2.5": "2.5.27", "2.6": "2.6.19", "3.0": "3.0.0-beta"}
_NOT_PROTOBUF = "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data"
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # grpc.aio cancels calls beyond these; the defaults are below what a load test needs.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)

Context = grpc.aio.ServicerContext[Any, Any]


class GrpcService(Service[Message | bytes], grpc.GenericRpcHandler):
    """One service. Unknown methods are reported as a grpc-go server reports them."""

    _server: grpc.aio.Server | None = None

    async def start(self, port: int, tls: Tls | None) -> int:
        """Listen, and return the port."""
        self._server = server = grpc.aio.server(handlers=(self,), options=_OPTIONS)
        address = f"{HOST}:{port}"
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            key, certificate, ca = tls
            credentials = grpc.ssl_server_credentials([(key, certificate)], ca, ca is not None)
            port = server.add_secure_port(address, credentials)
        await server.start()
        return port

    async def stop(self, grace: float | None) -> None:
        """Stop listening, and end the calls in flight after at most ``grace`` seconds."""
        if self._server is not None:
            await self._server.stop(grace)
            self._server = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a path. gRPC calls this for each call."""
        path = handler_call_details.method

        async def handle(data: bytes, context: Context) -> bytes:
            try:
                reply = await self._handle(path, data, context)
            except EndedError as error:
                await context.abort(error.code, error.details)
            return reply if isinstance(reply, bytes) else reply.SerializeToString()

        return cast("Any", grpc.unary_unary_rpc_method_handler(handle))

    async def _handle(self, path: str, data: bytes, context: Context) -> Message | bytes:
        metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
        name, _, method = path.removeprefix("/").rpartition("/")
        face = SERVICES.get(name, self.face)
        received = Received(face, method, data, metadata, context.time_remaining())
        other = self._other_reply(path)
        if other is not None:
            self.authenticate(received)
            return other
        if method in MESSAGES:
            try:
                received.request = MESSAGES[method][0].FromString(data)
            except DecodeError:
                raise EndedError(grpc.StatusCode.INTERNAL, _NOT_PROTOBUF) from None
        handler = self._handler(name, method)
        fault = self._store.receive(received, is_unimplemented=isinstance(handler, str))
        if self._store.metadata and not isinstance(handler, str):
            await context.send_initial_metadata(self._store.metadata)
        context.set_trailing_metadata(self._store.trailing_metadata)
        return await self.respond(received, handler, fault)

    def _handler(self, name: str, method: str) -> Handler | str:
        """Return the handler of a method, or why there is none in the simulated version."""
        if not name:
            return f'malformed method name: "/{method}"'
        if SERVICES.get(name) != self.face:
            return f"unknown service {name}"
        handlers = {"GetImportState": self._state, "ListImportTasks": self._tasks}
        handlers["Import"] = self._import
        if self.face == "internal":
            handlers = {"GetImportProgress": self._progress, "ListImports": self._jobs}
            handlers["ImportV2"] = self._import_v2
            if self._store.version == "2.3":
                handlers = {}
        return handlers.get(method, f"unknown method {method} for service {name}")

    def _other_reply(self, path: str) -> bytes | None:
        """Return the reply of a method that has nothing to do with imports."""
        replies = {"/grpc.health.v1.Health/Check": b"\x08\x01"}  # SERVING
        if self.face == "public":
            version = _RELEASES.get(self._store.version, self._store.version).encode()
            replies[_PUBLIC + "Connect"] = b""  # an empty message is a Status of Success
            replies[_PUBLIC + "GetVersion"] = b"\x0a\x00\x12" + bytes([len(version)]) + version
        return replies.get(path)

    def token(self, received: Received) -> str | None:
        """Return the credentials of a call; None if they are not base64."""
        try:
            return base64.b64decode(first(received, "authorization"), validate=True).decode()
        except ValueError:
            return None

    def reply(self, received: Received, content: Any) -> Message | bytes:
        """Return the reply of a message, of a Milvus Status, or of bytes."""
        if not isinstance(content, common_pb2.Status):
            return cast("Message | bytes", content)
        return MESSAGES[received.method][1](status=content)

    def authenticate(self, received: Received) -> None:
        """End a call with wrong credentials, or of the internal service with wrong routing."""
        if self.face == "internal":
            cluster, node = first(received, "cluster"), first(received, "serverid")
            if cluster not in {"", _CLUSTER}:
                raise EndedError(grpc.StatusCode.UNKNOWN, CROSS_CLUSTER.format(cluster))
            if node not in {"", _NODE_ID}:
                text = f"node not match[expectedNodeID={node}][actualNodeID={_NODE_ID}]"
                raise EndedError(grpc.StatusCode.UNKNOWN, text)
            return
        token = self.token(received)
        if self._store.token is None or self.is_user(token or ""):
            return
        text = "auth check failure, please check username and password are correct"
        if not received.values("authorization"):
            text = "missing authorization in header"
        elif token is None:
            text = "invalid token format"
        elif ":" not in token:
            text = "auth check failure, please check api key is correct"
        raise EndedError(grpc.StatusCode.UNAUTHENTICATED, text)

    # The internal service.

    def _progress(self, received: Received) -> Message:
        return progress_reply(self.find(received.request.jobID))

    def _jobs(self, received: Received) -> Message:
        jobs = self.list_jobs(received.request.collection_name, received.request.db_name)
        return internal_pb2.ListImportsResponse(
            status=common_pb2.Status(),
            jobIDs=[job.job.job_id for job in jobs],
            states=[state_number(job.state) for job in jobs],
            reasons=[job.reason for job in jobs],
            progresses=[job.progress for job in jobs],
            collection_names=[job.job.collection_name for job in jobs],
        )

    def _import_v2(self, received: Received) -> Message:
        groups = [list(file.paths) for file in received.request.files if file.paths]
        job_id = self.create(_new_import(groups, received.request.db_name, received))
        return internal_pb2.ImportResponse(status=common_pb2.Status(), jobID=job_id)

    # The public service.

    def _state(self, received: Received) -> Any:
        job = self.find(str(received.request.task))
        return state_reply(job, is_old=self._store.version == "2.3")

    def _tasks(self, received: Received) -> Message:
        """Milvus 2.3 lists by ascending id; its limit keeps the newest."""
        request, is_old = received.request, self._store.version == "2.3"
        jobs = self.list_jobs(request.collection_name, _database(received))
        if is_old:
            jobs = sorted(jobs, key=lambda job: int(job.job.job_id))[-max(request.limit, 0) :]
        tasks = [state_reply(job, is_old=is_old, in_list=True) for job in jobs]
        return milvus_pb2.ListImportTasksResponse(status=common_pb2.Status(), tasks=tasks)

    def _import(self, received: Received) -> Message:
        request, db_name = received.request, _database(received)
        self.require_import(received, request.collection_name, db_name)
        groups = [list(request.files)] if request.files else []
        job_id = self.create(_new_import(groups, db_name, received))
        return milvus_pb2.ImportResponse(status=common_pb2.Status(), tasks=[int(job_id)])


def _database(received: Received) -> str:
    return received.request.db_name or first(received, "dbname")


def _new_import(groups: list[list[str]], db_name: str, received: Received) -> NewImport:
    request, key = received.request, first(received, "idempotency-key")
    name, partition = request.collection_name, request.partition_name
    options = {option.key: option.value for option in request.options}
    return NewImport(name, db_name, partition, groups, options, key)
