"""A TCP server on a loopback port: the only way in which the tests start and stop one."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self, cast

HOST = "127.0.0.1"

_ABORT_BY_RESET = struct.pack("ii", 1, 0)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpServer:
    """``async with TcpServer(serve) as server``: ``serve`` is called for each connection.

    The connection is closed when ``serve`` ends, also by a failure of the connection.
    """

    def __init__(self, serve: Serve, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.connections = 0
        """The number of connections accepted so far."""
        self._serve, self._tls = serve, tls
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    @property
    def uri(self) -> str:
        return f"http{'s' if self._tls else ''}://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        for task, writer in self._open.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*self._open)

    async def listen(self) -> None:
        """Accept connections, again on the same port as before."""
        self._server = await asyncio.start_server(self._connected, HOST, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections, until ``listen``."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open[task] = writer
        self.connections += 1
        try:
            # One side has gone, or the server is closed; asyncio would log the cancellation.
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            del self._open[task]


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a TCP reset."""
    with suppress(OSError):  # it has ended
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_BY_RESET)
    writer.transport.abort()
