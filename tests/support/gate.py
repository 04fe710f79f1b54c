"""A gRPC server that forwards every call to another server, and can hold them back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

_HANDLER: Callable[[Any], Any] = grpc.unary_unary_rpc_method_handler


class Gate(grpc.GenericRpcHandler):
    """``async with Gate(port) as gate``: ``gate.uri`` leads to the server on ``port``.

    Create it before the process is instrumented: then neither its server nor its channel is.
    """

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._method: Callable[[str], Any] = self._channel.unary_unary
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([self])
        self._open = asyncio.Event()
        self._open.set()
        self.held: Counter[str] = Counter()
        """The calls that are held back now, by the name of the method."""
        self.completed: Counter[str] = Counter()
        """The calls that were held back and then completed."""
        self.resets: list[str] = []
        """The methods of the calls that the client ended before the response."""
        self.uri = ""

    async def __aenter__(self) -> Self:
        self.uri = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._server.stop(None)
        await self._channel.close()

    def hold(self) -> None:
        """Hold back the calls that arrive from now on."""
        self._open.clear()

    def release(self) -> None:
        """Let the calls that are held back, and all later ones, through."""
        self._open.set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        name = method.rpartition("/")[2]
        target = self._method(method)

        async def forward(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            was_held = not self._open.is_set()
            self.held[name] += was_held
            try:
                await self._open.wait()
                reply: bytes = await target(request)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")
            except asyncio.CancelledError:
                self.resets.append(name)
                raise
            finally:
                self.held[name] -= was_held
            self.completed[name] += was_held
            return reply

        return _HANDLER(forward)
