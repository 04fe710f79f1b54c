"""Servers that go away and come back, and connections that break, under a watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio
import grpc
import pytest
from processes import FakeProcess
from network import Relay
from times import SCALE
from watching import TICK, FaultLog, changes

from milvus_import import (
    CallOptions,
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    UnavailableError,
)
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

JOB_ID = "450000000000000001"
KEEPALIVE = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")

LONGEST = 55.0 * SCALE
"""Seconds after which a test gives up; pytest itself would end the whole run at 60."""

Record = Callable[[str, object], None]
"""pytest's ``record_property``: what was measured, for the report."""


class Hearing:
    """Tells when the next good answer comes, by ``on_finish``."""

    def __init__(self) -> None:
        self.options: CallOptions = {"on_finish": self._finished}
        self.seen: list[tuple[str, int]] = []
        """What the watch has given so far, as (state, progress)."""
        self._heard = anyio.Event()

    def _finished(self, record: CallRecord) -> None:
        if record.code is grpc.StatusCode.OK:
            self._heard.set()
            self._heard = anyio.Event()

    async def answers(self, count: int = 1) -> None:
        for _ in range(count):
            await self._heard.wait()


@pytest.fixture
def guard(scale: float) -> float:
    """Seconds after which a watch that should have ended fails its test."""
    return 50.0 * scale


@pytest.fixture
async def hearing() -> Hearing:
    return Hearing()


