"""The fake server: one grpc.aio server for each of the two services."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, get_args

import grpc
import grpc.aio
from google.protobuf.message import Message

from milvus_import._models import Service
from milvus_import._services._requests import validate_job_id
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2
from milvus_import_pb.milvus_grpc import MilvusServiceStub
from milvus_import_pb.proxy_grpc import ProxyStub

from ._faults import FAULTS, Fault
from ._jobs import FakeFile, FakeJob, state_number

_HOST = "127.0.0.1"
_CALL_TASKS = ("rpc_task", "HandleExceptions[")
"""How gRPC names its tasks for a call."""
_LAST_WORD = 1.0
"""Seconds given to them; it takes milliseconds."""
_FIRST_JOB_ID = 450_000_000_000_000_001
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # grpc.aio cancels calls beyond these; the defaults are below what a load test needs.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)

_SERVICES: Mapping[str, Service] = {
    ProxyStub.SERVICE: "internal",
    MilvusServiceStub.SERVICE: "public",
}
_TYPES = {**ProxyStub.METHODS, **MilvusServiceStub.METHODS}
"""The request and the reply type of each method; no name is in both services."""

Version = Literal["2.3", "2.6"]
Context = grpc.aio.ServicerContext[Any, Any]
Answer = Callable[[Any], Message]
Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(slots=True)
class Received:
    """One call as the server saw it."""

    service: Service
    """The service that was asked for."""
    method: str
    request: Any
    """The request message."""
    metadata: Metadata = field(repr=False)
    time_remaining: float | None
    """Seconds to the client's deadline when the call arrived; None without one."""
    reset: bool = False
    """Whether the client ended the call before it was answered, which crashes Milvus 2.3."""
    arrived: float = field(default_factory=time.monotonic)
    """When, on ``time.monotonic``."""

    def values(self, key: str) -> list[str | bytes]:
        """The values of one metadata key."""
        return [value for name, value in self.metadata if name == key]


@dataclass(slots=True)
class _Injection:
    fault: Fault
    times: int | None
    method: str | None


