"""Server restarts and broken connections during a watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio
import grpc
import pytest
from network import Relay
from processes import FakeProcess
from times import SCALE, TICK
from watching import FaultLog, changes

from milvus_import import (
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    UnavailableError,
    WatchOptions,
)
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

JOB_ID = "450000000000000001"
KEEPALIVE = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")

LONGEST = 55.0 * SCALE
"""Seconds after which a test fails; pytest itself would end the whole run at 60."""

Record = Callable[[str, object], None]
"""pytest's ``record_property``: what was measured, for the report."""


class Responses:
    """Waits for the next successful response, by ``on_finish``."""

    def __init__(self) -> None:
        self.options: WatchOptions = {"on_finish": self._finished}
        self.seen: list[tuple[str, int]] = []
        """What the watch has yielded so far, as (state, progress)."""
        self.received = 0
        """The number of successful responses so far."""
        self._next = anyio.Event()

    def _finished(self, record: CallRecord) -> None:
        if record.code is grpc.StatusCode.OK:
            self.received += 1
            self._next.set()
            self._next = anyio.Event()

    async def reach(self, count: int = 1, *, after: int | None = None) -> None:
        """Wait for this number of responses from now on, or after an earlier ``received``."""
        goal = count + (self.received if after is None else after)
        while self.received < goal:
            await self._next.wait()


@pytest.fixture
async def responses() -> Responses:
    return Responses()


