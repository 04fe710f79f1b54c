"""Watches through reloads, restarts and failures of nginx and HAProxy, and of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from certificates import Certificates
from gateway_process import Gateway, HAProxy, Nginx, until

from milvus_import import (
    CallError,
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    ImportProgressData,
    MilvusImportError,
    TLSConfig,
    UnavailableError,
)
from milvus_import.testing import FakeJob, FakeMilvus, Fault

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

INTERVAL = 0.05
OUTAGE = 2.5
"""Seconds for which a gateway responds with an HTTP error."""
GUARD = 60.0

KINDS: dict[str, type[Nginx | HAProxy]] = {"nginx": Nginx, "haproxy": HAProxy}
both = pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))


class Following:
    """A watch in a task of its own, with what its calls and its faults were."""

    def __init__(self, client: ImportClient, job: FakeJob, rpc_timeout: float) -> None:
        self.records: list[CallRecord] = []
        self.faults: list[MilvusImportError] = []
        self.changes: list[ImportProgressData] = []
        self._client, self._job, self._rpc_timeout = client, job, rpc_timeout
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        watch = self._client.watch(
            self._job.job_id,
            interval=INTERVAL,
            rpc_timeout=self._rpc_timeout,
            on_retry=lambda error, _: self.faults.append(error),
            on_finish=self.records.append,
        )
        async for progress in watch:
            self.changes.append(progress)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; raise what has ended the watch."""
        await until(lambda: condition() or self._task.done(), GUARD)
        if self._task.done():
            await self._task
        assert condition()

    async def reach_progress(self, percent: int) -> None:
        """Advance the job, and wait until the watch has reported it."""
        self._job.progress = percent
        await self.until(lambda: bool(self.changes) and self.changes[-1].progress == percent)

    async def complete(self) -> None:
        """Complete the job, and wait until the watch has ended with it."""
        self._job.state, self._job.progress = "Completed", 100
        await asyncio.wait_for(self._task, GUARD)
        assert self.changes[-1].state == "Completed"

    def stop(self) -> None:
        self._task.cancel()


@asynccontextmanager
async def following(
    gateway: Gateway, fake: FakeMilvus, *, ca: bytes | None = None, rpc_timeout: float = GUARD
) -> AsyncGenerator[Following, None]:
    """Follow a job through a running gateway; the first change has been seen."""
    job = fake.add_job(state="Importing", progress=1)
    tls = None if ca is None else TLSConfig(ca=ca)
    async with ImportClient(gateway.uri, tls=tls) as client:
        watch = Following(client, job, rpc_timeout)
        try:
            await watch.reach_progress(2)
            yield watch
        finally:
            watch.stop()


@both
async def test_watch_survives_reloads(fake: FakeMilvus, kind: type[Nginx | HAProxy]) -> None:
    async with kind(fake) as gateway, following(gateway, fake) as watch:
        for percent in (10, 20, 30):
            await gateway.reload()
            await watch.reach_progress(percent)
        await watch.complete()
    assert watch.faults == []
    assert not any(received.reset for received in fake.received)


@both
async def test_watch_survives_a_restart(fake: FakeMilvus, kind: type[Nginx | HAProxy]) -> None:
    async with kind(fake) as gateway, following(gateway, fake) as watch:
        await gateway.stop()
        await watch.until(lambda: bool(watch.faults))
        await gateway.start()
        await watch.reach_progress(50)
        await watch.complete()
    assert {type(error) for error in watch.faults} == {UnavailableError}


@both
async def test_watch_survives_a_killed_gateway(
    fake: FakeMilvus, kind: type[Nginx | HAProxy]
) -> None:
    async with kind(fake) as gateway, following(gateway, fake) as watch:
        await gateway.kill()
        await watch.until(lambda: bool(watch.faults))
        await gateway.start()
        await watch.reach_progress(50)
        await watch.complete()
    assert {type(error) for error in watch.faults} == {UnavailableError}


@both
async def test_watch_survives_a_frozen_gateway(
    fake: FakeMilvus, kind: type[Nginx | HAProxy], scale: float
) -> None:
    async with kind(fake) as gateway, following(gateway, fake, rpc_timeout=scale) as watch:
        gateway.freeze()
        await watch.until(lambda: len(watch.faults) >= 2)
        gateway.thaw()
        await watch.reach_progress(50)
        await watch.complete()
    assert any(isinstance(error, DeadlineExceededError) for error in watch.faults)


