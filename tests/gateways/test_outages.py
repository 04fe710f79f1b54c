"""Watches through reloads, restarts and failures of nginx and HAProxy, and of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

import grpc
import pytest
from certificates import Certificates
from gateway_process import GUARD, INTERVAL, Gateway, HAProxy, Nginx
from times import until
from watching import FaultLog

from milvus_import import (
    CallError,
    DeadlineExceededError,
    ImportClient,
    ImportProgressData,
    MilvusImportError,
    TLSConfig,
    UnavailableError,
)
from milvus_import.testing import FakeJob, FakeMilvus, Fault

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


class Following:
    """A watch in a task of its own, with its changes and its faults."""

    def __init__(self, client: ImportClient, job: FakeJob, rpc_timeout: float) -> None:
        self.faults = FaultLog()
        self.changes: list[ImportProgressData] = []
        self._job = job
        self._watch = client.watch(
            job.job_id, interval=INTERVAL, rpc_timeout=rpc_timeout, on_retry=self.faults
        )
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for progress in self._watch:
            self.changes.append(progress)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; raise what has ended the watch."""
        await until(lambda: condition() or self.task.done(), GUARD)
        if self.task.done():
            await self.task
        assert condition()

    async def reach_progress(self, percent: int) -> None:
        """Advance the job, and wait until the watch has reported it."""
        self._job.progress = percent
        await self.until(lambda: bool(self.changes) and self.changes[-1].progress == percent)

    async def complete(self) -> None:
        """Complete the job, and wait until the watch has ended with it."""
        await self.reach_progress(50)
        self._job.state, self._job.progress = "Completed", 100
        await asyncio.wait_for(self.task, GUARD)
        assert self.changes[-1].state == "Completed"

    @property
    def statuses(self) -> set[int | None]:
        """The HTTP statuses of the faults."""
        return {error.http_status for error, _ in self.faults if isinstance(error, CallError)}


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
            watch.task.cancel()


async def test_watch_survives_reloads(fake: FakeMilvus, kind: type[Gateway]) -> None:
    async with kind(fake) as gateway, following(gateway, fake) as watch:
        for percent in (10, 20, 30):
            await gateway.reload()
            await watch.reach_progress(percent)
        await watch.complete()
    assert watch.faults == []
    assert not any(received.reset for received in fake.received)


class Outage(NamedTuple):
    """What fails, the methods that begin and end it, and what the watch reports."""

    of: Literal["gateway", "backend"]
    begin: str
    end: str
    error: type[MilvusImportError]
    """One of the errors; UnavailableError is that of all."""
    faults: int = 1
    """How many are seen before the outage ends."""
    statuses: tuple[int | None, int | None] = (None, None)
    """The HTTP status of an error with nginx, and with HAProxy."""


OUTAGES = {
    "restart": Outage("gateway", "stop", "start", UnavailableError),
    "killed gateway": Outage("gateway", "kill", "start", UnavailableError),
    "frozen gateway": Outage("gateway", "freeze", "thaw", DeadlineExceededError, 2),
    "dead backend": Outage("backend", "stop", "start", UnavailableError, 2, (502, 503)),
}


@pytest.mark.parametrize("name", OUTAGES)
async def test_watch_survives_a(
    fake: FakeMilvus, kind: type[Gateway], name: str, scale: float
) -> None:
    outage = OUTAGES[name]
    frozen = outage.error is DeadlineExceededError
    async with (
        kind(fake) as gateway,
        following(gateway, fake, rpc_timeout=scale if frozen else GUARD) as watch,
    ):
        failing = gateway if outage.of == "gateway" else fake
        await getattr(failing, outage.begin)()
        await watch.until(lambda: len(watch.faults) >= outage.faults)
        await getattr(failing, outage.end)()
        await watch.complete()
    assert outage.error in watch.faults.kinds
    if not frozen:
        assert {*watch.faults.kinds} == {outage.error}
    assert outage.statuses[kind is HAProxy] in watch.statuses


