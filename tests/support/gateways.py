"""Gateways that respond without a gRPC status, as some do for a path that they do not route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from google.protobuf.message import Message
from network import FrameRelay

_PREFACE = 24
_SETTINGS_FRAME = b"\0\0\0\4\0\0\0\0\0"
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_STATUS_200, _STATUS = b"\x88", b"\x48"  # in HPACK's static table; the second needs a value


class TrailerStrippingRelay(FrameRelay):
    """Forwards a call to the server, and ends the response without its trailers.

    For one call per connection: the trailers that are dropped stay out of HPACK's dynamic table.
    """

    def _forwarded(self, head: bytes, body: bytes, *, from_client: bool) -> bytes:
        trailers = head[3] == _HEADERS and head[4] & _END_STREAM and self.responses
        if from_client or not trailers:
            return head + body
        return _frame(_DATA, _END_STREAM, head[5:], b"")


@dataclass
class ScriptedGateway:
    """Responds to the requests in turn, and with the last entry of the script from then on.

    None is an empty HTTP 200, a number an HTTP status, a message an OK reply.
    """

    script: Sequence[Message | int | None]
    requests: int = 0
    port: int = field(default=0)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(_PREFACE)
            writer.write(_SETTINGS_FRAME)
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3]))
                kind, flags, stream = head[3], head[4], head[5:]
                if kind in {_SETTINGS, _PING} and not flags & _ACK:
                    writer.write(_frame(kind, _ACK, stream, payload if kind == _PING else b""))
                elif kind == _DATA and flags & _END_STREAM:
                    writer.write(self._response(stream))
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def _response(self, stream: bytes) -> bytes:
        reply = self.script[min(self.requests, len(self.script) - 1)]
        self.requests += 1
        if reply is None:
            return _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _STATUS_200)
        if isinstance(reply, int):
            block = (
                _STATUS + bytes([3]) + str(reply).encode() + _header("content-type", "text/html")
            )
            return _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, block)
        message = reply.SerializeToString()
        return (
            _frame(
                _HEADERS,
                _END_HEADERS,
                stream,
                _STATUS_200 + _header("content-type", "application/grpc"),
            )
            + _frame(_DATA, 0, stream, b"\0" + len(message).to_bytes(4) + message)
            + _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _header("grpc-status", "0"))
        )


@asynccontextmanager
async def scripted_gateway(*script: Message | int | None) -> AsyncGenerator[ScriptedGateway, None]:
    gateway = ScriptedGateway(script)
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    gateway.port = server.sockets[0].getsockname()[1]
    async with server:
        yield gateway


def _frame(kind: int, flags: int, stream: bytes, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream + payload


def _header(name: str, value: str) -> bytes:
    """Return a header field in HPACK, neither indexed nor Huffman-coded."""
    return b"\0" + b"".join(bytes([len(part)]) + part for part in (name.encode(), value.encode()))
