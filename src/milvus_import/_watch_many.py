"""Following many jobs: one list RPC a tick where the server has it, else polls spread over time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import NoReturn, Protocol, Self

import anyio
import grpc

from ._errors import (
    CallError,
    JobNotFoundError,
    MilvusImportError,
    RefusedError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from ._internal import JobRow, decode_job
from ._models import ImportJob, ImportProgressData, ImportState
from ._status import is_transient
from ._watch import (
    Patience,
    TimeLimit,
    Turn,
    Until,
    has_reached,
    import_failed,
    not_ended,
    tell_of_commit,
)

CONCURRENT_POLLS = 64
"""Polls of one watch in flight at once; Milvus 2.3 gets slow, and may crash, beyond it."""

_MOST_NOTES = 10

Outcome = ImportProgressData | MilvusImportError
"""What became of a job: its last progress if it completed, else the error that says why not."""


class Source(Protocol):
    """What a watch of many jobs asks."""

    async def fetch(self, job_id: str) -> ImportProgressData: ...

    async def list_rows(self) -> dict[str, JobRow]:
        """Every job in one RPC; UnsupportedServerError where only the public service is."""
        ...

    async def list_jobs(self) -> list[ImportJob]:
        """The jobs' ids by either service, to be polled one by one."""
        ...


class Ledger:
    """What is known of each job, and what has not been told yet."""

    def __init__(self, job_ids: Iterable[str], until: Until | None) -> None:
        self.jobs: dict[str, ImportJob | None] = dict.fromkeys(job_ids)
        """The last state of each job; None before the first."""
        self.active = dict.fromkeys(self.jobs)
        """The jobs still followed, in the caller's order."""
        self.untold: deque[ImportJob] = deque()
        self.lost: dict[str, MilvusImportError] = {}
        """Jobs that cannot be followed any more, and why."""
        self._missing: set[str] = set()
        self._until: Until | None = until

    def ended(self, state: ImportState) -> bool:
        """Whether a job in this state is followed no further."""
        return state.done or (self._until is not None and has_reached(state, self._until))

    def note(self, job: ImportJob) -> None:
        """A job was seen."""
        self._missing.discard(job.job_id)
        if job == self.jobs.get(job.job_id):
            return
        self.jobs[job.job_id] = job
        self.untold.append(job)
        if self.ended(job.state):
            self.active.pop(job.job_id, None)

    def refused(self, job_id: str, error: MilvusImportError) -> None:
        """One job's own error. That a job does not exist is believed the second time."""
        known = self.jobs.get(job_id) is not None
        if isinstance(error, JobNotFoundError) and known and job_id not in self._missing:
            self._missing.add(job_id)
            return
        self.lost[job_id] = error
        self.active.pop(job_id, None)


