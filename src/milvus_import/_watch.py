"""Following one job: a poll at each tick, the faults it bears, and the time it may take.

Nothing here knows a client: what is asked comes as a callable.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, NoReturn, Self

import anyio

from ._errors import ImportFailedError, JobNotFoundError, MilvusImportError, WaitTimeoutError
from ._models import ImportProgressData, ImportState
from ._options import check_timeout
from ._status import is_transient, quote

logger = logging.getLogger("milvus_import")

INTERVAL = 2.0
"""Seconds between polls: the tick of the server's own state machine."""
MAX_OUTAGE = 300.0
"""Seconds without a good answer that a watch bears."""

OnFault = Callable[[MilvusImportError, float], object]
Until = Literal["completed", "uncommitted"]

_FIRST_RETRY = 0.25


class TimeLimit:
    """How long a method may take; it starts with the method's first step.

    A limit of 0 lets one step run to its end.
    """

    def __init__(self, timeout: float | None) -> None:
        seconds = None if timeout is None else check_timeout(timeout)
        self._seconds = math.inf if seconds is None else seconds
        self._deadline: float | None = None

    def scope(self) -> anyio.CancelScope:
        """A scope for the next step, cancelled when the limit is reached."""
        if self._deadline is None:
            self._deadline = anyio.current_time() + self._seconds
            if self._seconds <= 0:
                return anyio.CancelScope()
        return anyio.CancelScope(deadline=self._deadline)

    def __str__(self) -> str:
        return f"{self._seconds:g} s"


class Patience:
    """Which faults a watch bears, and how long it waits after each."""

    def __init__(
        self,
        answered: Callable[[], bool],
        *,
        interval: float,
        max_outage: float,
        on_fault: OnFault | None,
    ) -> None:
        self.interval = _positive("interval", interval)
        self._max_outage = _positive("max_outage", max_outage, zero=True)
        self._answered = answered
        self._on_fault = on_fault
        self._good_at: float | None = None
        self._faults = 0

    def start(self) -> None:
        """The time from which an outage counts when there never was an answer."""
        if self._good_at is None:
            self._good_at = anyio.current_time()

    def good(self) -> None:
        """An answer came."""
        self._good_at = anyio.current_time()
        self._faults = 0

    def bear(self, error: MilvusImportError) -> float:
        """The seconds to wait after this fault. Raises it where waiting will not help.

        That is: when it is not transient, when no call of the client ever had a good answer (the
        address is then more likely wrong than away), or when the outage is too long.
        """
        self.start()
        outage = anyio.current_time() - (self._good_at or 0.0)
        if not is_transient(error) or not self._answered() or outage >= self._max_outage:
            raise error
        if self._on_fault is not None:
            self._on_fault(error, outage)
        self._faults += 1
        delay: float = min(self.interval, _FIRST_RETRY * 2 ** min(self._faults - 1, 16))
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, hides nothing


class ImportWatch(AsyncIterator[ImportProgressData]):
    """Each change of a job's progress, ending with the first Completed or Failed.

    Made by ``ImportClient.watch``. It polls only inside ``async for``, so leaving the loop leaves
    nothing behind.
    """

    def __init__(
        self,
        job_id: str,
        fetch: Callable[[], Awaitable[ImportProgressData]],
        patience: Patience,
        limit: TimeLimit,
    ) -> None:
        self._job_id = job_id
        self._fetch = fetch
        self._patience = patience
        self._limit = limit
        self._last: ImportProgressData | None = None
        self._due = 0.0
        self._missing = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImportProgressData:
        """The next change.

        Raises WaitTimeoutError at the time limit, JobNotFoundError, and the last fault when it is
        none that waiting can mend.
        """
        if self._last is not None and self._last.done:
            raise StopAsyncIteration
        self._patience.start()
        while True:
            progress = None
            with self._limit.scope() as scope:
                await anyio.sleep(max(0.0, self._due - anyio.current_time()))
                progress = await self._poll()
            if progress is not None:
                return progress
            if scope.cancelled_caught:
                self._time_out()

    async def _poll(self) -> ImportProgressData | None:
        """One look at the job; None if nothing changed or a fault is borne."""
        self._due = anyio.current_time() + self._patience.interval
        try:
            progress = await self._fetch()
        except JobNotFoundError as error:
            self._vanished(error)
            return None
        except MilvusImportError as error:
            self._due = anyio.current_time() + self._patience.bear(error)
            return None
        self._patience.good()
        self._missing = False
        if progress == self._last:
            return None
        self._last = progress
        return progress

    def _vanished(self, error: JobNotFoundError) -> None:
        """A job that was there once is believed gone at the second word of it."""
        if self._last is None or self._missing:
            error.progress = self._last
            raise error
        self._missing = True
        self._patience.good()

    def _time_out(self) -> NoReturn:
        last = self._last
        seen = f"it was {last.state} at {last.progress} %" if last else "no answer came in time"
        raise WaitTimeoutError(
            f"import job {self._job_id} had not ended after {self._limit}; {seen}. "
            "The job itself goes on",
            progress=last,
        )


async def wait_for(
    watch: ImportWatch, until: Until, on_progress: Callable[[ImportProgressData], object] | None
) -> ImportProgressData:
    """Follow a watch to the state that is waited for."""
    told = False
    async for progress in watch:
        if on_progress is not None:
            on_progress(progress)
        if progress.state is ImportState.FAILED:
            raise import_failed(progress)
        if has_reached(progress.state, until):
            return progress
        if progress.state is ImportState.UNCOMMITTED and not told:
            told = True
            logger.info(
                "import job %s waits for its commit, which is only in Milvus' REST API; "
                "until='uncommitted' returns here",
                progress.job_id,
            )
    raise AssertionError("a watch ends only after Completed or Failed")


def has_reached(state: ImportState, until: Until) -> bool:
    """Whether a job in this state has come as far as is waited for."""
    return state is ImportState.COMPLETED or (
        until == "uncommitted" and state in (ImportState.UNCOMMITTED, ImportState.COMMITTING)
    )


def check_until(until: str) -> None:
    """Refuse another word than the two."""
    if until not in {"completed", "uncommitted"}:
        raise ValueError(f"until is 'completed' or 'uncommitted', not {until!r}")


def import_failed(progress: ImportProgressData) -> ImportFailedError:
    """The error of a failed job, with the job's reason and each file's that says more."""
    reasons = [progress.reason] if progress.reason else []
    for detail in progress.details:
        if detail.reason and not any(detail.reason in known for known in reasons):
            reasons.append(f"{detail.file_name} {detail.reason}")
    said = "; ".join(quote(reason) for reason in reasons) or "the server gives no reason"
    return ImportFailedError(f"import job {progress.job_id} failed: {said}", progress=progress)


def _positive(name: str, value: object, *, zero: bool = False) -> float:
    seconds = check_timeout(value, name=name)
    if seconds is None:
        return math.inf
    if seconds < 0 or (seconds == 0 and not zero):
        raise ValueError(
            f"{name} is {value!r} seconds; it must be {'0 or' if zero else ''} above 0"
        )
    return seconds
