"""What a network does to connections: relays that break them, and ports where no Milvus is."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any, cast

import tcp_server
from frames import (
    DATA,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    read_frame,
)
from h2_server import H2Server, Request, grpc_status, http
from tcp_server import TcpServer, reset
from times import until

HOST = tcp_server.HOST
Port = AbstractAsyncContextManager[int]


# Relays.


@dataclass(slots=True, eq=False)
class Link:
    """One connection through a relay."""

    client: asyncio.StreamWriter
    silent: bool = False
    left: int | None = None
    """Bytes that may still go to the client before the connection is cut; None: no end."""


class _Forwarder(TcpServer):
    """Forwards each connection to a port, until one side has closed it."""

    def __init__(self, port: int) -> None:
        super().__init__(self._forward)
        self.links: set[Link] = set()
        self._target = port

    async def _forward(
        self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        server_reader, server = await asyncio.open_connection(HOST, self._target)
        link = Link(client)
        self.links.add(link)
        try:
            await asyncio.gather(
                self._pass_on(link, client_reader, server),
                self._pass_on(link, server_reader, client),
            )
        finally:
            self.links.discard(link)
            server.close()

    async def _pass_on(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        raise NotImplementedError


class Relay(_Forwarder):
    """``async with Relay(port) as relay``: listens on ``relay.port`` and forwards to ``port``.

    The methods act on the connections that are open now, not on later ones. ``delay`` applies to
    all of them.
    """

    delay = 0.0
    """Seconds by which each piece of data is delayed, in each direction."""

    async def reach(self, connections: int) -> None:
        """Wait until this number of connections has been accepted."""
        await until(lambda: self.connections >= connections)

    def drop(self) -> None:
        """Forward nothing any more, without closing the connections."""
        for link in self.links:
            link.silent = True

    def reset(self) -> None:
        """Break the connections with a TCP reset to the client."""
        for link in self.links:
            reset(link.client)

    def cut(self, after: int) -> None:
        """Close the connections after this number of further bytes to the client."""
        for link in self.links:
            link.left = after

    def garbage(self, data: bytes = b"\x00garbage\xff" * 8) -> None:
        """Send the clients bytes that are not HTTP/2."""
        for link in self.links:
            with suppress(RuntimeError):  # half-closed
                link.client.write(data)

    def oversized_frame(self) -> None:
        """Send the header of an HTTP/2 frame of the largest length, which no client accepts."""
        self.garbage(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(64))

    def half_close(self) -> None:
        """Close the direction to the clients, and continue to read from them."""
        self.drop()
        for link in self.links:
            with suppress(OSError, RuntimeError):  # the client has gone, or it is half-closed
                link.client.write_eof()

    async def _pass_on(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while piece := await reader.read(65536):
            if self.delay:
                await asyncio.sleep(self.delay)
            if link.silent:
                continue
            if link.left is not None and writer is link.client:
                piece = piece[: link.left]
                link.left -= len(piece)
            writer.write(piece)
            await writer.drain()
            if link.left == 0:
                raise ConnectionError("cut")
        if not link.silent:
            raise ConnectionError("one side has closed")


class FrameRelay(_Forwarder):
    """``async with FrameRelay(port)``: listens on ``uri``, forwards to the port, counts frames."""

    requests = 0
    """Complete requests forwarded to the server."""
    resets = 0
    """Requests that the client reset."""
    responses = 0
    """Complete replies forwarded to the client."""

    async def _pass_on(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from_client = writer is not link.client
        if from_client:
            writer.write(await reader.readexactly(PREFACE))
        while True:
            head, body = await read_frame(reader)
            ends = head[3] in {DATA, HEADERS} and bool(head[4] & END_STREAM)
            if from_client:
                self.requests += ends
                self.resets += head[3] == RST_STREAM
            else:
                self.responses += ends
            writer.write(self.forwarded(head, body, from_client=from_client))
            await writer.drain()

    def forwarded(self, head: bytes, body: bytes, *, from_client: bool) -> bytes:
        """Return what is sent in place of a frame."""
        return head + body


# Ports.


def _shuffled_ports() -> Iterator[int]:
    """Return ports that neither the system nor another worker of pytest-xdist gives to anybody."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = range(15_000, 32_000)[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    return cycle(random.SystemRandom().sample(own, len(own)))


_PORTS = _shuffled_ports()


def server_port() -> int:
    """Return a free port that a server gets again when it restarts."""
    while True:
        port = next(_PORTS)
        with socket.socket() as tried, suppress(OSError):
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((HOST, port))
            return port


def server_ports() -> dict[str, Any]:
    """Return such ports for a FakeMilvus."""
    ports: set[int] = set()
    while len(ports) < 4:
        ports.add(server_port())
    names = (f"{service}_port" for service in ("internal", "public", "rest", "cloud"))
    return dict(zip(names, ports, strict=True))


@contextmanager
def closed_port() -> Generator[int, None, None]:
    """Refuses connections: bound, so that nobody else gets it, but not listened on."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield _port(bound)


@contextmanager
def silent_port(backlog: int = 64) -> Generator[int, None, None]:
    """Accepts connections in the kernel; no program reads from them."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(backlog)
        yield _port(listener)


@contextmanager
def blackhole_port() -> Generator[int, None, None]:
    """Drops packets, as a firewall does.

    The queue of connections is full: Linux does not respond to a further SYN.
    """
    with silent_port(backlog=0) as port:
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                with suppress(BlockingIOError):
                    filler.connect((HOST, port))
            yield port
        finally:
            for filler in fillers:
                filler.close()


@asynccontextmanager
async def port_of(server: TcpServer) -> AsyncGenerator[int, None]:
    """Run a server; yield its port."""
    async with server:
        yield server.port


def http_port(tls: ssl.SSLContext | None = None) -> Port:
    """An HTTP/1.1 server, such as a web console or a REST gateway."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    return port_of(TcpServer(serve, tls=tls))


def breaking_port() -> Port:
    """Serves HTTP/2 up to the first request, then resets the connection."""
    return port_of(H2Server(Request.reset))


def ssh_port() -> Port:
    """A server of another protocol, which sends first."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await reader.read()

    return port_of(TcpServer(serve))


def status_port(status: int, text: str) -> Port:
    """Ends each RPC with this status, which may be unknown to gRPC."""
    return port_of(H2Server(lambda _: grpc_status(status, text)))


def gateway_port(status: int) -> Port:
    """Responds to each RPC with a web page and this HTTP status, as an ingress does."""
    page = http(status, b"<html>A page.</html>", ("content-type", "text/html"))
    return port_of(H2Server(lambda _: page))


@asynccontextmanager
async def nameless_dns() -> AsyncGenerator[int, None]:
    """A name server that resolves no name."""

    class Answers(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.DatagramTransport", transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            no_such_name = data[:2] + b"\x81\x83" + data[4:6] + bytes(6) + data[12:]
            self.transport.sendto(no_such_name, addr)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Answers, (HOST, 0))
    try:
        yield _port(transport.get_extra_info("socket"))
    finally:
        transport.close()


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port
