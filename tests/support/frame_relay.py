"""A TCP relay before a gRPC server that counts HTTP/2 frames as it hands them on."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_DATA, _HEADERS, _RST_STREAM = 0, 1, 3
_END_STREAM = 1


class FrameRelay:
    """``async with FrameRelay(port)``: listens on ``uri``, hands everything on to that port."""

    def __init__(self, port: int) -> None:
        self.requests = 0
        """Requests that went to the server, whole."""
        self.resets = 0
        """Of those, how many the client then reset."""
        self.answers = 0
        """Replies that came back, whole."""
        self.uri = ""
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1")
        self.uri = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        server_writer: asyncio.StreamWriter | None = None
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
            server_writer.write(await client_reader.readexactly(_PREFACE))
            await asyncio.gather(
                self._pass_on(client_reader, server_writer, from_client=True),
                self._pass_on(server_reader, client_writer, from_client=False),
            )
        except (OSError, EOFError):
            pass  # one side has hung up; the other learns it by the closing below
        except asyncio.CancelledError:
            pass  # the relay is closed; asyncio's streams would log this as an error
        finally:
            client_writer.close()
            if server_writer is not None:
                server_writer.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool
    ) -> None:
        while True:
            head = await reader.readexactly(9)
            body = await reader.readexactly(int.from_bytes(head[:3]))
            self._count(head[3], head[4], from_client=from_client)
            writer.write(self._forwarded(head, body, from_client=from_client))
            await writer.drain()

    def _forwarded(self, head: bytes, body: bytes, *, from_client: bool) -> bytes:
        """Return what is sent in place of a frame."""
        return head + body

    def _count(self, kind: int, flags: int, *, from_client: bool) -> None:
        ends = kind in {_DATA, _HEADERS} and bool(flags & _END_STREAM)
        if from_client:
            self.requests += ends
            self.resets += kind == _RST_STREAM
        else:
            self.answers += ends
