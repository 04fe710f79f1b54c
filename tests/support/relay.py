"""A TCP relay on loopback that does to connections what networks do to them."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_HOST = "127.0.0.1"
_ABORT_BY_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    silent: bool = False
    left: int | None = None
    """Bytes that may still go to the client before the connection is cut; None: no end."""


class Relay:
    """``async with Relay(port) as relay``: listens on ``relay.port``, hands on to ``port``.

    The methods act on the connections that are open now; later ones are sound. ``delay`` and
    ``silent`` are for all of them.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.delay = 0.0
        """Seconds that each piece takes longer, in each direction."""
        self.silent = False
        """Whether new connections are accepted and then never served."""
        self.connections = 0
        """How many there have been."""
        self._target = port
        self._arrived = asyncio.Event()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def uri(self) -> str:
        return f"http://{_HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listen(self) -> None:
        """Accept connections, again on the same port if it had been one."""
        self._server = await asyncio.start_server(self._connected, _HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections, until ``listen``."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def reach(self, connections: int) -> None:
        """Wait until so many connections have been made."""
        while self.connections < connections:
            await self._arrived.wait()

    def drop(self) -> None:
        """Silence: nothing passes any more, and neither side is told."""
        for link in self._links:
            link.silent = True

    def reset(self) -> None:
        """Break the connections with a TCP reset to the client."""
        for link in self._links:
            sock = link.client.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_BY_RESET)
            link.client.transport.abort()

    def cut(self, after: int) -> None:
        """Close the connections once so many more bytes have gone to the client."""
        for link in self._links:
            link.left = after

    def garbage(self, data: bytes = b"\x00garbage\xff" * 8) -> None:
        """Send the clients something that is no HTTP/2."""
        for link in self._links:
            link.client.write(data)

    def oversized_frame(self) -> None:
        """Announce an HTTP/2 frame of the greatest length there is, which no client allows."""
        self.garbage(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(64))

    def half_close(self) -> None:
        """Tell the clients that nothing more comes, and go on reading from them."""
        for link in self._links:
            link.client.write_eof()
            link.silent = True

    async def _connected(
        self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self._arrived.set()
        self._arrived = asyncio.Event()
        server: asyncio.StreamWriter | None = None
        link: _Link | None = None
        try:
            server_reader, server = await asyncio.open_connection(_HOST, self._target)
            link = _Link(client, server, self.silent)
            self._links.add(link)
            await asyncio.gather(
                self._pass_on(link, client_reader, server),
                self._pass_on(link, server_reader, client),
            )
        except OSError:
            pass  # one side is gone; the other learns it by the closing below
        except asyncio.CancelledError:
            pass  # the relay is closed; asyncio's streams would log this as an error
        finally:
            if link is not None:
                self._links.discard(link)
            client.close()
            if server is not None:
                server.close()

    async def _pass_on(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while piece := await reader.read(65536):
            if self.delay:
                await asyncio.sleep(self.delay)
            if link.silent:
                continue
            if link.left is not None and writer is link.client:
                piece = piece[: link.left]
                link.left -= len(piece)
            writer.write(piece)
            await writer.drain()
            if link.left == 0:
                raise ConnectionError("cut")
        if not link.silent:
            raise ConnectionError("one side has closed")
