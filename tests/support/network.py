"""What a network does to connections: relays that break them, and ports where no Milvus is."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

from frames import DATA, END_STREAM, HEADERS, RST_STREAM, Connection, frame_port
from h2_server import grpc_status, h2_server, http

HOST = "127.0.0.1"

_PREFACE_LENGTH = 24
_ABORT_BY_RESET = struct.pack("ii", 1, 0)


# Relays.


@dataclass(slots=True, eq=False)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    silent: bool = False
    left: int | None = None
    """Bytes that may still go to the client before the connection is cut; None: no end."""


class Relay:
    """``async with Relay(port) as relay``: listens on ``relay.port`` and forwards to ``port``.

    The methods act on the connections that are open now, not on later ones. ``delay`` and
    ``silent`` apply to all of them.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.delay = 0.0
        """Seconds by which each piece of data is delayed, in each direction."""
        self.silent = False
        """Whether new connections are accepted and never served."""
        self.connections = 0
        """The number of connections accepted so far."""
        self._target = port
        self._arrived = asyncio.Event()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.port}"

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
        """Accept connections, again on the same port as before."""
        self._server = await asyncio.start_server(self._connected, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections, until ``listen``."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def reach(self, connections: int) -> None:
        """Wait until this number of connections has been accepted."""
        while self.connections < connections:
            await self._arrived.wait()

    def drop(self) -> None:
        """Forward nothing any more, without closing the connections."""
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
        """Close the connections after this number of further bytes to the client."""
        for link in self._links:
            link.left = after

    def garbage(self, data: bytes = b"\x00garbage\xff" * 8) -> None:
        """Send the clients bytes that are not HTTP/2."""
        for link in self._links:
            with suppress(RuntimeError):  # half-closed
                link.client.write(data)

    def oversized_frame(self) -> None:
        """Send the header of an HTTP/2 frame of the largest length, which no client accepts."""
        self.garbage(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(64))

    def half_close(self) -> None:
        """Close the direction to the clients, and continue to read from them."""
        for link in self._links:
            link.silent = True
            with suppress(OSError, RuntimeError):  # the client has gone, or it is half-closed
                link.client.write_eof()

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
            server_reader, server = await asyncio.open_connection(HOST, self._target)
            link = _Link(client, server, self.silent)
            self._links.add(link)
            await asyncio.gather(
                self._pass_on(link, client_reader, server),
                self._pass_on(link, server_reader, client),
            )
        except OSError:
            pass  # one side has gone; the other one is closed below
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


class FrameRelay:
    """``async with FrameRelay(port)``: listens on ``uri``, forwards to the port, counts frames."""

    def __init__(self, port: int) -> None:
        self.requests = 0
        """Complete requests forwarded to the server."""
        self.resets = 0
        """Requests that the client reset."""
        self.responses = 0
        """Complete replies forwarded to the client."""
        self.uri = ""
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, HOST)
        self.uri = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        server_writer: asyncio.StreamWriter | None = None
        try:
            server_reader, server_writer = await asyncio.open_connection(HOST, self._port)
            server_writer.write(await client_reader.readexactly(_PREFACE_LENGTH))
            await asyncio.gather(
                self._pass_on(client_reader, server_writer, from_client=True),
                self._pass_on(server_reader, client_writer, from_client=False),
            )
        except (OSError, EOFError):
            pass  # one side has gone; the other one is closed below
        except asyncio.CancelledError:
            pass  # the relay is closed; asyncio's streams would log this as an error
        finally:
            client_writer.close()
            if server_writer is not None:
                server_writer.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool
    ) -> None:
        while True:
            head = await reader.readexactly(9)
            body = await reader.readexactly(int.from_bytes(head[:3]))
            self._count(head[3], head[4], from_client=from_client)
            writer.write(self._forwarded(head, body, from_client=from_client))
            await writer.drain()

    def _forwarded(self, head: bytes, body: bytes, *, from_client: bool) -> bytes:
        """Return what is sent in place of a frame."""
        return head + body

    def _count(self, kind: int, flags: int, *, from_client: bool) -> None:
        ends = kind in {DATA, HEADERS} and bool(flags & END_STREAM)
        if from_client:
            self.requests += ends
            self.resets += kind == RST_STREAM
        else:
            self.responses += ends


# Ports.


@contextmanager
def closed_port() -> Generator[int, None, None]:
    """Refuses connections: bound, so that nobody else gets it, but not listened on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        yield _port(listener)


@contextmanager
def silent_port() -> Generator[int, None, None]:
    """Accepts connections in the kernel; no program reads from them."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(64)
        yield _port(listener)


@contextmanager
def blackhole_port() -> Generator[int, None, None]:
    """Drops packets, as a firewall does.

    The queue of connections is full: Linux does not respond to a further SYN.
    """
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                with suppress(BlockingIOError):
                    filler.connect(listener.getsockname())
            yield _port(listener)
        finally:
            for filler in fillers:
                filler.close()


@asynccontextmanager
async def http_port(tls: ssl.SSLContext | None = None) -> AsyncGenerator[int, None]:
    """An HTTP/1.1 server, such as a web console or a REST gateway."""
    reply = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply)
        await writer.drain()

    async with _serving(serve, tls) as port:
        yield port


@asynccontextmanager
async def breaking_port() -> AsyncGenerator[int, None]:
    """Serves HTTP/2 up to the first request, then resets the connection."""
    async with frame_port(Connection.reset) as server:
        yield server.port


@asynccontextmanager
async def ssh_port() -> AsyncGenerator[int, None]:
    """A server of another protocol, which sends first."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await reader.read()

    async with _serving(serve) as port:
        yield port


@asynccontextmanager
async def status_port(status: int, text: str) -> AsyncGenerator[int, None]:
    """Ends each RPC with this status, which may be unknown to gRPC."""
    async with h2_server(lambda _: grpc_status(status, text)) as server:
        yield server.port


@asynccontextmanager
async def gateway_port(status: int) -> AsyncGenerator[int, None]:
    """Responds to each RPC with a web page and this HTTP status, as an ingress does."""
    page = http(status, b"<html>A page.</html>", ("content-type", "text/html"))
    async with h2_server(lambda _: page) as server:
        yield server.port


@asynccontextmanager
async def nameless_dns() -> AsyncGenerator[int, None]:
    """A name server that resolves no name."""

    class Answers(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.DatagramTransport", transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            no_such_name = data[:2] + b"\x81\x83" + data[4:6] + bytes(6) + data[12:]
            self.transport.sendto(no_such_name, addr)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Answers, (HOST, 0))
    try:
        yield _port(transport.get_extra_info("socket"))
    finally:
        transport.close()


@asynccontextmanager
async def _serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[int, None]:
    handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        handlers[task] = writer
        with suppress(ConnectionError, EOFError, ssl.SSLError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        del handlers[task]

    server = await asyncio.start_server(handle, HOST, 0, ssl=tls)
    try:
        yield _port(server.sockets[0])
    finally:
        server.close()
        for writer in handlers.values():
            writer.transport.abort()
        await asyncio.gather(*handlers)
        await server.wait_closed()


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port
