"""The results of watch_all and wait_all: each change of many jobs, or the outcome of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NoReturn, Self

from .._errors import MilvusImportError, WaitTimeoutError, hint_of
from .._models import ImportJob, ImportProgressData, ImportState
from .._options import reject_awaitable
from ._follower import JobsFollower
from ._one import import_failed, not_ended, warn_waiting_for_commit
from ._options import last_progress
from ._time import SingleConsumer

_MAX_NOTES = 10

Outcome = ImportProgressData | MilvusImportError
"""The last progress of a completed job, or the error of any other."""


class JobsWatch(AsyncIterator[ImportJob]):
    """Each change of many jobs, until those known at the first poll have ended.

    Returned by ``ImportClient.watch_all``. Polls start only inside ``async for``. What it yields
    belongs to the caller.
    """

    def __init__(self, follower: JobsFollower) -> None:
        self._follower = follower
        self._consumer = SingleConsumer()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImportJob:
        """Return the next change of any of the jobs.

        Raises WaitTimeoutError when the timeout expires, and an error that is not retried. A job
        that the server does not have does not stop the others: its error is raised when they have
        ended. RuntimeError while another task awaits this watch.
        """
        with self._consumer:
            tracker = self._follower.tracker
            while not self._ended and not tracker.changes:
                if not self._follower.discovering and not tracker.pending:
                    self._finish()
                elif not await self._follower.next_change():
                    self._time_out()
            if self._ended and not tracker.changes:
                raise StopAsyncIteration
            return tracker.changes.popleft()

    async def aclose(self) -> None:
        """End the watch. Its polls in flight continue to their own deadlines.

        RuntimeError while another task awaits this watch.
        """
        with self._consumer:
            self._ended = True
            self._follower.tracker.changes.clear()
            self._follower.stop()

    def _finish(self) -> None:
        """End the watch; raise the errors of jobs that could not be followed, as one."""
        self._ended = True
        self._follower.stop()
        first, *others = self._follower.tracker.failed.values() or [None]
        if first is None:
            return
        for error in others[: _MAX_NOTES - 1]:
            first.add_note(f"also: {error}")
        if len(others) >= _MAX_NOTES:
            first.add_note(f"and {len(others) - _MAX_NOTES + 1} more")
        raise first

    def _time_out(self) -> NoReturn:
        follower, tracker = self._follower, self._follower.tracker
        cause = follower.last_error
        follower.stop()
        text = (
            f"no list of the import jobs arrived within {follower.limit}"
            if follower.discovering
            else f"{len(tracker.pending)} of {len(tracker.jobs)} import jobs were not finished "
            f"after {follower.limit}: {_listed(list(tracker.pending))}; the jobs continue"
        )
        if cause is None:
            raise WaitTimeoutError(text)
        text += f". The last error: {cause.message}"
        raise WaitTimeoutError(text, hint=hint_of(cause)) from cause


async def wait_for_all(
    follower: JobsFollower, on_progress: Callable[[ImportJob], object] | None
) -> dict[str, Outcome]:
    """Follow jobs until they have ended; return the last progress or the error of each."""
    warned = False
    stopped: MilvusImportError | None = None
    tracker = follower.tracker
    try:
        while tracker.pending or tracker.changes:
            while tracker.changes:
                job = tracker.changes.popleft()
                waits = job.state is ImportState.UNCOMMITTED and job.job_id in tracker.pending
                if waits and not warned:
                    warned = True
                    warn_waiting_for_commit(job.job_id)
                if on_progress is not None:
                    reject_awaitable("on_progress", on_progress(job))
            try:
                if tracker.pending and not await follower.next_change():
                    break
            except MilvusImportError as error:
                stopped = error
                break
    finally:
        follower.stop()
    return {job_id: _outcome(follower, job_id, stopped) for job_id in tracker.jobs}


def _outcome(follower: JobsFollower, job_id: str, stopped: MilvusImportError | None) -> Outcome:
    tracker = follower.tracker
    if job_id in tracker.failed:
        return tracker.failed[job_id]
    progress = last_progress(tracker.snapshots.get(job_id))
    if progress is not None and job_id not in tracker.pending:
        return import_failed(progress) if progress.state is ImportState.FAILED else progress
    if stopped is not None:
        return stopped
    seen, cause = tracker.last_state(job_id), follower.last_error
    return not_ended(job_id, seen, progress, cause, follower.limit)


def _listed(job_ids: Sequence[str]) -> str:
    more = len(job_ids) - _MAX_NOTES
    return ", ".join(job_ids[:_MAX_NOTES]) + (f" and {more} more" if more > 0 else "")
