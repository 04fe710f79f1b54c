"""The only place that awaits an RPC.

gRPC's own await is not cancelled here. Cancelling it would reset the request on the server, which
crashes Milvus 2.3 and early 2.4 (milvus#35539), and its CancelledError confuses anyio's scopes.
We await a future of our own that the finished call resolves. A caller that is cancelled leaves at
once; the RPC goes on to its own deadline.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from ._channel import Connection, Landing, LazyChannel
from ._errors import CallError, ClientClosedError
from ._models import CallRecord, Service
from ._status import call_error

if TYPE_CHECKING:
    from ._options import CallSettings

logger = logging.getLogger("milvus_import")

ABANDONED_LIFETIME = 30.0
"""Seconds an RPC without a deadline may live on after its caller has left."""
_OVERDUE = 1.0
"""Seconds behind its deadline after which a call that gRPC did not end is given up."""

_RequestT = TypeVar("_RequestT", bound=Message)
_ReplyT = TypeVar("_ReplyT", bound=Message)


@dataclass(slots=True)
class Rpc(Generic[_RequestT, _ReplyT]):
    """One method of one service."""

    service: Service
    path: str
    """``package.Service/Method``"""
    pick: Callable[[Connection], grpc.aio.UnaryUnaryMultiCallable[_RequestT, _ReplyT]]
    name: str = field(init=False)
    """The method without its service."""

    def __post_init__(self) -> None:
        self.name = self.path.rpartition("/")[2]


@dataclass(slots=True)
class _Flight:
    """An RPC under way, with all that its record and its errors need."""

    rpc: Rpc[Any, Any]
    channel: LazyChannel
    call: grpc.aio.UnaryUnaryCall[Any, Any]
    settings: CallSettings
    timeout: float | None
    started: float
    loop: asyncio.AbstractEventLoop

    def fail(
        self,
        code: grpc.StatusCode,
        details: str,
        initial: grpc.aio.Metadata | None = None,
        trailing: grpc.aio.Metadata | None = None,
    ) -> NoReturn:
        """Report the failed RPC and raise its error."""
        record = self.report(code, details, initial, trailing)
        if code is grpc.StatusCode.CANCELLED and self.channel.closed:
            raise ClientClosedError(f"{self.rpc.name}: the client was closed during the call")
        endpoint = self.channel.endpoint
        raise call_error(
            code,
            details,
            method=self.rpc.name,
            target=endpoint.target,
            secure=endpoint.secure,
            record=record,
            timeout=self.settings.timeout,
        )

    def report(
        self,
        code: grpc.StatusCode,
        details: str,
        initial: grpc.aio.Metadata | None,
        trailing: grpc.aio.Metadata | None,
    ) -> CallRecord:
        """Make the record and hand it to ``on_finish``."""
        record = CallRecord(
            self.rpc.service,
            self.rpc.path,
            code,
            details,
            tuple(initial or ()),
            tuple(trailing or ()),
            self.loop.time() - self.started,
        )
        if self.settings.on_finish is not None:
            try:
                self.settings.on_finish(record)
            except Exception:
                logger.exception("on_finish raised an exception; the call is not affected")
        return record


async def unary(
    channel: LazyChannel,
    rpc: Rpc[_RequestT, _ReplyT],
    request: _RequestT,
    settings: CallSettings,
    timeout: float | None,
) -> _ReplyT:
    """Send one request and return its reply.

    ``timeout`` is what is left of ``settings.timeout``. Raises CallError or ClientClosedError;
    CancelledError only when the caller's own task is cancelled.
    """
    if timeout is not None and timeout <= 0:
        raise _unsent(channel, rpc, settings)
    connection = channel.connection()
    loop = connection.loop
    call = rpc.pick(connection)(
        request,
        timeout=timeout,
        metadata=settings.metadata,
        credentials=settings.call_credentials,
        wait_for_ready=settings.wait_for_ready,
        compression=settings.compression,
    )
    flight = _Flight(rpc, channel, call, settings, timeout, loop.time(), loop)
    # With interceptors a call may end without ever starting, and its callbacks never run; without
    # a deadline no backstop could tell. A task always ends.
    watched: grpc.aio.UnaryUnaryCall[Any, Any] | asyncio.Task[_ReplyT] = call
    if channel.interceptors or timeout is None:
        watched = loop.create_task(_drive(call))
    await _landing(connection, watched, flight)
    return await _read(watched, flight)


async def _drive(call: grpc.aio.UnaryUnaryCall[_RequestT, _ReplyT]) -> _ReplyT:
    return await call


async def _landing(
    connection: Connection,
    watched: grpc.aio.UnaryUnaryCall[Any, Any] | asyncio.Task[Any],
    flight: _Flight,
) -> None:
    """Wait for the end of an RPC without touching it."""
    loop, timeout = flight.loop, flight.timeout
    landed: asyncio.Future[bool] = loop.create_future()

    def settle(_: object) -> None:
        connection.in_flight.pop(watched, None)
        if isinstance(watched, asyncio.Task) and not watched.cancelled():
            watched.exception()  # seen: asyncio does not log it as never retrieved
        if not landed.done():
            landed.set_result(True)

    due = math.inf if timeout is None else flight.started + timeout + _OVERDUE
    connection.in_flight[watched] = Landing(landed, due)
    if connection.sweeper is None:
        connection.sweep()
    watched.add_done_callback(settle)
    try:
        if not await landed:
            connection.in_flight.pop(watched, None)
            watched.cancel()
            flight.fail(grpc.StatusCode.INTERNAL, "gRPC neither started nor ended the call")
    except asyncio.CancelledError:
        if timeout is None:
            loop.call_later(ABANDONED_LIFETIME, watched.cancel)
        if flight.settings.on_finish is not None:
            watched.add_done_callback(lambda _: _report_late(connection, watched, flight))
        raise


async def _read(
    watched: grpc.aio.UnaryUnaryCall[_RequestT, _ReplyT] | asyncio.Task[_ReplyT],
    flight: _Flight,
) -> _ReplyT:
    """The outcome of an ended RPC. Nothing here suspends, so no cancellation can arrive here."""
    call = flight.call
    try:
        if call.cancelled():
            flight.fail(grpc.StatusCode.CANCELLED, await call.details() or "")
        reply: _ReplyT | None = await watched
    except grpc.aio.AioRpcError as error:
        flight.fail(
            error.code(),
            error.details() or "",
            error.initial_metadata(),
            error.trailing_metadata(),
        )
    except grpc.aio.UsageError as error:
        if flight.channel.closed:
            raise ClientClosedError(f"{flight.rpc.name}: the client was closed") from error
        raise
    except asyncio.CancelledError:
        flight.fail(grpc.StatusCode.CANCELLED, "cancelled inside gRPC or an interceptor")
    if reply is None:
        flight.fail(grpc.StatusCode.INTERNAL, "the reply could not be parsed")
    if flight.settings.on_finish is not None:
        flight.report(
            grpc.StatusCode.OK,
            await call.details() or "",
            await call.initial_metadata(),
            await call.trailing_metadata(),
        )
    return reply


def _report_late(
    connection: Connection,
    watched: grpc.aio.UnaryUnaryCall[Any, Any] | asyncio.Task[Any],
    flight: _Flight,
) -> None:
    """Nobody waits for this RPC any more; its record is owed all the same."""

    async def read() -> None:
        with suppress(Exception):  # told to on_finish; there is no one to raise it to
            await _read(watched, flight)

    reading = flight.loop.create_task(read())
    connection.in_flight[reading] = None
    reading.add_done_callback(lambda task: connection.in_flight.pop(task, None))


def _unsent(channel: LazyChannel, rpc: Rpc[Any, Any], settings: CallSettings) -> CallError:
    endpoint = channel.endpoint
    return call_error(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "",
        method=rpc.name,
        target=endpoint.target,
        secure=endpoint.secure,
        timeout=settings.timeout,
    )
