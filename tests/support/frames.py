"""A port that speaks HTTP/2 frame by frame: it breaks connections and responds as gateways do."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
END_STREAM, _END_HEADERS = 1, 4
_STATUS_200 = b"\x88"  # HPACK's static table


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one HTTP/2 frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def header(name: bytes, value: bytes) -> bytes:
    """Return a header field as an HPACK literal without indexing."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


@dataclass
class Connection:
    """One connection after its first request has arrived."""

    writer: asyncio.StreamWriter
    stream: int
    request: bytes = b""
    """The request as gRPC frames it: a flag, four bytes of length, the message."""

    def end(self) -> None:
        """Close the connection."""
        self.writer.close()

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def http(self, status: int, body: bytes = b"", content_type: bytes = b"text/plain") -> None:
        """Respond as a web server: without a gRPC status."""
        known = _STATUS_200 if status == 200 else header(b":status", str(status).encode())
        flags = _END_HEADERS | (0 if body else END_STREAM)
        block = known + header(b"content-type", content_type)
        self.writer.write(frame(HEADERS, flags, self.stream, block))
        if body:
            self.writer.write(frame(DATA, END_STREAM, self.stream, body))

    def reset_stream(self, code: int) -> None:
        """Reset the request alone."""
        self.writer.write(frame(RST_STREAM, 0, self.stream, code.to_bytes(4)))

    def go_away(self, code: int) -> None:
        """Send GOAWAY for the request, then close the connection."""
        self.writer.write(frame(GOAWAY, 0, 0, (0).to_bytes(4) + code.to_bytes(4)))
        self.writer.close()


Respond = Callable[[Connection], Awaitable[None] | None]


@dataclass
class FramePort:
    """Responds to the first request of each connection, and counts the requests."""

    respond: Respond
    port: int = 0
    requests: int = 0
    _writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the client closes it."""
        self._writers.append(writer)
        writer.write(frame(SETTINGS, 0, 0))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(_PREFACE)
            request = b""
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3]))
                if head[3] == DATA:
                    request += payload
                if head[3] == DATA and head[4] & END_STREAM:
                    self.requests += 1
                    self.respond(Connection(writer, int.from_bytes(head[5:]), request))
                    request = b""

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def frame_port(respond: Respond) -> AsyncGenerator[FramePort, None]:
    """Run a port that calls ``respond`` for each request."""
    served = FramePort(respond)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    async with server:
        yield served
        served.close()
