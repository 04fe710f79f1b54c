"""Follow many jobs: watch_all and wait_all."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, Self

from .._errors import (
    CallError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
    WaitTimeoutError,
    hint_of,
)
from .._models import ImportJob, ImportProgressData, ImportState, Service
from .._options import Until, WatchSettings, has_reached, reject_awaitable
from .._services._operations import LIST_JOBS
from .._services._replies import JobRow, decode_row, sorted_ids
from ._poll import NEVER
from ._polls import REPLY_FAULTS
from ._retry import RetryPolicy
from ._watch import (
    SingleConsumer,
    TimeLimit,
    import_failed_error,
    last_progress,
    missing_job_error,
    not_ended_error,
    warn_waiting_for_commit,
)

if TYPE_CHECKING:
    from .._services._replies import JobList, Snapshot
    from ._followers import Follower
    from ._poll import Poll

_MAX_NOTES = 10

Outcome = ImportProgressData | MilvusImportError
"""The last progress of a completed job, or the error of any other."""


class FollowedJobs:
    """The last state of each job, and the changes that have not been returned yet."""

    def __init__(
        self, follower: Follower, settings: WatchSettings, *, until: Until | None = None
    ) -> None:
        """``until`` is wait_all's: where a job counts as ended; it is then polled individually."""
        self.follower = follower
        self.jobs: dict[str, ImportJob | None] = dict.fromkeys(follower.pending)
        """The last state of each job; None before the first."""
        self.changes: deque[ImportJob] = deque()
        self.failed: dict[str, MilvusImportError] = {}
        """The errors of jobs that cannot be followed any more."""
        self.snapshots: dict[str, Snapshot] = {}
        """The last full progress of each job that was polled individually."""
        self.limit: TimeLimit = TimeLimit(settings.timeout)
        self.discovering: bool = follower.needs_list
        """Whether the first list, whose jobs are followed, has not arrived yet."""
        self._settings = settings
        self._until: Until | None = until
        self._rows: dict[str, JobRow] = {}
        self._listed_ends: dict[str, ImportJob] = {}
        """The end of each job that a list has reported, until it is polled."""
        self._missing: set[str] = set()
        self._listed = NEVER
        """When the last list was requested."""
        self._polled: dict[str, float] = {}
        """When the last single poll was sent of each job that had one."""
        self._found_again: set[str] = set()
        """Jobs that were missing, and were found again."""
        self._outages: dict[str, RetryPolicy] = {}
        self._error: Exception | None = None
        """An error that is raised after the changes that arrived with it."""

    @property
    def ended(self) -> bool:
        """Whether no job is followed any more."""
        return not self.discovering and not self.follower.pending

    @property
    def last_error(self) -> MilvusImportError | None:
        """The last error that is being retried, of the list or of any job."""
        return next((p.last_error for p in self._outages.values() if p.last_error), None)

    def last_state(self, job_id: str) -> ImportJob | None:
        """Return the last state of a job from any reply; None before the first."""
        return self._listed_ends.get(job_id) or self.jobs.get(job_id)

    async def next_change(self) -> bool:
        """Wait until a job has changed or ended. Return False if the time limit has expired."""
        follower = self.follower
        while not self.changes and not self.ended:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if not await follower.receive(self.limit.remaining()):
                return False
            try:
                self._process()
            except MilvusImportError as error:
                if not self.changes:
                    raise
                self._error = error
            polled = follower.list_ended and not follower.first_polls & follower.pending.keys()
            self.limit.polled = polled and not self.discovering
        return True

    def _process(self) -> None:
        follower = self.follower
        arrived = tuple(follower.arrived)
        follower.arrived.clear()
        for poll in arrived:
            if poll.operation is LIST_JOBS:
                self._list_arrived(poll)
        for poll in arrived:
            if poll.operation is not LIST_JOBS and poll.job_id in follower.pending:
                self._reply_arrived(poll)
        while follower.errors:
            poll, error, since = follower.errors.pop(0)
            if poll.operation is LIST_JOBS:
                self._list_failed(error, since)
            elif poll.job_id in follower.pending:
                self._poll_failed(poll.job_id, error, since)

    # A list.

    def _list_arrived(self, poll: Poll) -> None:
        self._outages.pop("", None)
        self._listed = poll.sent
        follower, jobs = self.follower, poll.reply
        if self.discovering:
            self.discovering = False
            self.jobs = dict.fromkeys(sorted_ids(jobs.job_ids))
            follower.pending.update(dict.fromkeys(self.jobs))
        for job_id in tuple(follower.pending):
            if self._polled.get(job_id, NEVER) <= poll.sent:
                self._row_arrived(job_id, jobs)

    def _row_arrived(self, job_id: str, jobs: JobList) -> None:
        """Record a row. Poll a job individually that is missing, or has ended for wait_all."""
        row = jobs.row(job_id)
        if row is not None:
            changed = self._rows.get(job_id) != row or job_id in self._polled
            self._rows[job_id] = row
            if not (changed or job_id in self._listed_ends or job_id in self._outages):
                self._found(job_id)
                return
            job = decode_row(job_id, row)
            if self._until is None or not self._has_ended(job.state):
                self._forget_poll(job_id)
                self._update(job)
                return
            self._listed_ends[job_id] = job
        if not self.limit.polled:
            self.follower.first_polls.add(job_id)
        self.follower.poll_job(job_id, sent_after=self._listed)

    def _forget_poll(self, job_id: str) -> None:
        """Stop polling a job individually: the list reports its state, and is more recent."""
        self._polled.pop(job_id, None)
        self._listed_ends.pop(job_id, None)
        self._found(job_id)
        self._outages.pop(job_id, None)
        self.follower.prefer_list(job_id)

    def _list_failed(self, error: Exception, since: float) -> None:
        if isinstance(error, UnsupportedServerError) and self.discovering:
            raise error  # no service lists the jobs to follow
        self._outage("").on_error(error, since, known=not self.discovering)

    # Single polls.

    def _reply_arrived(self, poll: Poll) -> None:
        """Record a state, unless it is older than the last list. An end counts in any case."""
        job_id, snapshot = poll.job_id, poll.reply
        self._outages.pop(job_id, None)
        self._found(job_id)
        if job_id not in self._polled or not snapshot.is_same(self.snapshots.get(job_id)):
            job = snapshot.decode().job
            if poll.sent >= self._listed or self._has_ended(job.state):
                self.snapshots[job_id] = snapshot
                self._polled[job_id] = poll.sent
                self._update(job)
        elif poll.sent >= self._listed:
            self._polled[job_id] = poll.sent
        self.follower.prefer_list(job_id)

    def _poll_failed(self, job_id: str, error: Exception, since: float) -> None:
        known = self.last_state(job_id) is not None
        if isinstance(error, JobNotFoundError):
            self._outages.pop(job_id, None)
            if known and job_id not in self._missing:
                self._missing.add(job_id)
                self.follower.prefer_list(job_id)
            else:
                progress = self._last_progress(job_id, error.service or "internal")
                found_again = job_id in self._found_again
                self._end_with(job_id, missing_job_error(error, progress, found_again=found_again))
            return
        try:
            self._outage(job_id).on_error(error, since, known=known)
        except MilvusImportError as raised:
            responded = self.follower.group.polls.responded
            if raised.message != getattr(error, "message", None) or _affects_every_job(
                raised, responded=responded
            ):
                raise
            self._end_with(job_id, raised)

    def _found(self, job_id: str) -> None:
        if job_id in self._missing:
            self._missing.discard(job_id)
            self._found_again.add(job_id)

    def _outage(self, job_id: str) -> RetryPolicy:
        policy = self._outages.get(job_id)
        if policy is None:
            polls = self.follower.group.polls
            policy = self._outages[job_id] = RetryPolicy(self._settings, lambda: polls.responded)
        return policy

    def _end_with(self, job_id: str, error: MilvusImportError) -> None:
        error.job_id = job_id
        self.failed[job_id] = error.with_traceback(None)
        self.follower.end_job(job_id)

    def _has_ended(self, state: ImportState) -> bool:
        return state.done or (self._until is not None and has_reached(state, self._until))

    def _update(self, job: ImportJob) -> None:
        """Record the state of a job."""
        if job == self.jobs.get(job.job_id):
            return
        self.jobs[job.job_id] = job
        # A copy: the caller may change the object that it receives. dataclasses.replace would
        # add 10 % to the processor time of a watch of 5,000 jobs.
        self.changes.append(
            ImportJob(job.job_id, job.collection_name, job.state, job.progress, job.reason)
        )
        if self._has_ended(job.state):
            self.follower.end_job(job.job_id)

    def _last_progress(self, job_id: str, service: Service) -> ImportProgressData | None:
        """Return the last progress seen; if it was a row of a list, without the details."""
        snapshot, job = self.snapshots.get(job_id), self.last_state(job_id)
        if snapshot is not None or job is None:
            return last_progress(snapshot)
        return ImportProgressData(
            collection_name=job.collection_name,
            job_id=job_id,
            complete_time="",
            state=job.state,
            progress=job.progress,
            imported_rows=0,
            total_rows=0,
            reason=job.reason,
            file_size=0,
            details=[],
            create_time="",
            service=service,
        )

    def outcome(self, job_id: str, stopped: MilvusImportError | None) -> Outcome:
        """Return the last progress of a job that has completed, or the error of any other."""
        if job_id in self.failed:
            return self.failed[job_id]
        progress = last_progress(self.snapshots.get(job_id))
        if progress is not None and job_id not in self.follower.pending:
            failed = progress.state is ImportState.FAILED
            return import_failed_error(progress) if failed else progress
        if stopped is not None:
            return stopped
        seen = self.last_state(job_id)
        return not_ended_error(job_id, seen, progress, self.last_error, self.limit)


