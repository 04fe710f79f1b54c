"""The fake server: two gRPC servers and two HTTP servers over one store of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Self

import grpc
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ._faults import HOST, Face
from ._grpc import GrpcService
from ._rest import CloudApi, RestApi
from ._store import JobStore

_THREAD_SAFE: Final = (1, 80)
"""The version of grpcio from which event loops in several threads do not disturb each other."""
_CALL_TASKS: Final = ("rpc_task", "HandleExceptions[")
"""Prefixes of the names that gRPC gives to the tasks of a call."""


@dataclass(kw_only=True, eq=False, repr=False)
class FakeMilvus(JobStore):
    """A simulated Milvus on loopback sockets: ``async with FakeMilvus() as server``.

    ``async with`` serves in the running event loop. ``with FakeMilvus() as server`` serves in a
    thread of its own: for synchronous tests, and for tests in several event loops.

    Each setting is an argument and an attribute. Those of JobStore may be set while it runs.
    """

    tls: tuple[bytes, bytes] | None = None
    """A PEM key and certificate, for all ports."""
    client_ca: bytes | None = None
    """The authorities of the certificates that clients need, PEM; needs ``tls``."""
    public_port: int = 0
    """0 takes a free port. A restarted server keeps its ports."""
    internal_port: int = 0
    rest_port: int = 0
    """A real Milvus serves REST on its public port."""
    cloud_port: int = 0

    def __post_init__(self) -> None:
        """Make the services, which listen after ``start``."""
        super().__post_init__()
        grpc_services = GrpcService(self, "internal"), GrpcService(self, "public")
        self._services = (*grpc_services, RestApi(self, "rest"), CloudApi(self, "cloud"))
        self._is_running = False
        self._portal: BlockingPortal | None = None
        self._thread = ExitStack()

    @property
    def public_uri(self) -> str:
        """The public gRPC service, on port 19530 of a real Milvus."""
        return self._uri("public")

    @property
    def internal_uri(self) -> str:
        """The internal gRPC service, on port 19529 of a real Milvus."""
        return self._uri("internal")

    @property
    def rest_uri(self) -> str:
        """The REST API, on port 19530 of a real Milvus. It needs the extra ``rest``."""
        return self._uri("rest")

    @property
    def cloud_uri(self) -> str:
        """The import API of a simulated Zilliz Cloud. It needs the extra ``rest``."""
        return self._uri("cloud")

    def _uri(self, face: Face) -> str:
        port: int = getattr(self, f"{face}_port")
        if not port:
            unstarted = "has no port before it is started. Use `async with` or await start()."
            missing = f"needs aiohttp for its {face} port: pip install 'milvus-import[rest]'"
            raise RuntimeError(f"FakeMilvus {missing if self._is_running else unstarted}")
        return f"{'https' if self.tls else 'http'}://{HOST}:{port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        if tuple(map(int, grpc.__version__.split(".")[:2])) < _THREAD_SAFE:
            raise RuntimeError(
                "FakeMilvus in a thread (the fixture fake_milvus) needs grpcio 1.80 or newer, "
                f"got {grpc.__version__}. Use `async with FakeMilvus()` in the loop of the test."
            )
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            portal.call(self._start)
            stack.callback(portal.call, self._stop, None)
            self._portal, self._thread = portal, stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.close()
        self._portal = None

    async def start(self) -> None:
        """Listen. After ``stop`` it starts again on the same ports, with its jobs.

        Raises RuntimeError where the running loop is not asyncio's.
        """
        await self._run(self._start)

    async def stop(self, grace: float | None = None) -> None:
        """Stop listening, and end the calls in flight after ``grace`` seconds. Jobs are kept."""
        await self._run(self._stop, grace)

    async def _run(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Run a coroutine in the loop of the thread, or without one in the running loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            hint = "Let the fixture anyio_backend of anyio's pytest plugin return 'asyncio'."
            raise RuntimeError(f"FakeMilvus needs asyncio. {hint}") from None
        if self._portal is None:
            await work(*args)
        else:
            await asyncio.wrap_future(self._portal.start_task_soon(work, *args))

    async def _start(self) -> None:
        if self._is_running:
            raise RuntimeError("FakeMilvus is already running")
        self._is_running = True
        tls = self.tls and (*self.tls, self.client_ca)
        try:
            for service in self._services:
                name = f"{service.face}_port"
                setattr(self, name, await service.start(getattr(self, name), tls))
        except BaseException:
            await self._stop(None)
            raise

    async def _stop(self, grace: float | None) -> None:
        await asyncio.gather(*(service.stop(grace) for service in self._services))
        await settled()
        self._is_running = False


async def settled() -> None:
    """Wait until gRPC has ended its tasks of each call, which may be after the server stopped.

    If the loop were closed before, they would raise "Event loop is closed" in the next loop.
    """
    calls = [task for task in asyncio.all_tasks() if task.get_name().startswith(_CALL_TASKS)]
    if calls:
        await asyncio.wait(calls, timeout=1.0)  # they take milliseconds
