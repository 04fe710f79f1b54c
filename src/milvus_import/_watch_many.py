"""Following many jobs: one list RPC a tick where the server has it, else polls spread over time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Protocol, Self

import anyio

from ._errors import (
    JobNotFoundError,
    MilvusImportError,
    RefusedError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from ._internal import JobRow, decode_job
from ._models import ImportJob, ImportProgressData, ImportState
from ._status import is_transient
from ._watch import Patience, TimeLimit, Until, has_reached, import_failed

CONCURRENT_POLLS = 64
"""Polls of one watch in flight at once; Milvus 2.3 gets slow, and may crash, beyond it."""

Outcome = ImportProgressData | MilvusImportError


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

    def refused(self, job_id: str, error: RefusedError) -> None:
        """The server said no to one job. That it does not exist is believed the second time."""
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
        self._tick: Callable[[], Awaitable[None]] = self._first_tick
        self._due = 0.0
        self._told = False
        self._rows: dict[str, JobRow] = {}
        self._start = 0.0
        self._slots: dict[str, float] = {}
        self._schedule: list[tuple[float, str]] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImportJob:
        """The next change of any of the jobs.

        Raises WaitTimeoutError at the time limit, and a fault that waiting cannot mend. A job the
        server does not know stops none of the others: its error comes when they have ended.
        """
        self._patience.start()
        while not self.ledger.untold:
            if not self._discover and not self.ledger.active:
                self._finish()
            with self._limit.scope() as scope:
                await anyio.sleep(max(0.0, self._due - anyio.current_time()))
                await self._tick()
            if scope.cancelled_caught and not self.ledger.untold:
                self._time_out()
        return self.ledger.untold.popleft()

    def _finish(self) -> None:
        errors = [] if self._told else list(self.ledger.lost.values())
        self._told = True
        if not errors:
            raise StopAsyncIteration
        for error in errors[1:]:
            errors[0].add_note(f"also: {error}")
        raise errors[0]

    def _time_out(self) -> None:
        raise WaitTimeoutError(
            f"{len(self.ledger.active)} of {len(self.ledger.jobs)} import jobs had not ended after "
            f"{self._limit}. The jobs themselves go on"
        )

    async def _first_tick(self) -> None:
        """Find out whether the server lists its jobs in one RPC, and which jobs there are."""
        self._due = anyio.current_time() + self._patience.interval
        try:
            rows = await self._source.list_rows()
        except UnsupportedServerError:
            await self._poll_from_now_on()
        except MilvusImportError as error:
            self._bear(error)
        else:
            if self._discover:
                self._adopt(sorted(rows, key=lambda job_id: (len(job_id), job_id)))
            self._tick = self._list_tick
            await self._compare(rows)

    def _adopt(self, job_ids: Iterable[str]) -> None:
        """The jobs of the first tick are the ones that are followed."""
        self._discover = False
        self.ledger.jobs = dict.fromkeys(job_ids)
        self.ledger.active = dict.fromkeys(self.ledger.jobs)

    async def _list_tick(self) -> None:
        self._due = anyio.current_time() + self._patience.interval
        try:
            rows = await self._source.list_rows()
        except MilvusImportError as error:
            self._bear(error)
        else:
            self._patience.good()
            await self._compare(rows)

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
                jobs = await self._source.list_jobs()
            except MilvusImportError as error:
                self._bear(error)
                return
            self._adopt(job.job_id for job in jobs)
        self._tick = self._poll_tick
        self._start = self._due = anyio.current_time()
        step = self._patience.interval / max(len(self.ledger.active), 1)
        self._slots = {job_id: index * step for index, job_id in enumerate(self.ledger.active)}
        self._schedule = [(self._start, job_id) for job_id in self._slots]

    async def _poll_tick(self) -> None:
        now, interval = anyio.current_time(), self._patience.interval
        batch: list[str] = []
        while self._schedule and self._schedule[0][0] <= now and len(batch) < CONCURRENT_POLLS:
            job_id = heapq.heappop(self._schedule)[1]
            if job_id in self.ledger.active:
                batch.append(job_id)
                due = now + interval - (now - self._start - self._slots[job_id]) % interval
                heapq.heappush(self._schedule, (due, job_id))
        await self._ask(batch)
        if self._schedule:
            self._due = max(self._due, self._schedule[0][0])

    async def _ask(self, job_ids: Sequence[str]) -> None:
        """Ask for jobs one by one, up to the limit at once."""
        for start in range(0, len(job_ids), CONCURRENT_POLLS):
            batch = job_ids[start : start + CONCURRENT_POLLS]
            faults = await self._ask_batch(batch)
            if len(faults) < len(batch):
                self._patience.good()
            if faults:
                self._bear(faults[0])

    async def _ask_batch(self, job_ids: Sequence[str]) -> list[MilvusImportError]:
        faults: list[MilvusImportError] = []

        async def ask(job_id: str) -> None:
            try:
                progress = await self._source.fetch(job_id)
            except MilvusImportError as error:
                if isinstance(error, RefusedError) and not is_transient(error):
                    self.ledger.refused(job_id, error)
                else:
                    faults.append(error)
            else:
                self.progress[job_id] = progress
                self.ledger.note(progress.job)

        async with anyio.create_task_group() as group:
            for job_id in job_ids:
                group.start_soon(ask, job_id)
        return faults

    def _bear(self, error: MilvusImportError) -> None:
        self._due = anyio.current_time() + self._patience.bear(error)


async def collect(
    watch: JobsWatch, on_progress: Callable[[ImportJob], object] | None
) -> dict[str, Outcome]:
    """Follow jobs to their ends; each job's last progress, or the error it ended in."""
    stopped: MilvusImportError | None = None
    try:
        async for job in watch:
            if on_progress is not None:
                on_progress(job)
    except MilvusImportError as error:
        stopped = error
    outcomes: dict[str, Outcome] = {}
    for job_id, seen in watch.ledger.jobs.items():
        progress = watch.progress.get(job_id)
        if job_id in watch.ledger.lost:
            outcomes[job_id] = watch.ledger.lost[job_id]
        elif job_id in watch.ledger.active or progress is None:
            outcomes[job_id] = _unfinished(job_id, seen, progress, stopped)
        elif progress.state is ImportState.FAILED:
            outcomes[job_id] = import_failed(progress)
        else:
            outcomes[job_id] = progress
    return outcomes


def _unfinished(
    job_id: str,
    job: ImportJob | None,
    progress: ImportProgressData | None,
    stopped: MilvusImportError | None,
) -> MilvusImportError:
    if stopped is not None and not isinstance(stopped, WaitTimeoutError):
        return stopped
    seen = f"it was {job.state} at {job.progress} %" if job else "no answer came in time"
    return WaitTimeoutError(
        f"import job {job_id} had not ended in time; {seen}. The job itself goes on",
        progress=progress,
    )
