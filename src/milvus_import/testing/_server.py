"""The fake server: two gRPC servers and an HTTP server over one store of jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import grpc
import grpc.aio

from .._models import Service
from ._calls import CallLog, Received
from ._faults import Fault
from ._grpc import GrpcService
from ._rest import RestApi, RestBehavior
from ._rules import Rules
from ._store import JobStore, Version

if TYPE_CHECKING:
    from ._http import HttpServer

_HOST: Final = "127.0.0.1"
_CALL_TASKS: Final = ("rpc_task", "HandleExceptions[")
"""Prefixes of the names that gRPC gives to the tasks of a call."""
_SETTLE: Final = 1.0
"""Seconds given to those tasks; they take milliseconds."""
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # grpc.aio cancels calls beyond these; the defaults are below what a load test needs.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)


class FakeMilvus(JobStore):
    """A simulated Milvus on loopback sockets: ``async with FakeMilvus() as server``.

    ``version``: "2.3" has no GetImportProgress on its internal port, no REST API for imports, and
    an older GetImportState with more fields. "2.4" has no ``describe`` in its REST API. "3.0" has
    two-phase imports: only there ``create_import`` follows the option ``auto_commit``.
    ``token``: required by the public service and by REST, such as "root:Milvus"; None requires no
    credentials.
    ``clock``: seconds for jobs with ``seconds``; a ManualClock is advanced by the test.
    ``tls``: a PEM key and certificate, for all ports; ``client_ca`` makes it mutual.
    ``public_port``, ``internal_port``, ``rest_port``: 0 takes a free port. A restarted server
    keeps its ports. A real Milvus serves REST on its public port.
    ``max_received``: how many calls ``received`` and ``unimplemented`` keep.

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
        rest_port: int = 0,
        max_received: int = 10_000,
    ) -> None:
        super().__init__(version=version, token=token, clock=clock)
        self.public_port: int = public_port
        self.internal_port: int = internal_port
        self.rest_port: int = rest_port
        self._calls = CallLog(max_received)
        self.received: list[Received] = self._calls.received
        """The calls that arrived, in order; beyond ``max_received`` the oldest are dropped."""
        self.unimplemented: list[Received] = self._calls.unimplemented
        """Calls of another port's service, or of a method that this version does not have. They
        ended with UNIMPLEMENTED, or for REST with 404."""
        self._tls = tls
        self._client_ca = client_ca
        rules = Rules(self)
        self._services = {
            name: GrpcService(name, self, rules, self._calls) for name in ("internal", "public")
        }
        self._rest = RestApi(self, rules, self._calls)
        self._servers: list[grpc.aio.Server] = []
        self._http: HttpServer | None = None
        self._is_running = False

    @property
    def public_uri(self) -> str:
        """The public gRPC service, on port 19530 of a real Milvus."""
        return self._uri(self.public_port)

    @property
    def internal_uri(self) -> str:
        """The internal gRPC service, on port 19529 of a real Milvus."""
        return self._uri(self.internal_port)

    @property
    def rest_uri(self) -> str:
        """The REST API, on port 19530 of a real Milvus.

        Raises RuntimeError where h11 is not installed; ``milvus-import[rest]`` installs it.
        """
        if self._is_running and self._http is None:
            raise RuntimeError("REST needs the package h11. Install 'milvus-import[rest]'.")
        return self._uri(self.rest_port)

    def _uri(self, port: int) -> str:
        if not port:
            raise RuntimeError(
                "FakeMilvus has no port before it is started. Use `async with` or await start()."
            )
        return f"{'https' if self._tls else 'http'}://{_HOST}:{port}"

    @property
    def rest(self) -> RestBehavior:
        """How the REST API behaves where Milvus' versions and settings differ."""
        return self._rest.behavior

    @rest.setter
    def rest(self, behavior: RestBehavior) -> None:
        self._rest.behavior = behavior

    @property
    def choose_fault(self) -> Callable[[Received], Fault | None] | None:
        """A function that returns the fault for a call, or None. Injected faults come first."""
        return self._calls.choose_fault

    @choose_fault.setter
    def choose_fault(self, choose: Callable[[Received], Fault | None] | None) -> None:
        self._calls.choose_fault = choose

    def inject(
        self,
        fault: Fault | str,
        *,
        times: int | None = 1,
        method: str | None = None,
        job_id: str | None = None,
    ) -> None:
        """Let the next calls end in a fault: a Fault, or the name of one in FAULTS.

        ``times``: how many calls; None is all calls from now on.
        ``method``: only calls of this method, such as "GetImportProgress" or, for REST, "describe".
        ``job_id``: only calls for this job.

        Faults for the same calls apply one after the other. HTTP faults apply to REST calls only.
        """
        self._calls.inject(fault, times=times, method=method, job_id=job_id)

    def clear_faults(self) -> None:
        """Remove every injected fault."""
        self._calls.clear_faults()

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
                "FakeMilvus needs asyncio. With anyio's pytest plugin, let the fixture "
                "anyio_backend return 'asyncio'."
            ) from None
        if self._is_running:
            raise RuntimeError("FakeMilvus is already running")
        self._is_running = True
        try:
            self.internal_port = await self._serve("internal", self.internal_port)
            self.public_port = await self._serve("public", self.public_port)
            await self._serve_http()
        except BaseException:
            await self.stop()
            raise

    async def stop(self, grace: float | None = None) -> None:
        """Stop listening, and end the calls in flight after ``grace`` seconds. Jobs are kept."""
        servers, self._servers = self._servers, []
        http, self._http = self._http, None
        stopping = [server.stop(grace) for server in servers]
        if http is not None:
            stopping.append(http.stop(grace))
        await asyncio.gather(*stopping)
        await settled()
        self._is_running = False

    async def _serve(self, service: Service, port: int) -> int:
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((self._services[service],))
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

    async def _serve_http(self) -> None:
        """Serve REST, if h11 is installed."""
        try:
            from ._http import HttpServer, server_context  # noqa: PLC0415 - needs h11
        except ModuleNotFoundError as error:
            if error.name != "h11":
                raise
            return
        context = None if self._tls is None else server_context(self._tls, self._client_ca)
        self._http = HttpServer(self._rest.respond, context)
        self.rest_port = await self._http.start(_HOST, self.rest_port)


async def settled() -> None:
    """Wait until gRPC has ended its tasks of each call, which may be after the server stopped.

    If the loop were closed before, they would raise "Event loop is closed" in the next loop.
    """
    calls = [task for task in asyncio.all_tasks() if task.get_name().startswith(_CALL_TASKS)]
    if calls:
        await asyncio.wait(calls, timeout=_SETTLE)
