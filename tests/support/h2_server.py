"""A scripted HTTP/2 server: it responds as gateways do, and breaks connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
from google.protobuf.message import Message
from tcp_server import TcpServer, reset


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
class Request:
    """One request that has arrived completely, and its connection."""

    stream: int
    path: str
    body: bytes
    """As gRPC frames it: a flag, four bytes of length, the message."""
    _writer: asyncio.StreamWriter
    _http2: h2.connection.H2Connection

    def end(self) -> None:
        """Close the connection."""
        self._writer.write(self._http2.data_to_send())
        self._writer.close()

    def reset(self) -> None:
        """Close the connection with a TCP reset.

        Within the first millisecond of a connection, a call of grpcio 1.76 may hang after it.
        """
        asyncio.get_running_loop().call_later(0.02, reset, self._writer)

    def reset_stream(self, code: int) -> None:
        """Reset the request alone."""
        self._http2.reset_stream(self.stream, code)

    def go_away(self, code: int) -> None:
        """Send GOAWAY for the request, then close the connection."""
        self._http2.close_connection(code, last_stream_id=0)
        self.end()

    def send(self, response: Response) -> None:
        """Respond."""
        ends = not (response.body or response.trailers)
        self._http2.send_headers(self.stream, response.headers, end_stream=ends)
        if response.body:
            self._http2.send_data(self.stream, response.body, end_stream=not response.trailers)
        if response.trailers:
            self._http2.send_headers(self.stream, response.trailers, end_stream=True)


Respond = Callable[[Request], Response | None]


class H2Server(TcpServer):
    """Responds to each request with what ``respond`` returns, or lets it break the connection."""

    def __init__(self, respond: Respond) -> None:
        super().__init__(self._read)
        self.paths: list[str] = []
        """The paths of the requests, in order."""
        self._respond = respond

    @property
    def requests(self) -> int:
        return len(self.paths)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        http2 = h2.connection.H2Connection(config)
        http2.initiate_connection()
        requests: dict[int, Request] = {}
        while not writer.is_closing():
            writer.write(http2.data_to_send())
            await writer.drain()
            for event in http2.receive_data(await reader.read(65_536)):
                if isinstance(event, h2.events.RequestReceived):
                    headers = {str(name): str(value) for name, value in event.headers or ()}
                    stream = event.stream_id or 0
                    requests[stream] = Request(stream, headers[":path"], b"", writer, http2)
                elif isinstance(event, h2.events.DataReceived):
                    requests[event.stream_id or 0].body += event.data or b""
                elif isinstance(event, h2.events.StreamEnded):
                    request = requests.pop(event.stream_id or 0)
                    self.paths.append(request.path)
                    response = self._respond(request)
                    if response is not None:
                        request.send(response)
            if reader.at_eof():
                return
