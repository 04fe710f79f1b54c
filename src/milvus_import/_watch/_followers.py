"""The followers of jobs, and which of them share polls.

A follower is a running ``watch``, ``wait``, ``watch_all`` or ``wait_all``. It compares the last
reply of a poll with the one that it has returned, so states in between may be skipped, and the last
one never is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc

from .._errors import CallError, ClientClosedError, MilvusImportError
from .._services._operations import GET_PROGRESS, LIST_JOBS
from .._services._requests import JobParams, ListParams
from ._poll import NEVER, Poll

if TYPE_CHECKING:
    from .._options import CallSettings
    from ._polls import Polls

_T = TypeVar("_T")

LIST_FROM: Final = 16
"""Jobs from which one list per interval replaces their single polls."""
LIST_BELOW: Final = 8
"""Jobs below which they are polled individually again."""
NO_LIST_FOR: Final = 300.0
"""Seconds without lists after the server had none, or one that cannot be used."""
SPARE: Final = 64
"""Polls and groups without followers that are kept before the old ones are dropped."""


class Group:
    """Followers with equal options: their polls are the same."""

    def __init__(self, polls: Polls, settings: CallSettings, interval: float) -> None:
        self.polls = polls
        self.settings = settings
        self.interval = interval
        self._by_job: dict[str, Poll] = {}
        self._lists: dict[str, SharedList] = {}

    def of_job(self, job_id: str) -> Poll:
        """Return the poll of a job."""
        poll = self._by_job.get(job_id)
        if poll is None:
            drop_old(self._by_job, self._is_old)
            params = JobParams(job_id, self.polls.db_name)
            poll = self._by_job[job_id] = Poll(self, GET_PROGRESS, params)
        return poll

    def of_list(self, collection_name: str) -> SharedList:
        """Return the list of the jobs of a collection, or of all collections ("")."""
        shared = self._lists.get(collection_name)
        if shared is None:
            params = ListParams(collection_name, self.polls.db_name)
            shared = self._lists[collection_name] = SharedList(self, params)
        return shared

    def choose_lists(self) -> None:
        """Decide again whether lists replace single polls."""
        for shared in self._lists.values():
            shared.decide()

    @property
    def is_old(self) -> bool:
        """Whether the group has had no follower for an interval."""
        lists = [shared.poll for shared in self._lists.values()]
        return all(self._is_old(poll) for poll in (*self._by_job.values(), *lists))

    def _is_old(self, poll: Poll) -> bool:
        recent = poll.sent + self.interval >= self.polls.now()
        return not (poll.followers or poll.request or recent)


class SharedList:
    """The list of jobs, for followers for which its rows are sufficient."""

    def __init__(self, group: Group, params: ListParams) -> None:
        self.poll: Poll = Poll(group, LIST_JOBS, params, self)
        self.used: bool = False
        """Whether the list replaces single polls."""
        self._polls = group.polls
        self._members: set[Follower] = set()
        self._jobs = Counter[str]()
        """How many members follow each job, without those that always need the list."""
        self._off_until = NEVER

    def join(self, follower: Follower) -> None:
        """Add a follower; use the list if it saves requests."""
        self._members.add(follower)
        if follower.needs_list:
            self._polls.join(self.poll, follower)
            return
        self._jobs.update(follower.pending.keys())
        self.decide()
        if follower not in self.poll.followers:
            self._switch(follower)

    def leave(self, follower: Follower) -> None:
        """Remove a follower."""
        self._members.discard(follower)
        self._polls.leave(self.poll, follower)
        for job_id in follower.pending:
            self.drop(job_id, follower)

    def drop(self, job_id: str, follower: Follower) -> None:
        """Stop counting a job for this follower."""
        if not follower.needs_list:
            self._jobs[job_id] -= 1
            if not self._jobs[job_id]:
                del self._jobs[job_id]

    def decide(self) -> None:
        """Use the list from 16 jobs on, and no longer below 8.

        Each page costs as much as a single poll: a list of several pages needs twice as many jobs.
        """
        pages = self.poll.requests
        enough = max(LIST_BELOW if self.used else LIST_FROM, 2 * pages + 1 if pages > 1 else 0)
        used = len(self._jobs) >= enough and self._polls.now() >= self._off_until
        if used is not self.used:
            self.used = used
            for follower in tuple(self._members):
                if follower in self._members and not follower.needs_list:
                    self._switch(follower)

    def turn_off(self) -> None:
        """Use no list for some time: the server has none, or one that cannot be used."""
        self._off_until = self._polls.now() + NO_LIST_FOR
        self.decide()

    def _switch(self, follower: Follower) -> None:
        if self.used:
            self._polls.join(self.poll, follower)
        else:
            self._polls.leave(self.poll, follower)
        follower.use_list(used=self.used)


class Follower:
    """The jobs that a watch follows, and what has arrived since it was last awaited."""

    def __init__(
        self,
        group: Group,
        job_ids: Iterable[str],
        *,
        shared_list: SharedList | None = None,
        needs_list: bool = False,
    ) -> None:
        """``needs_list``: the jobs are those of the list, which is therefore always requested."""
        self.group = group
        self.pending: dict[str, None] = dict.fromkeys(job_ids)
        """The jobs still followed, in the caller's order."""
        self.shared_list = shared_list
        self.needs_list = needs_list
        self.active: bool = False
        """Whether it is being awaited; otherwise no request is sent for it."""
        self.arrived: dict[Poll, None] = {}
        """The polls with a new reply."""
        self.errors: list[tuple[Poll, Exception, float]] = []
        """The failed requests that it waited for, each with the time from which it did."""
        self.idle: set[Poll] = set()
        """Polls that were due while it was not being awaited."""
        self.first_polls: set[str] = set()
        """Jobs whose first poll has not ended yet."""
        self.list_ended: bool = shared_list is None
        """Whether the first list has ended."""
        self._polls_by_job: dict[str, Poll] = {}
        self._writes_before = 0
        """The commits and aborts of this client that had ended when it joined."""
        self._waits_since = self._left = NEVER
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def receive(self, seconds: float | None) -> bool:
        """Wait at most ``seconds`` for a reply or an error; return whether one has arrived.

        Raises ClientClosedError when the client is closed, RuntimeError in another event loop.
        """
        polls = self.group.polls
        self._join()
        if polls.now() - self._left >= self.group.interval:  # the caller has paused
            self._waits_since = polls.now()
        arrived = False
        try:
            polls.activate(self)
            arrived = await self._wait(seconds)
        finally:
            polls.deactivate(self, detach=not arrived)
            self._left = polls.now()
        if polls.closed:
            raise closed_error()
        return arrived

    def leave_later(self) -> None:
        """Leave at the next poll: the watch was garbage-collected, perhaps in another thread."""
        if self._loop is not None:
            self.group.polls.leaving.append(self)

    def poll_job(self, job_id: str, *, sent_after: float = NEVER) -> None:
        """Poll a job individually.

        ``sent_after``: when the list that is the reason was requested.
        """
        if job_id in self.pending and job_id not in self._polls_by_job:
            poll = self._polls_by_job[job_id] = self.group.of_job(job_id)
            self.group.polls.join(poll, self, sent_after=sent_after)

    def prefer_list(self, job_id: str) -> None:
        """Stop polling a job individually if the list reports its state."""
        if self.shared_list is not None and (self.needs_list or self.shared_list.used):
            self.leave_job(job_id)

    def leave_job(self, job_id: str) -> None:
        """Stop polling a job individually."""
        poll = self._polls_by_job.pop(job_id, None)
        if poll is not None:
            self.first_polls.discard(job_id)
            self.group.polls.leave(poll, self)

    def end_job(self, job_id: str) -> None:
        """Stop following a job."""
        if job_id in self.pending:
            del self.pending[job_id]
            if self.shared_list is not None:
                self.shared_list.drop(job_id, self)
        self.leave_job(job_id)

    def leave(self) -> None:
        """Stop following all jobs; requests without another follower are detached."""
        for job_id in tuple(self._polls_by_job):
            self.leave_job(job_id)
        if self.shared_list is not None and self._loop is not None:
            self.shared_list.leave(self)
            self._loop = None

    def use_list(self, *, used: bool) -> None:
        """Let the list replace the single polls, or the other way round."""
        if used:
            for job_id in tuple(self._polls_by_job):
                if job_id not in self.first_polls:
                    self.leave_job(job_id)
        else:
            self.list_ended = True
            self.poll_each()

    def poll_each(self) -> None:
        """Poll each job individually. The first round starts immediately, later ones are spread."""
        now, step = self.group.polls.now(), self.group.interval / max(len(self.pending), 1)
        for index, job_id in enumerate(self.pending):
            if job_id not in self._polls_by_job:
                self.first_polls.add(job_id)
                self.poll_job(job_id)
                poll = self._polls_by_job[job_id]
                if len(self.pending) > 1 and poll.reply is None:
                    poll.slot = now + step * index

    def notify(self, poll: Poll, error: Exception | None = None) -> None:
        """Record the end of a request, and wake the watch.

        An error of the list that a single poll would have had as well (the connection, a rate
        limit) is an error of its followers, and the list is retried. After any other one their
        jobs are polled individually in this round.
        """
        if poll.writes_before < self._writes_before:
            poll.due = NEVER  # it was sent before a commit or an abort of this client had ended
            return
        self.first_polls.discard(poll.job_id)
        if poll.operation is LIST_JOBS:
            self.list_ended = True
            if error is not None and not self.needs_list and not concerns_connection(error):
                self.poll_each()  # this round; the list is requested again in the next one
                return
        if error is None:
            self.arrived[poll] = None
        elif self.active:
            self.errors.append((poll, error, max(poll.request_sent, self._waits_since)))
        self.wake()

    def may_take(self, poll: Poll, sent_after: float) -> bool:
        """Return whether the last reply of a poll is recent enough to start with."""
        return poll.sent > sent_after and poll.reply_writes_before >= self._writes_before

    def wake(self) -> None:
        """Let ``receive`` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _join(self) -> None:
        loop = self.group.polls.enter()
        if self._loop is loop:
            return
        if self._loop is not None:
            raise RuntimeError("this watch belongs to another event loop; create a new watch")
        self._loop = loop
        self._writes_before = self.group.polls.writes
        if self.shared_list is None:
            self.poll_each()
        else:
            self.shared_list.join(self)

    async def _wait(self, seconds: float | None) -> bool:
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while not (self.arrived or self.errors or self.group.polls.closed):
            if end is not None and loop.time() >= end:
                return False
            waiter = self._waiter = loop.create_future()
            timer = None if end is None else loop.call_at(end, self.wake)
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return True


def drop_old(kept: dict[Any, _T], is_old: Callable[[_T], bool]) -> None:
    """Drop the entries that are old, whenever the size has doubled."""
    size = len(kept)
    if size >= SPARE and size & (size - 1) == 0:
        for key in [key for key, value in kept.items() if is_old(value)]:
            del kept[key]


def closed_error() -> ClientClosedError:
    """Return the error of a watch whose client was closed."""
    return ClientClosedError(
        "the client was closed; the import continues; create a new client to follow it"
    )


def concerns_connection(error: Exception) -> bool:
    """Return whether a single poll instead of the list would have failed as well."""
    return (
        not isinstance(error, MilvusImportError)
        or error.rate_limited
        or (
            isinstance(error, CallError)
            and error.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        )
    )
