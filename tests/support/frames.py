"""A port that speaks HTTP/2 frame by frame: it breaks connections and responds as gateways do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tcp_server import TcpServer, reset

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
END_STREAM, _END_HEADERS = 1, 4
_STATUS_200 = b"\x88"  # HPACK's static table


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one HTTP/2 frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the nine bytes before a frame's payload, and the payload."""
    head = await reader.readexactly(9)
    return head, await reader.readexactly(int.from_bytes(head[:3]))


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
        reset(self.writer)

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


Respond = Callable[[Connection], object]


class FramePort(TcpServer):
    """Calls ``respond`` for each request, and counts the requests."""

    def __init__(self, respond: Respond) -> None:
        super().__init__(self._read)
        self.requests = 0
        self._respond = respond

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(SETTINGS, 0, 0))
        await reader.readexactly(PREFACE)
        request = b""
        while True:
            head, payload = await read_frame(reader)
            if head[3] == DATA:
                request += payload
            if head[3] == DATA and head[4] & END_STREAM:
                self.requests += 1
                self._respond(Connection(writer, int.from_bytes(head[5:]), request))
                request = b""
