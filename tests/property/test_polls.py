"""Followers share polls: random followers in virtual time, over services in memory."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import wraps
from typing import Any

import grpc
import pytest
from following import Crowd, World, cancel_one_request, left_behind
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loops import run_virtually
from watching import FaultLog, on_each_watch, start_watch

from milvus_import import (
    AccessDeniedError,
    ClientClosedError,
    DeadlineExceededError,
    ImportClient,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from milvus_import._services._operations import GET_PROGRESS, LIST_JOBS
from milvus_import._services._replies import JobList, Snapshot
from milvus_import._watch._polls import CONCURRENT_POLLS, MAX_IN_FLIGHT, Polls

SEED = 26
NEVER = 1e9
REQUEST = 0.01
"""Seconds of a scripted request."""


def decode(message: tuple[str, int], job_id: str) -> ImportProgressData:
    state, version = message
    details: list[ImportProgressDetail] = []
    return ImportProgressData(
        *("books", job_id, "", ImportState(state), version, 0, 0, "", 0, details, "", "internal")
    )


class MemoryServices(World):
    """Performs the operations of a client in memory, with random delays and errors.

    A reply has the state of the moment at which its request was sent.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, 1.0)
        self.connection = self
        self.polls: Any = None
        self.responded = False
        self.closed = False
        self.loop = None
        self.faults: Collection[str] = ()
        self.in_flight: dict[tuple[int, str], asyncio.Task[Any]] = {}
        self.most = 0
        """The largest number of requests in flight."""
        self.sent: list[tuple[float, str]] = []
        """The time and the job of each request; "" for a list."""
        self.lists = True

    def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        self.closed = True

    def add(self) -> str:
        job_id = str(len(self.states) + 1)
        self.states[job_id] = "Pending", 1
        return job_id

    def changed(self, job_id: str) -> None:
        pass

    def set_faults(self, names: Collection[str]) -> None:
        self.faults = names

    async def call(self, operation: Any, params: Any, settings: Any) -> Any:
        loop = asyncio.get_running_loop()
        job_id = getattr(params, "job_id", "")
        if operation not in (GET_PROGRESS, LIST_JOBS):
            return await self._commit(job_id)
        self.sent.append((loop.time(), job_id))
        task: Any = asyncio.current_task()
        polls: Any = self.polls
        poll: Any = next(p for p in polls._running if p.request in (task, None))
        key = id(poll.group), job_id
        other = self.in_flight.get(key)
        assert other is None or other.cancelling(), f"two requests for {key} at a time"
        self.in_flight[key] = task
        self.most = max(self.most, len(self.in_flight))
        assert self.most <= MAX_IN_FLIGHT
        outcome = self._outcome(operation, job_id)
        try:
            await asyncio.sleep(self._delay(job_id))
        finally:
            if self.in_flight.get(key) is task:
                del self.in_flight[key]
        if isinstance(outcome, Exception):
            raise outcome
        self.responded = True
        return outcome

    async def _commit(self, job_id: str) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, 0.5))
        if job_id in self.live:
            self.change(job_id, "Importing")
        self.committed[job_id] = self.states[job_id][1]

    def _delay(self, job_id: str) -> float:
        if "slow" in self.faults and self.rng.random() < 0.3:
            return self.rng.uniform(0.0, 12.0)
        return self.rng.choice([0.001, 0.01, 0.3, 1.0]) * self.rng.random() + 1e-6

    def _outcome(self, operation: Any, job_id: str) -> Any:
        fails = self.rng.random() < 0.5
        if "unavailable" in self.faults and fails:
            return UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE, transient=True)
        if "not-ready" in self.faults and fails:
            return MilvusStatusError("not ready", code=1, transient=True)
        if "rate-limited" in self.faults and fails:
            after = self.rng.choice([None, 3.0])
            return MilvusStatusError(
                "slow down", code=8, transient=True, rate_limited=True, retry_after=after
            )
        if operation is LIST_JOBS:
            return self._list(fails=fails)
        state = self.states.get(job_id)
        if state is None or job_id in self.deleted:
            return JobNotFoundError("no such job", code=2100, job_id=job_id, service="internal")
        return Snapshot(repr(state).encode(), state, job_id, decode)

    def _list(self, *, fails: bool) -> Any:
        if not self.lists or ("no-list" in self.faults and fails):
            return UnsupportedServerError("no list", code=grpc.StatusCode.UNIMPLEMENTED)
        if "denied-list" in self.faults and fails:
            return AccessDeniedError("denied", code=grpc.StatusCode.PERMISSION_DENIED)
        if "late-list" in self.faults and fails:
            return DeadlineExceededError("late", code=grpc.StatusCode.DEADLINE_EXCEEDED)
        ids = [job_id for job_id in self.states if job_id not in self.deleted]
        if "partial-list" in self.faults:
            ids = [job_id for job_id in ids if self.rng.random() < 0.8]
        self.rng.shuffle(ids)
        states = [self.states[job_id] for job_id in ids]
        columns = (
            ["books"] * len(ids),
            [state for state, _ in states],
            [version for _, version in states],
            [""] * len(ids),
        )
        return JobList(ids, columns)


