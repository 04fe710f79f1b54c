"""Follow many jobs: one list RPC per interval if the server has it, else independent polls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import grpc

from .._connection._pauses import consume_exception, wake
from .._errors import (
    CallError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
)
from .._options import Until, WatchSettings
from .._services._replies import Snapshot
from .._services._rows import JobRow, sorted_ids
from ._options import Source
from ._outage import OutagePolicy
from ._polls import Polls
from ._time import TimeLimit
from ._tracker import JobTracker

# A reply that is too large, could not be parsed, or could not be marshalled by the server.
_REPLY_FAULTS = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN}
)


class JobsFollower:
    """Polls the jobs and updates the tracker."""

    def __init__(
        self,
        source: Source,
        job_ids: Sequence[str] | None,
        settings: WatchSettings,
        *,
        until: Until | None = None,
    ) -> None:
        """Create a follower of ``job_ids``, or of the jobs of the first list if that is None.

        ``until`` is ``wait_all``'s: where a job counts as ended, and is then fetched in full.
        """
        self.tracker: JobTracker = JobTracker(job_ids or (), until)
        self.limit: TimeLimit = TimeLimit(settings.timeout)
        self.discovering: bool = job_ids is None
        self._source = source
        self._settings = settings
        self._fetches_full_progress = until is not None
        self._list_outage = OutagePolicy(settings, source.responded)
        self._outages: dict[str, OutagePolicy] = {}
        self._polls = Polls(self._fetch, settings.interval, self._wake_up)
        self._uses_list = True
        self._requested_ids = False
        self._list_succeeded = False
        self._unimplemented = 0
        self._list_due = 0.0
        self._list_started = 0.0
        self._list_task: asyncio.Task[dict[str, JobRow] | list[str]] | None = None
        self._slots: dict[str, float] = {}
        self._list_attempted = False
        self._first_polls: set[str] = set()
        """Jobs whose first poll has not returned yet."""
        self._error: MilvusImportError | None = None
        """An error that is raised after the changes that arrived with it."""
        self._waiter: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def last_error(self) -> MilvusImportError | None:
        """The last error that is being retried, of the list or of any job."""
        errors = [policy.last_error for policy in (self._list_outage, *self._outages.values())]
        return next((error for error in errors if error is not None), None)

    async def next_change(self) -> bool:
        """Wait for the next response and process it. Return False if the time limit has expired."""
        self._enter_loop()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        while True:
            if self._process():
                return True
            next_due = self._start_due()
            remaining = self.limit.remaining()
            now = asyncio.get_running_loop().time()
            if remaining is not None:
                if remaining <= 0:
                    return False
                next_due = min(next_due, now + remaining)
            await self._wait(next_due - now)

    def stop(self) -> None:
        """Stop polling; RPCs in flight are detached and continue to their own deadlines."""
        self._polls.cancel()
        if self._list_task is not None:
            self._list_task.cancel()
            self._list_task = None

    def _enter_loop(self) -> None:
        """Use the running event loop. The polls of an earlier one are scheduled again."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None:
            for job_id in self._polls.abandon():
                self._polls.schedule(job_id, loop.time())
            self._list_task = self._waiter = None
        self._loop = loop

    def _start_due(self) -> float:
        """Start the polls that are due; return when the next one is due."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        next_due = self._polls.start_due(now, self.tracker.pending)
        if not self._uses_list or self._list_task is not None:
            return next_due
        if self._list_due <= now:
            self._list_started, self._list_due = now, now + self._settings.interval
            wanted = None if self.discovering else self.tracker.pending
            self._requested_ids = False
            self._list_task = loop.create_task(self._source.fetch_rows(wanted))
            self._list_task.add_done_callback(self._list_ended)
            return next_due
        return min(next_due, self._list_due)

    def _list_ended(self, task: asyncio.Task[dict[str, JobRow] | list[str]]) -> None:
        consume_exception(task)
        self._wake_up()

    def _wake_up(self) -> None:
        if self._waiter is not None:
            wake(self._waiter)

    async def _wait(self, seconds: float) -> None:
        """Wait for a response, for at most ``seconds``, or until the client is closed."""
        waiter = self._waiter = self._source.pauses.waiter()
        loop = waiter.get_loop()
        timer = None if seconds == float("inf") else loop.call_later(max(seconds, 0), wake, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            self._source.pauses.discard(waiter)
            if timer is not None:
                timer.cancel()

    def _process(self) -> bool:
        """Process the responses. Return whether a change or the end of a job was recorded."""
        try:
            self._process_arrived()
        except MilvusImportError as error:
            if not self.tracker.changes:
                raise
            self._error = error
        if self._list_attempted and not self._first_polls & self.tracker.pending.keys():
            self.limit.polled = True
        if not self.discovering and not self.tracker.pending:
            return True
        return bool(self.tracker.changes)

    def _process_arrived(self) -> None:
        task = self._list_task
        if task is not None and task.done():
            self._list_task = None
            if not task.cancelled():
                self._list_arrived(task)
        while self._polls.finished:
            job_id, started, poll = self._polls.finished.popleft()
            try:
                self._poll_arrived(job_id, started, poll)
            except BaseException:  # raised by a callback or an interceptor, or for all jobs
                due = asyncio.get_running_loop().time() + self._settings.interval
                self._polls.schedule(job_id, due)  # if the watch is continued
                raise

    # The list.

    def _list_arrived(self, task: asyncio.Task[dict[str, JobRow] | list[str]]) -> None:
        try:
            rows = task.result()
        except UnsupportedServerError as error:
            self._list_unimplemented(error)
            return
        except MilvusImportError as error:
            self._list_failed(error)
            return
        self._list_outage.on_success()
        if isinstance(rows, list):
            self._follow_jobs(rows)
            self._switch_to_polls()
            return
        self._unimplemented = 0
        if self.discovering:
            self._follow_jobs(sorted_ids(rows))
        for job_id in tuple(self.tracker.pending):
            self._row_arrived(job_id, rows.get(job_id))
        self._list_succeeded = self._list_attempted = True

    def _row_arrived(self, job_id: str, row: JobRow | None) -> None:
        """Record a row. A job that is missing, or has ended and is fetched in full, is polled."""
        if row is not None:
            job = self.tracker.row_changed(job_id, row)
            if job is None or not (self._fetches_full_progress and self.tracker.ended(job.state)):
                self.tracker.record_found(job_id)
                if job is not None:
                    self.tracker.update(job)
                return
            self.tracker.record_listed_end(job)
        if not self._list_succeeded:
            self._first_polls.add(job_id)
        self._polls.schedule(job_id, asyncio.get_running_loop().time())

    def _list_unimplemented(self, error: UnsupportedServerError) -> None:
        """Poll the jobs one by one; if the list has worked, only after a second such response."""
        if self._requested_ids:
            raise error  # no service lists the jobs to follow
        self._unimplemented += 1
        if self._list_succeeded and self._unimplemented == 1:
            self._list_due = self._retry_list(error)
        else:
            self._switch_to_polls()

    def _list_failed(self, error: MilvusImportError) -> None:
        fault = isinstance(error, CallError) and error.code in _REPLY_FAULTS
        if fault and not error.transient and not self.discovering:
            self._switch_to_polls()  # one row that is not valid must not end the other jobs
            return
        self._list_due = self._retry_list(error)

    def _retry_list(self, error: MilvusImportError) -> float:
        self._list_attempted = True
        delay = self._list_outage.on_error(error, self._list_started)
        return asyncio.get_running_loop().time() + delay

    def _follow_jobs(self, job_ids: Iterable[str]) -> None:
        """Follow the jobs of the first list."""
        self.discovering = False
        self.tracker.jobs = dict.fromkeys(job_ids)
        self.tracker.pending = dict.fromkeys(self.tracker.jobs)

    # Polls of single jobs.

    def _switch_to_polls(self) -> None:
        """Give each job its own slot in the interval. The first round starts immediately."""
        loop = asyncio.get_running_loop()
        if self.discovering:  # the ids first, from a service that lists only them
            self._requested_ids = True
            self._list_task = loop.create_task(self._source.list_job_ids())
            self._list_task.add_done_callback(self._list_ended)
            return
        self._uses_list, self._list_attempted = False, True
        now = loop.time()
        step = self._settings.interval / max(len(self.tracker.pending), 1)
        for index, job_id in enumerate(self.tracker.pending):
            self._slots[job_id] = now + step * index
            self._polls.schedule(job_id, now)
        self._first_polls.update(self.tracker.pending)

    async def _fetch(self, job_id: str) -> Snapshot:
        return await self._source.fetch(job_id, self.tracker.snapshots.get(job_id))

    def _poll_arrived(self, job_id: str, started: float, task: asyncio.Task[Snapshot]) -> None:
        tracker = self.tracker
        self._first_polls.discard(job_id)
        if job_id not in tracker.pending:
            return
        try:
            snapshot = task.result()
        except JobNotFoundError as error:
            self._outages.pop(job_id, None)
            tracker.record_missing(job_id, error)
            due = self._next_poll(job_id, started)
        except MilvusImportError as error:
            due = self._poll_failed(job_id, error, started)
        else:
            self._outages.pop(job_id, None)
            tracker.record_found(job_id)
            if snapshot is not tracker.snapshots.get(job_id):
                tracker.snapshots[job_id] = snapshot
                tracker.update(snapshot.decode().job)
            due = self._next_poll(job_id, started)
        if due is not None and job_id in tracker.pending:
            self._polls.schedule(job_id, due)

    def _poll_failed(self, job_id: str, error: MilvusImportError, started: float) -> float | None:
        """Return when the job is polled again; None if the error ends the following of this job."""
        self._slots.pop(job_id, None)
        policy = self._outages.get(job_id) or OutagePolicy(self._settings, self._source.responded)
        try:
            delay = policy.on_error(error, started)
        except MilvusImportError as raised:
            if raised is not error or _affects_every_job(error, responded=self._source.responded()):
                raise
            self.tracker.record_error(job_id, error)
            return None
        self._outages[job_id] = policy
        return asyncio.get_running_loop().time() + delay

    def _next_poll(self, job_id: str, started: float) -> float | None:
        """Return when the job is polled next; None if the list decides.

        The first round is a burst; from then on each job has its own slot of the interval.
        """
        if self._uses_list:
            return None
        return self._slots.pop(job_id, started) + self._settings.interval


def _affects_every_job(error: MilvusImportError, *, responded: bool) -> bool:
    """Return whether the error of one poll would be that of every other poll."""
    if isinstance(error, MilvusStatusError):
        return False
    if isinstance(error, CallError) and error.code in _REPLY_FAULTS:
        return False
    return not error.transient or (not responded and error.outage is None)
