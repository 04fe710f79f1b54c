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
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from ._channel import Connection, InterceptorError, LazyChannel
from ._errors import CallError, ClientClosedError
from ._models import CallRecord, Service
from ._status import call_error

if TYPE_CHECKING:
    from ._options import CallSettings

logger = logging.getLogger("milvus_import")

ABANDONED_LIFETIME = 30.0
"""Seconds an RPC without a deadline may live on after its caller has left."""
_OVERDUE = 1.0
"""Seconds behind its deadline after which the sweep begins to look at a call that gRPC did not end;
it is given up at the second look, up to two seconds later."""

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
    connection: Connection
    call: grpc.aio.UnaryUnaryCall[Any, Any]
    watched: grpc.aio.UnaryUnaryCall[Any, Any] | asyncio.Task[Any]
    """The call, or the task that drives it."""
    settings: CallSettings
    started: float
    landed: asyncio.Future[bool]
    due: float
    late: bool = False

    def settle(self, _: object) -> None:
        """The RPC has ended."""
        self.connection.in_flight.pop(self.watched, None)
        if isinstance(self.watched, asyncio.Task) and not self.watched.cancelled():
            self.watched.exception()  # seen: asyncio does not log it as never retrieved
        if not self.landed.done():
            self.landed.set_result(True)

    def failure(
        self,
        code: grpc.StatusCode,
        details: str,
        initial: grpc.aio.Metadata | None = None,
        trailing: grpc.aio.Metadata | None = None,
    ) -> CallError | ClientClosedError:
        """Report the failed RPC; returns its error."""
        record = self.report(code, details, initial, trailing)
        if code is grpc.StatusCode.CANCELLED and self.channel.closed:
            return ClientClosedError(
                f"{self.rpc.name}: the client was closed during the call", may_have_run=True
            )
        endpoint = self.channel.endpoint
        return call_error(
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
            self.connection.loop.time() - self.started,
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
    connection = channel.connection()
    if timeout is not None and timeout <= 0:
        raise _unsent(channel, rpc, settings)
    loop = connection.loop
    call = rpc.pick(connection)(
        request,
        timeout=timeout,
        metadata=settings.metadata,
        credentials=settings.call_credentials,
        wait_for_ready=settings.wait_for_ready,
        compression=settings.compression,
    )
    # With interceptors a call may end without ever starting, and its callbacks never run; without
    # a deadline no backstop could tell. A task always ends.
    driven = channel.interceptors or timeout is None
    watched = loop.create_task(_drive(call)) if driven else call
    now, landed = loop.time(), loop.create_future()
    due = math.inf if timeout is None else now + timeout + _OVERDUE
    flight = _Flight(rpc, channel, connection, call, watched, settings, now, landed, due)
    connection.in_flight[watched] = flight
    if connection.sweeper is None:
        connection.sweep()
    watched.add_done_callback(flight.settle)
    try:
        ended = await landed
        outcome: _ReplyT | Exception = await _outcome(flight) if ended else _stuck(flight)
    except asyncio.CancelledError:
        if timeout is None:
            flight.due = loop.time() + ABANDONED_LIFETIME
        if settings.on_finish is not None:
            watched.add_done_callback(partial(_report_late, flight))
        raise
    finally:
        # An error that somebody keeps holds this frame; a call in it would hold the connection.
        del call, watched, flight, connection
    if not isinstance(outcome, Exception):
        return outcome
    try:
        raise outcome
    finally:
        del outcome  # or the error and this frame would hold each other


async def _drive(call: grpc.aio.UnaryUnaryCall[_RequestT, _ReplyT]) -> _ReplyT:
    return await call


async def _outcome(flight: _Flight) -> Any:
    """The reply or the error of an RPC that has ended.

    Nothing here suspends, so no cancellation can arrive here; and nothing is raised, so no
    traceback leads to the call.
    """
    call = flight.call
    try:
        if call.cancelled():
            return flight.failure(
                grpc.StatusCode.CANCELLED,
                await call.details() or "",
                await call.initial_metadata(),
                await call.trailing_metadata(),
            )
        reply = await flight.watched
    except (InterceptorError, grpc.aio.BaseError) as error:
        return _broken(flight, error.cause if isinstance(error, InterceptorError) else error)
    except grpc.aio.AioRpcError as error:
        return flight.failure(
            error.code(),
            error.details() or "",
            error.initial_metadata(),
            error.trailing_metadata(),
        )
    except asyncio.CancelledError:
        return flight.failure(grpc.StatusCode.CANCELLED, "cancelled inside gRPC or an interceptor")
    if reply is None:
        return flight.failure(grpc.StatusCode.INTERNAL, "the reply could not be parsed")
    if flight.settings.on_finish is not None:
        flight.report(
            grpc.StatusCode.OK,
            await call.details() or "",
            await call.initial_metadata(),
            await call.trailing_metadata(),
        )
    return reply


def _broken(flight: _Flight, error: Exception) -> Exception:
    """No RPC came to be: gRPC refused it, or an interceptor raised something of its own."""
    if not isinstance(error, grpc.aio.BaseError):
        return error
    if flight.channel.closed:
        return ClientClosedError(f"{flight.rpc.name}: the client was closed")
    name = type(error).__name__  # its text may quote what was to be sent
    return flight.failure(grpc.StatusCode.INTERNAL, f"gRPC did not start the call ({name})")


def _stuck(flight: _Flight) -> CallError | ClientClosedError:
    flight.watched.cancel()
    if flight.channel.interceptors:
        return flight.failure(
            grpc.StatusCode.DEADLINE_EXCEEDED, "an interceptor kept the call beyond its deadline"
        )
    return flight.failure(grpc.StatusCode.INTERNAL, "gRPC neither started nor ended the call")


def _report_late(flight: _Flight, _: object) -> None:
    """Nobody waits for this RPC any more; its record is owed all the same."""
    flight.connection.loop.create_task(
        _outcome(flight)
    )  # ends at the loop's next turn: it does not suspend


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