class JobsWatch(AsyncIterator[ImportJob]):
    """Each change of many jobs, until those known at the first poll have ended.

    Returned by ``ImportClient.watch_all``. Polls start only inside ``async for``. What it yields
    belongs to the caller.
    """

    def __init__(self, jobs: FollowedJobs) -> None:
        self._jobs = jobs
        self._consumer = SingleConsumer()
        self._ended = False

    def __del__(self) -> None:
        self._jobs.follower.leave_later()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImportJob:
        """Return the next change of any of the jobs.

        Raises WaitTimeoutError when the timeout expires, and an error that is not retried. A job
        that the server does not have does not stop the others: its error is raised when they have
        ended. RuntimeError while another task awaits this watch.
        """
        with self._consumer:
            jobs = self._jobs
            if not self._ended and not await jobs.next_change():
                self._time_out()
            if jobs.changes:
                return jobs.changes.popleft()
            if not self._ended:
                self._finish()
            raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the watch. Its polls in flight continue to their own deadlines.

        RuntimeError while another task awaits this watch.
        """
        with self._consumer:
            self._jobs.changes.clear()
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._jobs.follower.leave()

    def _finish(self) -> None:
        """End the watch; raise the errors of jobs that could not be followed, as one."""
        self._end()
        failed = self._jobs.failed
        errors = [failed[job_id] for job_id in self._jobs.jobs if job_id in failed]
        if not errors:
            return
        first, *others = errors
        for error in others[: _MAX_NOTES - 1]:
            first.add_note(f"also: {error}")
        if len(others) >= _MAX_NOTES:
            first.add_note(f"and {len(others) - _MAX_NOTES + 1} more")
        raise first

    def _time_out(self) -> NoReturn:
        jobs = self._jobs
        cause, pending = jobs.last_error, list(jobs.follower.pending)
        text = (
            f"no list of the import jobs arrived within {jobs.limit}"
            if jobs.discovering
            else f"{len(pending)} of {len(jobs.jobs)} import jobs were not finished "
            f"after {jobs.limit}: {_joined(pending)}; the jobs continue"
        )
        if cause is None:
            raise WaitTimeoutError(text)
        text += f". The last error: {cause.message}"
        raise WaitTimeoutError(text, hint=hint_of(cause)) from cause


async def wait_for_all(
    jobs: FollowedJobs, on_progress: Callable[[ImportJob], object] | None
) -> dict[str, Outcome]:
    """Follow jobs until they have ended; return the last progress or the error of each."""
    warned = False
    stopped: MilvusImportError | None = None
    pending = jobs.follower.pending
    try:
        while pending or jobs.changes:
            while jobs.changes:
                job = jobs.changes.popleft()
                waits = job.state is ImportState.UNCOMMITTED and job.job_id in pending
                if waits and not warned:
                    warned = True
                    warn_waiting_for_commit(job.job_id)
                if on_progress is not None:
                    reject_awaitable("on_progress", on_progress(job))
            try:
                if pending and not await jobs.next_change():
                    break
            except MilvusImportError as error:
                stopped = error.with_traceback(None)
                break
    finally:
        jobs.follower.leave()
    return {job_id: jobs.outcome(job_id, stopped) for job_id in jobs.jobs}


def _affects_every_job(error: MilvusImportError, *, responded: bool) -> bool:
    """Return whether the error of one poll would be that of every other poll."""
    if isinstance(error, MilvusStatusError):
        return False
    if isinstance(error, CallError) and error.code in REPLY_FAULTS:
        return False
    return not error.transient or (not responded and error.outage is None)


def _joined(job_ids: Sequence[str]) -> str:
    more = len(job_ids) - _MAX_NOTES
    return ", ".join(job_ids[:_MAX_NOTES]) + (f" and {more} more" if more > 0 else "")
