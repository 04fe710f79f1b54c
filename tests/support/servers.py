"""gRPC servers that forward calls and can hold them back, or count them and can hang."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Self, cast

import grpc
import grpc.aio

from milvus_import.testing._server import settled

_STATE = "/milvus.proto.milvus.MilvusService/GetImportState"
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    # grpc.aio cancels calls beyond these; calls that hang count.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)


class GrpcServer(grpc.GenericRpcHandler):
    """``async with`` starts and stops it; ``respond`` is called for each call."""

    def __init__(self) -> None:
        self.uri = ""
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers([self])

    async def __aenter__(self) -> Self:
        self.uri = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)
        await settled()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = str(handler_call_details.method)

        async def respond(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return await self.respond(path, request, context)

        # Without serializers the messages stay bytes.
        return cast("Any", grpc.unary_unary_rpc_method_handler(respond))

    async def respond(self, path: str, request: bytes, context: Any) -> bytes:
        """Return the reply to one call."""
        raise NotImplementedError


class Gate(GrpcServer):
    """``async with Gate(port) as gate``: ``gate.uri`` leads to the server on ``port``.

    Create it before the process is instrumented: then neither its server nor its channel is.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._method: Callable[[str], Any] = self._channel.unary_unary
        self._open = asyncio.Event()
        self._open.set()
        self.held: Counter[str] = Counter()
        """The calls that are held back now, by the name of the method."""
        self.completed: Counter[str] = Counter()
        """The calls that were held back and then completed."""
        self.resets: list[str] = []
        """The methods of the calls that the client ended before the response."""

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await self._channel.close()

    def hold(self) -> None:
        """Hold back the calls that arrive from now on."""
        self._open.clear()

    def release(self) -> None:
        """Let the calls that are held back, and all later ones, through."""
        self._open.set()

    async def respond(self, path: str, request: bytes, context: Any) -> bytes:
        name = path.rpartition("/")[2]
        was_held = not self._open.is_set()
        self.held[name] += was_held
        try:
            await self._open.wait()
            reply: bytes = await self._method(path)(request)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
            raise
        except asyncio.CancelledError:
            self.resets.append(name)
            raise
        finally:
            self.held[name] -= was_held
        self.completed[name] += was_held
        return reply
