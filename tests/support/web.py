"""An HTTP/1.1 server that replies with canned bytes and keeps each request as it was received."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from milvus_import import ImportClient, MilvusImportError

JOB = "450000000000000001"
CLOSE = b""
"""A reply: close the connection without one."""
HANG = b"hang"
"""A reply: never respond."""


@dataclass(slots=True)
class WebRequest:
    head: bytes
    body: bytes
    connection: int
    """The number of its connection, from 0."""
    arrived: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def method(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """Return a header, or None if it was not sent."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name.lower():
                return value.strip().decode()
        return None


@dataclass(slots=True)
class Web:
    replies: list[bytes]
    """The replies in order; the last one repeats."""
    requests: list[WebRequest] = field(default_factory=list[WebRequest])
    open: int = 0
    """The number of connections so far."""
    uri: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, self.open = self.open, self.open + 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request = WebRequest(head, b"", connection)
                request.body = await reader.readexactly(int(request.header("content-length") or 0))
                self.requests.append(request)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if reply == HANG:
                    await reader.read()  # until the client closes the connection
                if reply in {CLOSE, HANG}:
                    return
                writer.write(reply)
                if b"connection: close" in reply.lower():
                    await writer.drain()
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.transport.abort() if self.replies == [CLOSE] else writer.close()


def reply(
    body: bytes | Mapping[str, object],
    status: int = 200,
    headers: str = "",
    *,
    length: int | None = None,
) -> bytes:
    """Return an HTTP response. ``headers`` are lines; ``length`` overrides Content-Length."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(content) if length is None else length
    head = f"HTTP/1.1 {status} Reason\r\ncontent-length: {size}\r\n"
    extra = "".join(f"{line}\r\n" for line in headers.splitlines())
    return f"{head}{extra}\r\n".encode() + content


def success(data: object) -> bytes:
    """Return a successful response of Milvus."""
    return reply({"code": 0, "data": data})


IMPORTING = success({"state": "Importing", "progress": 40})
COMPLETED = success({"state": "Completed", "progress": 100})
CREATED = success({"jobId": JOB})
NO_ROUTE = reply(b"404 page not found", 404, "content-type: text/plain")
"""What Milvus responds to a path that it does not have."""


@asynccontextmanager
async def serving(*replies: bytes, path: str | None = None) -> AsyncGenerator[Web, None]:
    """Serve on a free port, or on the socket ``path``."""
    web = Web(list(replies))
    if path is None:
        server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
        web.uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(web.serve, path)
        web.uri = f"unix:{path}"
    try:
        yield web
    finally:
        server.close()


def rest_client(uri: str, **options: Any) -> ImportClient:
    return ImportClient(uri, service="rest", **options)


@asynccontextmanager
async def connected(
    *replies: bytes, **options: Any
) -> AsyncGenerator[tuple[ImportClient, Web], None]:
    """Serve the replies to a client of REST."""
    options = {"service": "rest"} | options
    async with serving(*replies) as server, ImportClient(server.uri, **options) as client:
        yield client, server


async def error_of(
    call: Awaitable[object],
    kind: type[Exception] | tuple[type[Exception], ...] = MilvusImportError,
    match: str | None = None,
) -> Any:
    """Return the error that a call raises."""
    with pytest.raises(kind, match=match) as caught:
        await call
    return caught.value
