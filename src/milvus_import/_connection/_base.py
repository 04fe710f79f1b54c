"""What gRPC and HTTP have in common: methods, requests in flight, and the connection.

Callers await a future of this module, never the request itself. Cancelling a caller must not
reset its read on the server, which crashes Milvus 2.3 and early 2.4 (milvus#35539), and the
CancelledError of gRPC would break anyio's cancel scopes. A request whose caller was cancelled is
*detached*: it continues to its own deadline, and its record is reported like any other.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import anyio
import grpc

from .._errors import ClientClosedError
from .._models import CallRecord
from .._options import close_awaitable
from . import _process

if TYPE_CHECKING:
    from .._address import Endpoint
    from .._models import Service
    from .._options import CallSettings

logger = logging.getLogger("milvus_import")

ParamsT = TypeVar("ParamsT")
ResultT = TypeVar("ResultT")

CLOSE_GRACE = 1.0
"""Seconds that close() gives the requests in flight."""
DETACHED_LIFETIME = 30.0
"""Seconds that a detached request without a deadline may continue."""
_LATE = 0.1
"""Seconds of delay from which the event loop counts as blocked: the response may have arrived."""
_SWEEP_INTERVAL = 0.01
"""The least seconds between two sweeps. Each request in flight adds 5 us."""


class NextPage:
    """Parameters of the request for the next page, which ``Method.read`` may return."""

    __slots__ = ()


class Method(NamedTuple, Generic[ParamsT, ResultT]):
    """One method of one service: how its request is built and its reply is read."""

    service: Service
    name: str
    """The name that errors show, such as GetImportProgress."""
    path: str
    build: Callable[[ParamsT], Any]
    """Returns the request: a message of gRPC, or the body of an HTTP request."""
    read: Callable[[Any, ParamsT], ResultT | NextPage]
    """Returns the result of a reply: bytes or a message of gRPC, or an HttpReply."""
    is_read: bool = True
    """Whether the method changes nothing on the server."""
    reply_type: Any = None
    """The message type of a gRPC reply, for clients with interceptors."""


class Runner(Protocol):
    """A task that runs a request, or a gRPC call, whether intercepted or not."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> object:
        """Call ``callback`` when it ends; soon, if it has already ended."""

    def cancel(self) -> object:
        """Cancel it."""


class Request(ABC):
    """One request in flight, with the data for its record and its error."""

    __slots__ = (
        *("connection", "due", "method", "on_finish", "postponed", "runner", "started", "timeout"),
    )

    grace: ClassVar[float] = 0.0
    """Seconds after its deadline from which it is given up."""
    prefix: ClassVar[str] = ""
    """What precedes the path of the method in records."""

    def __init__(
        self,
        connection: LazyConnection,
        method: Method[Any, Any],
        settings: CallSettings,
        runner: Runner,
        timeout: float | None,
    ) -> None:
        self.connection = connection
        self.method = method
        self.on_finish: Callable[[CallRecord], object] | None = settings.on_finish
        self.runner = runner
        self.timeout = timeout
        self.started: float = time.monotonic()
        self.due: float = math.inf if timeout is None else self.started + timeout + self.grace
        """When it is given up (time.monotonic()); inf without a deadline."""
        self.postponed = False
        """Whether giving it up was postponed because the event loop had been blocked."""

    @abstractmethod
    async def outcome(self, *, overdue: bool) -> Any:
        """Report the record; return the reply, or the error as an exception.

        Never suspends and never raises. ``overdue``: the request was given up.
        """

    def report(
        self,
        code: grpc.StatusCode,
        details: str,
        initial: Iterable[tuple[str, str | bytes]] = (),
        trailing: Iterable[tuple[str, str | bytes]] = (),
    ) -> CallRecord:
        """Pass the record of the request, which has ended, to ``on_finish``; log its exceptions."""
        record = CallRecord(
            self.method.service,
            self.prefix + self.method.path,
            code,
            details,
            tuple(initial),
            tuple(trailing),
            time.monotonic() - self.started,
        )
        if self.on_finish is None:
            return record
        try:
            result = self.on_finish(record)
        except (Exception, asyncio.CancelledError):
            logger.exception("on_finish raised an exception; the call is not affected")
            return record
        if close_awaitable(result):
            text = "on_finish returned an awaitable, which is not awaited; pass a plain function"
            logger.error(text)
        return record

    def closed_error(self, code: grpc.StatusCode) -> ClientClosedError | None:
        """Return the error of a request that ended because the client was closed."""
        if code is grpc.StatusCode.CANCELLED and self.connection.closed:
            return ClientClosedError("the client was closed during the call", may_have_run=True)
        return None


