"""Server restarts and broken connections during a watch."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import grpc
import pytest
from network import Relay
from processes import FakeProcess
from times import SCALE
from watching import QUICK, Change, FaultLog, changes, complete

from milvus_import import CallRecord, DeadlineExceededError, ImportClient, UnavailableError
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

JOB_ID = "450000000000000001"
KEEPALIVE = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")

LONGEST = 55.0 * SCALE
"""Seconds after which a test fails; pytest itself would end the whole run at 60."""


class Following:
    """A watch of the job while something happens to its server."""

    def __init__(self) -> None:
        self.seen: list[Change] = []
        """What the watch has yielded so far."""
        self.faults = FaultLog()
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

    async def resume(self, start: Callable[[], Awaitable[object]]) -> None:
        """Start the server; a response must arrive soon."""
        received = self.received  # none arrives while the server is down
        await start()
        back = time.monotonic()
        await self.reach(1, after=received)
        assert time.monotonic() - back < 2.5 * SCALE

    async def run(
        self,
        uri: str,
        meanwhile: Callable[[], Coroutine[Any, Any, None]],
        keepalive: int | None = None,
        **options: Any,
    ) -> list[Change]:
        """Return all that the watch yields. ``keepalive``: of the connection, in milliseconds."""
        channel_options = [(name, keepalive) for name in KEEPALIVE if keepalive]
        chosen: Any = {"on_finish": self._finished, "on_retry": self.faults, **QUICK, **options}
        async with (
            ImportClient(uri, channel_options=channel_options) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(meanwhile)
            with anyio.fail_after(LONGEST):
                async for progress in client.watch(JOB_ID, **chosen):
                    self.seen.append((str(progress.state), progress.progress))
        return self.seen


@pytest.fixture
async def following() -> Following:
    return Following()


async def test_watch_survives_three_restarts_kill_and_graceful(following: Following) -> None:
    job: dict[str, Any] = {"job_id": JOB_ID, "state": "Importing", "progress": 0}
    async with FakeProcess(job) as server:

        async def restarts() -> None:
            for end in (server.kill, server.stop, server.kill):
                await following.reach(2)
                await end()
                await anyio.sleep(0.3 * SCALE)
                job["progress"] += 25
                if job["progress"] == 75:
                    job["state"], job["progress"] = "Completed", 100
                await following.resume(server.start)

        seen = await following.run(server.internal_uri, restarts)
    assert seen == [*(("Importing", at) for at in (0, 25, 50)), ("Completed", 100)]


async def test_watch_resumes_within_seconds_after_an_outage_of_ten_seconds(
    following: Following,
) -> None:
    """The bound fails with a longer reconnect backoff, such as gRPC's default."""
    async with FakeProcess({"job_id": JOB_ID, "seconds": 5 * SCALE}) as server:

        async def outage() -> None:
            await following.reach()
            await server.kill()
            await anyio.sleep(10 * SCALE)
            await following.resume(server.start)

        seen = await following.run(server.internal_uri, outage, interval=0.2, timeout=LONGEST)
    assert seen[-1] == ("Completed", 100)
    assert len(seen) == len(set(seen))
    assert UnavailableError in following.faults.kinds


async def test_watch_continues_if_one_of_three_servers_is_killed(following: Following) -> None:
    """Each server reports its own progress, which identifies it."""
    fakes = [FakeMilvus(), FakeMilvus()]
    jobs = [
        fake.add_job(job_id=JOB_ID, state="Importing", progress=progress)
        for fake, progress in zip(fakes, (1, 2), strict=True)
    ]
    killed = FakeProcess({"job_id": JOB_ID, "state": "Importing", "progress": 3})
    async with fakes[0], fakes[1], killed:
        ports = [fakes[0].internal_port, fakes[1].internal_port, killed.internal_port]

        async def killing() -> None:
            while len(set(following.seen)) < 3:
                await following.reach()
            await killed.kill()
            before = [job.reply_count for job in jobs]
            await following.reach(30)
            assert all(job.reply_count > count for job, count in zip(jobs, before, strict=True))
            complete(*jobs)

        uri = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        seen = await following.run(uri, killing)
    assert {progress for _, progress in seen} == {1, 2, 3, 100}
    assert seen.index(("Completed", 100)) == len(seen) - 1
    assert following.faults == []


async def test_watch_continues_after_a_frozen_server_resumes(following: Following) -> None:
    async with FakeProcess({"job_id": JOB_ID, "seconds": 1.5 * SCALE}) as server:

        async def freeze() -> None:
            await following.reach()
            server.freeze()
            await following.faults.reach(2)
            server.thaw()

        seen = await following.run(server.public_uri, freeze, rpc_timeout=0.4 * SCALE)
    assert seen[-1] == ("Completed", 100)
    assert DeadlineExceededError in following.faults.kinds


BREAKAGES: dict[str, Callable[[Relay], None]] = {
    "dropped silently": Relay.drop,
    "reset": Relay.reset,
    "cut in the middle of a message": lambda relay: relay.cut(after=5),
    "garbage": Relay.garbage,
    "an oversized frame": Relay.oversized_frame,
    "half-closed": Relay.half_close,
    "refused": Relay.refuse,
}


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_watch_continues_over_a_new_connection_if_one_breaks(
    fake: FakeMilvus, following: Following, breakage: str
) -> None:
    """With keepalive at half a second; by default a silent drop is noticed after 25 seconds."""
    job = fake.add_job(job_id=JOB_ID, state="Importing", progress=40)
    async with Relay(fake.internal_port) as relay:

        async def damage() -> None:
            await following.reach()
            BREAKAGES[breakage](relay)
            broken = time.monotonic()
            if breakage == "refused":
                relay.reset()
                await following.faults.reach(1)
                assert UnavailableError in following.faults.kinds
                await relay.listen()
            await relay.reach(connections=2)
            await following.reach()
            assert time.monotonic() - broken < 15 * SCALE
            complete(job)

        seen = await following.run(relay.uri, damage, keepalive=int(500 * SCALE))
    assert seen == [("Importing", 40), ("Completed", 100)]


async def test_watch_over_a_slow_network_reports_no_fault(fake: FakeMilvus) -> None:
    job = fake.add_job(script=[("Importing", 40), ("Importing", 40), ("Completed", 100)])
    faults = FaultLog()
    async with Relay(fake.public_port) as relay, ImportClient(relay.uri) as client:
        relay.delay = 0.05
        watch = client.watch(job.job_id, on_retry=faults, **QUICK)
        assert await changes(watch) == [("Importing", 40), ("Completed", 100)]
    assert faults == []
