"""Watches fed from memory: what they ask comes as callables, so no server is needed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import anyio
import anyio.lowlevel
import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milvus_import import (
    DeadlineExceededError,
    ImportFailedError,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    RefusedError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._internal import JobRow
from milvus_import._watch import ImportWatch, Patience, TimeLimit, wait_for
from milvus_import._watch_many import CONCURRENT_POLLS, JobsWatch, collect

TICK = 1e-9
JOB_ID = "7"

STATES = {
    "None": 0,
    "Pending": 1,
    "PreImporting": 2,
    "Importing": 3,
    "Failed": 4,
    "Completed": 5,
    "IndexBuilding": 6,
    "Sorting": 7,
    "Uncommitted": 8,
    "Committing": 9,
    "11": 11,
}
RUNNING = sorted(STATES.keys() - {"Failed", "Completed"})

int64 = st.integers(-(2**63), 2**63 - 1)
percent = st.one_of(st.integers(0, 100), int64)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """In a loop of its own, for Hypothesis calls a plain function; a hang is a failure."""

    async def guarded() -> None:
        with anyio.fail_after(60):
            await test()

    anyio.run(guarded)


def patience() -> Patience:
    return Patience(lambda: True, anyio.sleep, interval=TICK, max_outage=60.0, on_fault=None)


def no_job() -> JobNotFoundError:
    return JobNotFoundError("import job does not exist", code=2100)


# One job.

FAULTS: list[Callable[[], MilvusImportError]] = [
    lambda: UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE),
    lambda: DeadlineExceededError("slow", code=grpc.StatusCode.DEADLINE_EXCEEDED),
    lambda: UnsupportedServerError("older", code=grpc.StatusCode.UNIMPLEMENTED),
    lambda: RefusedError("not ready", code=1),
    no_job,
]
faults = st.sampled_from(FAULTS).map(lambda make: make())

details = st.builds(
    ImportProgressDetail,
    file_name=st.sampled_from(["[a.parquet]", "[b.parquet]"]),
    file_size=int64,
    progress=percent,
    complete_time=st.just(""),
    state=st.sampled_from(["Pending", "InProgress", "Failed", "Completed", "Retry"]),
    imported_rows=st.integers(0, 3),
    total_rows=st.integers(0, 3),
    reason=st.sampled_from(["", "bad"]),
)


def snapshots(states: Sequence[str]) -> st.SearchStrategy[ImportProgressData]:
    return st.builds(
        ImportProgressData,
        collection_name=st.sampled_from(["", "books"]),
        job_id=st.just(JOB_ID),
        complete_time=st.just(""),
        state=st.sampled_from(states).map(ImportState),
        progress=percent,
        imported_rows=st.integers(0, 3),
        total_rows=st.integers(0, 3),
        reason=st.sampled_from(["", "bad"]),
        file_size=st.just(0),
        details=st.lists(details, max_size=2),
        create_time=st.just(""),
        service=st.sampled_from(["internal", "public"]),
    )


Reply = ImportProgressData | MilvusImportError


@dataclass
class Replies:
    """Gives its replies one after the other."""

    replies: list[Reply]
    asked: int = 0

    async def fetch(self) -> ImportProgressData:
        reply = self.replies[self.asked]
        self.asked += 1
        if isinstance(reply, MilvusImportError):
            raise reply
        return deepcopy(reply)


@st.composite
def reply_lists(draw: st.DrawFn) -> list[Reply]:
    """Any replies, many of them twice, then an end, and what nobody should ask for any more."""
    running: st.SearchStrategy[Reply] = st.one_of(snapshots(RUNNING), faults)
    replies: list[Reply] = [draw(st.one_of(snapshots(list(STATES)), faults))]
    for reply in draw(st.lists(running, max_size=12)):
        replies += [reply] * draw(st.integers(1, 2))
    replies.append(draw(snapshots(["Failed", "Completed"])))
    return replies + draw(st.lists(snapshots(list(STATES)), max_size=3))


def model(replies: Sequence[Reply]) -> tuple[list[ImportProgressData], bool, int]:
    """What a watch gives, whether it ends in JobNotFoundError, and how often it asks."""
    told: list[ImportProgressData] = []
    missing = False
    for asked, reply in enumerate(replies, start=1):
        if isinstance(reply, JobNotFoundError):
            if missing or not told:
                return told, True, asked
            missing = True
        elif isinstance(reply, ImportProgressData):
            missing = False
            if not told or told[-1] != reply:
                told.append(reply)
            if reply.done:
                return told, False, asked
    raise AssertionError("no end")


@given(reply_lists())
def test_a_watch_gives_each_change_once_up_to_the_first_end(replies: list[Reply]) -> None:
    source = Replies(replies)

    async def follow() -> None:
        given_out: list[ImportProgressData] = []
        lost: JobNotFoundError | None = None
        watch = ImportWatch(JOB_ID, source.fetch, patience(), TimeLimit(None))
        try:
            async for progress in watch:
                given_out.append(progress)  # noqa: PERF401 - kept when the watch raises
        except JobNotFoundError as error:
            lost = error
        expected, vanishes, asked = model(replies)
        assert given_out == expected
        assert all(len(list(group)) == 1 for _, group in groupby(given_out))
        assert (lost is not None) == vanishes
        assert source.asked == asked
        if lost is not None:
            assert lost.progress == (expected[-1] if expected else None)
        else:
            assert [progress.done for progress in given_out].index(True) == len(given_out) - 1

    run(follow)


@given(reply_lists(), st.sampled_from(["completed", "uncommitted"]))
def test_a_wait_ends_as_the_job_does(replies: list[Reply], until: Any) -> None:
    async def follow() -> None:
        watch = ImportWatch(JOB_ID, Replies(replies).fetch, patience(), TimeLimit(None))
        stops = (
            {"Completed"} if until == "completed" else {"Completed", "Uncommitted", "Committing"}
        )
        told, vanishes, _ = model(replies)
        end = next((p for p in told if p.state in {"Failed", *stops}), None)
        if end is None:
            assert vanishes
            with pytest.raises(JobNotFoundError):
                await wait_for(watch, until, None)
        elif end.state == "Failed":
            with pytest.raises(ImportFailedError) as raised:
                await wait_for(watch, until, None)
            assert raised.value.progress == end
        else:
            assert await wait_for(watch, until, None) == end

    run(follow)


# Many jobs.


@dataclass
class Server:
    """Jobs that take one step of their history at each look."""

    histories: dict[str, list[JobRow]]
    lists: bool = True
    """Whether it has ListImports."""
    away: Sequence[int] = ()
    """The calls, counted from 0, that fail."""
    looks: dict[str, int] = field(default_factory=dict[str, int])
    calls: int = 0
    in_flight: int = 0
    most: int = 0

    def _look(self, job_id: str) -> JobRow:
        look = self.looks.get(job_id, 0)
        self.looks[job_id] = look + 1
        history = self.histories[job_id]
        return history[min(look, len(history) - 1)]

    def _call(self) -> None:
        self.calls += 1
        if self.calls - 1 in self.away:
            raise UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE)

    async def list_rows(self) -> dict[str, JobRow]:
        if not self.lists:
            raise UnsupportedServerError("no list", code=grpc.StatusCode.UNIMPLEMENTED)
        await anyio.lowlevel.checkpoint()
        self._call()
        return {job_id: self._look(job_id) for job_id in reversed(list(self.histories))}

    async def list_jobs(self) -> list[ImportJob]:
        return [ImportJob(job_id, "", ImportState.PENDING, 0, "") for job_id in self.histories]

    async def fetch(self, job_id: str) -> ImportProgressData:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await anyio.lowlevel.checkpoint()
            self._call()
            if job_id not in self.histories:
                raise no_job()
            if self.lists:  # the list has moved on; this only looks closer
                history = self.histories[job_id]
                row = history[min(self.looks.get(job_id, 1), len(history)) - 1]
            else:
                row = self._look(job_id)
        finally:
            self.in_flight -= 1
        name, number, progress, reason = row
        state = next(state for state, known in STATES.items() if known == number)
        return ImportProgressData(
            name, job_id, "", ImportState(state), progress, 0, 0, reason, 0, [], "", "internal"
        )


ENDS: list[JobRow] = [("books", STATES["Completed"], 100, ""), ("books", STATES["Failed"], 0, "x")]


@st.composite
def job_histories(draw: st.DrawFn, *, flips: bool) -> list[JobRow]:
    """What a job shows at each look; with ``flips`` also after its first end."""
    numbers = st.sampled_from([STATES[state] for state in RUNNING])
    running: st.SearchStrategy[JobRow] = st.tuples(
        st.just("books"), numbers, st.integers(0, 3), st.just("")
    )
    ends = st.sampled_from(ENDS)
    history = [*draw(st.lists(running, max_size=6)), draw(ends)]
    return history + draw(st.lists(st.one_of(running, ends), max_size=2)) if flips else history


calls = st.sets(st.integers(0, 30), max_size=5)


def changes_of(history: Sequence[JobRow]) -> list[JobRow]:
    """The differences between consecutive looks, up to the first end."""
    return list(_changes(history))


def _changes(history: Sequence[JobRow]) -> Iterator[JobRow]:
    for row, _ in groupby(history):
        yield row
        if row[1] in {STATES["Completed"], STATES["Failed"]}:
            return


def row_of(job: ImportJob) -> JobRow:
    return job.collection_name, STATES[job.state], job.progress, job.reason


@given(st.lists(job_histories(flips=True), max_size=80), st.booleans(), st.booleans(), calls)
def test_every_change_of_every_job_is_told_once(
    histories: list[list[JobRow]], lists: bool, discover: bool, away: set[int]
) -> None:
    by_id = {str(index + 1): history for index, history in enumerate(histories)}
    server = Server(by_id, lists, sorted(away))

    async def follow() -> None:
        told: dict[str, list[JobRow]] = {job_id: [] for job_id in by_id}
        ids = None if discover else list(by_id)
        async for job in JobsWatch(server, ids, patience(), TimeLimit(None)):
            told[job.job_id].append(row_of(job))
        assert told == {job_id: changes_of(history) for job_id, history in by_id.items()}

    run(follow)
    assert server.most <= CONCURRENT_POLLS


@given(st.lists(job_histories(flips=False), max_size=80), st.booleans(), calls)
def test_every_outcome_is_there(histories: list[list[JobRow]], lists: bool, away: set[int]) -> None:
    by_id = {str(index + 1): history for index, history in enumerate(histories)}
    server = Server(by_id, lists, sorted(away))

    async def wait() -> None:
        ids = [*by_id, "999"]
        watch = JobsWatch(server, ids, patience(), TimeLimit(None), until="completed")
        outcomes = await collect(watch, None)
        assert list(outcomes) == ids
        assert isinstance(outcomes.pop("999"), JobNotFoundError)
        for job_id, outcome in outcomes.items():
            if changes_of(by_id[job_id])[-1][1] == STATES["Failed"]:
                assert isinstance(outcome, ImportFailedError)
            else:
                assert isinstance(outcome, ImportProgressData)
                assert outcome.state is ImportState.COMPLETED

    run(wait)


@settings(max_examples=25)
@given(st.integers(0, 5000), st.integers(1, 12), st.booleans(), st.randoms(use_true_random=False))
def test_any_partition_of_jobs_over_ticks_is_reported_in_full(
    count: int, ticks: int, lists: bool, random: Any
) -> None:
    """Each job has its end, and perhaps one change before it, at ticks of its own."""
    server = Server({}, lists)
    for number in range(count):
        end = random.randrange(ticks)
        change = random.randrange(end + 1)
        server.histories[str(number + 1)] = [
            *[("books", STATES["Pending"], 0, "")] * change,
            *[("books", STATES["Importing"], 40, "")] * (end - change),
            ("books", STATES["Completed"], 100, ""),
        ]

    async def follow() -> None:
        told: dict[str, list[JobRow]] = {job_id: [] for job_id in server.histories}
        async for job in JobsWatch(server, list(told), patience(), TimeLimit(None)):
            told[job.job_id].append(row_of(job))
        assert told == {job: changes_of(history) for job, history in server.histories.items()}

    run(follow)
    assert server.most <= CONCURRENT_POLLS