class JobsWatch(AsyncIterator[ImportJob]):
    """Each change of many jobs, until those known at the first tick have ended.

    Made by ``ImportClient.watch_all``. It polls only inside ``async for``, so leaving the loop
    leaves nothing behind.
    """

    def __init__(
        self,
        source: Source,
        job_ids: Sequence[str] | None,
        patience: Patience,
        limit: TimeLimit,
        *,
        until: Until | None = None,
    ) -> None:
        """``until`` is ``wait_all``'s: where a job counts as ended, and is then fetched in full."""
        self.ledger = Ledger(job_ids or (), until)
        self.progress: dict[str, ImportProgressData] = {}
        """The last full progress of each job that was asked for by itself."""
        self._source = source
        self._discover = job_ids is None
        self._patience = patience
        self._limit = limit
        self._full = until is not None
        self._tick: Callable[[], Awaitable[None]] = self._list_tick
        self._turn = Turn()
        self._due = 0.0
        self._told = False
        self._fault: MilvusImportError | None = None
        self._denials = 0
        self._rows: dict[str, JobRow] = {}
        self._first_round = 0.0
        self._schedule: list[tuple[float, str]] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImportJob:
        """The next change of any of the jobs.

        Raises WaitTimeoutError at the time limit, and a fault that waiting cannot mend. A job the
        server does not know stops none of the others: its error comes when they have ended.
        RuntimeError while another task waits for a change.
        """
        with self._turn:
            while not self.ledger.untold:
                if not self._discover and not self.ledger.active:
                    self._finish()
                if self._fault is not None:
                    raise self._fault
                with self._limit.scope() as scope:
                    await self._patience.until(self._due)
                    self._patience.asking()
                    await self._step()
                if scope.cancelled_caught and not self.ledger.untold:
                    self._time_out()
        return self.ledger.untold.popleft()

    async def _step(self) -> None:
        """One tick; what it learned is told before the fault that ended it."""
        try:
            await self._tick()
        except MilvusImportError as error:
            if not self.ledger.untold:
                raise
            self._fault = error

    def _finish(self) -> NoReturn:
        errors = [] if self._told else list(self.ledger.lost.values())
        self._told = True
        if not errors:
            raise StopAsyncIteration
        for error in errors[1:_MOST_NOTES]:
            errors[0].add_note(f"also: {error}")
        if len(errors) > _MOST_NOTES:
            errors[0].add_note(f"and {len(errors) - _MOST_NOTES} more")
        raise errors[0]

    def _time_out(self) -> NoReturn:
        fault, ledger = self._patience.fault, self.ledger
        text = (
            f"no list of the import jobs came within {self._limit}"
            if self._discover
            else f"{len(ledger.active)} of {len(ledger.jobs)} import jobs had not ended after "
            f"{self._limit}: {_listed(list(ledger.active))}. The jobs themselves go on"
        )
        raise WaitTimeoutError(f"{text}. The last fault: {fault}" if fault else text) from fault

    def not_ended(self, job_id: str) -> WaitTimeoutError:
        """The error of one job that was still under way when the time was over."""
        seen, progress = self.ledger.jobs[job_id], self.progress.get(job_id)
        return not_ended(job_id, seen, progress, self._patience.fault, self._limit)

    async def _list_tick(self) -> None:
        """One RPC for all jobs; the first one also tells whether the server has it."""
        self._due = anyio.current_time() + self._patience.interval
        try:
            rows = await self._source.list_rows()
        except UnsupportedServerError as error:
            self._denials += 1
            if self._rows and self._denials == 1:  # it had listed them: an upgrade, perhaps
                self._bear(error)
            else:
                await self._poll_from_now_on()
        except MilvusImportError as error:
            self._bear(error)
        else:
            self._denials = 0
            self._patience.good()
            if self._discover:
                self._adopt(sorted(rows, key=lambda job_id: (len(job_id), job_id)))
            await self._compare(rows)
            self._limit.looked = True

    def _adopt(self, job_ids: Iterable[str]) -> None:
        """The jobs of the first tick are the ones that are followed."""
        self._discover = False
        self.ledger.jobs = dict.fromkeys(job_ids)
        self.ledger.active = dict.fromkeys(self.ledger.jobs)

    async def _compare(self, rows: dict[str, JobRow]) -> None:
        """Make objects only for the rows that changed; ask for a job alone where that is needed.

        That is: for one that is not in the list, and for one that ended if all of it is wanted.
        """
        before, self._rows = self._rows, rows
        alone: list[str] = []
        for job_id in tuple(self.ledger.active):
            row = rows.get(job_id)
            if row is None:
                alone.append(job_id)
            elif row != before.get(job_id):
                job = decode_job(job_id, row)
                if self._full and self.ledger.ended(job.state):
                    alone.append(job_id)
                    del rows[job_id]  # still a change at the next tick, should no answer come now
                else:
                    self.ledger.note(job)
        await self._ask(alone)

    async def _poll_from_now_on(self) -> None:
        """Give each job its slot in the interval. The first round goes at once."""
        if self._discover:
            try:
                listed = await self._source.list_jobs()
            except MilvusImportError as error:
                self._bear(error)
                return
            self._adopt(job.job_id for job in listed)
        self._tick = self._poll_tick
        self._due = self._first_round = anyio.current_time()
        # Slots of the interval just over: each job is due now, and stays in its slot from here on.
        jobs = len(self.ledger.active)
        step = self._patience.interval / max(jobs, 1)
        self._schedule = [
            (self._first_round + step * (index + 0.5 - jobs), job_id)
            for index, job_id in enumerate(self.ledger.active)
        ]

    async def _poll_tick(self) -> None:
        """Ask for the jobs that are due, at most so many at once."""
        now, interval = anyio.current_time(), self._patience.interval
        before = now if self._limit.looked else self._first_round
        batch: list[tuple[float, str]] = []
        while self._schedule and self._schedule[0][0] <= before and len(batch) < CONCURRENT_POLLS:
            slot = heapq.heappop(self._schedule)
            if slot[1] in self.ledger.active:
                batch.append(slot)
        for due, job_id in batch:
            missed = (now - due) // interval
            heapq.heappush(self._schedule, (due + (missed + 1) * interval, job_id))
        if self._schedule:
            self._due = self._schedule[0][0]
            self._limit.looked = self._due >= self._first_round
        await self._ask([job_id for _, job_id in batch])

    async def _ask(self, job_ids: Sequence[str]) -> None:
        """Ask for jobs one by one, up to the limit at once."""
        for start in range(0, len(job_ids), CONCURRENT_POLLS):
            batch = job_ids[start : start + CONCURRENT_POLLS]
            faults = await self._ask_batch(batch)
            if len(faults) < len(batch):
                self._patience.good()
            if faults:
                self._bear(next((fault for fault in faults if not is_transient(fault)), faults[0]))
            if len(faults) == len(batch):
                return  # the server is away; the others are asked at the next tick

    async def _ask_batch(self, job_ids: Sequence[str]) -> list[MilvusImportError]:
        faults: list[MilvusImportError] = []

        async def ask(job_id: str) -> None:
            try:
                progress = await self._source.fetch(job_id)
            except MilvusImportError as error:
                if not is_transient(error) and _concerns_one_job(error):
                    self.ledger.refused(job_id, error)
                    if isinstance(error, JobNotFoundError):
                        error.progress = self.progress.get(job_id)
                else:
                    faults.append(error)
            else:
                self.progress[job_id] = progress
                self.ledger.note(progress.job)

        try:
            async with anyio.create_task_group() as group:
                for job_id in job_ids:
                    group.start_soon(ask, job_id)
        except ExceptionGroup as failed:  # a bug of an interceptor, say: as it is, not in a group
            raise failed.exceptions[0] from None
        return faults

    def _bear(self, error: MilvusImportError) -> None:
        self._limit.looked = True
        self._due = anyio.current_time() + self._patience.bear(error)


