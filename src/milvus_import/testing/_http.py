"""HTTP/1.1 with keep-alive on asyncio streams: what a test needs of it."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

from ._faults import HttpResponse

_CHUNK: Final = 65536
_MAX_HEAD: Final = 2**20
_JSON: Final = "application/json; charset=utf-8"
_BAD_REQUEST: Final = HttpResponse(400, b"400 Bad Request", (("Content-Type", "text/plain"),))


@dataclass(slots=True)
class HttpRequest:
    """One HTTP request."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    """With names in lower case."""
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str:
        """Return a header, or ""."""
        return next((value for key, value in self.headers if key == name), "")


Respond = Callable[[HttpRequest], Awaitable[HttpResponse]]


class HttpServer:
    """Listens on a port and passes each request to ``respond``."""

    def __init__(self, respond: Respond, context: ssl.SSLContext | None) -> None:
        self._respond = respond
        self._context = context
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port."""
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = _Reader(limit=_MAX_HEAD, loop=loop)
            return asyncio.StreamReaderProtocol(
                reader, lambda _, writer: self._serve(reader, writer), loop=loop
            )

        self._server = await loop.create_server(protocol, host, port, ssl=self._context)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, grace: float | None) -> None:
        """Close idle connections, and the others after at most ``grace`` seconds."""
        if self._server is None:
            return
        self._server.close()
        busy = [task for task, connection in self._connections.items() if connection.finish()]
        if busy and grace:
            await asyncio.wait(busy, timeout=grace)
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # until 3.12, wait_closed does not wait for the transports

    def _serve(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, self._respond)
        task = asyncio.create_task(connection.run())
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)


class _Reader(asyncio.StreamReader):
    """Ends the response in progress when the client closes the connection."""

    response: asyncio.Future[HttpResponse] | None = None

    def feed_eof(self) -> None:
        super().feed_eof()
        if self.response is not None:
            self.response.cancel()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.feed_eof()


class _Connection:
    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter, respond: Respond) -> None:
        self._reader = reader
        self._writer = writer
        self._respond = respond
        self._is_busy = False
        self._is_last = False

    def finish(self) -> bool:
        """Close the connection after the current request; return whether there is one."""
        self._is_last = True
        if not self._is_busy:
            self._writer.transport.abort()
        return self._is_busy

    async def run(self) -> None:
        """Respond to one request after the other, until either side closes the connection."""
        try:
            while not self._is_last and await self._respond_once():
                self._is_busy = False
            self._writer.close()
            await self._writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client closed it, or sent no HTTP
        finally:
            self._writer.transport.abort()

    async def _respond_once(self) -> bool:
        """Respond to a request; return whether another one may follow."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._is_busy = True
        request = _parse(head)
        if request is None:
            self._is_last = True
            return await self._send("POST", _BAD_REQUEST)
        request.body = await self._reader.readexactly(int(request.header("content-length") or 0))
        self._reader.response = task = asyncio.ensure_future(self._respond(request))
        try:
            await asyncio.wait({task})
        finally:
            self._reader.response = None
            task.cancel()
        if task.cancelled():
            return False
        self._is_last |= request.header("connection").lower() == "close"
        return await self._send(request.method, task.result())

    async def _send(self, method: str, response: HttpResponse) -> bool:
        """Send a response; return whether it is complete."""
        if response.close == "before":
            return False
        body = response.body or b""
        headers = {"Content-Type": _JSON, **dict(response.headers)}
        if response.gzip:
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        size = max(len(body), response.size)
        headers["Content-Length"] = str(size)
        if self._is_last:
            headers["Connection"] = "close"
        status = HTTPStatus(response.status or 200)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        sent = size // 2 if response.close == "within" else size
        for data in _chunks(body, 0 if method == "HEAD" else sent):
            self._writer.write(data)
            await self._writer.drain()
        await self._writer.drain()
        return response.close == "never"


def _parse(head: bytes) -> HttpRequest | None:
    """Return the request of a head, without the body; None if it is not one that is served."""
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    parts, fields = first.split(" "), [line.partition(":") for line in lines]
    headers = tuple((name.lower(), value.strip()) for name, _, value in fields)
    request = HttpRequest(parts[0], parts[1] if len(parts) == 3 else "", headers)
    length = request.header("content-length") or "0"
    if not parts[-1].startswith("HTTP/1.") or not length.isdecimal():
        return None
    return None if request.header("transfer-encoding") else request


def _chunks(body: bytes, size: int) -> Iterator[bytes]:
    """Yield the body, cut or padded with spaces to ``size`` bytes."""
    for start in range(0, min(len(body), size), _CHUNK):
        yield body[start : min(start + _CHUNK, size)]
    padding = bytes(b" " * _CHUNK)
    for start in range(len(body), size, _CHUNK):
        yield padding[: size - start]


def server_context(tls: tuple[bytes, bytes], client_ca: bytes | None) -> ssl.SSLContext:
    """Return the TLS settings of a server; ``client_ca`` requires a certificate of the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # ssl reads them from files only
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        key.write_bytes(tls[0])
        certificate.write_bytes(tls[1])
        context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.decode())
    return context
