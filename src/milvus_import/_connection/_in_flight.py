"""The requests of one connection that have not ended: gRPC calls and HTTP requests alike.

Callers await a future of this module, never the request itself. Cancelling a caller must not
reset its read on the server, which crashes Milvus 2.3 and early 2.4 (milvus#35539), and the
CancelledError of gRPC would break anyio's cancel scopes. A request whose caller was cancelled is
*detached*: it continues to its own deadline, and its record is reported like any other.
"""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Protocol

DETACHED_LIFETIME = 30.0
"""Seconds that a detached request without a deadline may continue."""
_LATE = 0.1
"""Seconds of delay from which the event loop counts as blocked: the response may have arrived."""
_SWEEP_INTERVAL = 0.01
"""Seconds between two sweeps at least, and 5 us more per request in flight."""


class Runner(Protocol):
    """A task that runs a request, or a gRPC call, whether intercepted or not."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> object:
        """Call back when it has ended, or soon if it has ended already."""

    def cancel(self) -> object:
        """Cancel it."""


class Request(ABC):
    """One request in flight, with the data for its record and its error."""

    __slots__ = ("due", "postponed", "runner")

    runner: Runner
    due: float
    """When it is given up (time.monotonic()); inf without a deadline."""
    postponed: bool
    """Whether giving it up was postponed because the event loop had been blocked."""

    @abstractmethod
    async def outcome(self, *, overdue: bool) -> Any:
        """Report the record; return the reply, or the error as an exception.

        Never suspends and never raises. ``overdue``: the request was given up.
        """


class InFlight:
    """Runs requests, gives up those that are overdue, and ends all of them on close."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._requests: dict[asyncio.Future[bool], Request] = {}
        """By the future that its end resolves: True if it was given up."""
        self._timer: asyncio.TimerHandle | None = None
        """One for all requests, set to the earliest due: one each would cost 5 % of a call."""
        self._next = math.inf

    def __len__(self) -> int:
        return len(self._requests)

    async def run(self, request: Request) -> Any:
        """Return the outcome. Raises only CancelledError, if the caller is cancelled."""
        end = self._watch(request)
        try:
            overdue = await end
        except (asyncio.CancelledError, GeneratorExit):
            self._detach(request)
            del request  # it may hold a secret, and error reporters show the variables of frames
            raise
        finally:
            del self._requests[end]
        return await request.outcome(overdue=overdue)

    async def close(self, grace: float) -> None:
        """Give the requests ``grace`` seconds, cancel the others, and wait for those as long.

        Those that ignore it, as an interceptor may, are given up.
        """
        for _ in range(2):
            ends = [self._end_of(request.runner) for request in self._requests.values()]
            if ends:
                await asyncio.wait(ends, timeout=grace)
            for request in tuple(self._requests.values()):
                request.runner.cancel()
        for end in self._requests:
            if not end.done():
                end.set_result(True)
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self, request: Request) -> asyncio.Future[bool]:
        end = self._end_of(request.runner)
        self._requests[end] = request
        if request.due < self._next:
            self._set_timer(request.due)
        return end

    def _end_of(self, runner: Runner) -> asyncio.Future[bool]:
        # gRPC keeps the callbacks of a call, so this one holds nothing but the future.
        end = self._loop.create_future()
        runner.add_done_callback(partial(_resolve, end))
        return end

    def _detach(self, request: Request) -> None:
        """Let the request continue without its caller; close() and its deadline still end it."""
        if self._loop.is_closed():  # the coroutine of the caller was garbage-collected
            return
        if request.due == math.inf:
            request.due = time.monotonic() + DETACHED_LIFETIME
        self._watch(request).add_done_callback(self._detached_ended, context=Context())

    def _detached_ended(self, end: asyncio.Future[bool]) -> None:
        request = self._requests.pop(end)
        if not self._loop.is_closed():  # the task ends at the next iteration of the loop
            self._loop.create_task(_finish(request, overdue=end.result()))

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._next = None, due
        if due < math.inf:  # an empty context: the timer must not keep the first caller's alive
            delay = max(0.0, due - time.monotonic())
            self._timer = self._loop.call_later(delay, self._sweep, context=Context())

    def _sweep(self) -> None:
        """Give up the requests that are overdue, and set the timer to the next one.

        After a blocked event loop each of them is postponed once: its response may have arrived.
        """
        now, earliest = time.monotonic(), math.inf
        blocked = now > self._next + _LATE
        for end, request in tuple(self._requests.items()):
            if request.due <= now and blocked and not request.postponed:
                request.postponed = True
                request.due = now + _LATE / 2
            if request.due > now:
                earliest = min(earliest, request.due)
            elif not end.done():
                end.set_result(True)
                request.runner.cancel()
        interval = _SWEEP_INTERVAL + len(self._requests) * 5e-6
        self._set_timer(max(earliest, now + interval))


async def _finish(request: Request, *, overdue: bool) -> None:
    await request.outcome(overdue=overdue)


def _resolve(end: asyncio.Future[bool], _: object) -> None:
    if not end.done():
        end.set_result(False)
