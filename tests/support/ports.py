"""Ports where no Milvus is: dead, silent, a black hole, another server, one that breaks off."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import cast

HOST = "127.0.0.1"

_SETTINGS = b"\0\0\0\4\0\0\0\0\0"  # an empty frame of HTTP/2
_PREFACE_LENGTH, _FRAME_HEADER_LENGTH = 24, 9
_DATA, _HEADERS, _SETTINGS_KIND, _PING = 0, 1, 4, 6
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_STATUS_200, _STATUS = b"\x88", b"\x48"  # in HPACK's static table, and with a value to follow


@contextmanager
def dead_port() -> Generator[int, None, None]:
    """Refuses connections: bound, so that nobody else gets it, but not listened on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        yield _port(listener)


@contextmanager
def silent_port() -> Generator[int, None, None]:
    """The kernel accepts; then nobody reads and nobody answers."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(64)
        yield _port(listener)


@contextmanager
def blackhole_port() -> Generator[int, None, None]:
    """Packets vanish, as behind a firewall that drops them.

    The queue of connections is full, and Linux then leaves each further SYN unanswered.
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
    """An HTTP/1.1 server, as a web console or a REST gateway would be."""
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()

    async with _serving(serve, tls) as port:
        yield port


@asynccontextmanager
async def breaking_port() -> AsyncGenerator[int, None]:
    """Speaks HTTP/2 until it has a request, then resets the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(_PREFACE_LENGTH)
        writer.write(_SETTINGS)
        kind = None
        while kind != _DATA:
            header = await reader.readexactly(_FRAME_HEADER_LENGTH)
            await reader.readexactly(int.from_bytes(header[:3], "big"))
            kind = header[3]
        writer.transport.abort()

    async with _serving(serve) as port:
        yield port


@asynccontextmanager
async def ssh_port() -> AsyncGenerator[int, None]:
    """A server that speaks neither gRPC nor HTTP, and first."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await reader.read()

    async with _serving(serve) as port:
        yield port


def status_port(status: int, text: str) -> AbstractAsyncContextManager[int]:
    """Ends each RPC with this status, also one that gRPC does not know."""
    block = _STATUS_200 + _field("content-type", "application/grpc")
    block += _field("grpc-status", str(status)) + _field("grpc-message", text)
    return _http2_port((_HEADERS, _END_HEADERS | _END_STREAM, block))


def gateway_port(status: int) -> AbstractAsyncContextManager[int]:
    """Answers each RPC with a web page under this HTTP status, as an ingress does by itself."""
    block = _STATUS + bytes([3]) + str(status).encode() + _field("content-type", "text/html")
    return _http2_port(
        (_HEADERS, _END_HEADERS, block), (_DATA, _END_STREAM, b"<html>A page.</html>")
    )


@asynccontextmanager
async def _http2_port(*answer: tuple[int, int, bytes]) -> AsyncGenerator[int, None]:
    """Answers each request with these frames: kind, flags and payload."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(_PREFACE_LENGTH)
        writer.write(_SETTINGS)
        while True:
            header = await reader.readexactly(_FRAME_HEADER_LENGTH)
            payload = await reader.readexactly(int.from_bytes(header[:3], "big"))
            kind, flags, stream = header[3], header[4], header[5:]
            if kind in {_SETTINGS_KIND, _PING} and not flags & _ACK:
                echo = payload if kind == _PING else b""
                writer.write(_frame(kind, _ACK, stream, echo))
            elif kind == _DATA and flags & _END_STREAM:
                for what, how, content in answer:
                    writer.write(_frame(what, how, stream, content))

    async with _serving(serve) as port:
        yield port


def _frame(kind: int, flags: int, stream: bytes, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream + payload


def _field(name: str, value: str) -> bytes:
    """A header field in HPACK, neither indexed nor Huffman-coded."""
    parts = (name.encode(), value.encode())
    return b"\x00" + b"".join(bytes([len(part)]) + part for part in parts)


@asynccontextmanager
async def nameless_dns() -> AsyncGenerator[int, None]:
    """A name server that knows no name."""

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
