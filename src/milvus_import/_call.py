"""The only place that awaits an RPC.

gRPC's own await is not cancelled here. Cancelling it would reset the request on the server, which
crashes Milvus 2.3 and early 2.4 (milvus#35539), and its CancelledError confuses anyio's scopes.
What is awaited is the RPC's status: a caller that is cancelled meanwhile leaves at once, and the
RPC goes on to its own deadline.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
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
_OK = grpc.StatusCode.OK

_QuestionT = TypeVar("_QuestionT")
_RequestT = TypeVar("_RequestT", bound=Message)
_ReplyT = TypeVar("_ReplyT", bound=Message)
_AnswerT = TypeVar("_AnswerT")


class Rpc(Generic[_QuestionT, _RequestT, _ReplyT, _AnswerT]):
    """One method of one service: how to ask it, and how to read its reply."""

    def __init__(
        self,
        service: Service,
        path: str,
        pick: Callable[[Connection], grpc.aio.UnaryUnaryMultiCallable[_RequestT, _ReplyT]],
        request: Callable[[_QuestionT], _RequestT],
        answer: Callable[[_ReplyT, _QuestionT, str], _AnswerT],
    ) -> None:
        """``path`` is ``package.Service/Method``.

        ``answer`` reads a reply whose Status is 0; it is given the question and, for errors, the
        target.
        """
        self.service: Service = service
        self.path = path
        self.name = path.rpartition("/")[2]
        self.pick = pick
        self.request = request
        self.answer = answer


async def unary(
    channel: LazyChannel,
    rpc: Rpc[Any, _RequestT, _ReplyT, Any],
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
    call = rpc.pick(connection)(
        request,
        timeout=timeout,
        metadata=settings.metadata,
        credentials=settings.call_credentials,
        wait_for_ready=settings.wait_for_ready,
        compression=settings.compression,
    )
    # With interceptors a call may end without a status, and without a deadline the sweep cannot
    # tell that gRPC never began it. A task always ends.
    driver = None
    if channel.interceptors or timeout is None:
        driver = connection.loop.create_task(_drive(call))
        driver.add_done_callback(_seen)
    watched, started = driver or call, time.monotonic()
    in_flight = connection.in_flight
    in_flight[watched] = math.inf if timeout is None else started + timeout + _OVERDUE
    if connection.sweeper is None:
        connection.sweep()
    left: BaseException | None = None
    try:
        if driver is not None:
            await _patiently(driver, timeout)
        elif await call.code() is _OK and settings.on_finish is None:
            reply = await call  # it has ended: this does not suspend
            if reply is not None:
                del in_flight[call]
                return reply
    except (KeyError, asyncio.CancelledError, GeneratorExit) as error:
        left = error
    flight = _Flight(channel, rpc, settings, connection, call, driver, started)
    # An error that somebody keeps holds this frame; a call in it would hold the connection.
    # A request may hold a secret import option, and error reporters show a frame's variables.
    del call, driver, watched, in_flight, connection, request
    outcome = await flight.outcome(left, timeout)
    del flight, left
    if not isinstance(outcome, BaseException):
        return outcome
    try:
        raise outcome
    finally:
        del outcome  # or the error and this frame would hold each other


async def _drive(call: grpc.aio.UnaryUnaryCall[_RequestT, _ReplyT]) -> _ReplyT:
    return await call


def _seen(driver: asyncio.Task[Any]) -> None:
    """Asyncio need not log the exception as never retrieved."""
    if not driver.cancelled():
        driver.exception()


async def _patiently(driver: asyncio.Task[Any], timeout: float | None) -> None:
    """Wait for a task that may hang in an interceptor, without ever cancelling it.

    Twice, because a blocked loop delays the task as well as the timer.
    """
    for seconds in (None,) if timeout is None else (timeout + _OVERDUE, _OVERDUE):
        if (await asyncio.wait((driver,), timeout=seconds))[0]:
            return


@dataclass(slots=True, repr=False, eq=False)
class _Flight(Generic[_ReplyT]):
    """An RPC under way, with all that its record and its errors need."""

    channel: LazyChannel
    rpc: Rpc[Any, Any, _ReplyT, Any]
    settings: CallSettings
    connection: Connection
    call: grpc.aio.UnaryUnaryCall[Any, _ReplyT]
    driver: asyncio.Task[_ReplyT] | None
    """The task that awaits the call, where there is one."""
    started: float

    async def outcome(
        self, left: BaseException | None, timeout: float | None
    ) -> _ReplyT | BaseException:
        """The reply or the error of an RPC that has ended, was given up, or was ``left`` alone.

        Nothing here suspends, so no cancellation can arrive here; and nothing is raised, so no
        traceback leads to the call.
        """
        if left is not None and not isinstance(left, KeyError):
            self._abandon(timeout)
            return left.with_traceback(None)
        given_up = not self._land() or (self.driver is not None and not self.driver.done())
        return self._stuck() if given_up else await self._read()

    def _land(self) -> bool:
        """It has ended. False: it had been given up."""
        return self.connection.in_flight.pop(self.driver or self.call, None) is not None

    def _abandon(self, timeout: float | None) -> None:
        """Nobody waits any more; close() and the sweep still do."""
        watched = self.driver or self.call
        if timeout is None:
            due = time.monotonic() + ABANDONED_LIFETIME
            self.connection.in_flight[watched] = due
        watched.add_done_callback(self._ended_alone)

    def _ended_alone(self, _: object) -> None:
        given_up = not self._land()
        if self.settings.on_finish is None:
            return
        if given_up and self.settings.timeout is not None:
            self._stuck()  # the record is owed all the same
        else:
            self.connection.loop.create_task(self._read())  # it ends at the loop's next turn

    async def _read(self) -> _ReplyT | Exception:
        call = self.call
        try:
            if call.cancelled():
                return await self._failed(grpc.StatusCode.CANCELLED)
            reply: _ReplyT | None = await (self.driver or call)
        except (InterceptorError, grpc.aio.BaseError) as error:
            error.__traceback__ = None  # a driver keeps the error, and the error would this frame
            return self._broken(error.cause if isinstance(error, InterceptorError) else error)
        except KeyError as error:  # gRPC below 1.80 has no name for a status code beyond 16
            error.__traceback__ = None
            return await self._failed(grpc.StatusCode.UNKNOWN)
        except grpc.aio.AioRpcError as error:
            error.__traceback__ = None
            return self._failure(
                error.code(),
                error.details() or "",
                error.initial_metadata(),
                error.trailing_metadata(),
            )
        except asyncio.CancelledError:
            return self._failure(
                grpc.StatusCode.CANCELLED, "cancelled inside gRPC or an interceptor"
            )
        return await self._answered(reply)

    async def _answered(self, reply: _ReplyT | None) -> _ReplyT | Exception:
        if reply is None:
            return self._failure(grpc.StatusCode.INTERNAL, "the reply could not be parsed")
        if self.settings.on_finish is not None:
            self._report(grpc.StatusCode.OK, *await self._words())
        return reply

    async def _failed(self, code: grpc.StatusCode) -> Exception:
        """The error of an RPC that gRPC itself has no error for."""
        return self._failure(code, *await self._words())

    async def _words(self) -> tuple[str, grpc.aio.Metadata, grpc.aio.Metadata]:
        """The status text and the metadata of an RPC that has ended."""
        call = self.call
        initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
        return await call.details() or "", initial, trailing

    def _broken(self, error: Exception) -> Exception:
        """No RPC came to be: gRPC refused it, or an interceptor raised something of its own."""
        if not isinstance(error, grpc.aio.BaseError):
            return error
        if self.channel.closed:
            # Interceptors may have asked the server before they failed.
            ran = bool(self.channel.interceptors)
            return ClientClosedError(f"{self.rpc.name}: the client was closed", may_have_run=ran)
        name = type(error).__name__  # its text may quote what was to be sent
        return self._failure(grpc.StatusCode.INTERNAL, f"gRPC did not start the call ({name})")

    def _stuck(self) -> CallError | ClientClosedError:
        (self.driver or self.call).cancel()
        if self.channel.interceptors:
            return self._failure(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "an interceptor kept the call beyond its deadline",
            )
        return self._failure(grpc.StatusCode.INTERNAL, "gRPC neither started nor ended the call")

    def _failure(
        self,
        code: grpc.StatusCode,
        details: str,
        initial: grpc.aio.Metadata | None = None,
        trailing: grpc.aio.Metadata | None = None,
    ) -> CallError | ClientClosedError:
        """Report the failed RPC; returns its error."""
        record = self._report(code, details, initial, trailing)
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

    def _report(
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
            time.monotonic() - self.started,
        )
        if self.settings.on_finish is not None:
            try:
                self.settings.on_finish(record)
            except Exception:
                logger.exception("on_finish raised an exception; the call is not affected")
        return record


def _unsent(
    channel: LazyChannel, rpc: Rpc[Any, Any, Any, Any], settings: CallSettings
) -> CallError:
    endpoint = channel.endpoint
    return call_error(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "",
        method=rpc.name,
        target=endpoint.target,
        secure=endpoint.secure,
        timeout=settings.timeout,
    )
