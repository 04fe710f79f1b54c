"""Watches, which iterate over the changes of jobs, and waits, which follow jobs to their end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Self, TypeVar

from .._errors import MilvusImportError
from .._models import ImportJob, ImportProgressData
from .._options import reject_awaitable

if TYPE_CHECKING:
    from ._jobs import FollowedJobs, Outcome

_ChangeT = TypeVar("_ChangeT")


class _Watch(AsyncIterator[_ChangeT]):
    """Each change of the followed jobs. It polls only while it is awaited."""

    def __init__(self, jobs: FollowedJobs) -> None:
        self._jobs = jobs
        self._ended = False
        self._awaited = False

    def __del__(self) -> None:
        self._jobs.follower.leave_later()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _ChangeT:
        """Return the next change.

        Raises WaitTimeoutError when the timeout expires, any error that is not retried, and
        RuntimeError if another task is awaiting this watch. Of many jobs, one that the server does
        not have does not stop the others: its JobNotFoundError is raised when they have ended.
        """
        self._reject_other_task()
        self._awaited = True
        try:
            if not self._ended and await self._jobs.next_change():
                change: _ChangeT = self._jobs.changes.popleft()
                return change
        finally:
            self._awaited = False
        if not self._ended:
            if self._jobs.ended:
                self._end()
            self._jobs.raise_ending_error()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the watch. Its polls in flight continue to their own deadlines.

        Raises RuntimeError if another task is awaiting this watch.
        """
        self._reject_other_task()
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._jobs.changes.clear()
        self._jobs.follower.leave()

    def _reject_other_task(self) -> None:
        """Raise RuntimeError if two tasks iterate at the same time, as an async generator does."""
        if self._awaited:
            raise RuntimeError("another task is awaiting this watch: create one watch per task")


class ImportWatch(_Watch[ImportProgressData]):
    """Each change of a job's progress; the last one is Completed or Failed.

    Returned by ``ImportClient.watch``. It polls only inside ``async for``. What it yields belongs
    to the caller.
    """


class JobsWatch(_Watch[ImportJob]):
    """Each change of many jobs, until those known at the first poll have ended.

    Returned by ``ImportClient.watch_all``. It polls only inside ``async for``. What it yields
    belongs to the caller.
    """


async def wait_for(
    jobs: FollowedJobs, on_progress: Callable[[ImportProgressData], object] | None
) -> ImportProgressData:
    """Follow one job until it has ended; return its last progress, or raise its error."""
    try:
        while await jobs.next_change():
            _report(jobs, on_progress)
    finally:
        jobs.follower.leave()
    (job,) = jobs.jobs.values()
    outcome = jobs.outcome(job, None)
    try:
        if isinstance(outcome, MilvusImportError):
            raise outcome
        return outcome
    finally:
        del outcome  # or the error and this frame would form a reference cycle


async def wait_for_all(
    jobs: FollowedJobs, on_progress: Callable[[ImportJob], object] | None
) -> dict[str, Outcome]:
    """Follow jobs until they have ended; return the last progress or the error of each."""
    stopped: MilvusImportError | None = None
    changed = True
    try:
        while changed:
            try:
                changed = await jobs.next_change()
            except MilvusImportError as error:
                stopped = error.with_traceback(None)
                break
            if changed:
                _report(jobs, on_progress)
    finally:
        jobs.follower.leave()
    return {job_id: jobs.outcome(job, stopped) for job_id, job in jobs.jobs.items()}


def _report(jobs: FollowedJobs, on_progress: Callable[..., object] | None) -> None:
    change = jobs.changes.popleft()
    if on_progress is not None:
        reject_awaitable("on_progress", on_progress(change))
