"""A port that keeps what a gRPC client sends, byte by byte, and never responds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_EMPTY_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_DATA, _END_STREAM = 0, 1


@dataclass
class Catcher:
    """Takes one request of up to 64 kB on each connection, then hangs up."""

    port: int = 0
    sent: bytes = b""
    """The last request as gRPC frames it: a flag, four bytes of length, the message."""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def compressed(self) -> bool:
        return bool(self.sent[0])

    @property
    def message(self) -> bytes:
        """The message as it was on the wire."""
        return self.sent[5:]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_EMPTY_SETTINGS)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(_PREFACE)
            self.sent = await _first_request(reader)
        writer.close()


async def _first_request(reader: asyncio.StreamReader) -> bytes:
    data = b""
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3]))
        if head[3] == _DATA:
            data += payload
            if head[4] & _END_STREAM:
                return data


@asynccontextmanager
async def catcher() -> AsyncGenerator[Catcher, None]:
    catching = Catcher()
    server = await asyncio.start_server(catching.serve, "127.0.0.1", 0)
    catching.port = server.sockets[0].getsockname()[1]
    async with server:
        yield catching
