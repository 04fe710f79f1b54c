"""One unary RPC. This is the only place that awaits gRPC.

A gRPC call is never awaited directly here. Cancelling such an await would reset the request on the
server, which crashes Milvus 2.3 and early 2.4 (milvus#35539). Its CancelledError would also break
anyio's cancel scopes. The call's status is awaited instead. A caller that is cancelled meanwhile
returns immediately; the call is *detached* and continues to its own deadline.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from .._errors import MilvusImportError
from .._failures._grpc import call_error, closed_error
from .._models import CallRecord
from .._options import close_awaitable
from ._channel import Connection, LazyChannel
from ._pauses import consume_exception

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from .._options import CallSettings
    from ._method import Method

logger = logging.getLogger("milvus_import")

DETACHED_LIFETIME = 30.0
"""Seconds that a detached call without a deadline may continue."""
OVERDUE = 1.0
"""Seconds after its deadline from which a call is overdue. It is cancelled if two sweeps find it
overdue, up to two seconds later: a blocked event loop delays gRPC's events as well."""
_OK = grpc.StatusCode.OK


async def unary(
    channel: LazyChannel,
    method: Method[Any, Any],
    request: Message,
    settings: CallSettings,
    timeout: float | None,
) -> Any:
    """Send one request and return the reply: bytes, or a message if there are interceptors.

    ``timeout`` is what remains of ``settings.timeout``. Raises CallError or ClientClosedError;
    CancelledError only if the caller's own task is cancelled.
    """
    connection = channel.connection()
    if timeout is not None and timeout <= 0:
        context = method.context(channel, settings)
        raise call_error(grpc.StatusCode.DEADLINE_EXCEEDED, "", context, None)
    call = connection.stub(method)(
        request,
        timeout=timeout,
        metadata=settings.metadata,
        credentials=settings.call_credentials,
        wait_for_ready=settings.wait_for_ready,
        compression=settings.compression,
    )
    # A call may end without a status if there are interceptors, and without a deadline the sweep
    # cannot notice that gRPC never started it. A task always ends.
    task = None
    if channel.interceptors or timeout is None:
        task = connection.loop.create_task(_await_reply(call))
        task.add_done_callback(consume_exception)
    started = time.monotonic()
    in_flight = connection.in_flight
    in_flight[task or call] = math.inf if timeout is None else started + timeout + OVERDUE
    if connection.sweeper is None:
        connection.sweep()
    cancelled_by: BaseException | None = None
    try:
        if task is not None:
            await _wait(task, timeout)
        elif await call.code() is _OK and settings.on_finish is None:
            reply = await call  # it has ended: this does not suspend
            if reply is not None:
                in_flight.pop(call, None)
                return reply
    except (asyncio.CancelledError, GeneratorExit) as error:
        cancelled_by = error
    unfinished = _InFlightCall(channel, method, settings, connection, call, task, started)
    # An error that is kept holds this frame; a call in it would hold the connection. A request
    # may hold a secret import option, and error reporters show the variables of frames.
    del call, task, in_flight, connection, request
    outcome = await unfinished.outcome(cancelled_by, timeout)
    del unfinished, cancelled_by
    if not isinstance(outcome, BaseException):
        return outcome
    try:
        raise outcome
    finally:
        del outcome  # or the error and this frame would form a reference cycle


def report(settings: CallSettings, record: CallRecord) -> None:
    """Pass the record of an RPC that has ended to ``on_finish``; log its exceptions."""
    if settings.on_finish is None:
        return
    try:
        result = settings.on_finish(record)
    except (Exception, asyncio.CancelledError):
        logger.exception("on_finish raised an exception; the call is not affected")
        return
    if close_awaitable(result):
        logger.error("on_finish returned an awaitable, which is not awaited; pass a plain function")


