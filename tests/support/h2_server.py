"""A scripted HTTP/2 server, for the responses of gateways that no Debian package has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

import h2.config
import h2.connection
import h2.events
from google.protobuf.message import Message


@dataclass(frozen=True)
class Response:
    """One response: headers, a body, and trailers; without trailers the body ends it."""

    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()


def grpc_status(code: int, text: str = "", *metadata: tuple[str, str]) -> Response:
    """Return a gRPC error without a body, as Envoy sends it (a trailers-only response)."""
    message = (("grpc-message", text),) if text else ()
    return Response(
        (
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", str(code)),
            *message,
            ("server", "envoy"),
            *metadata,
        )
    )


def http(status: int, body: bytes = b"", *headers: tuple[str, str]) -> Response:
    """Return a response without a gRPC status."""
    return Response(((":status", str(status)), *headers), body)


def reply(message: Message) -> Response:
    """Return a successful RPC."""
    data = message.SerializeToString()
    return Response(
        ((":status", "200"), ("content-type", "application/grpc")),
        b"\0" + len(data).to_bytes(4, "big") + data,
        (("grpc-status", "0"),),
    )


@dataclass
class H2Server:
    """Responds to each request with what ``respond`` returns for its path."""

    respond: Callable[[str], Response]
    paths: list[str] = field(default_factory=list[str])
    """The paths of the requests, in order."""
    port: int = 0

    @property
    def requests(self) -> int:
        return len(self.paths)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await self._serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        paths: dict[int, str] = {}
        while True:
            writer.write(connection.data_to_send())
            await writer.drain()
            data = await reader.read(65_536)
            if not data:
                return
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    headers = {str(name): str(value) for name, value in event.headers or ()}
                    paths[event.stream_id or 0] = headers[":path"]
                elif isinstance(event, h2.events.StreamEnded):
                    self._send(connection, event.stream_id or 0, paths.pop(event.stream_id or 0))

    def _send(self, connection: h2.connection.H2Connection, stream: int, path: str) -> None:
        self.paths.append(path)
        response = self.respond(path)
        ends = not (response.body or response.trailers)
        connection.send_headers(stream, response.headers, end_stream=ends)
        if response.body:
            connection.send_data(stream, response.body, end_stream=not response.trailers)
        if response.trailers:
            connection.send_headers(stream, response.trailers, end_stream=True)


@asynccontextmanager
async def h2_server(respond: Callable[[str], Response]) -> AsyncGenerator[H2Server, None]:
    handler = H2Server(respond)
    writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        writers[task] = writer
        await handler.serve(reader, writer)
        del writers[task]

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    handler.port = server.sockets[0].getsockname()[1]
    try:
        yield handler
    finally:
        server.close()
        for writer in writers.values():
            writer.transport.abort()
        await asyncio.gather(*writers)
        await server.wait_closed()