class InFlight:
    """Runs requests, gives up those that are overdue, and ends all of them on close."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._requests: dict[asyncio.Future[bool], Request] = {}
        """By the future that resolves when the request ends: True if it was given up."""
        self._timer: asyncio.TimerHandle | None = None
        """One for all requests, set to the earliest due: one each would cost 5 % of a call."""
        self._next = math.inf

    def __len__(self) -> int:
        return len(self._requests)

    async def run(self, request: Request) -> Any:
        """Return the outcome. Raises only CancelledError, if the caller is cancelled."""
        end = self._watch(request)
        try:
            overdue = await end
        except (asyncio.CancelledError, GeneratorExit):
            self._detach(request)
            del request  # it may hold a secret, and error reporters show the variables of frames
            raise
        finally:
            del self._requests[end]
        return await request.outcome(overdue=overdue)

    async def close(self, grace: float) -> None:
        """Give the requests ``grace`` seconds, cancel the others, and give those as many.

        Those that ignore it, as an interceptor may, are given up.
        """
        for _ in range(2):
            if self._requests:
                await asyncio.wait(tuple(self._requests), timeout=grace)
            for request in tuple(self._requests.values()):
                request.runner.cancel()
        for end in self._requests:
            if not end.done():
                end.set_result(True)
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self, request: Request) -> asyncio.Future[bool]:
        end = self._loop.create_future()
        # gRPC keeps the callbacks of a call, so this one holds nothing but the future.
        request.runner.add_done_callback(partial(_resolve, end))
        self._requests[end] = request
        if request.due < self._next:
            self._set_timer(request.due)
        return end

    def _detach(self, request: Request) -> None:
        """Let the request continue without its caller; close() and its deadline still end it."""
        if self._loop.is_closed():  # the coroutine of the caller was garbage-collected
            return
        if request.due == math.inf:
            request.due = time.monotonic() + DETACHED_LIFETIME
        self._watch(request).add_done_callback(self._detached_ended, context=Context())

    def _detached_ended(self, end: asyncio.Future[bool]) -> None:
        request = self._requests.pop(end)
        if not self._loop.is_closed():  # the task ends at the next iteration of the loop
            self._loop.create_task(_finish(request, overdue=end.result()))

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._next = None, due
        if due < math.inf:  # an empty context: the timer must not keep the first caller's alive
            delay = max(0.0, due - time.monotonic())
            self._timer = self._loop.call_later(delay, self._sweep, context=Context())

    def _sweep(self) -> None:
        """Give up the requests that are overdue, and set the timer to the next one.

        After a blocked event loop each of them is postponed once: its response may have arrived.
        """
        now, earliest = time.monotonic(), math.inf
        blocked = now > self._next + _LATE
        for end, request in tuple(self._requests.items()):
            if request.due <= now and blocked and not request.postponed:
                request.postponed = True
                request.due = now + _LATE / 2
            if request.due > now:
                earliest = min(earliest, request.due)
            elif not end.done():
                end.set_result(True)
                request.runner.cancel()
        interval = _SWEEP_INTERVAL + len(self._requests) * 5e-6
        self._set_timer(max(earliest, now + interval))


async def _finish(request: Request, *, overdue: bool) -> None:
    await request.outcome(overdue=overdue)


def _resolve(end: asyncio.Future[bool], _: object) -> None:
    if not end.done():
        end.set_result(False)


class LazyConnection(ABC):
    """The connection of one client: a gRPC channel or an HTTP session, for one event loop."""

    fork_consequence = "gRPC hangs or crashes in it"

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.closed: bool = False
        """Whether close() was called."""
        self.responded: bool = False
        """Whether any call has had a successful response: then the address is right."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop that the connection belongs to; None while it is not open."""
        self._pid = 0
        self._in_flight: InFlight | None = None
        self._opening = threading.Lock()
        self._closing: asyncio.Task[None] | None = None

    def open(self) -> InFlight:
        """Open the connection if it is not; return the requests of the running loop.

        Raises ClientClosedError after close(), RuntimeError from another loop, in a forked
        process, or without asyncio.
        """
        if self.closed:
            raise ClientClosedError("this client is closed; create a new client")
        in_flight = self._in_flight
        if in_flight is None or self.loop is not running_loop() or self._pid != os.getpid():
            with self._opening:
                in_flight = self._bind(running_loop())
        return in_flight

    @abstractmethod
    def start(
        self, method: Method[Any, Any], params: Any, settings: CallSettings, timeout: float | None
    ) -> Request:
        """Send the request of a method. ``timeout`` is what remains of ``settings.timeout``."""

    async def close(self) -> None:
        """Reject new calls, give those in flight up to a second, then cancel them. Idempotent.

        If the caller is cancelled, closing continues.
        """
        if self.loop is not None and self.loop is not running_loop():
            self._drop()
        self.closed = True
        with anyio.CancelScope(shield=True):
            while self._in_flight is not None:
                if self._closing is None or self._closing.cancelled():  # with all tasks
                    self._closing = running_loop().create_task(self._close(self._in_flight))
                await asyncio.wait((self._closing,))
                if not self._closing.cancelled():
                    self._closing.result()

    async def _close(self, in_flight: InFlight) -> None:
        await in_flight.close(CLOSE_GRACE)
        await self._disconnect()
        # A traceback may keep the client alive; it must not keep the connection open.
        self._in_flight = self.loop = None

    def _bind(self, loop: asyncio.AbstractEventLoop) -> InFlight:
        if self._in_flight is not None:
            if self.loop is loop and self._pid == os.getpid():
                return self._in_flight
            self._drop()
        _process.check_gevent()
        self._connect(loop)
        self.loop, self._pid, self._in_flight = loop, os.getpid(), InFlight(loop)
        return self._in_flight

    def _drop(self) -> None:
        """Free a connection whose loop is closed: its sockets close with its objects.

        They are reference cycles, and a fork while a channel is open would break the child.
        Raises RuntimeError if the loop is still running, or in a forked process.
        """
        if self._pid != os.getpid():
            raise _process.fork_error(self.fork_consequence)
        if self.loop is not None and not self.loop.is_closed():
            raise RuntimeError(
                "this client belongs to another event loop that is still running; "
                "create one client per event loop"
            )
        self._in_flight = self.loop = None
        self._forget()
        gc.collect()

    @abstractmethod
    def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Create the channel or the session. Nothing is sent."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Close the channel or the session."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop the references to the channel or the session without closing it."""


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop. Raises RuntimeError without asyncio, such as in trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "milvus-import needs asyncio, as gRPC's asynchronous API does; "
            "run it with asyncio.run or anyio.run(..., backend='asyncio')"
        ) from None


async def yield_to_loop() -> None:
    """Let the event loop run once, so that a task that is already cancelled ends here.

    asyncio.sleep(0) awaits no future: if a scope of anyio and a timeout of asyncio cancel it in
    the same iteration, each attributes the CancelledError to the other.
    """
    loop = running_loop()
    waiter: asyncio.Future[bool] = loop.create_future()
    loop.call_soon(_resolve, waiter, None)
    await waiter
