"""The frames of HTTP/2."""

from __future__ import annotations

import asyncio

DATA, HEADERS, RST_STREAM = 0, 1, 3
END_STREAM = 1
PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one HTTP/2 frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the nine bytes before a frame's payload, and the payload."""
    head = await reader.readexactly(9)
    return head, await reader.readexactly(int.from_bytes(head[:3]))
