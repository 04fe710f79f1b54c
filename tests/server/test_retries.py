"""Retries of one call: a read is repeated once if its connection breaks, nothing else is.

Watches have their own retries (test_watch.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import pytest
from network import Relay, breaking_port
from times import GUARD, SCALE, until
from watching import both_services, connect

from milvus_import import (
    CallOptions,
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    JobNotFoundError,
    MilvusImportError,
    UnavailableError,
)
from milvus_import._services import _select
from milvus_import.testing import FakeMilvus, Fault

pytestmark = pytest.mark.anyio

JOB = "450000000000000001"


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry within any time: no test depends on how soon a connection breaks."""
    monkeypatch.setattr(_select, "RETRY_WITHIN", 3600.0)


READS: dict[str, Callable[[ImportClient, CallOptions], Awaitable[object]]] = {
    "get_import_progress": lambda client, options: client.get_import_progress(JOB, **options),
    "list_imports": lambda client, options: client.list_imports("books", **options),
    "check": lambda client, options: client.check(**options),
}


@both_services
@pytest.mark.parametrize("read", READS)
async def test_a_read_is_repeated_once_if_its_connection_breaks(
    fake: FakeMilvus, service: str, read: str
) -> None:
    fake.version = "2.3" if service == "public" else "2.6"  # these list the ids
    fake.add_job(job_id=JOB)
    records: list[CallRecord] = []
    port = fake.internal_port if service == "internal" else fake.public_port
    async with Relay(port) as relay, ImportClient(relay.uri) as client:
        await client.check()
        fake.received.clear()
        fake.inject("hang")
        call = asyncio.ensure_future(READS[read](client, {"on_finish": records.append}))
        await until(lambda: bool(fake.received))
        relay.reset()
        async with asyncio.timeout(GUARD):
            await call
    first, second = fake.received
    assert second.arrived - first.arrived >= _select.RETRY_DELAY  # gRPC has left the connection
    assert [record.code.name for record in records] == ["UNAVAILABLE", "OK"]


RETRY_WITHIN = _select.RETRY_WITHIN


def test_retry_within_is_a_second() -> None:
    assert RETRY_WITHIN == 1.0


@pytest.mark.parametrize(("within", "attempts"), [(3600.0, 2), (0.0, 1)])
async def test_a_read_whose_connection_breaks_twice_raises_the_last_error(
    within: float, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow call is not repeated: that would double the load, and hide the error."""
    monkeypatch.setattr(_select, "RETRY_WITHIN", within)
    records: list[CallRecord] = []
    async with (
        breaking_port() as port,
        ImportClient(f"http://127.0.0.1:{port}", on_finish=records.append) as client,
    ):
        with pytest.raises(UnavailableError) as caught:
            await client.get_import_progress(JOB)
    assert [record.code for record in records] == [grpc.StatusCode.UNAVAILABLE] * attempts
    assert caught.value.record is records[-1]
    assert caught.value.transient


async def test_timeout_covers_both_attempts(fake: FakeMilvus) -> None:
    fake.add_job(job_id=JOB)
    delay = 0.4 * SCALE
    async with Relay(fake.internal_port) as relay, ImportClient(relay.uri) as client:
        await client.check()
        fake.received.clear()
        fake.inject("hang")
        call = asyncio.ensure_future(client.get_import_progress(JOB, timeout=9 * SCALE))
        await until(lambda: bool(fake.received))
        await asyncio.sleep(delay)
        relay.reset()
        await call
    first, second = (received.time_remaining or 0 for received in fake.received)
    assert second < first - delay * 0.7


@pytest.mark.parametrize(
    "fault",
    [
        *("unavailable", "deadline", "cancelled", "aborted", "denied", "proxy-not-ready", "hang"),
        *("empty", "garbage", "not-ready", "rate-limit", "no-collection", "legacy"),
        pytest.param(Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests"), id="limit"),
    ],
)
async def test_a_read_is_not_repeated_after_a_response_or_its_deadline(
    fake: FakeMilvus, fault: str | Fault
) -> None:
    """By gRPC neither."""
    fake.add_job(job_id=JOB)
    fake.inject(fault, times=None)
    records: list[CallRecord] = []
    timeout = 0.2 * SCALE if fault == "hang" else GUARD
    async with connect(fake, "internal", on_finish=records.append, rpc_timeout=timeout) as client:
        with pytest.raises(DeadlineExceededError if fault == "hang" else MilvusImportError):
            await client.get_import_progress(JOB)
    assert len(records) == 1
    [received] = fake.received
    assert received.values("grpc-previous-rpc-attempts") == []


async def test_a_cancelled_read_is_not_repeated(fake: FakeMilvus) -> None:
    fake.add_job(job_id=JOB)
    async with Relay(fake.internal_port) as relay, ImportClient(relay.uri) as client:
        await client.check()
        fake.received.clear()
        fake.inject("hang", times=1)
        ended = asyncio.Event()
        read = asyncio.create_task(client.get_import_progress(JOB, on_finish=lambda _: ended.set()))
        await until(lambda: bool(fake.received))
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        relay.reset()
        async with asyncio.timeout(GUARD):
            await ended.wait()
            with pytest.raises(JobNotFoundError):
                await client.get_import_progress("7", timeout=GUARD)
    assert len(fake.received) == 2
