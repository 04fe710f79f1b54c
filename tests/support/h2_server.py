"""A scripted HTTP/2 server, for the responses of gateways that no Debian package has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
from google.protobuf.message import Message
from tcp_server import TcpServer


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


class H2Server(TcpServer):
    """Responds to each request with what ``respond`` returns for its path."""

    def __init__(self, respond: Callable[[str], Response]) -> None:
        super().__init__(self._respond)
        self.respond = respond
        self.paths: list[str] = []
        """The paths of the requests, in order."""

    @property
    def requests(self) -> int:
        return len(self.paths)

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
