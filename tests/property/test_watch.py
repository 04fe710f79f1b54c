"""Watches of a source in memory, without a server."""

from __future__ import annotations

import asyncio
import atexit
import math
import random
from collections.abc import Callable, Container, Coroutine, Iterator, Sequence
from copy import deepcopy
from functools import lru_cache
from itertools import groupby
from typing import Any

import anyio
import grpc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from times import GUARD

from milvus_import import (
    DeadlineExceededError,
    ImportFailedError,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._connection._pauses import Pauses
from milvus_import._options import WatchSettings
from milvus_import._services._replies import Snapshot
from milvus_import._services._rows import JobRow
from milvus_import._watch._follower import JobsFollower
from milvus_import._watch._jobs import JobsWatch, wait_for_all
from milvus_import._watch._one import ImportWatch, wait_for
from milvus_import._watch._polls import CONCURRENT_POLLS

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
    """Run a test in the event loop of this module; a test that hangs fails."""

    async def guarded() -> None:
        with anyio.fail_after(GUARD * 3):
            await test()

    _runner().run(guarded())


@lru_cache
def _runner() -> asyncio.Runner:
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


def settings_of() -> WatchSettings:
    return WatchSettings(timeout=math.inf, interval=TICK, max_outage=60.0, on_retry=None)


def no_job() -> JobNotFoundError:
    return JobNotFoundError("import job does not exist", code=2100)


def snapshot(previous: Snapshot | None, progress: ImportProgressData) -> Snapshot:
    """Return ``previous`` if nothing has changed, as the services do."""
    if previous is not None and previous.message == progress:
        return previous
    return Snapshot(b"", deepcopy(progress), lambda: deepcopy(progress))


class Source:
    """The parts of a source that every test shares."""

    def __init__(self) -> None:
        self.pauses = Pauses()

    def responded(self) -> bool:
        return True

    async def fetch_rows(self, wanted: Container[str] | None) -> dict[str, JobRow]:
        raise UnsupportedServerError("no list", code=grpc.StatusCode.UNIMPLEMENTED)

    async def list_job_ids(self) -> list[str]:
        return []


# One job.

FAULTS: list[Callable[[], MilvusImportError]] = [
    lambda: UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE),
    lambda: DeadlineExceededError("slow", code=grpc.StatusCode.DEADLINE_EXCEEDED),
    lambda: UnsupportedServerError("older", code=grpc.StatusCode.UNIMPLEMENTED),
    lambda: MilvusStatusError("not ready", code=1, transient=True),
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


class Replies(Source):
    """Returns its replies one after the other."""

    def __init__(self, replies: list[Reply]) -> None:
        super().__init__()
        self.replies = replies
        self.polls = 0

    async def fetch(self, job_id: str, previous: Snapshot | None) -> Snapshot:
        reply = self.replies[self.polls]
        self.polls += 1
        if isinstance(reply, MilvusImportError):
            raise reply
        return snapshot(previous, reply)


@st.composite
def reply_lists(draw: st.DrawFn) -> list[Reply]:
    """Any replies, many of them twice, then an end, and replies that must not be polled."""
    running: st.SearchStrategy[Reply] = st.one_of(snapshots(RUNNING), faults)
    replies: list[Reply] = [draw(st.one_of(snapshots(list(STATES)), faults))]
    for reply in draw(st.lists(running, max_size=12)):
        replies += [reply] * draw(st.integers(1, 2))
    replies.append(draw(snapshots(["Failed", "Completed"])))
    return replies + draw(st.lists(snapshots(list(STATES)), max_size=3))


def _progress(state: str = "Importing") -> ImportProgressData:
    return ImportProgressData(
        "books", JOB_ID, "", ImportState(state), 40, 0, 0, "", 0, [], "", "internal"
    )


def model(replies: Sequence[Reply]) -> tuple[list[ImportProgressData], bool, int]:
    """What a watch yields, whether it ends in JobNotFoundError, and its number of polls."""
    seen: list[ImportProgressData] = []
    missing = False
    for polls, reply in enumerate(replies, start=1):
        if isinstance(reply, JobNotFoundError):
            if missing or not seen:
                return seen, True, polls
            missing = True
        elif isinstance(reply, ImportProgressData):
            missing = False
            if not seen or seen[-1] != reply:
                seen.append(reply)
            if reply.done:
                return seen, False, polls
    raise AssertionError("no end")


@example([_progress(), no_job(), _progress(), no_job(), _progress("Completed")])
@example([_progress(), no_job(), FAULTS[0](), no_job()])
@given(reply_lists())
def test_watch_yields_each_change_once_up_to_the_first_end(replies: list[Reply]) -> None:
    source = Replies(replies)

    async def follow() -> None:
        yielded: list[ImportProgressData] = []
        lost: JobNotFoundError | None = None
        watch = ImportWatch(JOB_ID, source, settings_of())
        try:
            async for progress in watch:
                yielded.append(progress)  # noqa: PERF401 - kept when the watch raises
        except JobNotFoundError as error:
            lost = error
        expected, vanishes, polls = model(replies)
        assert yielded == expected
        assert all(len(list(group)) == 1 for _, group in groupby(yielded))
        assert (lost is not None) == vanishes
        assert source.polls == polls
        if lost is not None:
            assert lost.progress == (expected[-1] if expected else None)
        else:
            assert [progress.done for progress in yielded].index(True) == len(yielded) - 1

    run(follow)


@given(reply_lists(), st.sampled_from(["completed", "uncommitted"]))
def test_wait_ends_as_the_job_does(replies: list[Reply], until: Any) -> None:
    async def follow() -> None:
        watch = ImportWatch(JOB_ID, Replies(replies), settings_of())
        stops = (
            {"Completed"} if until == "completed" else {"Completed", "Uncommitted", "Committing"}
        )
        seen, vanishes, _ = model(replies)
        end = next((p for p in seen if p.state in {"Failed", *stops}), None)
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


class Server(Source):
    """Jobs that advance by one entry of their history with each response."""

    def __init__(
        self, histories: dict[str, list[JobRow]], lists: bool = True, away: Sequence[int] = ()
    ) -> None:
        """``lists``: whether it has ListImports. ``away``: the calls that fail, from 0."""
        super().__init__()
        self.histories = histories
        self.lists = lists
        self.away = away
        self.looks: dict[str, int] = {}
        self.calls = self.in_flight = self.most = 0

    def _look(self, job_id: str) -> JobRow:
        look = self.looks.get(job_id, 0)
        self.looks[job_id] = look + 1
        history = self.histories[job_id]
        return history[min(look, len(history) - 1)]

    def _call(self) -> None:
        self.calls += 1
        if self.calls - 1 in self.away:
            raise UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE)

    async def fetch_rows(self, wanted: Container[str] | None) -> dict[str, JobRow]:
        if not self.lists:
            raise UnsupportedServerError("no list", code=grpc.StatusCode.UNIMPLEMENTED)
        await asyncio.sleep(0)
        self._call()
        order = random.sample(list(self.histories), len(self.histories))
        rows = {job_id: self._look(job_id) for job_id in order}
        return {i: row for i, row in rows.items() if wanted is None or i in wanted}

    async def list_job_ids(self) -> list[str]:
        return list(self.histories)

    async def fetch(self, job_id: str, previous: Snapshot | None) -> Snapshot:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(0)
            self._call()
            if job_id not in self.histories:
                raise no_job()
            if self.lists:  # the list has advanced; this fetches the same state in full
                history = self.histories[job_id]
                row = history[min(self.looks.get(job_id, 1), len(history)) - 1]
            else:
                row = self._look(job_id)
        finally:
            self.in_flight -= 1
        name, number, progress, reason = row
        state = next(state for state, known in STATES.items() if known == number)
        return snapshot(
            previous,
            ImportProgressData(
                name, job_id, "", ImportState(state), progress, 0, 0, reason, 0, [], "", "internal"
            ),
        )