async def test_watch_survives_rotated_certificates(
    fake: FakeMilvus, kind: type[Gateway], certificates: Certificates
) -> None:
    """The old connection continues or is replaced; new clients accept the new certificate only."""
    ca, new_ca = certificates.ca, certificates.rotated_ca
    async with (
        kind(fake, tls=certificates.server) as gateway,
        following(gateway, fake, ca=ca + new_ca) as watch,
    ):
        gateway.write_certificate(certificates.rotated)
        await gateway.reload()
        await watch.reach_progress(40)
        async with ImportClient(gateway.uri, tls=TLSConfig(ca=new_ca)) as client:
            assert await client.check() == "internal"
        async with ImportClient(gateway.uri, tls=TLSConfig(ca=ca)) as client:
            with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.check()
        await watch.complete()
    assert watch.faults == []


async def test_watch_survives_http_500(fake: FakeMilvus) -> None:
    async with (
        Nginx(fake, flagged="return 500;") as gateway,
        following(gateway, fake) as watch,
    ):
        gateway.flag.touch()
        await watch.until(lambda: len(watch.faults) >= 3)
        gateway.flag.unlink()
        await watch.complete()
    assert watch.statuses == {500}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_wait_that_starts_during_an_outage_of_the_backend(
    fake: FakeMilvus, status: int
) -> None:
    job = fake.add_job(state="Completed", progress=100)
    faults = FaultLog()
    gateway = Nginx(fake, flagged=f"return {status};")
    gateway.flag.touch()
    async with gateway, ImportClient(gateway.uri) as client:
        wait = asyncio.create_task(client.wait(job.job_id, interval=INTERVAL, on_retry=faults))
        await until(lambda: len(faults) >= 2 or wait.done(), GUARD)
        gateway.flag.unlink()
        progress = await asyncio.wait_for(wait, GUARD)
    assert progress.state == "Completed"
    assert {getattr(error, "http_status", None) for error, _ in faults} == {status}


PAGES = {
    "page": "return 200 '<title>Maintenance</title>';",
    "empty": "return 200;",
    "204": "return 204;",
    "JSON": 'return 200 \'{"status":"maintenance"}\';',
    "503": "return 503;",
}


@pytest.mark.parametrize("service", ["rest", "internal"])
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["wait", "wait_all"])
async def test_wait_survives_a_page_in_place_of_milvus(
    fake: FakeMilvus, page: str, method: str, service: Any
) -> None:
    """While the flag exists, nginx responds with the page."""
    fake.version = "3.0"
    job, faults = fake.add_job(state="Importing", progress=40), FaultLog()
    options: dict[str, Any] = {"interval": INTERVAL, "timeout": GUARD, "on_retry": faults}
    async with (
        Nginx(fake, http2=service != "rest", flagged=PAGES[page]) as gateway,
        ImportClient(gateway.uri, service=service) as client,
    ):
        await client.get_import_progress(job.job_id)
        gateway.flag.touch()
        jobs: Any = job.job_id if method == "wait" else [job.job_id]
        waiting = asyncio.ensure_future(getattr(client, method)(jobs, **options))
        await until(lambda: len(faults) >= 3 or waiting.done(), GUARD)
        job.state, job.progress = "Completed", 100
        gateway.flag.unlink()
        found = await waiting
    outcome = found if method == "wait" else found[job.job_id]
    assert outcome.state == "Completed"
    assert all(error.transient for error, _ in faults)


async def test_wait_raises_immediately_if_the_first_response_is_no_outage(
    fake: FakeMilvus,
) -> None:
    async with Nginx(fake, location="return 403;") as gateway, ImportClient(gateway.uri) as client:
        with pytest.raises(CallError) as caught:
            await client.wait("1", interval=INTERVAL)
        assert len(await gateway.logged(1)) == 1
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_reads_in_flight_are_not_reset_by_a_reload(
    fake: FakeMilvus, kind: type[Gateway]
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
