"""The fake server: two gRPC servers and two HTTP servers over one store of jobs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self

import grpc
import grpc.aio

from ._behavior import MilvusBehavior
from ._cloud import CloudApi
from ._faults import Face
from ._grpc import GrpcService
from ._http import HttpServer, server_context
from ._rest import HttpApi, RestApi
from ._store import JobStore, Version

_HOST: Final = "127.0.0.1"
_THREAD_SAFE: Final = (1, 80)
"""The version of grpcio from which event loops in several threads do not disturb each other."""
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

    ``async with`` serves in the running event loop. ``with FakeMilvus() as server`` serves in a
    thread of its own: for synchronous tests, and for tests in several event loops.

    ``version``: "2.3" has no GetImportProgress on its internal port, no REST API for imports, and
    an older GetImportState with more fields. "2.4" has no ``describe`` in its REST API. "3.0" has
    two-phase imports: only there ``create_import`` follows the option ``auto_commit``.
    ``token``: required by the public service and by REST, such as "root:Milvus"; None requires no
    credentials. For the simulated Zilliz Cloud it is the API key; None accepts every key.
    ``clock``: seconds for jobs with ``seconds``; a ManualClock is advanced by the test.
    ``tls``: a PEM key and certificate, for all ports; ``client_ca`` makes it mutual.
    ``public_port``, ``internal_port``, ``rest_port``, ``cloud_port``: 0 takes a free port. A
    restarted server keeps its ports. A real Milvus serves REST on its public port.
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
        cloud_port: int = 0,
        max_received: int = 10_000,
    ) -> None:
        super().__init__(version=version, token=token, clock=clock, max_received=max_received)
        self.public_port: int = public_port
        self.internal_port: int = internal_port
        self.rest_port: int = rest_port
        self.cloud_port: int = cloud_port
        self._tls = tls
        self._client_ca = client_ca
        self._behavior = MilvusBehavior(self)
        self._rest = RestApi(self, self._behavior)
        self._cloud = CloudApi(self, self._behavior)
        self._servers: list[grpc.aio.Server] = []
        self._http: list[HttpServer] = []
        self._is_running = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

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
        """The REST API, on port 19530 of a real Milvus."""
        return self._uri(self.rest_port)

    @property
    def cloud_uri(self) -> str:
        """The import API of a simulated Zilliz Cloud."""
        return self._uri(self.cloud_port)

    def _uri(self, port: int) -> str:
        if not port:
            raise RuntimeError(
                "FakeMilvus has no port before it is started. Use `async with` or await start()."
            )
        return f"{'https' if self._tls else 'http'}://{_HOST}:{port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        if tuple(map(int, grpc.__version__.split(".")[:2])) < _THREAD_SAFE:
            raise RuntimeError(
                "FakeMilvus in a thread, and so the fixture fake_milvus, needs grpcio 1.80 or "
                f"newer, got {grpc.__version__}: in older versions the event loop of the test "
                "reports BlockingIOError. Use `async with FakeMilvus()` in the loop of the test."
            )
        if self._is_running:
            raise RuntimeError("FakeMilvus is already running")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="FakeMilvus", daemon=True
        )
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._stop(None), self._loop).result()
            self._end_thread()

    def _end_thread(self) -> None:
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    async def start(self) -> None:
        """Listen. After ``stop`` it starts again on the same ports, with its jobs.

        Raises RuntimeError where the running loop is not asyncio's.
        """
        await self._in_own_loop(self._start())

    async def stop(self, grace: float | None = None) -> None:
        """Stop listening, and end the calls in flight after ``grace`` seconds. Jobs are kept."""
        await self._in_own_loop(self._stop(grace))

    async def _in_own_loop(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the loop of the thread, or without one in the running loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            work.close()
            raise RuntimeError(
                "FakeMilvus needs asyncio. With anyio's pytest plugin, let the fixture "
                "anyio_backend return 'asyncio'."
            ) from None
        if self._loop is None:
            await work
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _start(self) -> None:
        if self._is_running:
            raise RuntimeError("FakeMilvus is already running")
        self._is_running = True
        try:
            self.internal_port = await self._serve_grpc("internal", self.internal_port)
            self.public_port = await self._serve_grpc("public", self.public_port)
            self.rest_port = await self._serve_http(self._rest, self.rest_port)
            self.cloud_port = await self._serve_http(self._cloud, self.cloud_port)
        except BaseException:
            await self._stop(None)
            raise

    async def _stop(self, grace: float | None) -> None:
        servers, http = self._servers, self._http
        self._servers, self._http = [], []
        stopping = [server.stop(grace) for server in servers]
        await asyncio.gather(*stopping, *(server.stop(grace) for server in http))
        await settled()
        self._is_running = False

    async def _serve_grpc(self, service: Face, port: int) -> int:
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((GrpcService(service, self, self._behavior),))
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

    async def _serve_http(self, api: HttpApi, port: int) -> int:
        context = None if self._tls is None else server_context(self._tls, self._client_ca)
        server = HttpServer(api.respond, context)
        self._http.append(server)
        return await server.start(_HOST, port)


async def settled() -> None:
    """Wait until gRPC has ended its tasks of each call, which may be after the server stopped.

    If the loop were closed before, they would raise "Event loop is closed" in the next loop.
    """
    calls = [task for task in asyncio.all_tasks() if task.get_name().startswith(_CALL_TASKS)]
    if calls:
        await asyncio.wait(calls, timeout=_SETTLE)