def client_of(services: Any) -> ImportClient:
    """Return a client whose requests the services perform."""
    client = ImportClient("127.0.0.1:1")
    services.polls = Polls(services, "", shared=True)
    vars(client).update(_services=services, _polls=services.polls)
    return client


async def follow(seed: int, steps: int, *, lists: bool) -> None:
    rng = random.Random(seed)
    random.seed(seed)  # the jitter
    services = MemoryServices(rng)
    services.lists = lists
    client = client_of(services)
    crowd = Crowd(services, client, followers=200, jobs=60, commits=True)
    try:
        await crowd.steps(steps, calm_every=1000)
        await crowd.finish()
    except BaseException:
        print(f"seed {seed}; {crowd.ends}")
        raise
    await asyncio.sleep(40)
    gc.collect()
    assert left_behind(client, crowd.runs) == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    print(f"seed {seed}: {len(services.sent)} requests; {crowd.ends}")
    expected = {"end", "cancelled", "callback", "WaitTimeoutError", "JobNotFoundError"}
    assert crowd.ends.keys() >= expected


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "no-lists"])
def test_random_followers_receive_the_last_state_and_the_right_end(lists: bool) -> None:
    run_virtually(follow(SEED, 5_000, lists=lists))


# Single rules, each with a server of its own.


class ScriptedServices(MemoryServices):
    """Every request takes REQUEST; ``answer`` returns or raises what it returns, if not None."""

    def __init__(self, jobs: int = 1, state: str = "Importing") -> None:
        super().__init__(random.Random(0))
        self.answer: Callable[[str, int], Any] = lambda _job_id, _number: None
        for _ in range(jobs):
            self.states[self.add()] = state, 1
        self.hanging: Collection[str] = ()
        self.client = client_of(self)

    def _delay(self, job_id: str) -> float:
        return NEVER if job_id in self.hanging else REQUEST

    def _outcome(self, operation: Any, job_id: str) -> Any:
        number = sum(sent == job_id for _, sent in self.sent)
        outcome = self.answer(job_id, number)
        return super()._outcome(operation, job_id) if outcome is None else outcome

    def end(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            self.change(job_id, "Completed")

    def count(self, job_id: str | None = None, since: float = 0.0) -> int:
        """The single polls, or those of one job, or the lists ("")."""
        return sum(
            at >= since and (sent == job_id if job_id is not None else sent != "")
            for at, sent in self.sent
        )

    def waits(self, **options: Any) -> list[asyncio.Task[Any]]:
        """Wait for each job."""
        return [*map(asyncio.create_task, (self.client.wait(i, **options) for i in self.states))]

    async def finish(self, waits: Iterable[asyncio.Task[Any]]) -> None:
        """End all jobs; then all waits must end."""
        self.end(self.live)
        await asyncio.gather(*waits)


def away() -> UnavailableError:
    return UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE, transient=True)


def limited(seconds: float | None = None) -> MilvusStatusError:
    return MilvusStatusError(
        "slow down", code=8, transient=True, rate_limited=True, retry_after=seconds
    )