ENDS: list[JobRow] = [("books", STATES["Completed"], 100, ""), ("books", STATES["Failed"], 0, "x")]


@st.composite
def job_histories(draw: st.DrawFn, *, flips: bool) -> list[JobRow]:
    """The states of a job; with ``flips`` also states after its first end."""
    numbers = st.sampled_from([STATES[state] for state in RUNNING])
    running: st.SearchStrategy[JobRow] = st.tuples(
        st.just("books"), numbers, st.integers(0, 3), st.just("")
    )
    ends = st.sampled_from(ENDS)
    history = [*draw(st.lists(running, max_size=6)), draw(ends)]
    return history + draw(st.lists(st.one_of(running, ends), max_size=2)) if flips else history


calls = st.sets(st.integers(0, 30), max_size=5)


def changes_of(history: Sequence[JobRow]) -> list[JobRow]:
    """The differences between consecutive states, up to the first end."""
    return list(_changes(history))


def _changes(history: Sequence[JobRow]) -> Iterator[JobRow]:
    for row, _ in groupby(history):
        yield row
        if row[1] in {STATES["Completed"], STATES["Failed"]}:
            return


def row_of(job: ImportJob) -> JobRow:
    return job.collection_name, STATES[job.state], job.progress, job.reason


@given(st.lists(job_histories(flips=True), max_size=80), st.booleans(), st.booleans(), calls)
def test_watch_all_yields_every_change_of_every_job_once(
    histories: list[list[JobRow]], lists: bool, discover: bool, away: set[int]
) -> None:
    by_id = {str(index + 1): history for index, history in enumerate(histories)}
    server = Server(by_id, lists, sorted(away))

    async def follow() -> None:
        seen: dict[str, list[JobRow]] = {job_id: [] for job_id in by_id}
        ids = None if discover else list(by_id)
        async for job in JobsWatch(JobsFollower(server, ids, settings_of())):
            seen[job.job_id].append(row_of(job))
        assert seen == {job_id: changes_of(history) for job_id, history in by_id.items()}

    run(follow)
    assert server.most <= CONCURRENT_POLLS


