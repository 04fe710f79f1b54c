"""Who follows a job, and with whom the polls are shared.

A follower is a running ``watch``, ``wait``, ``watch_all`` or ``wait_all``. It compares the last
reply of a poll with the one that it has returned, so states in between may be skipped, and the last
one never is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import grpc

from .._errors import CallError, ClientClosedError, MilvusImportError
from .._services._operations import GET_PROGRESS, LIST_JOBS
from .._services._requests import JobParams, ListParams
from ._poll import NEVER, Poll

if TYPE_CHECKING:
    from .._options import CallSettings
    from ._polls import Polls

LIST_FROM: Final = 16
"""Jobs from which one list per interval replaces their single polls."""
LIST_BELOW: Final = 8
"""Jobs below which they are polled singly again."""
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
        self._lists: dict[tuple[str, str], SharedList] = {}

    def of_job(self, job_id: str, db_name: str) -> Poll:
        """Return the poll of a job."""
        poll = self._by_job.get(job_id)
        if poll is None:
            self._drop_old()
            poll = self._by_job[job_id] = Poll(self, GET_PROGRESS, JobParams(job_id, db_name))
        return poll

    def of_list(self, collection_name: str, db_name: str) -> SharedList:
        """Return the list of the jobs of a collection, or of all collections ("")."""
        key = (collection_name, db_name)
        shared = self._lists.get(key)
        if shared is None:
            shared = self._lists[key] = SharedList(self, ListParams(collection_name, db_name))
        return shared

    def is_old(self, now: float) -> bool:
        """Return whether nobody follows a job of this group, nor has for an interval."""
        lists = [shared.poll for shared in self._lists.values()]
        return all(self._is_old(poll, now) for poll in (*self._by_job.values(), *lists))

    def _is_old(self, poll: Poll, now: float) -> bool:
        return not poll.followers and poll.request is None and poll.sent + self.interval < now

    def _drop_old(self) -> None:
        """Drop the polls that nobody follows any more, now and then."""
        size = len(self._by_job)
        if size >= SPARE and size & (size - 1) == 0:
            now = self.polls.now()
            old = [job_id for job_id, poll in self._by_job.items() if self._is_old(poll, now)]
            for job_id in old:
                del self._by_job[job_id]


class SharedList:
    """The list of jobs that serves followers which need no more than its rows."""

    def __init__(self, group: Group, params: ListParams) -> None:
        self.poll = Poll(group, LIST_JOBS, params, self)
        self.used = False
        """Whether the list replaces single polls."""
        self._polls = group.polls
        self._members: set[Follower] = set()
        self._off_until = NEVER

    def join(self, follower: Follower) -> None:
        """Let the list serve this follower as well, if that is worth it."""
        self._members.add(follower)
        self.decide()
        if follower.needs_list:
            self._polls.join(self.poll, follower)
        elif follower not in self.poll.followers:
            self._switch(follower)

    def leave(self, follower: Follower) -> None:
        """Serve this follower no longer."""
        self._members.discard(follower)
        self._polls.leave(self.poll, follower)

    def decide(self) -> None:
        """Use the list from 16 jobs on, and no longer below 8, or where it has too many pages."""
        used = self._polls.now() >= self._off_until and self._has_jobs(
            max(LIST_BELOW if self.used else LIST_FROM, 2 * self._pages() + 1)
        )
        if used is not self.used:
            self.used = used
            for follower in self._members:
                if not follower.needs_list:
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

    def _has_jobs(self, limit: int) -> bool:
        jobs: set[str] = set()
        for follower in self._members:
            if len(follower.pending) >= limit:
                return True
            jobs.update(follower.pending)
            if len(jobs) >= limit:
                return True
        return False

    def _pages(self) -> int:
        """Return the requests of one list, each of which costs as much as a poll; 0 for one."""
        pages = 1 if self.poll.reply is None else self.poll.reply.pages
        return pages if pages > 1 else 0


class Follower:
    """What a watch follows, and what has arrived for it since it looked last."""

    def __init__(
        self,
        group: Group,
        job_ids: Iterable[str],
        db_name: str,
        *,
        shared_list: SharedList | None = None,
        needs_list: bool = False,
    ) -> None:
        """``needs_list``: the jobs are those of the list, which is therefore always requested."""
        self.group = group
        self.pending: dict[str, None] = dict.fromkeys(job_ids)
        """The jobs still followed, in the caller's order."""
        self.db_name = db_name
        self.shared_list = shared_list
        self.needs_list = needs_list
        self.active = False
        """Whether it is being awaited; otherwise it asks for nothing."""
        self.abandoned = False
        """Whether its watch was garbage-collected: it leaves when it is noticed."""
        self.arrived: dict[Poll, None] = {}
        """The polls with a new reply."""
        self.errors: list[tuple[Poll, Exception]] = []
        """The failed requests that it waited for."""
        self.idle: set[Poll] = set()
        """Polls that were due while it was not being awaited."""
        self.first_polls: set[str] = set()
        """Jobs whose first poll has not ended yet."""
        self.list_ended = shared_list is None
        """Whether the first list has ended."""
        self._polls_by_job: dict[str, Poll] = {}
        self._fresh_after = group.polls.changed_at
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def news(self, seconds: float | None) -> bool:
        """Wait until something has arrived, for at most ``seconds``; return whether it has.

        Raises ClientClosedError when the client is closed, RuntimeError in another event loop.
        """
        polls = self.group.polls
        self._join()
        polls.activate(self)
        arrived = False
        try:
            arrived = await self._wait(seconds)
        finally:
            polls.deactivate(self, detach=not arrived)
        if polls.closed:
            raise closed_error()
        return arrived

    def poll_job(self, job_id: str) -> None:
        """Poll a job singly."""
        if job_id in self.pending and job_id not in self._polls_by_job:
            poll = self._polls_by_job[job_id] = self.group.of_job(job_id, self.db_name)
            self.group.polls.join(poll, self)

    def list_decides(self, job_id: str) -> None:
        """Poll a job no longer singly if the list reports its state."""
        if self.shared_list is not None and (self.needs_list or self.shared_list.used):
            self.leave_job(job_id)

    def leave_job(self, job_id: str) -> None:
        """Poll a job no longer singly."""
        poll = self._polls_by_job.pop(job_id, None)
        if poll is not None:
            self.group.polls.leave(poll, self)

    def end_job(self, job_id: str) -> None:
        """Follow a job no longer."""
        self.pending.pop(job_id, None)
        self.leave_job(job_id)

    def leave(self) -> None:
        """Follow nothing any more; requests that nobody else waits for are detached."""
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
        """Poll each job singly. The first round starts immediately, the next ones are spread."""
        now, step = self.group.polls.now(), self.group.interval / max(len(self.pending), 1)
        for index, job_id in enumerate(self.pending):
            if job_id not in self._polls_by_job:
                self.first_polls.add(job_id)
                self.poll_job(job_id)
                poll = self._polls_by_job[job_id]
                if len(self.pending) > 1 and poll.reply is None:
                    poll.slot = now + step * index

    def notify(self, poll: Poll, error: Exception | None = None) -> None:
        """Record the end of a request, and wake the watch."""
        if poll.request_sent < self._fresh_after:
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
            self.errors.append((poll, error))
        self.wake()

    def may_take(self, poll: Poll, now: float) -> bool:
        """Return whether the last reply of a poll is recent enough to start with."""
        return poll.sent >= self._fresh_after and now - poll.sent < self.group.interval

    def wake(self) -> None:
        """Let ``news`` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _join(self) -> None:
        loop = self.group.polls.enter()
        if self._loop is loop:
            return
        if self._loop is not None:
            raise RuntimeError("this watch belongs to another event loop; create a new watch")
        self._loop = loop
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
