"""A connection that opens at the first call, belongs to that call's event loop, and closes once."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from .._errors import ClientClosedError
from .._options import close_awaitable
from . import _process
from ._in_flight import InFlight, Request

if TYPE_CHECKING:
    from .._address import Endpoint
    from .._models import CallRecord
    from .._options import CallSettings
    from ._method import Method

logger = logging.getLogger("milvus_import")

CLOSE_GRACE = 1.0
"""Seconds that close() gives the requests in flight."""


class LazyConnection(ABC):
    """One per client: a gRPC channel or an HTTP session, one per event loop."""

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


def report(on_finish: Callable[[CallRecord], object] | None, record: CallRecord) -> None:
    """Pass the record of a request that has ended to ``on_finish``; log its exceptions."""
    if on_finish is None:
        return
    try:
        result = on_finish(record)
    except (Exception, asyncio.CancelledError):
        logger.exception("on_finish raised an exception; the call is not affected")
        return
    if close_awaitable(result):
        logger.error("on_finish returned an awaitable, which is not awaited; pass a plain function")


async def yield_to_loop() -> None:
    """Let the event loop run once, so that a task that is already cancelled ends here.

    asyncio.sleep(0) awaits no future: if a scope of anyio and a timeout of asyncio cancel it in
    the same iteration, each attributes the CancelledError to the other.
    """
    loop = running_loop()
    waiter = loop.create_future()
    loop.call_soon(_resolve, waiter)
    await waiter


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
