"""Client interceptors that do nothing, run a function, raise, or never continue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio


class Pass(grpc.aio.UnaryUnaryClientInterceptor):
    """Does nothing; with an interceptor gRPC runs a call in another way."""

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(client_call_details, request)


Proceed = Callable[[], Awaitable[Any]]
"""Starts the call and returns it; awaiting the call waits for its response."""


class Around(Pass):
    """Runs a function around each call."""

    def __init__(self, function: Callable[[Proceed], Awaitable[Any]]) -> None:
        self._function = function

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await self._function(lambda: continuation(client_call_details, request))


class Raise(Pass):
    """Raises an error instead of starting the call."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        raise self.error


class HoldBack(Pass):
    """Never starts the call."""

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        await asyncio.Event().wait()
