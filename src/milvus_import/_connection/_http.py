"""One HTTP request.

httpx2's own timeouts and cancel scopes would end a request when its caller is cancelled. Here each
request runs in its own task, and the caller waits for that task. A caller that is cancelled returns
immediately; the request is *detached* and continues to its own deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import grpc

from .._errors import MilvusImportError
from .._failures._grpc import call_error, closed_error
from .._failures._http import response_text, transport_error
from .._failures._http_status import http_code
from .._failures._texts import DEADLINE_TEXT
from .._models import CallRecord
from ._call import DETACHED_LIFETIME, report
from ._http_channel import HttpCall, HttpChannel, HttpFailure, HttpResponse, RequestTask

if TYPE_CHECKING:
    from .._options import CallSettings

_LATE = 0.1
"""Seconds of delay from which the event loop counts as blocked."""

_ParamsT = TypeVar("_ParamsT")
_ResultT = TypeVar("_ResultT")


class HttpReply(NamedTuple):
    """A complete HTTP response, and the record of its call."""

    status: int
    reason: str
    headers: tuple[tuple[str, str | bytes], ...]
    body: bytes
    record: CallRecord

    @property
    def text(self) -> str:
        """Status, reason phrase and the beginning of the body, for messages."""
        return _text(self)


class HttpMethod(Generic[_ParamsT, _ResultT]):
    """One method of the REST API: how its request is built and its response is read."""

    def __init__(
        self,
        name: str,
        build: Callable[[_ParamsT], Mapping[str, Any]],
        read_reply: Callable[[HttpReply, _ParamsT], _ResultT],
        *,
        read: bool = True,
        older_name: str | None = None,
    ) -> None:
        """``read`` is False for a write; ``older_name`` is its name on older servers."""
        self.names = (name,) if older_name is None else (name, older_name)
        self.build = build
        self.read_reply = read_reply
        self.read = read


async def post(channel: HttpChannel, call: HttpCall, settings: CallSettings) -> HttpReply:
    """Send one request and return the response, whatever its status.

    Raises CallError or ClientClosedError; CancelledError only if the caller's own task is
    cancelled.
    """
    connection = channel.connection()
    timeout = call.timeout
    if timeout is not None and timeout <= 0:
        context = call.context(channel, settings)
        raise call_error(grpc.StatusCode.DEADLINE_EXCEEDED, "", context, None)
    size, limit = len(call.body), channel.max_send_bytes
    if size > limit:
        context = call.context(channel, settings)
        text = f"CLIENT: Sent message larger than max ({size} vs. {limit})"
        raise call_error(grpc.StatusCode.RESOURCE_EXHAUSTED, text, context, None)
    started = time.monotonic()
    task = channel.start(connection, call, settings)
    in_flight = _InFlightRequest(channel, call, settings, task, started)
    del connection
    try:
        ended = await _wait(task, timeout)
    except (asyncio.CancelledError, GeneratorExit):
        in_flight.detach()
        raise
    outcome = in_flight.result() if ended else in_flight.give_up()
    del in_flight, task
    if isinstance(outcome, HttpReply):
        return outcome
    try:
        raise outcome
    finally:
        del outcome  # or the error and this frame would form a reference cycle


def _text(response: HttpResponse | HttpReply) -> str:
    content_type = str(dict(response.headers).get("content-type", ""))
    return response_text(response.status, response.reason, content_type, response.body)


async def _wait(task: RequestTask, timeout: float | None) -> bool:
    """Wait for a task without ever cancelling it; return whether it has ended."""
    due = None if timeout is None else time.monotonic() + timeout
    done, _ = await asyncio.wait((task,), timeout=timeout)
    if not done and due is not None and time.monotonic() > due + _LATE:
        # The loop was blocked; the response may have arrived meanwhile.
        done, _ = await asyncio.wait((task,), timeout=_LATE)
    return bool(done)


@dataclass(slots=True, repr=False, eq=False)
class _InFlightRequest:
    """A request with the data for its record and its error. Nothing here suspends."""

    channel: HttpChannel
    call: HttpCall
    settings: CallSettings
    task: RequestTask
    started: float

    def result(self) -> HttpReply | MilvusImportError:
        """Return the response, or the error of a request without one."""
        if self.task.cancelled():
            return self._cancelled()
        outcome = self.task.result()
        if isinstance(outcome, HttpFailure):
            return self._failed(*outcome)
        code = http_code(outcome.status)
        details = "" if code is grpc.StatusCode.OK else _text(outcome)
        return HttpReply(*outcome, self._report(code, details, outcome.headers))

    def give_up(self) -> MilvusImportError:
        """End the request at its deadline, and return the error."""
        self.task.cancel()
        return self._failed(grpc.StatusCode.DEADLINE_EXCEEDED, DEADLINE_TEXT)

    def detach(self) -> None:
        """Let the request continue without its caller, to its own deadline."""
        timeout = self.call.timeout
        left = DETACHED_LIFETIME
        if timeout is not None:
            left = max(0.0, self.started + timeout - time.monotonic())
        if self.task.done():
            self.result()
            return
        # An empty context: the timer must not keep the caller's alive.
        timer = self.task.get_loop().call_later(left, self.task.cancel, context=Context())
        self.task.add_done_callback(lambda _: self._detached_ended(timer), context=Context())

    def _detached_ended(self, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        overdue = self.task.cancelled() and not self.channel.closed
        if overdue:
            self._failed(grpc.StatusCode.DEADLINE_EXCEEDED, DEADLINE_TEXT)
        else:
            self.result()

    def _cancelled(self) -> MilvusImportError:
        """Return the error of a request that close() or the event loop cancelled."""
        code, details = grpc.StatusCode.CANCELLED, "the request was cancelled"
        if not self.channel.closed:
            return self._failed(code, details)
        self._report(code, details)
        context = self.call.context(self.channel, self.settings)
        return closed_error(context, "during the call", may_have_run=True)

    def _failed(self, code: grpc.StatusCode, details: str) -> MilvusImportError:
        record = self._report(code, details)
        context = self.call.context(self.channel, self.settings)
        return transport_error(code, details, context, record)

    def _report(
        self,
        code: grpc.StatusCode,
        details: str,
        headers: tuple[tuple[str, str | bytes], ...] = (),
    ) -> CallRecord:
        elapsed = time.monotonic() - self.started
        record = CallRecord("rest", self.call.path, code, details, headers, (), elapsed)
        report(self.settings, record)
        return record
