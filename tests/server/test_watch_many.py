from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import grpc.aio
import pytest
from servers import CountingServer
from watching import TICK, FaultLog, gone

from milvus_import import (
    AccessDeniedError,
    ImportClient,
    ImportFailedError,
    ImportJob,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    RefusedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from milvus_import.testing import FakeJob, FakeMilvus

pytestmark = pytest.mark.anyio

both_services = pytest.mark.parametrize("client", ["internal", "public"], indirect=True)


@pytest.fixture
def guard(scale: float) -> float:
    """Seconds after which a watch that should have ended fails its test."""
    return 20.0 * scale


@pytest.fixture
async def client(fake: FakeMilvus, request: pytest.FixtureRequest) -> AsyncIterator[ImportClient]:
    """A client of the internal service, or as the test says."""
    public = getattr(request, "param", "internal") == "public"
    async with ImportClient(fake.public_uri if public else fake.internal_uri) as client:
        yield client


def add_scripted(fake: FakeMilvus, count: int) -> list[FakeJob]:
    """Jobs that end after different numbers of answers, each with a repeated one."""
    return [
        fake.add_job(
            script=[("Importing", 10 + 10 * step) for step in range(index % 4 + 1)]
            + [("Importing", 50), ("Importing", 50), ("Completed", 100)]
        )
        for index in range(count)
    ]


def ids(jobs: list[FakeJob]) -> list[str]:
    return [job.job_id for job in jobs]


def expected(jobs: list[FakeJob]) -> dict[str, list[tuple[str, int]]]:
    """Each job's script without its repeats."""
    return {job.job_id: list(dict.fromkeys(job.script)) for job in jobs}


async def told(watch: AsyncIterator[ImportJob]) -> dict[str, list[tuple[str, int]]]:
    """What a watch gives of each job."""
    seen: dict[str, list[tuple[str, int]]] = {}
    async for job in watch:
        seen.setdefault(job.job_id, []).append((str(job.state), job.progress))
    return seen


def methods(fake: FakeMilvus) -> set[str]:
    return {received.method for received in fake.received}


# What a watch gives.


@both_services
@pytest.mark.parametrize("count", [0, 1, 7, 150])
async def test_each_change_of_each_job_comes_once(
    fake: FakeMilvus, client: ImportClient, count: int, guard: float
) -> None:
    jobs = add_scripted(fake, count)
    seen = await told(client.watch_all(ids(jobs), interval=TICK, timeout=guard))
    assert seen == expected(jobs)


async def test_the_internal_service_is_asked_once_a_tick(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 50)
    await told(client.watch_all(ids(jobs), interval=TICK, timeout=guard))
    assert methods(fake) == {"ListImports"}
    assert len(fake.received) == max(len(job.script) for job in jobs)


async def test_without_ids_all_jobs_are_followed_in_the_order_of_their_ids(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    fake.add_job(job_id="100", state="Completed")
    fake.add_job(job_id="9", state="Failed", reason="bad")
    fake.add_job(job_id="20", state="Completed", collection_name="films")
    watch = client.watch_all(interval=TICK, timeout=guard)
    assert [(job.job_id, job.reason) async for job in watch] == [
        ("9", "bad"),
        ("20", ""),
        ("100", ""),
    ]


@pytest.mark.parametrize("port", ["internal", "public"])
async def test_a_collection_s_jobs_are_followed(port: str, guard: float) -> None:
    async with FakeMilvus(version="2.6" if port == "internal" else "2.3") as fake:
        jobs = add_scripted(fake, 3)
        fake.add_job(collection_name="films")
        uri = fake.internal_uri if port == "internal" else fake.public_uri
        async with ImportClient(uri) as client:
            watch = client.watch_all(collection_name="books", interval=TICK, timeout=guard)
            seen = await told(watch)
    assert list(seen) == ids(jobs)
    assert all(changes[-1] == ("Completed", 100) for changes in seen.values())


@pytest.mark.parametrize("client", ["public"], indirect=True)
async def test_a_service_that_lists_no_ids_says_so(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    fake.add_job()
    with pytest.raises(UnsupportedServerError, match=r"without their ids.*19529"):
        await told(client.watch_all(collection_name="books", timeout=guard))


async def test_jobs_that_come_later_are_not_followed(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 2)
    watch = client.watch_all(interval=TICK, timeout=guard)
    first = await anext(watch)
    fake.add_job(state="Importing")
    seen = await told(watch)
    assert {first.job_id, *seen} == set(ids(jobs))


@both_services
async def test_a_failed_job_is_given_and_stops_none_of_the_others(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    failed = fake.add_job(state="Failed", reason="bad file")
    jobs = [failed, *add_scripted(fake, 2)]
    seen = await told(client.watch_all(ids(jobs), interval=TICK, timeout=guard))
    assert seen[failed.job_id] == [("Failed", 0)]
    assert all(seen[job.job_id][-1] == ("Completed", 100) for job in jobs[1:])


@both_services
async def test_the_same_id_twice_is_one_job(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    [job] = jobs = add_scripted(fake, 1)
    watch = client.watch_all([job.job_id] * 3, interval=TICK, timeout=guard)
    assert await told(watch) == expected(jobs)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"job_ids": "1"}, TypeError),
        ({"job_ids": [1]}, TypeError),
        ({"job_ids": ["x"]}, ValueError),
        ({"job_ids": ["1"], "collection_name": "books"}, ValueError),
        ({"collection_name": 1}, TypeError),
        ({"timeout": math.nan}, ValueError),
        ({"interval": 0}, ValueError),
    ],
)
async def test_misuse_is_refused_before_anything_is_sent(
    fake: FakeMilvus, client: ImportClient, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.watch_all(**arguments)
    assert fake.received == []


# Leaving and coming back.


@both_services
async def test_leaving_the_loop_stops_the_polls(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = [fake.add_job(state="Importing", progress=40) for _ in range(5)]
    async for _ in client.watch_all(ids(jobs), interval=TICK, timeout=guard):
        break
    asked = len(fake.received)
    await anyio.sleep(TICK * 10)
    assert len(fake.received) == asked


@both_services
async def test_a_cancelled_step_can_be_taken_again_without_losing_a_job(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = [fake.add_job(state="Importing", progress=40) for _ in range(100)]
    watch = client.watch_all(ids(jobs), interval=TICK * 5, timeout=guard)
    for _ in jobs:
        await anext(watch)
    fake.inject("hang", times=10)
    for job in jobs:
        job.state, job.progress = "Completed", 100
    seen: list[str] = []
    with anyio.move_on_after(TICK * 10) as scope:
        while True:
            seen.append((await anext(watch)).job_id)  # until it waits for those that hang
    assert scope.cancelled_caught
    fake.heal()
    seen += await told(watch)
    assert sorted(seen) == ids(jobs)
    assert not any(received.reset for received in fake.received)


# Faults.


@both_services
async def test_a_restart_loses_no_job(fake: FakeMilvus, client: ImportClient, guard: float) -> None:
    jobs = add_scripted(fake, 20)
    faults = FaultLog()

    async def restart() -> None:
        await fake.stop()
        await faults.reach(2)
        await fake.start()

    watch = client.watch_all(ids(jobs), interval=TICK, timeout=guard, on_fault=faults)
    first = await anext(watch)
    async with anyio.create_task_group() as group:
        group.start_soon(restart)
        seen = await told(watch)
        seen[first.job_id].insert(0, (str(first.state), first.progress))
        assert seen == expected(jobs)
    assert UnavailableError in faults.kinds


@both_services
async def test_an_outage_is_over_with_the_first_good_answer(
    fake: FakeMilvus, client: ImportClient, scale: float, guard: float
) -> None:
    pulse = fake.add_job(script=[("Importing", n) for n in range(1000)])
    faults = FaultLog()
    watch = client.watch_all(
        [pulse.job_id], interval=TICK, max_outage=0.5 * scale, timeout=guard, on_fault=faults
    )
    await anext(watch)
    for _ in range(2):
        fake.inject("not-ready")
        end = time.monotonic() + 0.7 * scale
        while time.monotonic() < end:
            await anext(watch)
    assert faults.kinds == [RefusedError, RefusedError]


@both_services
async def test_what_will_not_pass_is_raised_at_once(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = [fake.add_job() for _ in range(5)]
    watch = client.watch_all(ids(jobs), interval=TICK, timeout=guard)
    for _ in jobs:
        await anext(watch)
    fake.inject("unavailable", times=1)
    fake.inject("denied", times=None)
    with pytest.raises(AccessDeniedError):
        await told(watch)


async def test_a_server_that_stops_listing_is_polled(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 3)
    watch = client.watch_all(ids(jobs), interval=TICK, timeout=guard)
    first = await anext(watch)
    fake.inject("unimplemented", times=None, method="ListImports")
    seen = await told(watch)
    seen[first.job_id].insert(0, (str(first.state), first.progress))
    assert seen == expected(jobs)
    assert methods(fake) == {"ListImports", "GetImportProgress"}


@both_services
async def test_unknown_jobs_stop_none_of_the_others(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 3)
    watch = client.watch_all(["1", *ids(jobs), "2"], interval=TICK, timeout=guard)
    seen: dict[str, list[tuple[str, int]]] = {}

    async def follow() -> None:
        async for job in watch:
            seen.setdefault(job.job_id, []).append((str(job.state), job.progress))

    with pytest.raises(JobNotFoundError, match="jobID=1") as raised:
        await follow()
    assert seen == expected(jobs)
    assert "jobID=2" in "".join(raised.value.__notes__)
    assert await told(watch) == {}


async def test_many_unknown_jobs_are_named_in_few_lines(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    with pytest.raises(JobNotFoundError) as raised:
        await told(client.watch_all([str(n) for n in range(1, 201)], timeout=guard))
    assert len(raised.value.__notes__) == 10
    assert raised.value.__notes__[-1] == "and 190 more"


async def test_a_job_missing_from_the_list_is_asked_for_by_itself(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    """The pulse changes at each tick; the other is away from the list for one of them."""
    pulse = fake.add_job(script=[*(("Importing", n) for n in range(10)), ("Completed", 100)])
    other = fake.add_job(state="Importing", progress=40)
    seen: list[str] = []
    async for job in client.watch_all([pulse.job_id, other.job_id], interval=TICK, timeout=guard):
        seen.append(job.job_id)
        if job.job_id == pulse.job_id and job.progress == 3:
            del fake.jobs[other.job_id]
        if job.job_id == pulse.job_id and job.progress == 4:
            other.state = "Completed"
            fake.jobs[other.job_id] = other
    assert seen.count(other.job_id) == 2
    alone = [r.request.jobID for r in fake.received if r.method == "GetImportProgress"]
    assert alone == [other.job_id]


@both_services
async def test_a_job_that_vanishes_for_good_is_lost_at_the_second_word_of_it(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    watch = client.watch_all([job.job_id], interval=TICK, timeout=guard)
    await anext(watch)
    del fake.jobs[job.job_id]
    asked = len(fake.received)
    with pytest.raises(JobNotFoundError) as raised:
        await anext(watch)
    alone = [r for r in fake.received[asked:] if r.method != "ListImports"]
    assert len(alone) == 2
    last = raised.value.progress  # of a list's lines there is none
    assert last is None or (last.state, last.progress) == ("Importing", 40)
    assert (last is None) == (alone[0].service == "internal")


async def test_jobs_missing_from_the_list_are_not_all_asked_for_while_none_answers(
    fake: FakeMilvus, client: ImportClient
) -> None:
    await client.check()
    fake.inject("not-ready", times=None, method="GetImportProgress")
    asked = len(fake.received)
    with pytest.raises(WaitTimeoutError):
        await told(client.watch_all([str(n) for n in range(1, 201)], timeout=0))
    assert len(fake.received) - asked == 1 + 64


@pytest.mark.parametrize("client", ["public"], indirect=True)
async def test_a_job_that_vanishes_and_comes_back_each_time_is_not_lost(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 1)
    watch = client.watch_all(ids(jobs), interval=TICK, timeout=guard)
    first = await anext(watch)
    seen = [(str(first.state), first.progress)]
    for _ in range(2):  # an answer in between, and it starts anew
        fake.inject(gone(first.job_id), method="GetImportState")
        job = await anext(watch)
        seen.append((str(job.state), job.progress))
    assert seen == expected(jobs)[first.job_id]


async def test_a_bug_of_an_interceptor_comes_as_it_is(fake: FakeMilvus, guard: float) -> None:
    class Broken(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(
            self, continuation: Any, client_call_details: Any, request: Any
        ) -> Any:
            raise ZeroDivisionError("a bug")

    async with ImportClient(fake.public_uri, service="public", interceptors=[Broken()]) as client:
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await told(client.watch_all(["1", "2"], timeout=guard))


# Time limits.


@both_services
async def test_no_time_is_one_look_at_every_job(fake: FakeMilvus, client: ImportClient) -> None:
    jobs = [fake.add_job(state="Importing", progress=40) for _ in range(150)]
    watch = client.watch_all(ids(jobs), timeout=0)
    assert {(await anext(watch)).job_id for _ in jobs} == set(ids(jobs))
    first = ", ".join(ids(jobs)[:10])
    with pytest.raises(WaitTimeoutError, match=f"150 of 150 .* 0 s: {first} and 140 more"):
        await anext(watch)
    assert {job.answered for job in jobs} == {1}


@both_services
async def test_a_limit_is_exact_while_the_server_hangs(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    await client.check()
    jobs = [fake.add_job() for _ in range(5)]
    fake.inject("hang", times=None)
    started = time.monotonic()
    with pytest.raises(WaitTimeoutError, match=f"5 of 5 .* 0.5 s: {', '.join(ids(jobs))}"):
        await told(client.watch_all(ids(jobs), timeout=0.5))
    assert 0.5 <= time.monotonic() - started < 0.5 + 5 * scale


async def test_a_list_that_never_came_is_named(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    await client.check()
    fake.inject("coordinator-away", times=None)
    with pytest.raises(WaitTimeoutError, match=r"no list .* service unavailable"):
        await told(client.watch_all(interval=TICK, timeout=0.3 * scale))


# wait_all.


@both_services
async def test_every_outcome_is_returned(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    completed = add_scripted(fake, 3)
    failed = fake.add_job(state="Failed", reason="disk full")
    stuck = fake.add_job(state="Importing", progress=70)
    order = [stuck.job_id, "1", *ids(completed), failed.job_id]
    outcomes = await client.wait_all(order, interval=TICK, timeout=3 * scale)
    assert list(outcomes) == order
    for job in completed:
        progress = outcomes[job.job_id]
        assert isinstance(progress, ImportProgressData)
        assert (progress.job_id, progress.state) == (job.job_id, ImportState.COMPLETED)
        assert bool(progress.details) == progress.detailed
    failure, unknown, late = (outcomes[job_id] for job_id in (failed.job_id, "1", stuck.job_id))
    assert isinstance(failure, ImportFailedError)
    assert "disk full" in str(failure)
    assert isinstance(unknown, JobNotFoundError)
    assert isinstance(late, WaitTimeoutError)
    assert "Importing at 70 %" in str(late)


@both_services
async def test_the_uncommitted_is_an_outcome_when_asked_for(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    waits = fake.add_job(script=[("Importing", 40), ("Uncommitted", 99)])
    done = fake.add_job(state="Completed", progress=100)
    outcomes = await client.wait_all(
        [waits.job_id, done.job_id], until="uncommitted", interval=TICK, timeout=guard
    )
    states = [o.state for o in outcomes.values() if isinstance(o, ImportProgressData)]
    assert states == [ImportState.UNCOMMITTED, ImportState.COMPLETED]


@both_services
async def test_changes_are_told_on_the_way(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 5)
    seen: dict[str, list[tuple[str, int]]] = {}
    await client.wait_all(
        ids(jobs),
        interval=TICK,
        timeout=guard,
        on_progress=lambda job: seen.setdefault(job.job_id, []).append(
            (str(job.state), job.progress)
        ),
    )
    assert seen == expected(jobs)


@both_services
async def test_an_outage_is_the_outcome_of_the_jobs_it_cut_off(
    fake: FakeMilvus, client: ImportClient, scale: float, guard: float
) -> None:
    done = fake.add_job(state="Completed", progress=100)
    cut_off = [fake.add_job(state="Importing", progress=40) for _ in range(3)]
    seen: set[str] = set()

    def note(job: ImportJob) -> None:
        seen.add(job.job_id)
        if len(seen) == 4:
            fake.inject("coordinator-away", times=None)

    outcomes = await client.wait_all(
        [done.job_id, *ids(cut_off)],
        interval=TICK,
        max_outage=0.3 * scale,
        timeout=guard,
        on_progress=note,
    )
    assert isinstance(outcomes[done.job_id], ImportProgressData)
    for job in cut_off:
        outcome = outcomes[job.job_id]
        assert isinstance(outcome, RefusedError)
        assert outcome.code == 2


@both_services
@pytest.mark.parametrize("timeout", [0, -1])
async def test_no_time_is_one_look_at_every_outcome(
    fake: FakeMilvus, client: ImportClient, timeout: float
) -> None:
    jobs = [fake.add_job(state="Completed", progress=100) for _ in range(100)]
    stuck = fake.add_job(state="Importing", progress=70)
    outcomes = await client.wait_all([*ids(jobs), stuck.job_id], timeout=timeout)
    assert sum(isinstance(o, ImportProgressData) for o in outcomes.values()) == 100
    assert isinstance(outcomes[stuck.job_id], WaitTimeoutError)


@both_services
async def test_a_full_outcome_that_did_not_come_is_asked_for_again(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    [job] = jobs = add_scripted(fake, 1)
    await client.check()
    for method in ("GetImportProgress", "GetImportState"):
        fake.inject("not-ready", times=2, method=method)
    outcomes = await client.wait_all(ids(jobs), interval=TICK, timeout=guard)
    assert isinstance(outcomes[job.job_id], ImportProgressData)


async def test_nothing_to_wait_for_is_no_call(fake: FakeMilvus, client: ImportClient) -> None:
    assert await client.wait_all([]) == {}
    assert fake.received == []


# Load.


async def test_a_thousand_jobs_are_polled_in_turns_of_at_most_64(
    scale: float, guard: float
) -> None:
    interval = 2.0 * scale
    job_ids = [str(n) for n in range(1, 1001)]
    async with CountingServer(delay=0.02) as server, ImportClient(server.uri) as client:
        started = time.monotonic()
        watch = client.watch_all(job_ids, interval=interval, timeout=2 * guard)
        first = {(await anext(watch)).job_id for _ in job_ids}
        with anyio.move_on_after(2 * interval):
            await anext(watch)  # nothing changes
        await anyio.sleep(interval / 2)  # the polls it left on the wire end by themselves
        asked = {job_id: len(times) for job_id, times in server.asked.items()}
        intervals = (time.monotonic() - started) / interval
        server.released = True
        ended = {job.job_id async for job in watch if job.done}
    assert first == ended == set(job_ids)
    assert set(asked) == set(map(int, job_ids))
    assert server.most <= 64
    assert max(asked.values()) <= 2 + intervals  # one at once, then one in each interval