def _listed(job_ids: Sequence[str]) -> str:
    more = len(job_ids) - _MOST_NOTES
    return ", ".join(job_ids[:_MOST_NOTES]) + (f" and {more} more" if more > 0 else "")


def _concerns_one_job(error: MilvusImportError) -> bool:
    """A refusal, or a reply that was too large or made no sense."""
    if isinstance(error, CallError):
        return error.code in {grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED}
    return isinstance(error, RefusedError)


async def collect(
    watch: JobsWatch, on_progress: Callable[[ImportJob], object] | None
) -> dict[str, Outcome]:
    """Follow jobs to their ends; each job's last progress, or the error it ended in."""
    stopped: MilvusImportError | None = None
    told = False
    try:
        async for job in watch:
            if on_progress is not None:
                on_progress(job)
            if (
                job.state is ImportState.UNCOMMITTED
                and job.job_id in watch.ledger.active
                and not told
            ):
                told = True
                tell_of_commit(job.job_id)
    except MilvusImportError as error:
        stopped = error
    return {job_id: _outcome(watch, job_id, stopped) for job_id in watch.ledger.jobs}


def _outcome(watch: JobsWatch, job_id: str, stopped: MilvusImportError | None) -> Outcome:
    lost = watch.ledger.lost.get(job_id)
    progress = watch.progress.get(job_id)
    if lost is not None:
        return lost
    if progress is not None and job_id not in watch.ledger.active:
        return import_failed(progress) if progress.state is ImportState.FAILED else progress
    if stopped is None or isinstance(stopped, WaitTimeoutError):
        return watch.not_ended(job_id)
    return stopped
