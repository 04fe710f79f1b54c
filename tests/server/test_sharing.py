"""Followers share polls: requests that a server counts, restarts, and isolation."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Collection
from typing import Any

import anyio
import pytest
from following import Crowd, World, left_behind
from interceptors import Raise
from times import GUARD, SCALE, TICK, until
from watching import (
    QUICK,
    FaultLog,
    add_running,
    changes,
    complete,
    ids,
    job_changes,
    on_each_method,
    run,
)

from milvus_import import (
    ImportClient,
    ImportProgressData,
    JobNotFoundError,
    WaitTimeoutError,
)
from milvus_import.testing import FakeJob, FakeMilvus, Fault

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["internal", "public", "rest"])
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# What the server counts.


async def test_followers_of_one_job_share_its_polls(fake: FakeMilvus, client: ImportClient) -> None:
    script = [("Importing", percent) for percent in (10, 20, 30)] + [("Completed", 100)]
    job = fake.add_job(script=script)
    paused = client.watch(job.job_id, interval=0.2)
    assert (await anext(paused)).progress == 10
    with anyio.fail_after(GUARD):
        results, seen = await asyncio.gather(
            asyncio.gather(*(client.wait(job.job_id, interval=0.2) for _ in range(50))),
            asyncio.gather(*(changes(client.watch(job.job_id, interval=0.2)) for _ in range(50))),
        )
    assert job.reply_count == len(script)
    assert {result.state for result in results} == {"Completed"}
    assert len({id(result) for result in results}) == 50  # each belongs to its caller
    assert all(states == script for states in seen)
    assert await changes(paused) == script[-1:]
    assert job.reply_count == len(script)  # the paused watch takes the last reply


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": {"x-request-id": "1"}},
        {"interval": 0.3},
        {"rpc_timeout": 3.0},
        {"on_finish": bool},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_followers_with_other_options_poll_for_themselves(
    client: ImportClient, job: FakeJob, options: dict[str, Any]
) -> None:
    shared: dict[str, Any] = {"timeout": GUARD, "interval": 3600}
    watches = [client.watch(job.job_id, **chosen) for chosen in (shared, shared | options)]
    await asyncio.gather(*map(anext, watches))
    assert job.reply_count == 2
    await asyncio.gather(*(anext(client.watch(job.job_id, interval=3600)) for _ in range(3)))
    assert job.reply_count == 2


async def test_a_wait_with_timeout_0_sends_its_own_poll(client: ImportClient, job: FakeJob) -> None:
    await anext(client.watch(job.job_id, interval=3600))
    for count in (2, 3):
        with pytest.raises(WaitTimeoutError):
            await client.wait(job.job_id, interval=3600, timeout=0)
        assert job.reply_count == count


async def test_waits_of_many_jobs_share_lists_where_the_service_lists(
    fake: FakeMilvus, client: ImportClient, service: str
) -> None:
    jobs = add_running(fake, 100)

    def singles() -> int:
        return sum(received.job_id != "" for received in fake.received)

    async with asyncio.timeout(GUARD):
        waits = [asyncio.create_task(client.wait(i, interval=TICK * 10)) for i in ids(jobs)]
        await until(lambda: len(fake.received) >= (20 if service != "public" else 300))
        before = singles()
        assert before <= 16 or service == "public"
        complete(*jobs)
        assert {progress.progress for progress in await asyncio.gather(*waits)} == {100}
    assert singles() - before <= 100 + 16 or service == "public"


# One follower does not change what the others receive.


class CallbackError(Exception):
    pass


def raise_error(*_: object) -> None:
    raise CallbackError


LEAVING: dict[str, tuple[dict[str, Any], type[BaseException] | None]] = {
    "on_progress": ({"on_progress": raise_error}, CallbackError),
    "on_retry": ({"on_retry": raise_error}, CallbackError),
    "timeout": ({"timeout": TICK}, WaitTimeoutError),
    "cancel": ({}, asyncio.CancelledError),
    "aclose": ({}, None),
}


@pytest.mark.parametrize("leaves", LEAVING)
async def test_the_end_of_one_follower_does_not_change_the_others(
    fake: FakeMilvus, known: ImportClient, job: FakeJob, leaves: str
) -> None:
    log, (callbacks, expected) = FaultLog(), LEAVING[leaves]
    options: dict[str, Any] = {"interval": TICK * 5, "timeout": GUARD}
    waiting = asyncio.create_task(known.wait(job.job_id, on_retry=log, **options))
    watching = asyncio.create_task(changes(known.watch(job.job_id, **options)))
    waiting_all = asyncio.create_task(known.wait_all([job.job_id], **options))
    if expected is None:
        watch = known.watch(job.job_id, **options)
        await anext(watch)
        await watch.aclose()
    else:
        leaver = asyncio.create_task(known.wait(job.job_id, **(options | callbacks)))
        await until(lambda: job.reply_count > 0)
        if leaves == "on_retry":
            fake.inject("not-ready", job_id=job.job_id)
        if leaves == "cancel":
            await asyncio.sleep(TICK)
            leaver.cancel()
        with pytest.raises(expected):
            await leaver
    with anyio.fail_after(GUARD):
        if leaves == "on_retry":
            await log.reach(1)
        complete(job)
        assert (await waiting).progress == 100
        assert await watching == [("Importing", 40), ("Completed", 100)]
        assert isinstance((await waiting_all)[job.job_id], ImportProgressData)
    assert len(log) == (leaves == "on_retry")
    gc.collect()
    assert left_behind(known) == {}


async def test_each_follower_receives_an_error_of_its_own(
    fake: FakeMilvus, client: ImportClient
) -> None:
    waits = [client.wait("450000000000000009", **QUICK) for _ in range(10)]
    outcomes = await asyncio.gather(*waits, return_exceptions=True)
    assert len({id(outcome) for outcome in outcomes}) == 10
    assert len(fake.received) == 1
    for outcome in outcomes:
        assert isinstance(outcome, JobNotFoundError)
        assert (outcome.job_id, outcome.progress) == ("450000000000000009", None)


@on_each_method
async def test_an_exception_of_an_interceptor_keeps_its_traceback(
    fake: FakeMilvus, job: FakeJob, method: str
) -> None:
    interceptors = [Raise(CallbackError())]
    async with ImportClient(fake.internal_uri, interceptors=interceptors) as client:
        with pytest.raises(CallbackError) as raised:
            await run(client, method, job.job_id)
    assert "intercept_unary_unary" in [entry.name for entry in raised.traceback]


# Outages.


async def test_a_crowd_survives_a_restart_of_the_server(
    client: ImportClient, fake: FakeMilvus, service: str
) -> None:
    jobs = ids(add_running(fake, 30))
    options: Any = {"interval": 0.1 * SCALE}
    waits = [asyncio.create_task(client.wait(i, **options)) for i in jobs * 3]
    watches = [asyncio.create_task(changes(client.watch(i, **options))) for i in jobs * 3]
    every_wait = asyncio.create_task(client.wait_all(jobs, **options))
    every_watch = asyncio.create_task(job_changes(client.watch_all(jobs, **options)))
    await until(lambda: len(fake.received) > 60)
    fake.inject("unavailable" if service != "rest" else "http-503-html", times=None)
    await asyncio.sleep(0.5 * SCALE)
    fake.clear_faults()
    with anyio.fail_after(GUARD):
        await fake.stop()
        await asyncio.sleep(0.3 * SCALE)
        await fake.start()
        complete(*fake.jobs.values())
        results = [*await asyncio.gather(*waits), *(await every_wait).values()]
        seen = [*await asyncio.gather(*watches), *(await every_watch).values()]
    assert all(isinstance(result, ImportProgressData) for result in results)
    assert seen == [[("Importing", 40), ("Completed", 100)]] * len(jobs) * 4
    assert left_behind(client) == {}


# Random followers over sockets; tests/property/test_polls.py runs many more in virtual time.


class FakeWorld(World):
    """The jobs of a FakeMilvus."""

    def __init__(self, fake: FakeMilvus, rng: random.Random, unit: float) -> None:
        super().__init__(rng, unit)
        self.calm_seconds = 3.0 * SCALE
        self.end_seconds = GUARD
        self.fake = fake
        self.fakes: dict[str, FakeJob] = {}

    def add(self) -> str:
        job = self.fake.add_job(state="Pending", progress=1)
        self.fakes[job.job_id] = job
        self.states[job.job_id] = "Pending", 1
        return job.job_id

    def changed(self, job_id: str) -> None:
        if job_id in self.deleted:
            del self.fake.jobs[job_id]
        else:
            job = self.fakes[job_id]
            job.state, job.progress = self.states[job_id]

    def set_faults(self, names: Collection[str]) -> None:
        self.fake.clear_faults()
        for name in names:
            if name == "late-list":
                self.fake.inject(Fault(delay=self.unit * 3), times=5, method="ListImports")
            if name in {"unavailable", "not-ready"}:
                self.fake.inject(name, times=self.rng.randrange(1, 10))


@pytest.mark.parametrize("service", ["internal", "rest"])
async def test_random_followers_over_sockets(fake: FakeMilvus, client: ImportClient) -> None:
    seed = 26
    world = FakeWorld(fake, random.Random(seed), 0.02 * SCALE)
    crowd = Crowd(world, client, followers=60, jobs=40, commits=False)
    await client.check()
    print(f"seed {seed}")
    await crowd.steps(250, calm_every=250)  # on each of the two services
    await crowd.finish()
    print(crowd.ends)
    gc.collect()
    assert left_behind(client, crowd.runs) == {}
