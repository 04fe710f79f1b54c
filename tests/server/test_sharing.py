"""Followers share polls: requests that a server counts, limits, restarts, and isolation."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from typing import Any

import anyio
import grpc
import pytest
from following import Crowd, World, left_behind
from times import GUARD, SCALE, TICK, until
from watching import FaultLog

from milvus_import import (
    ClientClosedError,
    ImportClient,
    ImportProgressData,
    MilvusImportError,
    WaitTimeoutError,
)
from milvus_import.testing import FAULTS, FakeJob, FakeMilvus, Fault, HttpResponse, Received

pytestmark = pytest.mark.anyio

SERVICES = ("internal", "public", "rest")


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(fake: FakeMilvus, service: str) -> AsyncIterator[ImportClient]:
    chosen: Any = service
    async with ImportClient(getattr(fake, f"{service}_uri"), service=chosen) as client:
        yield client


def complete(*jobs: FakeJob) -> None:
    for job in jobs:
        job.state, job.progress = "Completed", 100


def task_of(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(coroutine)


async def all_changes(watch: Any) -> list[int]:
    return [progress.progress async for progress in watch]


# What the server counts.


async def test_followers_of_one_job_share_its_polls(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    script = [("Importing", percent) for percent in (10, 20, 30)] + [("Completed", 100)]
    job = fake.add_job(script=script)
    paused = client.watch(job.job_id, interval=0.2)
    assert (await anext(paused)).progress == 10
    with anyio.fail_after(guard):
        results = await asyncio.gather(
            *(task_of(client.wait(job.job_id, interval=0.2)) for _ in range(50)),
            *(task_of(all_changes(client.watch(job.job_id, interval=0.2))) for _ in range(50)),
        )
    assert job.reply_count == len(script)
    assert {result.state for result in results[:50]} == {"Completed"}
    assert all(result == [10, 20, 30, 100] for result in results[50:])
    assert [progress.progress async for progress in paused] == [100]
    assert job.reply_count == len(script)  # the paused watch takes the last reply


@pytest.mark.parametrize(
    "options",
    [{"metadata": {"x-request-id": "1"}}, {"interval": 0.3}, {"rpc_timeout": 3.0}, "on_finish"],
    ids=["metadata", "interval", "rpc_timeout", "on_finish"],
)
async def test_followers_with_other_options_poll_for_themselves(
    fake: FakeMilvus, client: ImportClient, options: Any, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=10)
    options = {"on_finish": bool} if options == "on_finish" else options
    others: dict[str, Any] = {"interval": 3600, **options}
    watches = [
        client.watch(job.job_id, timeout=guard, interval=3600),
        client.watch(job.job_id, timeout=guard, **others),
    ]
    await asyncio.gather(*(anext(watch) for watch in watches))
    assert job.reply_count == 2
    await asyncio.gather(*(anext(client.watch(job.job_id, interval=3600)) for _ in range(3)))
    assert job.reply_count == 2


async def test_a_wait_with_timeout_0_sends_its_own_poll(
    fake: FakeMilvus, client: ImportClient
) -> None:
    job = fake.add_job(state="Importing", progress=10)
    await anext(client.watch(job.job_id, interval=3600))
    for count in (2, 3):
        with pytest.raises(WaitTimeoutError):
            await client.wait(job.job_id, interval=3600, timeout=0)
        assert job.reply_count == count


async def test_waits_of_many_jobs_share_lists_where_the_service_lists(
    fake: FakeMilvus, client: ImportClient, service: str, guard: float
) -> None:
    jobs = [fake.add_job(state="Importing", progress=10) for _ in range(100)]
    with anyio.fail_after(guard):
        waits = [task_of(client.wait(job.job_id, interval=TICK * 10)) for job in jobs]
        await until(lambda: len(fake.received) >= (20 if service != "public" else 300))
        singles = sum(received.job_id != "" for received in fake.received)
        assert singles <= 16 or service == "public"
        complete(*jobs)
        for progress in await asyncio.gather(*waits):
            assert progress.progress == 100
        if service != "public":
            ends = sum(received.job_id != "" for received in fake.received) - singles
            assert ends <= 100 + 16


# One follower does not change what the others receive.


class CallbackError(Exception):
    pass


def raise_error(*_: object) -> None:
    raise CallbackError


@pytest.mark.parametrize("leaves", ["on_progress", "on_retry", "cancel", "timeout", "aclose"])
async def test_the_end_of_one_follower_does_not_change_the_others(
    fake: FakeMilvus, client: ImportClient, leaves: str, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=10)
    await client.check()
    log = FaultLog()
    with anyio.fail_after(guard):
        options: dict[str, Any] = {"interval": TICK * 5, "timeout": guard}
        others = [
            task_of(client.wait(job.job_id, on_retry=log, **options)),
            task_of(all_changes(client.watch(job.job_id, **options))),
            task_of(client.wait_all([job.job_id], **options)),
        ]
        if leaves == "aclose":
            watch = client.watch(job.job_id, **options)
            await anext(watch)
            await watch.aclose()
        else:
            callbacks: dict[str, Any] = {
                "on_progress": {"on_progress": raise_error},
                "on_retry": {"on_retry": raise_error},
                "timeout": {"timeout": TICK},
            }
            leaver = task_of(client.wait(job.job_id, **{**options, **callbacks.get(leaves, {})}))
            await until(lambda: job.reply_count > 0)
            if leaves == "on_retry":
                fake.inject("not-ready", job_id=job.job_id)
            if leaves == "cancel":
                await asyncio.sleep(TICK)
                leaver.cancel()
            outcome: Any = (await asyncio.gather(leaver, return_exceptions=True))[0]
            expected = {"cancel": asyncio.CancelledError, "timeout": WaitTimeoutError}
            assert type(outcome) is expected.get(leaves, CallbackError)
        if leaves == "on_retry":
            await log.reach(1)
        complete(job)
        progress, changes, outcomes = await asyncio.gather(*others)
    assert progress.progress == 100
    assert changes == [10, 100]
    assert isinstance(outcomes[job.job_id], ImportProgressData)
    assert len(log) == (leaves == "on_retry")
    gc.collect()
    assert left_behind(client) == {}


async def test_each_follower_receives_an_error_of_its_own(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    with anyio.fail_after(guard):
        outcomes = await asyncio.gather(
            *(client.wait("450000000000000009") for _ in range(10)), return_exceptions=True
        )
    assert len({id(outcome) for outcome in outcomes}) == 10
    assert len(fake.received) == 1
    for outcome in outcomes:
        assert isinstance(outcome, MilvusImportError)
        assert outcome.job_id == "450000000000000009"


async def test_closing_the_client_ends_every_follower(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = [fake.add_job(state="Importing", progress=10) for _ in range(30)]
    ids = [job.job_id for job in jobs]
    waits = [task_of(client.wait(job_id, interval=3600)) for job_id in ids]
    waits += [task_of(all_changes(client.watch(job_id, interval=3600))) for job_id in ids]
    every = task_of(client.wait_all(ids, interval=3600))
    await until(lambda: len(fake.received) >= 30)
    with anyio.fail_after(guard):
        await client.close()
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ClientClosedError}
        assert {type(outcome) for outcome in (await every).values()} == {ClientClosedError}


async def test_an_exception_of_an_interceptor_keeps_its_traceback(
    fake: FakeMilvus, guard: float
) -> None:
    class Raising(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, *_: Any
        ) -> Any:
            raise CallbackError

    job = fake.add_job(state="Importing")
    async with ImportClient(fake.internal_uri, interceptors=[Raising()]) as client:
        with pytest.raises(CallbackError) as raised:
            await client.wait(job.job_id, timeout=guard)
    assert "intercept_unary_unary" in [entry.name for entry in raised.traceback]


@pytest.mark.parametrize("method", ["wait", "wait_all", "watch", "get_import_progress"])
def test_another_event_loop_library_is_named(method: str) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        client = ImportClient("127.0.0.1:1")
        calls: dict[str, Callable[[], Any]] = {
            "wait": lambda: client.wait("1", timeout=5),
            "wait_all": lambda: client.wait_all(["1"], timeout=5),
            "watch": lambda: anext(client.watch("1", timeout=5)),
            "get_import_progress": lambda: client.get_import_progress("1"),
        }
        with pytest.raises(RuntimeError, match="milvus-import needs asyncio"):
            await calls[method]()

    trio.run(main)


# Limits and outages.


@pytest.mark.parametrize("service", ["internal", "rest"])
async def test_retry_after_delays_the_next_poll(
    fake: FakeMilvus, client: ImportClient, service: str, guard: float
) -> None:
    jobs = [fake.add_job(script=[("Importing", 10), ("Completed", 100)]) for _ in range(2)]
    running = fake.add_job(state="Importing")
    limited: list[float] = []

    def limit(received: Received) -> Fault | None:
        if limited or len(fake.received) < 3:
            return None
        limited.append(received.arrived)
        if service == "rest":
            return Fault(http=HttpResponse(429, b"slow down", (("Retry-After", "1"),)))
        fake.trailing_metadata = (("retry-after", "1"),)
        return Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, details="too many requests")

    fake.choose_fault = limit
    with anyio.fail_after(guard):
        waits = [task_of(client.wait(job.job_id, interval=TICK * 5)) for job in jobs]
        await until(lambda: bool(limited))
        await asyncio.sleep(0.2)
        fake.trailing_metadata = ()
        started = time.monotonic()
        with pytest.raises(WaitTimeoutError):
            await client.wait(running.job_id, interval=TICK * 5, timeout=0.3)
        assert time.monotonic() - started < 0.8
        await asyncio.gather(*waits)
    later = [received.arrived for received in fake.received if received.arrived > limited[0]]
    assert later[0] - limited[0] < 5
    assert all(arrived - limited[0] > 0.9 for arrived in later if arrived - limited[0] > 0.05)


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_five_hundred_followers_behind_a_limit_of_ten_requests_per_second(
    fake: FakeMilvus, client: ImportClient, scale: float, guard: float
) -> None:
    """The jobs are 20 and the interval a second: twice the limit."""
    jobs = [fake.add_job(state="Importing", progress=10) for _ in range(20)]
    accepted: list[float] = []

    def limit(received: Received) -> Fault | None:
        if sum(at > received.arrived - scale for at in accepted[-10:]) >= 10:
            return FAULTS["rate-limit"]
        accepted.append(received.arrived)
        return None

    fake.choose_fault = limit
    await client.check()
    followers = [
        task_of(
            client.wait(jobs[number % 20].job_id, interval=scale)
            if number % 2
            else all_changes(client.watch(jobs[number % 20].job_id, interval=scale))
        )
        for number in range(500)
    ]
    await asyncio.sleep(4 * scale)
    sent = len(fake.received)
    complete(*jobs)
    with anyio.fail_after(guard):
        outcomes = await asyncio.gather(*followers)
    for outcome in outcomes:
        if isinstance(outcome, ImportProgressData):
            assert outcome.progress == 100
        else:
            assert outcome in ([10, 100], [100])
    assert sent < 20 + 4 * 20  # the first round, and at most the 20 jobs per second


async def test_a_crowd_survives_a_restart_of_the_server(
    client: ImportClient, fake: FakeMilvus, service: str, scale: float, guard: float
) -> None:
    jobs = [fake.add_job(state="Importing", progress=10) for _ in range(30)]
    followers = [
        task_of(
            client.wait(jobs[number % 30].job_id, interval=0.1 * scale)
            if number % 2
            else all_changes(client.watch(jobs[number % 30].job_id, interval=0.1 * scale))
        )
        for number in range(200)
    ]
    await until(lambda: len(fake.received) > 60)
    fake.inject("unavailable" if service != "rest" else "http-503-html", times=None)
    await asyncio.sleep(0.5 * scale)
    fake.clear_faults()
    with anyio.fail_after(guard):
        await fake.stop()
        await asyncio.sleep(0.3 * scale)
        await fake.start()
        complete(*jobs)
        outcomes = await asyncio.gather(*followers)
    for outcome in outcomes:
        assert outcome == [10, 100] if isinstance(outcome, list) else outcome.progress == 100
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
async def test_random_followers_over_sockets(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    seed = 26
    world = FakeWorld(fake, random.Random(seed), 0.02 * scale)
    crowd = Crowd(world, client, 60, 40)
    await client.check()
    print(f"seed {seed}")
    await crowd.steps(250, calm_every=250)  # on each of the two services
    await crowd.finish()
    print(crowd.ends)
    gc.collect()
    assert left_behind(client, crowd.runs) == {}