async def followed(
    uri: str,
    meanwhile: Callable[[], Coroutine[Any, Any, None]],
    hearing: Hearing,
    *,
    channel_options: Sequence[tuple[str, int]] = (),
    **options: Any,
) -> list[tuple[str, int]]:
    """All that a watch of the job gives while something happens to its server."""
    with anyio.fail_after(LONGEST):
        async with (
            ImportClient(uri, channel_options=channel_options) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(meanwhile)
            async for progress in client.watch(JOB_ID, call=hearing.options, **options):
                hearing.seen.append((str(progress.state), progress.progress))
    return hearing.seen


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_five_restarts_hard_and_graceful_within_one_watch(
    service: str, hearing: Hearing, scale: float, guard: float, record_property: Record
) -> None:
    interval, delays = 0.5, list[float]()
    job: dict[str, Any] = {"job_id": JOB_ID, "state": "Importing", "progress": 0}
    async with FakeProcess(job) as server:

        async def restarts() -> None:
            for end in (server.kill, server.stop, server.kill, server.stop, server.kill):
                await hearing.answers(2)
                await end()
                await anyio.sleep(0.3)
                job["progress"] += 20
                if job["progress"] == 100:
                    job["state"] = "Completed"
                await server.start()
                back = time.monotonic()
                await hearing.answers()
                delays.append(time.monotonic() - back)

        uri = server.internal_uri if service == "internal" else server.public_uri
        seen = await followed(uri, restarts, hearing, interval=interval, timeout=guard)
    assert seen == [*(("Importing", at) for at in range(0, 100, 20)), ("Completed", 100)]
    record_property("seconds until answers resumed", delays)
    assert max(delays) < interval + 5 * scale


async def test_a_job_that_ends_while_its_server_is_away_for_30_seconds(
    hearing: Hearing, scale: float, record_property: Record
) -> None:
    interval, told, delays = 2.0, FaultLog(), list[float]()
    async with FakeProcess({"job_id": JOB_ID, "seconds": 15}) as server:

        async def outage() -> None:
            await hearing.answers()
            await server.kill()
            await anyio.sleep(30)
            await server.start()
            back = time.monotonic()
            await hearing.answers()
            delays.append(time.monotonic() - back)

        seen = await followed(
            server.internal_uri,
            outage,
            hearing,
            interval=interval,
            timeout=50 * scale,
            on_fault=told,
        )
    assert seen[-1] == ("Completed", 100)
    assert len(seen) == len(set(seen))
    assert UnavailableError in told.kinds
    record_property("seconds until answers resumed", delays)
    assert max(delays) < interval + 5 * scale


async def test_one_of_three_servers_killed(hearing: Hearing, guard: float) -> None:
    """Each server tells its own progress, so that what is seen tells who answered."""
    told = FaultLog()
    fakes = [FakeMilvus(), FakeMilvus()]
    jobs = [
        fake.add_job(job_id=JOB_ID, state="Importing", progress=progress)
        for fake, progress in zip(fakes, (1, 2), strict=True)
    ]
    killed = FakeProcess({"job_id": JOB_ID, "state": "Importing", "progress": 3})
    async with fakes[0], fakes[1], killed:
        ports = [fakes[0].internal_port, fakes[1].internal_port, killed.internal_port]

        async def killing() -> None:
            while len(set(hearing.seen)) < 3:
                await hearing.answers()
            await killed.kill()
            before = [job.answered for job in jobs]
            await hearing.answers(30)
            assert all(job.answered > count for job, count in zip(jobs, before, strict=True))
            for job in jobs:
                job.state, job.progress = "Completed", 100

        uri = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        seen = await followed(uri, killing, hearing, interval=TICK, timeout=guard, on_fault=told)
    assert {progress for _, progress in seen} == {1, 2, 3, 100}
    assert seen.index(("Completed", 100)) == len(seen) - 1
    assert told == []


async def test_a_frozen_server_is_waited_for(hearing: Hearing, scale: float, guard: float) -> None:
    told = FaultLog()
    hearing.options["timeout"] = 0.4 * scale
    async with FakeProcess({"job_id": JOB_ID, "seconds": 4 * scale}) as server:

        async def freeze() -> None:
            await hearing.answers()
            server.freeze()
            await told.reach(2)
            server.thaw()

        seen = await followed(
            server.public_uri, freeze, hearing, interval=TICK, timeout=guard, on_fault=told
        )
    assert seen[-1] == ("Completed", 100)
    assert DeadlineExceededError in told.kinds


BREAKAGES: dict[str, Callable[[Relay], None]] = {
    "dropped in silence": Relay.drop,
    "reset": Relay.reset,
    "cut in the middle of a message": lambda relay: relay.cut(after=5),
    "garbage": Relay.garbage,
    "an oversized frame": Relay.oversized_frame,
    "closed by half": Relay.half_close,
}


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_a_broken_connection_is_replaced(
    fake: FakeMilvus, hearing: Hearing, breakage: str, scale: float, guard: float
) -> None:
    """With keepalive at half a second. At its default a drop in silence takes 25."""
    job = fake.add_job(job_id=JOB_ID, state="Importing", progress=40)
    delays: list[float] = []
    keepalive = [(name, int(500 * scale)) for name in KEEPALIVE]
    async with Relay(fake.internal_port) as relay:

        async def damage() -> None:
            await hearing.answers()
            BREAKAGES[breakage](relay)
            broken = time.monotonic()
            await relay.reach(connections=2)
            await hearing.answers()
            delays.append(time.monotonic() - broken)
            job.state, job.progress = "Completed", 100

        seen = await followed(
            relay.uri, damage, hearing, interval=TICK, timeout=guard, channel_options=keepalive
        )
    assert seen == [("Importing", 40), ("Completed", 100)]
    assert max(delays) < 15 * scale


async def test_a_closed_port_is_waited_for(
    fake: FakeMilvus, hearing: Hearing, guard: float
) -> None:
    job = fake.add_job(job_id=JOB_ID, state="Importing", progress=40)
    told = FaultLog()
    async with Relay(fake.internal_port) as relay:

        async def closing() -> None:
            await hearing.answers()
            relay.refuse()
            relay.reset()
            await told.reach(1)
            job.state, job.progress = "Completed", 100
            await relay.listen()

        seen = await followed(
            relay.uri, closing, hearing, interval=TICK, timeout=guard, on_fault=told
        )
    assert seen == [("Importing", 40), ("Completed", 100)]
    assert UnavailableError in told.kinds


async def test_a_slow_network_only_slows_the_watch(fake: FakeMilvus, guard: float) -> None:
    job = fake.add_job(script=[("Importing", 40), ("Importing", 40), ("Completed", 100)])
    told = FaultLog()
    async with Relay(fake.public_port) as relay, ImportClient(relay.uri) as client:
        relay.delay = 0.05
        watch = client.watch(job.job_id, interval=TICK, timeout=guard, on_fault=told)
        assert await changes(watch) == [("Importing", 40), ("Completed", 100)]
    assert told == []