class FakeMilvus:
    """A simulated Milvus on loopback sockets: ``async with FakeMilvus() as server``.

    ``version``: "2.6" has both services; "2.3" knows no GetImportProgress on its internal port,
    and has the older, richer GetImportState.
    ``token``: what the public service demands, such as "root:Milvus"; None lets everybody in.
    ``clock``: seconds for jobs with ``seconds``; a ManualClock puts it in the test's hands.
    ``tls``: a PEM key and certificate; ``client_ca`` makes it mutual.
    ``public_port``, ``internal_port``: 0 takes a free port. A server started again keeps them.

    ``version``, ``token`` and ``clock`` are attributes too, and may be set while it runs.
    """

    def __init__(
        self,
        *,
        version: Version = "2.6",
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        tls: tuple[bytes, bytes] | None = None,
        client_ca: bytes | None = None,
        public_port: int = 0,
        internal_port: int = 0,
    ) -> None:
        self.public_port = public_port
        self.internal_port = internal_port
        self.jobs: dict[str, FakeJob] = {}
        """The jobs by id. Delete one, and the server has forgotten it."""
        self.received: list[Received] = []
        """Every call that arrived, in order."""
        self.refused: list[Received] = []
        """Calls for the other port's service, or for a method this version lacks: UNIMPLEMENTED."""
        self.import_seconds: float | None = 1.0
        """``seconds`` of the jobs that ``create_import`` makes; 0: they complete at once."""
        self.metadata: Metadata = ()
        """Sent ahead of each reply."""
        self.trailing_metadata: Metadata = ()
        """Sent behind each reply."""
        self.version = version
        self.token = token
        self.clock = clock
        self._tls = tls
        self._client_ca = client_ca
        self._injections: list[_Injection] = []
        self._servers: list[grpc.aio.Server] = []
        self._next_id = _FIRST_JOB_ID

    @property
    def version(self) -> Version:
        """Which Milvus it plays."""
        return self._version

    @version.setter
    def version(self, version: Version) -> None:
        if version not in get_args(Version):
            raise ValueError(f"version is '2.3' or '2.6', not {version!r}")
        self._version: Version = version

    @property
    def public_uri(self) -> str:
        """The public service, as port 19530 of a real Milvus."""
        return self._uri(self.public_port)

    @property
    def internal_uri(self) -> str:
        """The internal service, as port 19529 of a real Milvus."""
        return self._uri(self.internal_port)

    def _uri(self, port: int) -> str:
        if not port:
            raise RuntimeError(
                "this FakeMilvus has no port yet: start it, with async with or start()"
            )
        return f"{'https' if self._tls else 'http'}://{_HOST}:{port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. After ``stop`` it starts again on the same ports, with its jobs.

        Raises RuntimeError where the running loop is not asyncio's.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "FakeMilvus works on asyncio; with anyio's pytest plugin, let the fixture "
                "anyio_backend return 'asyncio'"
            ) from None
        if self._servers:
            raise RuntimeError("this FakeMilvus is running already")
        try:
            self.internal_port = await self._serve("internal", self.internal_port)
            self.public_port = await self._serve("public", self.public_port)
        except BaseException:
            await self.stop()
            raise

    async def stop(self, grace: float | None = None) -> None:
        """Stop listening and drop what is in flight, after ``grace`` seconds. Jobs are kept."""
        servers, self._servers = self._servers, []
        await asyncio.gather(*[server.stop(grace) for server in servers])
        await settled()

    async def _serve(self, service: Service, port: int) -> int:
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((_Handlers(self, service),))
        address = f"{_HOST}:{port}"
        if self._tls is None:
            port = server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials(
                [self._tls], self._client_ca, self._client_ca is not None
            )
            port = server.add_secure_port(address, credentials)
        self._servers.append(server)
        await server.start()
        return port

    def answers(self, service: Service) -> dict[str, Answer]:
        """What this version answers on a service, by method."""
        if service == "public":
            return {
                "GetImportState": self._get_import_state,
                "ListImportTasks": self._list_import_tasks,
                "Import": self._import,
            }
        if self.version == "2.3":
            return {}
        return {
            "GetImportProgress": self._get_import_progress,
            "ListImports": self._list_imports,
            "ImportV2": self._import_v2,
        }

    def add_job(self, job: FakeJob | None = None, **fields: Any) -> FakeJob:
        """Give the server a job, or make one: ``add_job(collection_name="books", seconds=600)``.

        ``fields`` are FakeJob's. Without ``job_id`` it gets the next free one. Raises ValueError
        for a job id or a state that no Milvus has.
        """
        if job is not None and fields:
            raise TypeError("pass a FakeJob or its fields, not both")
        job = job or FakeJob(**fields)
        if not job.job_id:
            job.job_id, self._next_id = str(self._next_id), self._next_id + 1
        validate_job_id(job.job_id)
        for file in job.files:
            if not isinstance(file, FakeFile):
                raise TypeError(f"files holds {file!r}; write FakeFile({file!r})")
        for state in (job.state, *(state for state, _ in job.script)):
            state_number(state)
        job.started = self.clock()
        self.jobs[job.job_id] = job
        return job

    def inject(
        self, fault: Fault | str, *, times: int | None = 1, method: str | None = None
    ) -> None:
        """Let the next calls end in a fault: one of FAULTS by its name, or a Fault.

        ``times``: how many calls, None for all from now on. ``method`` restricts it to one method.

        Faults asked for together come in the order they were asked for.
        """
        if times is not None and times < 1:
            raise ValueError(f"times is {times}; it is 1 or more, or None for all calls")
        if method is not None and method not in _TYPES:
            raise ValueError(f"unknown method {method!r}; there are {', '.join(_TYPES)}")
        if isinstance(fault, str):
            if fault not in FAULTS:
                raise ValueError(f"unknown fault {fault!r}; there are {', '.join(FAULTS)}")
            fault = FAULTS[fault]
        if not isinstance(fault, Fault):
            raise TypeError(f"fault is a Fault or the name of one, not {fault!r}")
        self._injections.append(_Injection(fault, times, method))

    def heal(self) -> None:
        """Forget every fault asked for."""
        self._injections.clear()

    def take_fault(self, method: str, *, named: bool = False) -> Fault | None:
        """The fault for this call, if one is due; ``named``: only one asked for by method."""
        for injection in self._injections:
            if injection.method == method or (injection.method is None and not named):
                if injection.times is not None:
                    injection.times -= 1
                    if injection.times <= 0:
                        self._injections.remove(injection)
                return injection.fault
        return None

    async def authenticate(self, metadata: Metadata, context: Context) -> None:
        """What the public service says to missing or wrong credentials."""
        if self.token is None:
            return
        given = dict(metadata).get("authorization")
        if given == base64.b64encode(self.token.encode()).decode():
            return
        text = "auth check failure, please check username and password are correct"
        if given is None:
            text = "missing authorization in header"
        elif not _is_base64(given):
            text = "invalid token format"
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, text)

    # The internal service.

    def _get_import_progress(
        self, request: internal_pb2.GetImportProgressRequest
    ) -> internal_pb2.GetImportProgressResponse:
        job = self.jobs.get(request.jobID)
        if job is None:
            return internal_pb2.GetImportProgressResponse(status=_no_job(request.jobID))
        return job.at(self.clock()).internal_reply()

    def _list_imports(
        self, request: internal_pb2.ListImportsRequest
    ) -> internal_pb2.ListImportsResponse:
        jobs = [job.at(self.clock()) for job in self._of(request.collection_name)]
        jobs.reverse()  # a real server's order is random
        return internal_pb2.ListImportsResponse(
            status=common_pb2.Status(),
            jobIDs=[job.job_id for job in jobs],
            states=[state_number(job.state) for job in jobs],
            reasons=[job.reason if job.state == "Failed" else "" for job in jobs],
            progresses=[job.progress for job in jobs],
            collection_names=[job.collection_name for job in jobs],
        )

    def _import_v2(self, request: internal_pb2.ImportRequest) -> internal_pb2.ImportResponse:
        groups = [" ".join(file.paths) for file in request.files]
        job = self._created(request.collection_name, request.db_name, groups, request.options)
        return internal_pb2.ImportResponse(status=common_pb2.Status(), jobID=job.job_id)

    # The public service.

    def _get_import_state(
        self, request: milvus_pb2.GetImportStateRequest
    ) -> milvus_pb2.GetImportStateResponse:
        job = self.jobs.get(str(request.task))
        if job is not None:
            return self._public(job.at(self.clock()))
        if self.version == "2.3":
            reason = f"key not found[key=by-dev/meta/importtask/{request.task}]"
            status = common_pb2.Status(error_code=1, code=1000, reason=reason, detail=reason)
            return milvus_pb2.GetImportStateResponse(status=status)
        return milvus_pb2.GetImportStateResponse(status=_no_job(str(request.task)))

    def _list_import_tasks(
        self, request: milvus_pb2.ListImportTasksRequest
    ) -> milvus_pb2.ListImportTasksResponse:
        jobs = [job.at(self.clock()) for job in self._of(request.collection_name)]
        return milvus_pb2.ListImportTasksResponse(
            status=common_pb2.Status(), tasks=[self._public(job) for job in jobs]
        )

    def _import(self, request: milvus_pb2.ImportRequest) -> milvus_pb2.ImportResponse:
        group = " ".join(request.files)
        job = self._created(request.collection_name, request.db_name, [group], request.options)
        return milvus_pb2.ImportResponse(status=common_pb2.Status(), tasks=[int(job.job_id)])

    def _public(self, job: FakeJob) -> milvus_pb2.GetImportStateResponse:
        return job.old_public_reply() if self.version == "2.3" else job.public_reply()

    def _of(self, collection_name: str) -> list[FakeJob]:
        jobs = self.jobs.values()
        return [job for job in jobs if collection_name in {"", job.collection_name}]

    def _created(
        self,
        collection_name: str,
        db_name: str,
        groups: Sequence[str],
        options: Sequence[common_pb2.KeyValuePair],
    ) -> FakeJob:
        commits = {option.key: option.value for option in options}.get("auto_commit") != "false"
        return self.add_job(
            collection_name=collection_name,
            db_name=db_name,
            files=[FakeFile(name=group) for group in groups],
            seconds=self.import_seconds,
            auto_commit=commits,
        )


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a method; unknown ones are answered in the words of a grpc-go server."""

    def __init__(self, server: FakeMilvus, service: Service) -> None:
        self._server = server
        self._service: Service = service

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any]:
        _, full_name, method = handler_call_details.method.split("/")
        asked: Service = _SERVICES.get(full_name, self._service)
        answer = self._server.answers(asked).get(method)
        refusal = None
        if full_name not in _SERVICES or asked != self._service:
            refusal = f"unknown service {full_name}"
        elif answer is None:
            refusal = f"unknown method {method} for service {full_name}"

        async def handle(request: Any, context: Context) -> Message | bytes:
            received = _received(asked, method, request, context)
            try:
                if answer is None or refusal is not None:
                    await self._refuse(received, refusal or "", context)
                return await self._answer(received, answer, context)
            except asyncio.CancelledError:
                received.reset = True
                raise

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=_TYPES[method][0].FromString if method in _TYPES else None,
            response_serializer=_serialize,
        )

    async def _refuse(self, received: Received, details: str, context: Context) -> NoReturn:
        self._server.refused.append(received)
        fault = self._server.take_fault(received.method, named=True)
        if fault is not None:
            await _act(fault, context)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, details)

    async def _answer(
        self, received: Received, answer: Answer, context: Context
    ) -> Message | bytes:
        server = self._server
        server.received.append(received)
        if server.metadata:
            await context.send_initial_metadata(server.metadata)
        context.set_trailing_metadata(server.trailing_metadata)
        fault = server.take_fault(received.method)
        if fault is not None:
            await _act(fault, context)
            if fault.reply is not None:
                return fault.reply
            if fault.status is not None:
                return _TYPES[received.method][1](status=fault.status)
        if self._service == "public":
            await server.authenticate(received.metadata, context)
        return answer(received.request)


async def settled() -> None:
    """Wait for gRPC's last word on each call, which may come after its server has stopped.

    Where the loop is closed by then, that word raises "Event loop is closed" in the next loop.
    """
    calls = [task for task in asyncio.all_tasks() if task.get_name().startswith(_CALL_TASKS)]
    if calls:
        await asyncio.wait(calls, timeout=_LAST_WORD)


def _received(service: Service, method: str, request: Any, context: Context) -> Received:
    metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
    return Received(service, method, request, metadata, context.time_remaining())


async def _act(fault: Fault, context: Context) -> None:
    """The part of a fault that comes before any answer."""
    if fault.delay:
        await asyncio.sleep(fault.delay)
    if fault.code is not None:
        await context.abort(fault.code, fault.details)


def _serialize(reply: Message | bytes) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()


def _no_job(job_id: str) -> common_pb2.Status:
    reason = f"import job does not exist, jobID={job_id}: importing data failed"
    return common_pb2.Status(
        error_code=1,
        code=2100,
        reason=reason,
        detail=reason,
        extra_info={"is_input_error": "true"},
    )


def _is_base64(value: str | bytes) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        return False
    return True