def virtually(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Let a test run in virtual time."""

    @wraps(test)
    def run() -> None:
        run_virtually(test())

    return run


@virtually
async def test_lists_serve_waits_from_sixteen_jobs_on_and_no_longer_below_eight() -> None:
    services = ScriptedServices(40)
    waits = services.waits()
    await asyncio.sleep(20)
    assert services.count("") == 10
    assert services.count(since=2.0) == 0
    services.end([str(number) for number in range(6, 41)])
    await asyncio.sleep(10)
    assert sum(task.done() for task in waits) == 35
    lists, polls = services.count(""), services.count(since=25.0)
    assert polls in range(10, 16)  # five jobs, each once per interval
    await asyncio.sleep(10)
    assert services.count("") == lists
    await services.finish(waits)


@virtually
async def test_lists_are_requested_again_300_s_after_one_that_was_denied() -> None:
    services = ScriptedServices(20)
    denied = AccessDeniedError("denied", code=grpc.StatusCode.PERMISSION_DENIED)
    services.answer = lambda job_id, number: denied if (job_id, number) == ("", 1) else None
    waits = services.waits()
    await asyncio.sleep(290)
    assert services.count("") == 1
    assert services.count(since=280.0) in range(90, 121)
    await asyncio.sleep(20)
    assert services.count("") in range(2, 8)
    assert services.count(since=305.0) == 0
    await services.finish(waits)


@virtually
async def test_of_replies_in_flight_together_none_is_returned_after_a_newer_one() -> None:
    services = ScriptedServices(20)

    def answer(job_id: str, number: int) -> None:
        """The first list lacks the job, so that it is polled together with the second one."""
        services.deleted = {"1"} if (job_id, number) == ("", 1) else set()
        services.states["1"] = ("Uncommitted", 2) if job_id else ("Importing", 3)

    services.answer = answer
    seen: list[ImportJob] = []
    client, ids, interval = services.client, list(services.states), REQUEST / 2
    options: dict[str, Any] = {"until": "uncommitted", "on_progress": seen.append}
    wait = asyncio.create_task(client.wait_all(ids, interval=interval, **options))
    versions: list[int] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            async for job in client.watch_all(ids, interval=interval):
                versions += [job.progress] if job.job_id == "1" else []
    assert services.count("1") == 1
    assert versions == sorted(versions) == [job.progress for job in seen if job.job_id == "1"]
    assert versions[-1] == 3
    wait.cancel()


@virtually
async def test_a_watch_dropped_during_a_list_that_fails_leaves_no_poll() -> None:
    services = ScriptedServices(20)
    client = client_of(services)
    watches = [client.watch_all(list(services.states))]

    def answer(job_id: str, number: int) -> Exception | None:
        if (job_id, number) != ("", 2):
            return None
        watches.clear()
        return DeadlineExceededError("late", code=grpc.StatusCode.DEADLINE_EXCEEDED)

    services.answer = answer
    await anext(watches[0])
    waits = [asyncio.create_task(client.wait(job_id)) for job_id in services.states]
    await asyncio.sleep(10)
    assert not watches
    services.end(services.live)
    await asyncio.gather(*waits)
    await asyncio.sleep(10)
    assert left_behind(client) == {}


@virtually
async def test_good_lists_do_not_end_the_outage_of_the_poll_of_an_ended_job() -> None:
    services = ScriptedServices(20)
    services.answer = lambda job_id, _: away() if job_id == "1" else None
    services.responded = True
    waits = services.waits(max_outage=30)
    every = asyncio.create_task(services.client.wait_all(list(services.states), max_outage=30))
    await asyncio.sleep(10)
    services.end(["1"])
    with pytest.raises(UnavailableError) as raised:
        await waits[0]
    assert raised.value.outage == pytest.approx(30, abs=3)
    await services.finish(waits[1:])
    assert isinstance((await every)["1"], UnavailableError)


@virtually
async def test_the_outage_of_a_follower_starts_when_it_began_to_wait() -> None:
    services = ScriptedServices()
    services.responded = True
    [first] = services.waits(max_outage=100)
    await asyncio.sleep(1)
    services.answer = lambda _id, _number: away()
    await asyncio.sleep(60)
    faults = FaultLog()
    [second] = services.waits(max_outage=5, on_retry=faults)
    with pytest.raises(UnavailableError) as raised:
        await second
    assert faults.outages[0] < 0.1
    assert raised.value.outage == pytest.approx(6, abs=1.1)
    with pytest.raises(UnavailableError) as raised:
        await first
    assert raised.value.outage == pytest.approx(101, abs=2)


@virtually
async def test_a_watch_that_was_created_before_a_commit_takes_no_reply_from_before_it() -> None:
    services = ScriptedServices(state="Uncommitted")
    client = services.client
    before = client.watch("1")
    assert (await client.wait("1", until="uncommitted")).progress == 1
    await client.commit_import("1")
    assert (await anext(before)).progress == 1 + (services.states["1"][1] - 1)


def test_a_wait_that_a_list_serves_warns_once_of_a_job_to_commit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        services = ScriptedServices(20, state="Uncommitted")
        waits = services.waits()
        await asyncio.sleep(60)
        await services.finish(waits)
        assert services.count("") > 20

    caplog.set_level(logging.WARNING)
    run_virtually(main())
    assert len(caplog.records) <= 2 * 20  # of the first single poll, and of the list


@virtually
async def test_a_new_follower_does_not_poll_earlier_than_the_rate_limit_allows() -> None:
    services = ScriptedServices()
    services.answer = lambda _id, _number: limited()
    waits: list[asyncio.Task[Any]] = []
    for _ in range(100):
        waits += services.waits(max_outage=1000)
        await asyncio.sleep(0.1)
    assert services.count() <= 5
    services.answer = lambda _id, _number: None
    await services.finish(waits)


@virtually
async def test_retry_after_delays_every_poll_of_the_client_but_no_timeout() -> None:
    services = ScriptedServices(10)
    services.answer = lambda job_id, number: limited(8.0) if (job_id, number) == ("1", 1) else None
    waits = services.waits()
    loop, started = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    with pytest.raises(WaitTimeoutError):
        await services.client.wait("2", timeout=5)
    assert loop.time() == pytest.approx(started + 5)
    assert services.count(since=0.5) == 0
    await asyncio.sleep(3.2)
    assert services.count(since=8.0) > 0
    await services.finish(waits)


@virtually
async def test_five_hundred_followers_end_behind_a_limit_of_ten_requests_per_second() -> None:
    services = ScriptedServices(500)
    services.lists = False
    accepted: list[float] = []

    def answer(job_id: str, _: int) -> Any:
        now = asyncio.get_running_loop().time()
        if job_id == "":
            return None
        if sum(at > now - 1.0 for at in accepted[-10:]) >= 10:
            return limited()
        accepted.append(now)
        return None

    services.answer = answer
    waits = services.waits(max_outage=10_000)
    await asyncio.sleep(600)
    assert not any(task.done() for task in waits)
    start = asyncio.get_running_loop().time()
    await asyncio.wait_for(services.finish(waits), 200)
    seconds = asyncio.get_running_loop().time() - start
    sent = services.count(since=start)
    print(f"{sent / seconds:.1f} requests per second, {500 / seconds:.1f} accepted")
    assert sent / seconds < 14
    assert 500 / seconds > 5
    assert max(Counter(job_id for at, job_id in services.sent if at > 300).values()) < 40


@pytest.mark.parametrize("hanging", [0, 10, 100])
def test_three_hundred_jobs_are_polled_64_at_a_time_and_once_per_interval(hanging: int) -> None:
    """Jobs that hang do not delay the others: each gives up its place after one interval."""

    async def main() -> None:
        services = ScriptedServices(300)
        services.lists = False
        ids = list(services.states)
        services.hanging, responding = ids[:hanging], ids[hanging:]
        following = asyncio.create_task(states_of(services.client.watch_all(ids)))
        await asyncio.sleep(20.5)
        assert 64 <= services.most <= 64 + hanging
        assert {services.count(job_id) for job_id in services.hanging} <= {1}
        # Of 11 intervals, less the two in which more hang than there are places.
        counts = {services.count(job_id) for job_id in responding}
        assert counts <= ({9, 10} if hanging > 64 else {10, 11})
        following.cancel()

    run_virtually(main())


@virtually
async def test_at_most_64_missing_jobs_are_polled_at_once() -> None:
    services = ScriptedServices(0)
    with pytest.raises(JobNotFoundError):
        await states_of(services.client.watch_all([str(n) for n in range(1, 201)], timeout=0))
    assert (services.most, services.count()) == (64, 200)


def test_a_client_is_used_again_in_another_run() -> None:
    services = ScriptedServices()
    client = services.client

    async def first() -> None:
        services.waits()
        await anext(client.watch("1"))

    async def second() -> None:
        services.end(services.live)
        assert (await client.wait("1")).state == "Completed"
        gc.collect()
        assert left_behind(client) == {}

    run_virtually(first())
    run_virtually(second())


def old_factory(loop: Any, coroutine: Any) -> asyncio.Task[Any]:
    """A task factory without keywords."""
    return asyncio.Task(coroutine, loop=loop)


FACTORIES: dict[str, Any] = {"no keywords": old_factory}
if sys.version_info >= (3, 12):
    FACTORIES["eager tasks"] = asyncio.eager_task_factory


@pytest.mark.parametrize("factory", FACTORIES)
def test_polls_run_in_the_tasks_of_any_factory(factory: str) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(FACTORIES[factory])
        services = ScriptedServices(20)
        services.lists = False
        waits = services.waits()
        await asyncio.sleep(10)
        assert services.count() in range(80, 141)
        await services.finish(waits)
        assert left_behind(services.client) == {}

    run_virtually(main())


@virtually
async def test_close_ends_every_follower_and_leaves_nothing() -> None:
    services = ScriptedServices(30)
    client = services.client
    waits = [*services.waits(), *services.waits(on_progress=bool)]
    every = asyncio.create_task(client.wait_all(list(services.states)))
    watches = [client.watch_all(), client.watch_all(list(services.states)), client.watch("1")]
    waits += [asyncio.create_task(states_of(watch)) for watch in watches]
    await asyncio.sleep(1)
    services.hanging = ["", "1"]
    await asyncio.sleep(2)
    assert services.in_flight
    await client.close()
    outcomes = await asyncio.gather(*waits, return_exceptions=True)
    outcomes += (await every).values()
    assert {type(outcome) for outcome in outcomes} == {ClientClosedError}
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def states_of(watch: Any) -> list[tuple[str, int]]:
    return [(str(job.state), job.progress) async for job in watch]


@virtually
async def test_a_poll_that_is_cancelled_from_outside_is_sent_again_at_the_next_interval() -> None:
    services = ScriptedServices()
    [wait] = services.waits()
    await asyncio.sleep(0)
    for moment in (0.0, 0.001):  # before its first step, and while it waits for the reply
        await asyncio.sleep(moment)
        assert cancel_one_request()
        await asyncio.sleep(2.0 - moment)
    services.end(["1"])
    assert (await wait).progress == 2
    assert services.count() in {3, 4}


# What one watch yields for any replies.

Reply = tuple[str, int] | type[MilvusImportError]
replies = st.one_of(
    st.tuples(st.sampled_from(["Pending", "Importing", "Uncommitted", "11"]), st.integers(0, 3)),
    st.sampled_from([UnavailableError, JobNotFoundError]),
)


def model(script: Sequence[Reply]) -> tuple[list[tuple[str, int]], bool, int]:
    """What a watch yields, whether it ends in JobNotFoundError, and its number of polls."""
    seen: list[tuple[str, int]] = []
    missing = False
    for polls, reply in enumerate(script, start=1):
        if reply is JobNotFoundError:
            if missing or not seen:
                return seen, True, polls
            missing = True
        elif isinstance(reply, tuple):
            missing = False
            if not seen or seen[-1] != reply:
                seen.append(reply)
            if reply[0] in {"Completed", "Failed"}:
                return seen, False, polls
    raise AssertionError("no end")


@example([("Importing", 1), JobNotFoundError, ("Importing", 1), JobNotFoundError], "Completed")
@example([("Importing", 1), JobNotFoundError, ("Importing", 2), JobNotFoundError], "Completed")
@example([("Importing", 1), JobNotFoundError, UnavailableError, JobNotFoundError], "Completed")
@given(st.lists(replies, max_size=12), st.sampled_from(["Completed", "Failed"]))
@on_each_watch
def test_watch_yields_each_change_once_up_to_the_first_end(
    method: str, script: list[Reply], end: str
) -> None:
    script = [*script, (end, 3), ("Importing", 0)]

    def answer(_: str, number: int) -> Any:
        reply = script[number - 1]
        if reply is UnavailableError:
            return away()
        if reply is JobNotFoundError:
            return JobNotFoundError("no such job", code=2100, service="internal")
        return Snapshot(repr(reply).encode(), reply, "1", decode)

    async def follow_one() -> None:
        services = ScriptedServices()
        services.answer, services.responded = answer, True
        seen = list[tuple[str, int]]()
        lost: JobNotFoundError | None = None
        watch = start_watch(services.client, method, "1", interval=2.0, timeout=None)
        try:
            async for progress in watch:
                seen.append((str(progress.state), progress.progress))
        except JobNotFoundError as error:
            lost = error
        assert (seen, lost is not None, services.count()) == model(script)
        assert lost is not None or await states_of(watch) == []
        assert lost is None or (lost.progress is None) == (not seen)

    run_virtually(follow_one())


@settings(max_examples=12)
@given(st.integers(1, 600), st.integers(1, 8), st.booleans(), st.randoms(use_true_random=False))
def test_watch_all_yields_any_distribution_of_ends_over_intervals(
    count: int, intervals: int, lists: bool, numbers: Any
) -> None:
    async def follow_all() -> None:
        services = ScriptedServices(count)
        services.lists = lists
        ends = {job_id: numbers.randrange(intervals) * 2 + 1.0 for job_id in services.states}
        for job_id, at in ends.items():
            asyncio.get_running_loop().call_at(at, services.end, [job_id])
        seen: dict[str, list[int]] = {job_id: [] for job_id in ends}
        async for job in services.client.watch_all(list(ends)):
            seen[job.job_id].append(job.progress)
        assert all(versions in ([1, 2], [2]) for versions in seen.values())
        assert len(services.in_flight) <= CONCURRENT_POLLS
        if lists and count >= 16:
            assert services.count("") <= intervals + 2
            below_eight = sorted(ends.values())[-8]  # from then on, jobs are polled individually
            assert services.count() == services.count(since=below_eight)

    run_virtually(follow_all())
