"""A connection opened at the first call, bound to that call's loop, and closed once."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import anyio

from .._errors import ClientClosedError
from .._failures._context import CallContext
from . import _process
from ._pauses import Pauses

if TYPE_CHECKING:
    from .._address import Endpoint
    from .._models import Service
    from .._options import CallSettings

CLOSE_GRACE = 1.0
"""Seconds that close() gives the calls in flight."""


class LoopConnection(Protocol):
    """A connection that belongs to one event loop of one process."""

    loop: asyncio.AbstractEventLoop
    process: int


_ConnectionT = TypeVar("_ConnectionT", bound=LoopConnection)


class LazyConnection(ABC, Generic[_ConnectionT]):
    """Opens the connection at the first call, and closes it once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.pauses = Pauses()
        self.responded = False
        """Whether any call has had a successful response yet."""
        self._connection: _ConnectionT | None = None
        self._binding = threading.Lock()
        self._closing: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self.pauses.closed

    @property
    def open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def connection(self) -> _ConnectionT:
        """Return the connection of the running loop; open it if there is none.

        Raises ClientClosedError after close(), RuntimeError from another loop, in a forked
        process, or without asyncio.
        """
        if self.pauses.closed:
            raise ClientClosedError("this client is closed; create a new client")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "milvus-import needs asyncio, as gRPC's asynchronous API does; "
                "run it with asyncio.run or anyio.run(..., backend='asyncio')"
            ) from None
        connection = self._connection
        if connection is None or connection.loop is not loop:
            with self._binding:
                connection = self._bind(loop)
        return connection

    def context(
        self, method: str, service: Service, settings: CallSettings, *, read: bool
    ) -> CallContext:
        """Return the context of a call, for its errors."""
        return CallContext(
            method,
            service,
            read,
            self.endpoint.target,
            self.endpoint.secure,
            settings.timeout,
            self.responded,
            "authorization" in settings.metadata_by_key,
        )

    def _bind(self, loop: asyncio.AbstractEventLoop) -> _ConnectionT:
        """Open the connection in this loop. Raises RuntimeError if it is open in another one."""
        connection = self._connection
        if connection is not None and connection.loop is loop:
            return connection
        if connection is not None:
            self._check_rebinding(connection)
            del connection
            self._drop()
        _process.check_gevent()
        self._connection = self._open(loop)
        return self._connection

    def _check_rebinding(self, connection: _ConnectionT) -> None:
        """Raise RuntimeError unless the connection's own loop is closed."""
        if connection.process != os.getpid():
            raise self._fork_error()
        if not connection.loop.is_closed():
            raise RuntimeError(
                "this client belongs to another event loop that is still running; "
                "create one client per event loop"
            )

    async def close(self) -> None:
        """Reject new calls, give those in flight up to a second, then cancel them. Idempotent.

        If the caller is cancelled, closing continues.
        """
        connection = self._connection
        if connection is not None and connection.loop is not asyncio.get_running_loop():
            self._check_rebinding(connection)
            connection = None
            self._drop()
        self.pauses.close()
        if connection is None:
            return
        with anyio.CancelScope(shield=True):
            while self._connection is not None:
                if self._closing is None or self._closing.cancelled():  # with all tasks
                    self._closing = connection.loop.create_task(self._close(connection))
                await asyncio.wait((self._closing,))
                if not self._closing.cancelled():
                    self._closing.result()

    async def _close(self, connection: _ConnectionT) -> None:
        await self._shut_down(connection)
        # A traceback may keep the client alive; it must not keep the connection open.
        self._connection = None

    @abstractmethod
    def _open(self, loop: asyncio.AbstractEventLoop) -> _ConnectionT:
        """Open the connection. Nothing is sent."""

    @abstractmethod
    async def _shut_down(self, connection: _ConnectionT) -> None:
        """Wait for the calls in flight up to CLOSE_GRACE, cancel them, and close the connection."""

    def _drop(self) -> None:
        """Free a connection whose loop is closed: its sockets close with its objects.

        They are reference cycles, and a fork while a channel is open would break the child.
        """
        self._connection = None
        gc.collect()

    def _fork_error(self) -> RuntimeError:
        return _process.fork_error("gRPC hangs or crashes in it")