async def _await_reply(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> Any:
    return await call


async def _wait(task: asyncio.Task[Any], timeout: float | None) -> None:
    """Wait for a task that may hang in an interceptor, without ever cancelling it.

    Twice, because a blocked event loop delays the task as well as the timer.
    """
    for seconds in (None,) if timeout is None else (timeout + OVERDUE, OVERDUE):
        if (await asyncio.wait((task,), timeout=seconds))[0]:
            return


@dataclass(slots=True, repr=False, eq=False)
class _InFlightCall:
    """A call that has not returned a reply yet, with the data for its record and its error."""

    channel: LazyChannel
    method: Method[Any, Any]
    settings: CallSettings
    connection: Connection
    call: grpc.aio.UnaryUnaryCall[Any, Any]
    task: asyncio.Task[Any] | None
    """The task that awaits the call, if there is one."""
    started: float

    async def outcome(self, cancelled_by: BaseException | None, timeout: float | None) -> Any:
        """Return the reply, or the error of a call that failed, was overdue, or was detached.

        Nothing here suspends, so no cancellation can arrive here; and nothing is raised, so no
        traceback refers to the call.
        """
        if cancelled_by is not None:
            self._detach(timeout)
            return cancelled_by.with_traceback(None)
        overdue = not self._finish() or (self.task is not None and not self.task.done())
        return self._give_up() if overdue else await self._result()

    def _finish(self) -> bool:
        """Remove the call from those in flight; return False if the sweep has cancelled it."""
        return self.connection.in_flight.pop(self.task or self.call, None) is not None

    def _detach(self, timeout: float | None) -> None:
        """Let the call continue without its caller; close() and the sweep still end it."""
        awaited = self.task or self.call
        if timeout is None:
            self.connection.in_flight[awaited] = time.monotonic() + DETACHED_LIFETIME
        awaited.add_done_callback(self._detached_ended)

    def _detached_ended(self, _: object) -> None:
        overdue = not self._finish()
        if self.settings.on_finish is None:
            return
        if overdue and self.settings.timeout is not None:
            self._give_up()  # on_finish receives a record in any case
        elif not self.connection.loop.is_closed():
            self.connection.loop.create_task(self._result())  # it ends at the loop's next iteration

    async def _result(self) -> Any:  # noqa: PLR0911 - one for each way in which a call ends
        call = self.call
        try:
            if call.cancelled():
                return self._failure(grpc.StatusCode.CANCELLED, *await self._status_details())
            reply = await (self.task or call)
        except grpc.aio.AioRpcError as error:
            error.__traceback__ = None  # a task keeps the error, and the error keeps this frame
            return self._failure(
                error.code(),
                error.details() or "",
                error.initial_metadata(),
                error.trailing_metadata(),
            )
        except grpc.aio.BaseError as error:
            error.__traceback__ = None
            return self._not_started(error)
        except asyncio.CancelledError:
            return self._failure(
                grpc.StatusCode.CANCELLED, "cancelled inside gRPC or an interceptor"
            )
        except Exception as error:  # noqa: BLE001 - an interceptor raised it; re-raised
            # Without the first two frames, which hold the call.
            frames = error.__traceback__ and error.__traceback__.tb_next
            return error.with_traceback(frames and frames.tb_next)
        if reply is None:
            return self._failure(grpc.StatusCode.INTERNAL, "the reply could not be parsed")
        if self.settings.on_finish is not None:
            self._report(grpc.StatusCode.OK, *await self._status_details())
        return reply

    async def _status_details(self) -> tuple[str, grpc.aio.Metadata, grpc.aio.Metadata]:
        """Return the status text and the metadata of a call that has ended."""
        call = self.call
        initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
        return await call.details() or "", initial, trailing

    def _not_started(self, error: Exception) -> MilvusImportError:
        if self.channel.closed:
            # Interceptors may have sent requests before they failed.
            ran = bool(self.channel.interceptors)
            context = self.method.context(self.channel, self.settings)
            return closed_error(context, "before the call started", may_have_run=ran)
        name = type(error).__name__  # its text may quote the request
        return self._failure(grpc.StatusCode.INTERNAL, f"gRPC did not start the call ({name})")

    def _give_up(self) -> MilvusImportError:
        (self.task or self.call).cancel()
        if self.channel.interceptors:
            return self._failure(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "an interceptor delayed the call beyond its deadline",
            )
        return self._failure(grpc.StatusCode.INTERNAL, "gRPC neither started nor ended the call")

    def _failure(
        self,
        code: grpc.StatusCode,
        details: str,
        initial: grpc.aio.Metadata | None = None,
        trailing: grpc.aio.Metadata | None = None,
    ) -> MilvusImportError:
        """Report the failed call and return its error."""
        record = self._report(code, details, initial, trailing)
        context = self.method.context(self.channel, self.settings)
        if code is grpc.StatusCode.CANCELLED and self.channel.closed:
            return closed_error(context, "during the call", may_have_run=True)
        return call_error(code, details, context, record)

    def _report(
        self,
        code: grpc.StatusCode,
        details: str,
        initial: grpc.aio.Metadata | None,
        trailing: grpc.aio.Metadata | None,
    ) -> CallRecord:
        record = CallRecord(
            self.method.service,
            self.method.path,
            code,
            details,
            tuple(initial or ()),
            tuple(trailing or ()),
            time.monotonic() - self.started,
        )
        report(self.settings, record)
        return record
