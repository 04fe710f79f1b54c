"""A fast gRPC server that responds to every call with the same bytes.

It implements only the necessary parts of HTTP/2 and decodes no headers. A grpc.aio server handles
a third of the calls that the client can make; this server is faster than the client, so that the
client is measured.

python canned_server.py REPLY_FILE    prints its port, serves until its stdin closes

It never responds if the file is empty.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections import deque
from pathlib import Path

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0x0, 0x1, 0x4, 0x6, 0x8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_LIMIT = 16_384
_WINDOW = struct.pack("!I", 2**30)


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field in HPACK, neither indexed nor Huffman-coded."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


# 0x88 is :status 200 in HPACK's static table.
_RESPONSE = b"\x88" + _literal(b"content-type", b"application/grpc")
_TRAILERS = _literal(b"grpc-status", b"0")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return (
        struct.pack("!I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack("!I", stream)
        + payload
    )


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, reply: bytes) -> None:
        message = b"\x00" + struct.pack("!I", len(reply)) + reply
        self._chunks = [message[i : i + _FRAME_LIMIT] for i in range(0, len(message), _FRAME_LIMIT)]
        self._size = len(message)
        self._is_silent = not reply
        self._buffer = bytearray()
        self._greeted = False
        self._window = self._stream_window = 65_535
        self._waiting: deque[int] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the settings of the server."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        most_streams_and_window = struct.pack("!HIHI", 0x3, 2**31 - 1, 0x4, 2**30)
        transport.write(
            frame(SETTINGS, 0, 0, most_streams_and_window) + frame(WINDOW_UPDATE, 0, 0, _WINDOW)
        )

    def data_received(self, data: bytes) -> None:
        """Process the complete frames, and respond to the complete requests."""
        buffer = self._buffer
        buffer += data
        if not self._greeted:
            if len(buffer) < len(_PREFACE):
                return
            del buffer[: len(_PREFACE)]
            self._greeted = True
        out: list[bytes] = []
        at = 0
        while len(buffer) - at >= 9:
            length = int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) - at < 9 + length:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big")
            self._take(kind, flags, stream, buffer[at + 9 : at + 9 + length], out)
            at += 9 + length
        del buffer[:at]
        self._answer(out)
        if out:
            self._transport.write(b"".join(out))

    def _take(
        self, kind: int, flags: int, stream: int, payload: bytearray, out: list[bytes]
    ) -> None:
        if kind == DATA:
            if flags & END_STREAM and not self._is_silent:
                self._waiting.append(stream)
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == PING and not flags & ACK:
            out.append(frame(PING, ACK, 0, bytes(payload)))
        elif kind == SETTINGS and not flags & ACK:
            for key, value in struct.iter_unpack("!HI", payload):
                if key == 0x4:
                    self._stream_window = value
            out.append(frame(SETTINGS, ACK, 0, b""))

    def _answer(self, out: list[bytes]) -> None:
        while self._waiting and self._window >= self._size:
            assert self._stream_window >= self._size, "the reply is larger than a stream's window"
            stream = self._waiting.popleft()
            self._window -= self._size
            out.append(frame(HEADERS, END_HEADERS, stream, _RESPONSE))
            out.extend(frame(DATA, 0, stream, chunk) for chunk in self._chunks)
            out.append(frame(HEADERS, END_HEADERS | END_STREAM, stream, _TRAILERS))


async def serve(reply: bytes) -> None:
    """Serve on a free loopback port until stdin closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(reply), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes()))
