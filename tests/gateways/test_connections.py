"""Connections that nginx ends while calls share them, and two servers behind one address."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gateway_process import GUARD, INTERVAL, Gateway, HAProxy, Nginx
from hint_keys import hint_key
from tcp_server import HOST
from times import until
from watching import FaultLog

from milvus_import import (
    CallError,
    CallRecord,
    ImportClient,
    JobNotFoundError,
    UnavailableError,
)
from milvus_import.testing import FakeMilvus

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

JOB = "1"
READS = 64


async def outcomes(*calls: Any) -> list[Any]:
    async with asyncio.timeout(GUARD):
        return await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("requests", [5, 20])
async def test_reads_survive_a_gateway_that_ends_its_connections(
    fake: FakeMilvus, requests: int
) -> None:
    """After keepalive_requests nginx sends GOAWAY: later streams of the connection never run."""
    fake.add_job(job_id=JOB, state="Importing", progress=40)
    records: list[CallRecord] = []
    async with (
        Nginx(fake, server=f"keepalive_requests {requests};") as gateway,
        ImportClient(gateway.uri, service="internal", on_finish=records.append) as client,
    ):
        for _ in range(5):
            found = await outcomes(*(client.get_import_progress(JOB) for _ in range(READS)))
            assert [one for one in found if isinstance(one, Exception)] == []
    failed = [record for record in records if record.code.name != "OK"]
    print(f"{len(failed)} of {len(records)} requests were retried")
    assert failed


async def test_creates_that_a_gateway_never_took_have_not_run(fake: FakeMilvus) -> None:
    async with (
        Nginx(fake, server="keepalive_requests 5;") as gateway,
        ImportClient(gateway.uri, service="internal") as client,
    ):
        created: set[str] = set()
        errors: list[CallError] = []
        for _ in range(10):
            for one in await outcomes(
                *(client.create_import("books", ["a.parquet"]) for _ in range(READS))
            ):
                if isinstance(one, CallError):
                    errors.append(one)
                else:
                    assert isinstance(one, str), one
                    created.add(one)
    refused = [error for error in errors if not error.may_have_run]
    print(f"{len(created)} created, {len(errors)} errors, {len(refused)} that have not run")
    assert all(error.transient for error in errors)
    assert refused
    # Each job that nobody knows of belongs to an error with may_have_run.
    assert len(fake.jobs.keys() - created) <= len(errors) - len(refused)


async def test_large_metadata_of_one_call_does_not_end_the_calls_of_others(
    fake: FakeMilvus, kind: type[Gateway]
) -> None:
    """The gateway ends the shared connection with all its calls."""
    fake.add_job(job_id=JOB, state="Importing", progress=40)
    faults = FaultLog()
    large: list[CallRecord] = []
    ends: list[CallError] = []

    def goaway_seen(end: CallError | CallRecord) -> bool:
        """HAProxy's GOAWAY arrived: its close hides it from gRPC that is still writing."""
        return kind is Nginx or "GOAWAY" in end.details

    async with kind(fake) as gateway, ImportClient(gateway.uri, service="internal") as client:
        await client.check()

        async def send_large() -> None:
            try:
                while sum(map(goaway_seen, ends)) < 3:
                    with pytest.raises(CallError) as caught:
                        await client.get_import_progress(
                            JOB, metadata={"x-large": "a" * 40_000}, on_finish=large.append
                        )
                    ends.append(caught.value)
                    await asyncio.sleep(INTERVAL)
            finally:
                fake.jobs[JOB].state = "Completed"

        waits = [  # each has polls of its own
            client.wait(JOB, interval=INTERVAL, rpc_timeout=GUARD + number, on_retry=faults)
            for number in range(19)
        ]
        found = await outcomes(send_large(), *waits)
    assert [one for one in found if isinstance(one, Exception)] == []
    ended = {(goaway_seen(error), error.transient) for error in ends}
    assert ended - {(False, True)} == {(True, False)}
    assert {hint_key(error) for error in ends if goaway_seen(error)} == {"GATEWAY_METADATA_SIZE"}
    assert sum(map(goaway_seen, large)) == 3  # each was sent once
    print(f"{len(faults)} polls of the other 19 were retried by their watches")
    assert "GATEWAY_METADATA_SIZE" not in {hint_key(error) for error, _ in faults}
    assert all(error.transient for error, _ in faults)


async def test_wait_with_large_metadata_ends_immediately(fake: FakeMilvus) -> None:
    fake.add_job(job_id=JOB, state="Importing", progress=40)
    async with Nginx(fake) as gateway, ImportClient(gateway.uri, service="internal") as client:
        await client.check()
        with pytest.raises(UnavailableError) as caught:
            await client.wait(
                JOB, interval=INTERVAL, timeout=GUARD, metadata={"x-large": "a" * 40_000}
            )
    assert hint_key(caught.value) == "GATEWAY_METADATA_SIZE"


async def test_load_balancer_over_two_servers_is_named(fake: FakeMilvus) -> None:
    """nginx alternates between a server that has the job and one that does not."""
    fake.add_job(job_id=JOB, state="Importing", progress=40)
    async with FakeMilvus() as other:
        both = f"server {HOST}:{fake.internal_port}; server {HOST}:{other.internal_port};"
        gateway = Nginx(fake, http=f"upstream both {{ {both} }}", internal="grpc_pass grpc://both;")
        async with gateway, ImportClient(gateway.uri, service="internal") as client:
            watch = client.watch(JOB, interval=INTERVAL)
            try:
                await anext(watch)
            except JobNotFoundError:  # the other one was the first
                watch = client.watch(JOB, interval=INTERVAL)
                await anext(watch)
            following = asyncio.ensure_future(anext(watch))
            await until(lambda: len(fake.received) > 5 or following.done(), GUARD)
            assert not following.done()
            del fake.jobs[JOB]
            with pytest.raises(JobNotFoundError) as caught:
                await asyncio.wait_for(following, GUARD)
    assert hint_key(caught.value) == "SEVERAL_SERVERS"


class Retrying(HAProxy):
    def config(self) -> str:
        return super().config().replace("retries 0", "retries 3\n  retry-on response-timeout")


async def test_gateway_that_retries_post_sends_a_create_twice(fake: FakeMilvus) -> None:
    """No client can see it; both requests have the idempotency key."""
    fake.inject("hang", method="ImportV2")
    async with (
        Retrying(fake, server_timeout=1) as gateway,
        ImportClient(gateway.uri, service="internal") as client,
    ):
        job_id = await client.create_import("books", ["a.parquet"], idempotency_key="books-1")
    assert [received.method for received in fake.received] == ["ImportV2"] * 2
    assert [received.values("idempotency-key") for received in fake.received] == [["books-1"]] * 2
    assert job_id in fake.jobs
