"""HTTP/1.1 with keep-alive on asyncio streams. Imported only where h11 is installed."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import h11

from ._faults import HttpResponse
from ._rest import HttpRequest

Respond = Callable[[HttpRequest], Awaitable[HttpResponse]]

_CHUNK: Final = 65536
_JSON: Final = "application/json; charset=utf-8"
_BAD_REQUEST: Final = HttpResponse(
    400, b"400 Bad Request", (("Content-Type", "text/plain; charset=utf-8"),)
)


class HttpServer:
    """Listens on a port and passes each request to ``respond``."""

    def __init__(self, respond: Respond, context: ssl.SSLContext | None) -> None:
        self._respond = respond
        self._context = context
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.start_server(self._serve, host, port, ssl=self._context)
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

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, self._respond)
        task = asyncio.create_task(connection.run())
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)


class _Connection:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, respond: Respond
    ) -> None:
        self._http = h11.Connection(h11.SERVER)
        self._reader = reader
        self._writer = writer
        self._respond = respond
        self._reading: asyncio.Task[bytes] | None = None
        self._is_busy = False
        self._is_last = False

    def finish(self) -> bool:
        """Close the connection after the current request; return whether there is one."""
        self._is_last = True
        if not self._is_busy:
            self.abort()
        return self._is_busy

    def abort(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._writer.transport.abort()

    async def run(self) -> None:
        """Respond to one request after the other, until either side closes the connection."""
        try:
            await self._run()
        except OSError:
            pass  # the client closed it
        finally:
            self.abort()

    async def _run(self) -> None:
        while not self._is_last:
            try:
                request = await self._request()
            except h11.RemoteProtocolError:
                await self._send("POST", _BAD_REQUEST)
                break
            if request is None:
                return
            self._is_busy = True
            response = await self._response(request)
            if response is None or not await self._send(request.method, response):
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                break
            self._http.start_next_cycle()
            self._is_busy = False
        self._writer.close()
        await self._writer.wait_closed()

    async def _request(self) -> HttpRequest | None:
        """Return the next request; None if the client closes the connection instead."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            match self._http.next_event():
                case h11.NEED_DATA:
                    if self._http.they_are_waiting_for_100_continue:
                        await self._write(h11.InformationalResponse(status_code=100, headers=[]))
                    self._http.receive_data(await self._received())
                case h11.Request() as head:
                    self._is_busy = True
                case h11.Data() as data:
                    body += data.data
                case h11.EndOfMessage() if head is not None:
                    return HttpRequest(
                        head.method.decode(),
                        head.target.decode(),
                        tuple(
                            (name.decode("latin-1"), value.decode("latin-1"))
                            for name, value in head.headers
                        ),
                        bytes(body),
                    )
                case _:
                    return None

    async def _response(self, request: HttpRequest) -> HttpResponse | None:
        """Return the response; None if the client closes the connection before it."""
        responding = asyncio.ensure_future(self._respond(request))
        try:
            while not responding.done():
                await asyncio.wait({responding, self._read()}, return_when=asyncio.FIRST_COMPLETED)
                if self._read().done() and not responding.done():
                    data = await self._received()
                    if not data:
                        return None
                    self._http.receive_data(data)
            return responding.result()
        finally:
            if not responding.done():
                responding.cancel()
                await asyncio.wait({responding})

    def _read(self) -> asyncio.Task[bytes]:
        """Return the pending read; there is one at a time."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._reader.read(_CHUNK))
        return self._reading

    async def _received(self) -> bytes:
        """Return what the client sent; b"" if it closed the connection."""
        reading = self._read()
        await asyncio.wait({reading})
        self._reading = None
        try:
            return reading.result()
        except OSError:
            return b""

    async def _send(self, method: str, response: HttpResponse) -> bool:
        """Send a response; return whether it is complete."""
        if response.close == "before":
            return False
        body = response.body or b""
        headers = dict(response.headers)
        headers.setdefault("Content-Type", _JSON)
        if response.gzip:
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        size = max(len(body), response.size)
        headers["Content-Length"] = str(size)
        if self._is_last:
            headers["Connection"] = "close"
        status = response.status or 200
        await self._write(h11.Response(status_code=status, headers=list(headers.items())))
        if method != "HEAD":
            sent = size // 2 if response.close == "within" else size
            for data in _chunks(body, sent):
                await self._write(h11.Data(data=data))
        if response.close == "within":
            self._writer.close()
            return False
        await self._write(h11.EndOfMessage())
        return True

    async def _write(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()


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