@given(st.lists(job_histories(flips=False), max_size=80), st.booleans(), calls)
def test_wait_all_returns_every_outcome(
    histories: list[list[JobRow]], lists: bool, away: set[int]
) -> None:
    by_id = {str(index + 1): history for index, history in enumerate(histories)}
    server = Server(by_id, lists, sorted(away))

    async def wait() -> None:
        ids = [*by_id, "999"]
        follower = JobsFollower(server, ids, settings_of(), until="completed")
        outcomes = await wait_for_all(follower, None)
        assert list(outcomes) == ids
        assert isinstance(outcomes.pop("999"), JobNotFoundError)
        for job_id, outcome in outcomes.items():
            if changes_of(by_id[job_id])[-1][1] == STATES["Failed"]:
                assert isinstance(outcome, ImportFailedError)
            else:
                assert isinstance(outcome, ImportProgressData)
                assert outcome.state is ImportState.COMPLETED

    run(wait)


@settings(max_examples=15)
@given(st.integers(0, 5000), st.integers(1, 12), st.booleans(), st.randoms(use_true_random=False))
def test_watch_all_yields_any_distribution_of_changes_over_polls(
    count: int, polls: int, lists: bool, numbers: Any
) -> None:
    """Each job ends, and may change once before, at its own poll."""
    server = Server({}, lists)
    for number in range(count):
        end = numbers.randrange(polls)
        change = numbers.randrange(end + 1)
        server.histories[str(number + 1)] = [
            *[("books", STATES["Pending"], 0, "")] * change,
            *[("books", STATES["Importing"], 40, "")] * (end - change),
            ("books", STATES["Completed"], 100, ""),
        ]

    async def follow() -> None:
        seen: dict[str, list[JobRow]] = {job_id: [] for job_id in server.histories}
        async for job in JobsWatch(JobsFollower(server, list(seen), settings_of())):
            seen[job.job_id].append(row_of(job))
        assert seen == {job: changes_of(history) for job, history in server.histories.items()}

    run(follow)
    assert server.most <= CONCURRENT_POLLS
