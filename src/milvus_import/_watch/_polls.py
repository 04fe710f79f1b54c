"""The polls of one client: each is started when it is due, for all of its followers."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc

from .._connection._base import running_loop
from .._errors import CallError, JobNotFoundError, MilvusImportError, UnsupportedServerError
from .._failures import is_final
from ._followers import SPARE, Follower, Group, closed_error, drop_old
from ._poll import NEVER, Poll, PollThrottle

if TYPE_CHECKING:
    from .._options import CallSettings
    from .._services._select import Services

CONCURRENT_POLLS: Final = 64
"""Polls of one client at a time; beyond it Milvus 2.3 gets slow, and may crash."""
MAX_IN_FLIGHT: Final = 256
"""Polls of one client in flight, those included that are older than one interval."""
_EARLY: Final = 0.001
"""Seconds by which a timer may be early."""
# A reply that is too large, could not be parsed, or could not be marshalled by the server.
REPLY_FAULTS: Final = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN}
)


class Polls:
    """Starts the polls of one client when they are due, at most 64 at a time.

    A request that takes longer than one interval no longer counts towards the 64. No task outlives
    a request; timers and tasks run in an empty context, because they serve several callers.
    """

    def __init__(
        self, services: Services, db_name: str, *, shared: bool, spacing: float = 0.0
    ) -> None:
        """``shared`` is False if the client has interceptors, which may depend on the caller."""
        self.db_name = db_name
        self.closed: bool = False
        self.writes: int = 0
        """Counts the commits and aborts of this client that have ended."""
        self.leaving: deque[Follower] = deque()
        """Followers whose watch was garbage-collected, in any thread; they leave soon."""
        self.throttle: PollThrottle = PollThrottle(spacing)
        self._services = services
        self._shared = shared
        self._groups: dict[Any, Group] = {}
        self._queue: list[tuple[float, int, Poll]] = []
        self._numbers = itertools.count()
        self._compact_at = SPARE
        self._running: set[Poll] = set()
        self._active: set[Follower] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Return the time of the event loop that the polls belong to; 0 before the first."""
        return 0.0 if self._loop is None else self._loop.time()

    def group(self, settings: CallSettings, interval: float, *, alone: bool) -> Group:
        """Return the group of followers with these options; a new one if they poll alone."""
        if alone or not self._shared or settings.on_finish or settings.call_credentials:
            return Group(self, settings, interval)
        call = settings
        key = interval, call.timeout, call.wait_for_ready, call.compression, call.metadata
        self._forget_closed_loop()
        group = self._groups.get(key)
        if group is None:
            drop_old(self._groups, lambda group: group.is_old)
            group = self._groups[key] = Group(self, settings, interval)
        return group

    def enter(self) -> asyncio.AbstractEventLoop:
        """Return the running loop, to which the polls belong. Raises as the connection does."""
        if self.closed:
            raise closed_error()
        loop = running_loop()
        self._services.connection.open()
        self._forget_closed_loop()
        self._loop = loop
        return loop

    def _forget_closed_loop(self) -> None:
        """Forget the polls of an earlier event loop: its tasks and timers ended with it."""
        if self._loop is None or not self._loop.is_closed():
            return
        for poll in self._running:
            poll.request = None
            poll.attempt += 1
        for _, _, poll in self._queue:
            poll.queued_for = None
        for follower in self._active:
            follower.active = False
        for kept in (self._groups, self._queue, self._running, self._active):
            kept.clear()
        self._loop = self._timer = None

    @property
    def responded(self) -> bool:
        """Whether the client has had a successful response."""
        return self._services.connection.responded

    def write_ended(self) -> None:
        """Let followers that join later ignore the requests that were sent before.

        Those of every job: a commit or an abort costs at most one request more per such follower.
        """
        self.writes += 1

    def activate(self, follower: Follower) -> None:
        """Start to send the requests that a follower waits for."""
        follower.active = True
        self._active.add(follower)
        for poll in follower.idle:
            self.schedule(poll)
        follower.idle.clear()
        self.start_due()

    def deactivate(self, follower: Follower, *, detach: bool) -> None:
        """Stop sending requests for a follower that is no longer awaited.

        ``detach``: requests without another active follower are detached.
        """
        follower.active = False
        self._active.discard(follower)
        if detach:
            for poll in tuple(self._running):
                if not poll.followed:
                    self._detach(poll)
        if not self._active:
            self._set_timer(None)

    def join(self, poll: Poll, follower: Follower, *, sent_after: float = NEVER) -> None:
        """Add a follower: it takes the last reply if that is recent, or the next one.

        ``sent_after``: when the list was requested, whose state of the job is older.
        """
        poll.followers.add(follower)
        now = self.now()
        if follower.may_take(poll, max(sent_after, now - poll.group.interval)):
            follower.first_polls.discard(poll.job_id)
            follower.arrived[poll] = None
        elif not poll.postponed:
            poll.due = min(poll.due, now)
        self.schedule(poll)
        if follower.active:
            self.start_due()

    def leave(self, poll: Poll, follower: Follower) -> None:
        """Remove a follower; with the last one, the request is detached."""
        poll.followers.discard(follower)
        follower.arrived.pop(poll, None)
        follower.idle.discard(poll)
        if not poll.followers:
            poll.queued_for = None
        if not poll.followers and poll in self._running:
            self._detach(poll)

    def schedule(self, poll: Poll) -> None:
        """Queue a poll for its due time, unless it is running. Those already due precede it."""
        if poll in self._running:
            return
        if poll.queued_for is None:
            poll.due = max(poll.due, self.now())
        if poll.queued_for is None or poll.due < poll.queued_for:
            if len(self._queue) >= self._compact_at:
                self._compact()
            poll.queued_for = poll.due
            heapq.heappush(self._queue, (poll.due, next(self._numbers), poll))

    def _compact(self) -> None:
        """Drop the entries of polls that were queued again, or have no follower."""
        self._queue = [entry for entry in self._queue if entry[2].queued_for == entry[0]]
        heapq.heapify(self._queue)
        self._compact_at = max(SPARE, 2 * len(self._queue))

    def start_due(self) -> None:
        """Start the polls that are due, in the order of their due times; set the timer."""
        while self.leaving:
            self.leaving.popleft().leave()
        now = self.now()
        recent: list[float] | None = None
        next_start: float | None = None
        while self._queue:
            due, _, poll = self._queue[0]
            if poll.queued_for != due or poll.due > due or not poll.followed:
                self._drop_first(poll, due)
                continue
            next_start = max(due, self.throttle.ready_at)
            if next_start > now + _EARLY:
                break
            recent = self._recent_ends(now) if recent is None else recent
            if len(recent) >= CONCURRENT_POLLS or len(self._running) >= MAX_IN_FLIGHT:
                full = len(self._running) >= MAX_IN_FLIGHT  # then the end of one starts the next
                next_start = None if full else min(recent)
                break
            heapq.heappop(self._queue)
            poll.queued_for = None
            self._start(poll, now)
            recent.append(now + poll.group.interval)
        self._set_timer(next_start if self._queue else None)

    def _drop_first(self, poll: Poll, due: float) -> None:
        """Drop the first entry of the queue: it is old, or no follower awaits the poll."""
        heapq.heappop(self._queue)
        if poll.queued_for != due:
            return
        poll.queued_for = None
        if poll.followed:
            self.schedule(poll)  # it was postponed
        else:
            for follower in poll.followers:
                follower.idle.add(poll)

    def close(self) -> None:
        """End every follower with ClientClosedError, and detach the requests.

        Not in another event loop while that of the polls is running: the connection raises then.
        """
        if self._loop is None or self._loop.is_closed():
            self.closed = True
        if self.closed or self._loop is not running_loop():
            return
        self.closed = True
        for poll in tuple(self._running):
            self._detach(poll)
        for follower in self._active:
            follower.wake()
        self._set_timer(None)

    def _start(self, poll: Poll, now: float) -> None:
        self.throttle.on_start(now, poll.requests)
        poll.request_sent = now
        poll.writes_before = self.writes
        poll.attempt += 1
        self._running.add(poll)
        call = self._services.call(poll.operation, poll.params, poll.group.settings)
        # Not create_task(context=): a task factory may not take it.
        poll.request = Context().run(running_loop().create_task, call)
        ended = partial(self._request_ended, poll, poll.attempt)
        poll.request.add_done_callback(ended, context=Context())

    def _request_ended(self, poll: Poll, attempt: int, request: asyncio.Task[Any]) -> None:
        """Process the outcome of a request, unless it was detached."""
        cancelled = request.cancelled()
        error = None if cancelled else request.exception()
        if poll.attempt != attempt:
            return
        self._ended(poll)
        if isinstance(error, Exception):
            self._process(poll, error)
        elif error is None and not cancelled:
            self._process(poll, request.result())
        else:  # from outside, with all tasks of the loop, and perhaps before its first step
            poll.due = poll.request_sent + poll.group.interval
            self.schedule(poll)
            self.start_due()

    def _ended(self, poll: Poll) -> None:
        poll.request = None
        self._running.discard(poll)

    def _process(self, poll: Poll, outcome: Any) -> None:
        """Keep the reply, decide when the next request is due, and notify the followers."""
        error = outcome if isinstance(outcome, Exception) else None
        poll.due = poll.request_sent + poll.group.interval
        if isinstance(error, MilvusImportError):
            error = error.with_traceback(None)  # an interceptor's error keeps its own
        if isinstance(error, MilvusImportError) and not isinstance(error, JobNotFoundError):
            self._postpone(poll, error)
        elif error is None or isinstance(error, JobNotFoundError):
            self.throttle.on_success()
            poll.errors = poll.rate_limits = 0
            poll.postponed = False
            if poll.slot is not None:
                poll.due, poll.slot = poll.slot + poll.group.interval, None
        if error is None:
            poll.reply, poll.sent, poll.received = outcome, poll.request_sent, self.now()
            poll.reply_writes_before = poll.writes_before
        elif poll.shared_list is not None and ends_list(error):
            poll.shared_list.turn_off()
        for follower in tuple(poll.followers):
            if follower in poll.followers:  # else it has left since
                follower.notify(poll, error)
        poll.group.choose_lists()
        if poll.followers:
            self.schedule(poll)
        self.start_due()

    def _postpone(self, poll: Poll, error: MilvusImportError) -> None:
        """Decide when the next request is due after one that failed."""
        now = self.now()
        if error.rate_limited:
            self.throttle.on_rate_limit(now)
        if error.retry_after:
            self.throttle.wait(now, error.retry_after)
        poll.due = now + poll.retry_delay(error, spaced=not self.throttle.at_limit)
        poll.postponed = True
        poll.slot = None

    def _detach(self, poll: Poll) -> None:
        request = poll.request
        self._ended(poll)
        poll.attempt += 1
        poll.due = NEVER
        for follower in poll.followers:
            follower.idle.add(poll)
        # The loop is closed if the coroutine of the follower was garbage-collected.
        if request is not None and not (self._loop is None or self._loop.is_closed()):
            request.cancel()

    def _recent_ends(self, now: float) -> list[float]:
        """Return when each request that is not older than one interval will be."""
        ends = (poll.request_sent + poll.group.interval for poll in self._running)
        return [end for end in ends if end > now]

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and self._loop is not None and not self._loop.is_closed():
            self._timer = self._loop.call_at(due, self.start_due, context=Context())


def ends_list(error: Exception) -> bool:
    """Return whether lists are not requested again for some time after this error."""
    return isinstance(error, UnsupportedServerError) or (
        isinstance(error, MilvusImportError)
        and (
            is_final(error)
            or (isinstance(error, CallError) and error.code in REPLY_FAULTS and not error.transient)
        )
    )