@both
async def test_watch_survives_a_dead_backend(fake: FakeMilvus, kind: type[Nginx | HAProxy]) -> None:
    expected = 502 if kind is Nginx else 503
    async with kind(fake) as gateway, following(gateway, fake) as watch:
        await fake.stop()
        await watch.until(lambda: len(watch.faults) >= 2)
        await fake.start()
        await watch.reach_progress(50)
        await watch.complete()
    statuses = [error.http_status for error in watch.faults if isinstance(error, CallError)]
    assert expected in statuses


@both
async def test_watch_survives_rotated_certificates(
    fake: FakeMilvus, kind: type[Nginx | HAProxy], certificates: Certificates
) -> None:
    """The old connection continues or is replaced; new clients accept the new certificate only."""
    ca, new_ca = certificates.ca, certificates.rotated_ca
    async with (
        kind(fake, tls=certificates.server) as gateway,
        following(gateway, fake, ca=ca + new_ca) as watch,
    ):
        gateway.write_certificate(certificates.rotated)
        await gateway.reload()
        await watch.reach_progress(50)
        async with ImportClient(gateway.uri, tls=TLSConfig(ca=new_ca)) as client:
            assert await client.check() == "internal"
        async with ImportClient(gateway.uri, tls=TLSConfig(ca=ca)) as client:
            with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.check()
        await watch.complete()
    assert watch.faults == []


def failing(fake: FakeMilvus, status: int) -> Nginx:
    """Return an nginx that responds with this HTTP status while its flag file exists."""
    gateway = Nginx(fake)
    gateway.location = f"if (-f {gateway.flag}) {{ return {status}; }}"
    return gateway


async def test_watch_survives_http_500(fake: FakeMilvus) -> None:
    gateway = failing(fake, 500)
    async with gateway, following(gateway, fake) as watch:
        gateway.flag.touch()
        await asyncio.sleep(OUTAGE)
        gateway.flag.unlink()
        await watch.reach_progress(50)
        await watch.complete()
    statuses = {error.http_status for error in watch.faults if isinstance(error, CallError)}
    assert statuses == {500}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_wait_that_starts_during_an_outage_of_the_backend(
    fake: FakeMilvus, status: int
) -> None:
    job = fake.add_job(state="Completed", progress=100)
    faults: list[MilvusImportError] = []
    gateway = failing(fake, status)
    gateway.flag.touch()
    async with gateway, ImportClient(gateway.uri) as client:
        wait = asyncio.create_task(
            client.wait(
                job.job_id, interval=INTERVAL, on_retry=lambda error, _: faults.append(error)
            )
        )
        await asyncio.sleep(OUTAGE)
        gateway.flag.unlink()
        progress = await asyncio.wait_for(wait, GUARD)
    assert progress.state == "Completed"
    assert {getattr(error, "http_status", None) for error in faults} == {status}


async def test_wait_raises_immediately_if_the_first_response_is_no_outage(
    fake: FakeMilvus,
) -> None:
    async with Nginx(fake, location="return 403;") as gateway, ImportClient(gateway.uri) as client:
        with pytest.raises(CallError) as caught:
            await client.wait("1", interval=INTERVAL)
        assert len(await gateway.logged(1)) == 1
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED


@both
async def test_reads_in_flight_are_not_reset_by_a_reload(
    fake: FakeMilvus, kind: type[Nginx | HAProxy]
) -> None:
    """A reset read can crash Milvus 2.3: both gateways finish the requests in flight."""
    job = fake.add_job(state="Importing", progress=40)
    async with kind(fake) as gateway, ImportClient(gateway.uri) as client:
        await client.check()
        before = len(fake.received)
        fake.inject(Fault(delay=1.0), times=10)
        reads = [asyncio.create_task(client.get_import_progress(job.job_id)) for _ in range(10)]
        await until(lambda: len(fake.received) == before + 10, GUARD)
        await gateway.reload()
        responses = await asyncio.gather(*reads)
    assert [response.data.progress for response in responses] == [40] * 10
    assert not any(received.reset for received in fake.received)
