"""Follow one job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import NoReturn, Self

from .._errors import (
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    WaitTimeoutError,
    hint_of,
)
from .._failures._milvus import failed_job_hint
from .._models import ImportJob, ImportProgressData, ImportState
from .._options import Until, WatchSettings, has_reached, reject_awaitable
from .._services._replies import Snapshot
from .._text import quote
from ._options import Source, last_progress
from ._outage import OutagePolicy
from ._time import SingleConsumer, TimeExpired, TimeLimit, await_within

logger = logging.getLogger("milvus_import")

_MAX_REASONS = 10


class ImportWatch(AsyncIterator[ImportProgressData]):
    """Each change of a job's progress, ending with the first Completed or Failed.

    Returned by ``ImportClient.watch``. It polls only inside ``async for``. What it yields belongs
    to the caller.
    """

    def __init__(self, job_id: str, source: Source, settings: WatchSettings) -> None:
        self._job_id = job_id
        self._source = source
        self._interval = settings.interval
        self._outage = OutagePolicy(settings, source.responded)
        self._limit = TimeLimit(settings.timeout)
        self._consumer = SingleConsumer()
        self._last: Snapshot | None = None
        self._due = 0.0
        self._ended = False
        self._missing = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImportProgressData:
        """Return the next change.

        Raises WaitTimeoutError when the timeout expires, JobNotFoundError, and the last error if
        it is not retried; RuntimeError while another task awaits this watch.
        """
        with self._consumer:
            while not self._ended:
                progress = await self._step()
                if progress is not None:
                    self._ended = progress.done
                    return progress
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the watch; ``__anext__`` then raises StopAsyncIteration.

        RuntimeError while another task awaits this watch.
        """
        with self._consumer:
            self._ended = True

    async def _step(self) -> ImportProgressData | None:
        """Poll once when it is due. Return None if nothing changed or the error is retried."""
        now = asyncio.get_running_loop().time
        remaining = self._limit.remaining()
        pause = self._due - now()
        if remaining is not None and (remaining <= 0 or pause > remaining):
            await self._source.pauses.sleep(remaining)
            self._time_out()
        await self._source.pauses.sleep(pause)
        started = now()
        try:
            poll = self._source.fetch(self._job_id, self._last)
            snapshot = await await_within(poll, self._limit.remaining())
        except TimeExpired:
            self._time_out()
        except JobNotFoundError as error:
            self._poll_ended(started)
            self._job_missing(error)
            return None
        except MilvusImportError as error:
            self._poll_ended(started)
            self._due = now() + self._outage.on_error(error, started)
            return None
        self._poll_ended(started)
        self._outage.on_success()
        self._missing = False
        if snapshot is self._last:
            return None
        self._last = snapshot
        return snapshot.decode()

    def _poll_ended(self, started: float) -> None:
        """Schedule the next poll. A poll that was cancelled is repeated immediately instead."""
        self._due = started + self._interval
        self._limit.polled = True

    def _job_missing(self, error: JobNotFoundError) -> None:
        """Raise the error, but for a known job only when it is missing for the second time."""
        if self._last is None or self._missing:
            error.progress = last_progress(self._last)
            raise error
        self._missing = True
        self._outage.on_success()

    def _time_out(self) -> NoReturn:
        cause, progress = self._outage.last_error, last_progress(self._last)
        raise not_ended(self._job_id, progress, progress, cause, self._limit) from cause


async def wait_for(
    watch: ImportWatch, until: Until, on_progress: Callable[[ImportProgressData], object] | None
) -> ImportProgressData:
    """Follow a watch until the job has reached ``until``."""
    warned = False
    async for progress in watch:
        failed = progress.state is ImportState.FAILED
        reached, waits = has_reached(progress.state, until), progress.state
        error = import_failed(progress) if failed else None
        if on_progress is not None:
            reject_awaitable("on_progress", on_progress(progress))
        if error is not None:
            raise error
        if reached:
            return progress
        if waits is ImportState.UNCOMMITTED and not warned:
            warned = True
            warn_waiting_for_commit(progress.job_id)
    raise AssertionError("a watch ends only after Completed or Failed")


def warn_waiting_for_commit(job_id: str) -> None:
    """Log why this wait may never end."""
    logger.warning(
        "import job %s is Uncommitted: call commit_import (service='rest'), or pass "
        "until='uncommitted' to return in this state",
        job_id,
    )


def not_ended(
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


def import_failed(progress: ImportProgressData) -> ImportFailedError:
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
    return ImportFailedError(
        f"import job {progress.job_id} failed: {text}",
        progress=progress,
        hint=next((hint for hint in hints if hint is not None), None),
    )
