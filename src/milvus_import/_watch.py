"""Following one job: a poll at each tick, the faults it bears, and the time it may take.

Nothing here knows a client: what is asked comes as a callable.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, NoReturn, Self

import anyio

from ._errors import (
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    WaitTimeoutError,
)
from ._models import ImportJob, ImportProgressData, ImportState
from ._options import check_callback, check_timeout
from ._status import is_transient, quote, told_by_milvus

logger = logging.getLogger("milvus_import")

INTERVAL = 2.0
"""Seconds between polls: the tick of the server's own state machine."""
MAX_OUTAGE = 300.0
"""Seconds without a good answer that a watch bears."""

OnFault = Callable[[MilvusImportError, float], object]
"""Called with a fault that is borne, and the seconds of outage so far. Not awaited."""
Until = Literal["completed", "uncommitted"]
"""What is waited for; "uncommitted" also takes a job that waits for its commit."""

_FIRST_RETRY = 0.25
_MOST_REASONS = 10


class TimeLimit:
    """How long a method may take; it starts with the method's first step.

    A limit of 0 lets the first look at each job run to its end.
    """

    def __init__(self, timeout: float | None) -> None:
        seconds = None if timeout is None else check_timeout(timeout)
        self._seconds = math.inf if seconds is None else seconds
        self._deadline: float | None = None
        self.looked = False
        """Whether the first look is over."""

    def scope(self) -> anyio.CancelScope:
        """A scope for the next step, cancelled when the limit is reached."""
        if self._deadline is None:
            self._deadline = anyio.current_time() + self._seconds
        if self._seconds <= 0 and not self.looked:
            return anyio.CancelScope()
        return anyio.CancelScope(deadline=self._deadline)

    def __str__(self) -> str:
        return f"{max(self._seconds, 0.0):g} s"


class Patience:
    """Which faults a watch bears, and how long it waits after each."""

    def __init__(
        self,
        answered: Callable[[], bool],
        pause: Callable[[float], Awaitable[None]],
        *,
        interval: float,
        max_outage: float,
        on_fault: OnFault | None,
    ) -> None:
        self.interval = _positive("interval", interval)
        if math.isinf(self.interval):
            raise ValueError("interval is infinite: nothing would be asked a second time")
        self.fault: MilvusImportError | None = None
        """The last fault borne, until the next good answer."""
        self._max_outage = _positive("max_outage", max_outage, zero=True)
        self._answered = answered
        self._pause = pause
        self._on_fault = None if on_fault is None else check_callback("on_fault", on_fault)
        self._good_until = 0.0
        self._faults = 0

    async def until(self, due: float) -> None:
        """Wait for the time of the next poll, on the loop's clock."""
        await self._pause(max(0.0, due - anyio.current_time()))

    def asking(self) -> None:
        """A poll begins, and with it the outage if it fails.

        Not with the last good answer: the caller may have taken long since.
        """
        if self.fault is None:
            self._good_until = anyio.current_time()

    def good(self) -> None:
        """An answer came."""
        self._good_until = anyio.current_time()
        self._faults = 0
        self.fault = None

    def bear(self, error: MilvusImportError) -> float:
        """The seconds to wait after this fault. Raises it where waiting will not help.

        That is: when it is not transient, when no call of the client ever had a good answer (the
        address is then more likely wrong than away), or when the outage is too long.
        """
        outage = anyio.current_time() - self._good_until
        stranger = not told_by_milvus(error) and not self._answered()
        if not is_transient(error) or stranger:
            raise error
        if outage >= self._max_outage:
            if self._max_outage > 0:
                text = (
                    f"no good answer for {outage:.3g} s, max_outage is {self._max_outage:g} s; the"
                )
                error.args = (f"{text} import itself may go on. The last fault: {error}",)
            raise error
        if self._on_fault is not None:
            self._on_fault(error, outage)
        self.fault = error
        self._faults += 1
        delay: float = min(self.interval, _FIRST_RETRY * 2 ** min(self._faults - 1, 16))
        from random import uniform  # noqa: PLC0415 - importing the package need not pay for it

        return delay * uniform(0.5, 1.0)  # noqa: S311 - spreads clients, hides nothing


class Turn:
    """Lets one consumer at a time take a step, as an async generator does."""

    _taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise RuntimeError(
                "another task is waiting for this watch: make a watch for each of them"
            )
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


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
        self._turn = Turn()
        self._last: ImportProgressData | None = None
        self._due = 0.0
        self._missing = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImportProgressData:
        """The next change.

        Raises WaitTimeoutError at the time limit, JobNotFoundError, and the last fault when it is
        none that waiting can mend; RuntimeError while another task waits for one.
        """
        with self._turn:
            while self._last is None or not self._last.done:
                progress = None
                with self._limit.scope() as scope:
                    await self._patience.until(self._due)
                    progress = await self._poll()
                if progress is not None:
                    return progress
                if scope.cancelled_caught:
                    self._time_out()
        raise StopAsyncIteration

    async def _poll(self) -> ImportProgressData | None:
        """One look at the job; None if nothing changed or a fault is borne."""
        self._due = anyio.current_time() + self._patience.interval
        self._limit.looked = True
        self._patience.asking()
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
        fault = self._patience.fault
        raise not_ended(self._job_id, self._last, self._last, fault, self._limit) from fault


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
            tell_of_commit(progress.job_id)
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


def tell_of_commit(job_id: str) -> None:
    """Say why this wait may never end."""
    logger.warning(
        "import job %s waits for its commit, which is only in Milvus' REST API; "
        "until='uncommitted' returns here",
        job_id,
    )


def not_ended(
    job_id: str,
    seen: ImportProgressData | ImportJob | None,
    progress: ImportProgressData | None,
    fault: BaseException | None,
    limit: TimeLimit,
) -> WaitTimeoutError:
    """The error of a job that was still under way when the time was over."""
    known = f"it was {seen.state} at {seen.progress} %" if seen else "no answer came in time"
    why = f". The last fault: {fault}" if fault else ""
    return WaitTimeoutError(
        f"import job {job_id} had not ended after {limit}; {known}. The job itself goes on{why}",
        progress=progress,
    )


def import_failed(progress: ImportProgressData) -> ImportFailedError:
    """The error of a failed job, with the job's reason and each file's that says more."""
    reasons = [progress.reason] if progress.reason else []
    failed = [detail for detail in progress.details if detail.reason]
    for detail in failed[:_MOST_REASONS]:
        if not any(detail.reason in known for known in reasons):
            reasons.append(f"{detail.file_name} {detail.reason}")
    if len(failed) > _MOST_REASONS:
        reasons.append(f"and {len(failed) - _MOST_REASONS} more files")
    said = "; ".join(quote(reason) for reason in reasons) or "the server gives no reason"
    return ImportFailedError(f"import job {progress.job_id} failed: {said}", progress=progress)


def _positive(name: str, value: object, *, zero: bool = False) -> float:
    seconds = check_timeout(value, name=name)
    if seconds is None:
        return math.inf
    if seconds < 0 or (seconds == 0 and not zero):
        raise ValueError(
            f"{name} is {value!r} seconds; it must be {'0 or ' if zero else ''}above 0"
        )
    return seconds