async def followed(
    uri: str,
    meanwhile: Callable[[], Coroutine[Any, Any, None]],
    responses: Responses,
    *,
    channel_options: Sequence[tuple[str, int]] = (),
    **options: Any,
) -> list[tuple[str, int]]:
    """All that a watch of the job yields while something happens to its server."""
    with anyio.fail_after(LONGEST):
        async with (
            ImportClient(uri, channel_options=channel_options) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(meanwhile)
            async for progress in client.watch(JOB_ID, **responses.options, **options):
                responses.seen.append((str(progress.state), progress.progress))
    return responses.seen


async def test_watch_survives_three_restarts_kill_and_graceful(
    responses: Responses, scale: float, guard: float, record_property: Record
) -> None:
    delays: list[float] = []
    job: dict[str, Any] = {"job_id": JOB_ID, "state": "Importing", "progress": 0}
    async with FakeProcess(job) as server:

        async def restarts() -> None:
            for end in (server.kill, server.stop, server.kill):
                await responses.reach(2)
                await end()
                await anyio.sleep(0.3 * scale)
                job["progress"] += 25
                if job["progress"] == 75:
                    job["state"], job["progress"] = "Completed", 100
                received = responses.received  # none arrives while the server is down
                await server.start()
                back = time.monotonic()
                await responses.reach(1, after=received)
                delays.append(time.monotonic() - back)

        seen = await followed(
            server.internal_uri, restarts, responses, interval=TICK, timeout=guard
        )
    assert seen == [*(("Importing", at) for at in (0, 25, 50)), ("Completed", 100)]
    record_property("seconds until responses resumed", delays)
    assert max(delays) < 2.5 * scale


async def test_watch_resumes_within_seconds_after_an_outage_of_ten_seconds(
    responses: Responses, scale: float, record_property: Record
) -> None:
    """The bound fails with a longer reconnect backoff, such as gRPC's default."""
    faults, delays = FaultLog(), list[float]()
    async with FakeProcess({"job_id": JOB_ID, "seconds": 5 * scale}) as server:

        async def outage() -> None:
            await responses.reach()
            await server.kill()
            await anyio.sleep(10 * scale)
            received = responses.received
            await server.start()
            back = time.monotonic()
            await responses.reach(1, after=received)
            delays.append(time.monotonic() - back)

        seen = await followed(
            server.internal_uri,
            outage,
            responses,
            interval=0.2,
            timeout=LONGEST,
            on_retry=faults,
        )
    assert seen[-1] == ("Completed", 100)
    assert len(seen) == len(set(seen))
    assert UnavailableError in faults.kinds
    record_property("seconds until responses resumed", delays)
    assert max(delays) < 2.5 * scale


async def test_watch_continues_if_one_of_three_servers_is_killed(
    responses: Responses, guard: float
) -> None:
    """Each server reports its own progress, which identifies it."""
    faults = FaultLog()
    fakes = [FakeMilvus(), FakeMilvus()]
    jobs = [
        fake.add_job(job_id=JOB_ID, state="Importing", progress=progress)
        for fake, progress in zip(fakes, (1, 2), strict=True)
    ]
    killed = FakeProcess({"job_id": JOB_ID, "state": "Importing", "progress": 3})
    async with fakes[0], fakes[1], killed:
        ports = [fakes[0].internal_port, fakes[1].internal_port, killed.internal_port]

        async def killing() -> None:
            while len(set(responses.seen)) < 3:
                await responses.reach()
            await killed.kill()
            before = [job.reply_count for job in jobs]
            await responses.reach(30)
            assert all(job.reply_count > count for job, count in zip(jobs, before, strict=True))
            for job in jobs:
                job.state, job.progress = "Completed", 100

        uri = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        seen = await followed(
            uri, killing, responses, interval=TICK, timeout=guard, on_retry=faults
        )
    assert {progress for _, progress in seen} == {1, 2, 3, 100}
    assert seen.index(("Completed", 100)) == len(seen) - 1
    assert faults == []


async def test_watch_continues_after_a_frozen_server_resumes(
    responses: Responses, scale: float, guard: float
) -> None:
    faults = FaultLog()
    responses.options["rpc_timeout"] = 0.4 * scale
    async with FakeProcess({"job_id": JOB_ID, "seconds": 1.5 * scale}) as server:

        async def freeze() -> None:
            await responses.reach()
            server.freeze()
            await faults.reach(2)
            server.thaw()

        seen = await followed(
            server.public_uri, freeze, responses, interval=TICK, timeout=guard, on_retry=faults
        )
    assert seen[-1] == ("Completed", 100)
    assert DeadlineExceededError in faults.kinds


BREAKAGES: dict[str, Callable[[Relay], None]] = {
    "dropped silently": Relay.drop,
    "reset": Relay.reset,
    "cut in the middle of a message": lambda relay: relay.cut(after=5),
    "garbage": Relay.garbage,
    "an oversized frame": Relay.oversized_frame,
    "half-closed": Relay.half_close,
}


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_watch_continues_over_a_new_connection_if_one_breaks(
    fake: FakeMilvus, responses: Responses, breakage: str, scale: float, guard: float
) -> None:
    """With keepalive at half a second; by default a silent drop is noticed after 25 seconds."""
    job = fake.add_job(job_id=JOB_ID, state="Importing", progress=40)
    delays: list[float] = []
    keepalive = [(name, int(500 * scale)) for name in KEEPALIVE]
    async with Relay(fake.internal_port) as relay:

        async def damage() -> None:
            await responses.reach()
            BREAKAGES[breakage](relay)
            broken = time.monotonic()
            await relay.reach(connections=2)
            await responses.reach()
            delays.append(time.monotonic() - broken)
            job.state, job.progress = "Completed", 100

        seen = await followed(
            relay.uri, damage, responses, interval=TICK, timeout=guard, channel_options=keepalive
        )
    assert seen == [("Importing", 40), ("Completed", 100)]
    assert max(delays) < 15 * scale


async def test_watch_continues_after_a_port_refused_connections(
    fake: FakeMilvus, responses: Responses, guard: float
) -> None:
    job = fake.add_job(job_id=JOB_ID, state="Importing", progress=40)
    faults = FaultLog()
    async with Relay(fake.internal_port) as relay:

        async def closing() -> None:
            await responses.reach()
            relay.refuse()
            relay.reset()
            await faults.reach(1)
            job.state, job.progress = "Completed", 100
            await relay.listen()

        seen = await followed(
            relay.uri, closing, responses, interval=TICK, timeout=guard, on_retry=faults
        )
    assert seen == [("Importing", 40), ("Completed", 100)]
    assert UnavailableError in faults.kinds


async def test_watch_over_a_slow_network_reports_no_fault(fake: FakeMilvus, guard: float) -> None:
    job = fake.add_job(script=[("Importing", 40), ("Importing", 40), ("Completed", 100)])
    faults = FaultLog()
    async with Relay(fake.public_port) as relay, ImportClient(relay.uri) as client:
        relay.delay = 0.05
        watch = client.watch(job.job_id, interval=TICK, timeout=guard, on_retry=faults)
        assert await changes(watch) == [("Importing", 40), ("Completed", 100)]
    assert faults == []
