"""Follow one job: watch and wait."""

from __future__ import annotations

import copy
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, NoReturn, Self

from .._connection._lazy import running_loop
from .._errors import (
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    WaitTimeoutError,
    hint_of,
    set_hint,
)
from .._failures._complete import cloud_hint
from .._failures._milvus import failed_job_hint
from .._hints import Hint
from .._models import ImportJob, ImportProgressData, ImportState
from .._options import Until, WatchSettings, has_reached, reject_awaitable
from .._services._operations import LIST_JOBS
from .._services._replies import decode_row
from .._text import quote
from ._poll import NEVER
from ._retry import RetryPolicy

if TYPE_CHECKING:
    from .._services._replies import JobList, Snapshot
    from ._followers import Follower
    from ._poll import Poll

logger = logging.getLogger("milvus_import")

_MAX_REASONS = 10


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


class SingleConsumer:
    """Raises RuntimeError if two tasks iterate at the same time, as an async generator does."""

    _taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise RuntimeError("another task is awaiting this watch: create one watch per task")
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


class ImportWatch(AsyncIterator[ImportProgressData]):
    """Each change of a job's progress, ending with the first Completed or Failed.

    Returned by ``ImportClient.watch``. It polls only inside ``async for``. What it yields belongs
    to the caller.
    """

    def __init__(
        self,
        job_id: str,
        follower: Follower,
        settings: WatchSettings,
        until: Until | None = None,
    ) -> None:
        """``until`` is that of a wait for which the rows of a list suffice until the job ends."""
        self._job_id = job_id
        self._follower = follower
        self._until: Until | None = until
        polls = follower.group.polls
        self._outage = RetryPolicy(settings, lambda: polls.responded)
        self._list_outage = RetryPolicy(settings, lambda: polls.responded)
        self._limit = TimeLimit(settings.timeout)
        self._consumer = SingleConsumer()
        self._last: Snapshot | None = None
        self._polled = NEVER
        """When the last single poll was sent that had a reply."""
        self._row: ImportJob | None = None
        """The state in the last list, if that is newer."""
        self._ended = False
        self._missing = False
        self._warned = False
        self._found_again = False
        """Whether the job was missing, and was found again."""

    def __del__(self) -> None:
        self._follower.leave_later()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImportProgressData:
        """Return the next change.

        Raises WaitTimeoutError when the timeout expires, JobNotFoundError, and the last error if
        it is not retried; RuntimeError while another task awaits this watch.
        """
        with self._consumer:
            while not self._ended:
                progress = await self._next()
                if progress is not None:
                    if progress.done:
                        self._end()
                    return progress
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the watch; ``__anext__`` then raises StopAsyncIteration.

        RuntimeError while another task awaits this watch.
        """
        with self._consumer:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._follower.leave()

    async def _next(self) -> ImportProgressData | None:
        """Process what arrives next. Return None if nothing changed or the error is retried."""
        follower = self._follower
        if not await follower.receive(self._limit.remaining()):
            self._time_out()
        self._limit.polled = True
        while follower.errors:
            self._failed(*follower.errors.pop(0))
        progress = None
        for poll in tuple(follower.arrived):
            follower.arrived.pop(poll, None)
            if poll.operation is LIST_JOBS:
                self._list_arrived(poll)
            else:
                progress = self._reply_arrived(poll)
        return progress

    def _reply_arrived(self, poll: Poll) -> ImportProgressData | None:
        snapshot: Snapshot = poll.reply
        self._polled = poll.sent
        self._outage.on_success()
        self._found_again |= self._missing
        self._missing = False
        self._row = None
        if self._until is not None:
            self._follower.prefer_list(self._job_id)
        if snapshot.is_same(self._last):
            return None
        self._last = snapshot
        return snapshot.decode()

    def _list_arrived(self, poll: Poll) -> None:
        """Record the state. A job that has ended, or is missing, is polled individually."""
        self._list_outage.on_success()
        if poll.sent < self._polled:
            return
        jobs: JobList = poll.reply
        row = jobs.row(self._job_id)
        until: Until = self._until or "completed"
        if row is not None:
            self._row = decode_row(self._job_id, row)
            state = self._row.state
            if not state.done and not has_reached(state, until):
                self._outage.on_success()
                self._found_again |= self._missing
                self._missing = False
                self._follower.prefer_list(self._job_id)
                if state is ImportState.UNCOMMITTED and not self._warned:
                    self._warned = True
                    warn_waiting_for_commit(self._job_id)
                return
        self._follower.poll_job(self._job_id, sent_after=poll.sent)

    def _failed(self, poll: Poll, error: Exception, since: float) -> None:
        """Return if the error is retried. A known job must be missing twice in a row."""
        if not isinstance(error, JobNotFoundError):
            outage = self._list_outage if poll.operation is LIST_JOBS else self._outage
            outage.on_error(error, since, known=bool(self._last or self._row))
            return
        if (self._last is None and self._row is None) or self._missing:
            raise missing_job_error(error, last_progress(self._last), found_again=self._found_again)
        self._missing = True
        self._outage.on_success()
        if self._until is not None:
            self._follower.prefer_list(self._job_id)

    def _time_out(self) -> NoReturn:
        cause = self._outage.last_error or self._list_outage.last_error
        progress = last_progress(self._last)
        seen = self._row or progress
        raise not_ended_error(self._job_id, seen, progress, cause, self._limit) from cause


async def wait_for(
    watch: ImportWatch, until: Until, on_progress: Callable[[ImportProgressData], object] | None
) -> ImportProgressData:
    """Follow a watch until the job has reached ``until``."""
    warned = False
    try:
        async for progress in watch:
            failed = progress.state is ImportState.FAILED
            reached, waits = has_reached(progress.state, until), progress.state
            error = import_failed_error(progress) if failed else None
            if on_progress is not None:
                reject_awaitable("on_progress", on_progress(progress))
            if error is not None:
                raise error
            if reached:
                return progress
            if waits is ImportState.UNCOMMITTED and not warned:
                warned = True
                warn_waiting_for_commit(progress.job_id)
    finally:
        await watch.aclose()
    raise AssertionError("a watch ends only after Completed or Failed")


def last_progress(snapshot: Snapshot | None) -> ImportProgressData | None:
    """Return the last progress, decoded again: the caller may have changed the last object."""
    return None if snapshot is None else snapshot.decode()


def warn_waiting_for_commit(job_id: str) -> None:
    """Log why this wait may never end."""
    logger.warning(
        "import job %s is Uncommitted: call commit_import (service='rest'), or pass "
        "until='uncommitted' to return in this state",
        job_id,
    )


def missing_job_error(
    error: JobNotFoundError, progress: ImportProgressData | None, *, found_again: bool
) -> JobNotFoundError:
    """Return a copy of the error for one follower, with the last progress that it saw.

    ``found_again``: the job was missing before, and was found again.
    """
    copied = copy.copy(error)
    copied.progress = progress
    if found_again:
        set_hint(copied, Hint.SEVERAL_SERVERS)
    return copied


def not_ended_error(
    job_id: str,
    seen: ImportProgressData | ImportJob | None,
    progress: ImportProgressData | None,
    cause: MilvusImportError | None,
    limit: TimeLimit,
) -> WaitTimeoutError:
    """Return the error of a job that was still running when the timeout expired."""
    state = f"its last state was {seen.state} at {seen.progress} %" if seen else "no response yet"
    why = f". The last error: {cause.message}" if cause else ""
    return WaitTimeoutError(
        f"import job {job_id} was not finished after {limit}; {state}; the job continues{why}",
        progress=progress,
        job_id=job_id,
        hint=None if cause is None else hint_of(cause),
    )


def import_failed_error(progress: ImportProgressData) -> ImportFailedError:
    """Return the error of a failed job, with its reason and those of its files."""
    reasons = [progress.reason] if progress.reason else []
    failed = [detail for detail in progress.details if detail.reason]
    for detail in failed[:_MAX_REASONS]:
        if not any(detail.reason in known for known in reasons):
            reasons.append(f"{detail.file_name} {detail.reason}")
    if len(failed) > _MAX_REASONS:
        reasons.append(f"and {len(failed) - _MAX_REASONS} more files")
    text = "; ".join(quote(reason) for reason in reasons) or "no reason given"
    hints = (failed_job_hint(reason) for reason in reasons)
    hint = next((hint for hint in hints if hint is not None), None)
    return ImportFailedError(
        f"import job {progress.job_id} failed: {text}",
        progress=progress,
        hint=cloud_hint(hint, progress.service, "", responded=True),
    )
