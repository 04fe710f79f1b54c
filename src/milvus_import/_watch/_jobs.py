"""What is known of the jobs that a watch follows: their changes, their outages and how they end."""

from __future__ import annotations

import copy
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from .._connection._base import running_loop
from .._errors import (
    CallError,
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
    WaitTimeoutError,
    hint_of,
    quote,
    set_hint,
)
from .._failures._complete import cloud_hint
from .._failures._statuses import failed_job_hint
from .._hints import Hint
from .._models import ImportJob, ImportProgressData, ImportState, Service
from .._options import has_reached
from .._services._operations import LIST_JOBS
from .._services._replies import JobRow, decode_row, sorted_ids
from ._poll import NEVER
from ._polls import REPLY_FAULTS
from ._retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._options import Until, WatchSettings
    from .._services._replies import Snapshot
    from ._followers import Follower
    from ._poll import Poll

logger = logging.getLogger("milvus_import")

_MOST_NAMED = 10
"""The number of jobs or files that a message names."""

Outcome = ImportProgressData | MilvusImportError
"""The last progress of a completed job, or the error of any other."""


class TimeLimit:
    """How long a method may take, from its first poll on.

    A limit of 0 lets the first poll of each job run to its end.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline: float | None = None
        self.polled = False
        """Whether each job has been polled once."""

    def remaining(self) -> float | None:
        """Return the seconds that remain; None if there is no limit (yet)."""
        if self._seconds == float("inf") or (self._seconds <= 0 and not self.polled):
            return None
        now = running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._seconds
        return max(0.0, self._deadline - now)

    def __str__(self) -> str:
        return f"{max(self._seconds, 0.0):g} s"


class FollowedJob:
    """What is known of one job."""

    __slots__ = (
        *("error", "found_again", "job_id", "listed_end", "missing", "outage", "polled"),
        *("row", "snapshot", "state"),
    )

    def __init__(self, job_id: str, outage: RetryPolicy) -> None:
        self.job_id = job_id
        self.outage = outage
        self.state: ImportJob | None = None
        """The last state; None before the first."""
        self.snapshot: Snapshot | None = None
        """The last full progress, if the job was polled individually."""
        self.polled = NEVER
        """When that progress arrived; NEVER if a list is newer."""
        self.row: JobRow | None = None
        """The last row of a list."""
        self.listed_end: ImportJob | None = None
        """The final state that a list reported; None once a single poll has confirmed it."""
        self.missing: bool = False
        """Whether the last poll did not find the job, which was known."""
        self.found_again: bool = False
        """Whether the job was missing, and was found again."""
        self.error: MilvusImportError | None = None
        """Why it cannot be followed any more."""

    @property
    def seen(self) -> ImportJob | None:
        """The last state of any reply; None before the first."""
        return self.listed_end or self.state

    def found(self) -> None:
        """Record that the server has the job."""
        self.found_again |= self.missing
        self.missing = False

    def progress(self) -> ImportProgressData | None:
        """Return the last progress, decoded again: the caller may have changed the last object."""
        return None if self.snapshot is None else self.snapshot.decode()

    def last_progress(self, service: Service) -> ImportProgressData | None:
        """Return the last progress seen; if it was a row of a list, without the details."""
        seen = self.seen
        if self.snapshot is not None or seen is None:
            return self.progress()
        name, id_, state, percent = seen.collection_name, seen.job_id, seen.state, seen.progress
        # Without times, rows, sizes and files.
        return ImportProgressData(
            name, id_, "", state, percent, 0, 0, seen.reason, 0, [], "", service
        )


class FollowedJobs:
    """The jobs of a watch, and the changes that have not been returned yet."""

    def __init__(
        self,
        follower: Follower,
        settings: WatchSettings,
        *,
        until: Until | None = None,
        detailed: bool = False,
    ) -> None:
        """``until`` is that of a wait: only a single poll ends a job, when it has reached it.

        ``detailed``: a change is any new ImportProgressData of a single poll, not an ImportJob.
        """
        self.follower = follower
        self.changes: deque[Any] = deque()
        self.limit: TimeLimit = TimeLimit(settings.timeout)
        self.discovering: bool = follower.needs_list
        """Whether the first list, whose jobs are followed, has not arrived yet."""
        self._settings = settings
        self._until: Until | None = until
        self._detailed = detailed
        self.jobs: dict[str, FollowedJob] = {}
        self._add(follower.pending)
        self._listed = NEVER
        """When the last list arrived. Of two replies in flight at the same time, either may be the
        older one: the second to arrive is ignored."""
        self._list_outage = self._outage()
        self._warned = False
        self._errors: list[MilvusImportError] = []
        """An error that is raised after the changes that arrived with it."""

    @property
    def ended(self) -> bool:
        """Whether no job is followed any more."""
        return not self.discovering and not self.follower.pending

    @property
    def last_error(self) -> MilvusImportError | None:
        """The last error that is being retried, of the list or of any job."""
        errors = (job.outage.last_error for job in self.jobs.values())
        return self._list_outage.last_error or next(filter(None, errors), None)

    async def next_change(self) -> bool:
        """Wait for a change. Return False if the jobs have ended or the time limit has expired."""
        follower = self.follower
        while not self.changes and not self.ended:
            if self._errors:
                raise self._errors.pop()
            if not await follower.receive(self.limit.remaining()):
                return False
            try:
                self._process()
            except MilvusImportError as error:
                if not self.changes:
                    raise
                self._errors.append(error.with_traceback(None))
            polled = follower.list_ended and not follower.first_polls & follower.pending.keys()
            self.limit.polled = polled and not self.discovering
        return bool(self.changes)

    def _add(self, job_ids: Sequence[str] | dict[str, None]) -> None:
        for job_id in job_ids:
            self.jobs[job_id] = FollowedJob(job_id, self._outage())

    def _outage(self) -> RetryPolicy:
        return RetryPolicy(self._settings, self.follower.group.polls)

    def _process(self) -> None:
        follower = self.follower
        arrived = tuple(follower.arrived)
        follower.arrived.clear()
        for poll in arrived:
            if poll.operation is LIST_JOBS:
                self._list_arrived(poll)
        for poll in arrived:
            if poll.job_id in follower.pending:
                self._reply_arrived(self.jobs[poll.job_id], poll)
        while follower.errors:
            poll, error, since = follower.errors.pop(0)
            if poll.operation is LIST_JOBS:
                self._list_failed(error, since)
            elif poll.job_id in follower.pending:
                self._poll_failed(self.jobs[poll.job_id], error, since)

    def _list_arrived(self, poll: Poll) -> None:
        self._list_outage.on_success()
        self._listed = poll.received
        follower, rows = self.follower, poll.reply
        if self.discovering:
            self.discovering = False
            self._add(sorted_ids(rows.job_ids))
            follower.pending.update(dict.fromkeys(self.jobs))
        for job_id in tuple(follower.pending):
            job, row = self.jobs[job_id], rows.row(job_id)
            # Most rows are unchanged. Calling no function for them saves processor time.
            news = row != job.row or row is None or job.polled != NEVER or job.missing
            if (news or job.listed_end or job.outage.last_error) and job.polled <= poll.sent:
                self._row_arrived(job, row)

    def _row_arrived(self, job: FollowedJob, row: JobRow | None) -> None:
        """Record a row. Poll a job individually that is missing, or has ended for a wait."""
        if row is not None:
            job.row = row
            state = decode_row(job.job_id, row)
            if self._until is None or not self._has_ended(state.state):
                job.polled, job.listed_end = NEVER, None
                job.found()
                job.outage.on_success()
                self.follower.prefer_list(job.job_id)
                self._update(job, state)
                return
            job.listed_end = state
        if not self.limit.polled:
            self.follower.first_polls.add(job.job_id)
        self.follower.poll_job(job.job_id, sent_after=self._listed)

    def _list_failed(self, error: Exception, since: float) -> None:
        if isinstance(error, UnsupportedServerError) and self.discovering:
            raise error  # no service lists the jobs to follow
        self._list_outage.on_error(error, since, known=not self.discovering)

    def _reply_arrived(self, job: FollowedJob, poll: Poll) -> None:
        """Record a state, unless it is older than the last list. A final state always is."""
        snapshot: Snapshot = poll.reply
        job.outage.on_success()
        job.found()
        is_same = snapshot.is_same(job.snapshot)
        if not is_same or job.polled == NEVER:
            progress = snapshot.decode()
            state = progress.job
            if poll.sent >= self._listed or state.state.done:
                job.snapshot, job.polled = snapshot, poll.received
                if self._detailed and not is_same:
                    self.changes.append(progress)
                self._update(job, state)
        elif poll.sent >= self._listed:
            job.polled = poll.received
        self.follower.prefer_list(job.job_id)

    def _poll_failed(self, job: FollowedJob, error: Exception, since: float) -> None:
        """Record the error of a poll. A known job must be missing twice in a row."""
        known = job.seen is not None
        if isinstance(error, JobNotFoundError):
            job.outage.on_success()
            if known and not job.missing:
                job.missing = True
                self.follower.prefer_list(job.job_id)
            else:
                self._end_with(job, _missing_job_error(job, error))
            return
        try:
            job.outage.on_error(error, since, known=known)
        except MilvusImportError as raised:
            responded = self.follower.group.polls.responded
            if raised.message != getattr(error, "message", None) or _affects_every_job(
                raised, responded=responded
            ):
                raise
            self._end_with(job, raised)

    def _end_with(self, job: FollowedJob, error: MilvusImportError) -> None:
        """Stop following a job because of an error, or raise that: a watch may be continued."""
        error.job_id = job.job_id
        try:
            if self._detailed:
                raise error
            job.error = error.with_traceback(None)
            self.follower.end_job(job.job_id)
        finally:
            del error

    def _has_ended(self, state: ImportState) -> bool:
        return state.done or (self._until is not None and has_reached(state, self._until))

    def _update(self, job: FollowedJob, state: ImportJob) -> None:
        """Record a state."""
        if state == job.state:
            return
        job.state = state
        if not self._detailed:
            # A copy: the caller may change the object that it receives. dataclasses.replace would
            # add 10 % to the processor time of a watch of 5,000 jobs.
            self.changes.append(
                ImportJob(
                    state.job_id, state.collection_name, state.state, state.progress, state.reason
                )
            )
        if self._has_ended(state.state):
            self.follower.end_job(job.job_id)
        elif state.state is ImportState.UNCOMMITTED and self._until and not self._warned:
            self._warned = True
            logger.warning(
                "import job %s is Uncommitted: call commit_import (service='rest'), or pass "
                "until='uncommitted' to return in this state",
                job.job_id,
            )

    def outcome(self, job: FollowedJob, stopped: MilvusImportError | None) -> Outcome:
        """Return the last progress of a job that has completed, or the error of any other.

        ``stopped``: the error that ended the wait for all jobs.
        """
        if job.error is not None:
            return job.error
        progress = job.progress()
        if progress is not None and job.job_id not in self.follower.pending:
            failed = progress.state is ImportState.FAILED
            return import_failed_error(progress) if failed else progress
        return stopped or self._not_ended_error(job)

    def raise_ending_error(self) -> None:
        """Raise the error of the jobs that could not be followed, or that have not ended."""
        errors: list[MilvusImportError] = [] if self.ended else [self._time_limit_error()]
        if self.ended:
            errors += [job.error for job in self.jobs.values() if job.error is not None]
            self.jobs = {}
        for error in errors[1:_MOST_NAMED]:
            errors[0].add_note(f"also: {error}")
        if len(errors) > _MOST_NAMED:
            errors[0].add_note(f"and {len(errors) - _MOST_NAMED} more")
        while errors:
            raise errors.pop(0)  # no frame holds it, or they would form a reference cycle

    def _time_limit_error(self) -> WaitTimeoutError:
        if self._detailed:
            return self._not_ended_error(*self.jobs.values())
        pending = list(self.follower.pending)
        more = len(pending) - _MOST_NAMED
        names = ", ".join(pending[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        text = (
            f"no list of the import jobs arrived within {self.limit}"
            if self.discovering
            else f"{len(pending)} of {len(self.jobs)} import jobs were not finished "
            f"after {self.limit}: {names}; the jobs continue"
        )
        return self._timeout_error(text)

    def _not_ended_error(self, job: FollowedJob) -> WaitTimeoutError:
        last = job.seen
        state = (
            f"its last state was {last.state} at {last.progress} %" if last else "no response yet"
        )
        text = f"import job {job.job_id} was not finished after {self.limit}; {state}; "
        return self._timeout_error(f"{text}the job continues", job.progress(), job.job_id)

    def _timeout_error(
        self, text: str, progress: ImportProgressData | None = None, job_id: str | None = None
    ) -> WaitTimeoutError:
        cause = self.last_error
        error = WaitTimeoutError(
            text if cause is None else f"{text}. The last error: {cause.message}",
            progress=progress,
            job_id=job_id,
            hint=None if cause is None else hint_of(cause),
        )
        error.__cause__ = cause
        return error


def _missing_job_error(job: FollowedJob, error: JobNotFoundError) -> JobNotFoundError:
    """Return a copy of the error for one follower, with the last progress that it saw."""
    copied = copy.copy(error)
    copied.progress = job.last_progress(error.service or "internal")
    if job.found_again:
        set_hint(copied, Hint.SEVERAL_SERVERS)
    return copied


def import_failed_error(progress: ImportProgressData) -> ImportFailedError:
    """Return the error of a failed job, with its reason and those of its files."""
    reasons = [progress.reason] if progress.reason else []
    failed = [detail for detail in progress.details if detail.reason]
    for detail in failed[:_MOST_NAMED]:
        if not any(detail.reason in known for known in reasons):
            reasons.append(f"{detail.file_name} {detail.reason}")
    if len(failed) > _MOST_NAMED:
        reasons.append(f"and {len(failed) - _MOST_NAMED} more files")
    text = "; ".join(quote(reason) for reason in reasons) or "no reason given"
    hints = (failed_job_hint(reason) for reason in reasons)
    hint = next((hint for hint in hints if hint is not None), None)
    return ImportFailedError(
        f"import job {progress.job_id} failed: {text}",
        progress=progress,
        hint=cloud_hint(hint, progress.service, "", responded=True),
    )


def _affects_every_job(error: MilvusImportError, *, responded: bool) -> bool:
    """Return whether the error of one poll would be that of every other poll."""
    if isinstance(error, MilvusStatusError):
        return False
    if isinstance(error, CallError) and error.code in REPLY_FAULTS:
        return False
    return not error.transient or (not responded and error.outage is None)
