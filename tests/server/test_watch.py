"""watch and wait: changes, errors, time limits, and how they end."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from certificates import make_certificates
from network import closed_port, gateway_port
from times import TICK, until
from watching import CHANGES, SCRIPT, FaultLog, changes, missing, uri_of

from milvus_import import (
    CallError,
    ClientClosedError,
    DeadlineExceededError,
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    TLSConfig,
    UnavailableError,
    WaitTimeoutError,
)
from milvus_import.testing import FakeFile, FakeMilvus, Fault
from milvus_import_pb import internal_pb2

pytestmark = pytest.mark.anyio

METHODS = ("watch", "wait", "watch_all", "wait_all")
on_each_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
async def client(fake: FakeMilvus) -> AsyncIterator[ImportClient]:
    """A client of the internal service without a successful response yet."""
    async with ImportClient(fake.internal_uri) as client:
        yield client


@pytest.fixture
async def known(client: ImportClient) -> ImportClient:
    """The same client after a successful response."""
    await client.check()
    return client


async def run(client: ImportClient, method: str, job_id: str, **options: Any) -> list[object]:
    """Run one of the four methods to its end; return what it yields or returns."""
    if method == "watch":
        return [progress async for progress in client.watch(job_id, **options)]
    if method == "watch_all":
        return [job async for job in client.watch_all([job_id], **options)]
    if method == "wait":
        return [await client.wait(job_id, **options)]
    outcome = (await client.wait_all([job_id], **options))[job_id]
    if isinstance(outcome, MilvusImportError):
        raise outcome
    return [outcome]


# The changes that a watch yields.


@pytest.mark.parametrize("service", ["internal", "public", "rest"])
async def test_watch_yields_each_change_once_and_ends_with_the_job(
    fake: FakeMilvus, service: Any, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    async with ImportClient(uri_of(fake, service), service=service) as client:
        seen = await changes(client.watch(job.job_id, interval=TICK, timeout=guard))
    assert seen == CHANGES
    assert job.reply_count == len(SCRIPT)


async def test_watch_yields_the_first_state_immediately_whatever_the_interval(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    watch = client.watch(job.job_id, interval=3600, timeout=guard)
    assert (await anext(watch)).progress == 40


async def test_watch_yields_the_end_of_a_job_once_if_its_state_changes_afterwards(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(script=[("Importing", 40), ("Completed", 100), ("Failed", 0)])
    watch = client.watch(job.job_id, interval=TICK, timeout=guard)
    assert await changes(watch) == [("Importing", 40), ("Completed", 100)]
    assert await changes(watch) == []
    assert job.reply_count == 2


async def test_leaving_the_watch_loop_stops_the_polls(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    # Long enough that the next poll is not due yet when the first reply arrives.
    async for _ in client.watch(job.job_id, interval=TICK * 25, timeout=guard):
        break
    await anyio.sleep(TICK * 30)
    assert job.reply_count == 1
    assert await changes(client.watch(job.job_id, interval=TICK, timeout=guard)) == CHANGES


async def test_watch_continues_after_a_cancelled_step(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    watch = client.watch(job.job_id, interval=TICK, timeout=guard)
    await anext(watch)
    fake.inject("hang")
    with anyio.move_on_after(TICK * 5) as scope:
        await anext(watch)
    assert scope.cancelled_caught
    job.state, job.progress = "Completed", 100
    assert await changes(watch) == [("Completed", 100)]
    assert not any(received.reset for received in fake.received)


@pytest.mark.parametrize("method", ["watch", "wait"])
async def test_a_cancelled_poll_is_repeated_immediately_and_does_not_count_for_timeout_0(
    fake: FakeMilvus, client: ImportClient, method: str, guard: float
) -> None:
    """The first poll is cancelled: with timeout=0 the next step still polls once."""
    job = fake.add_job(state="Completed", progress=100)
    fake.inject("hang")
    watch = client.watch(job.job_id, interval=3600, timeout=0 if method == "wait" else guard)
    step = asyncio.ensure_future(anext(watch))
    await until(lambda: bool(fake.received))
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    with anyio.fail_after(guard):
        assert (await anext(watch)).done


@pytest.mark.parametrize("method", ["watch", "watch_all"])
async def test_a_watch_has_one_consumer(
    fake: FakeMilvus, client: ImportClient, method: str, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    options: dict[str, Any] = {"interval": TICK, "timeout": guard}
    watch: Any = (
        client.watch(job.job_id, **options)
        if method == "watch"
        else client.watch_all([job.job_id], **options)
    )
    await anext(watch)
    rest: list[object] = []

    async def follow() -> None:
        rest.extend([change async for change in watch])

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await anyio.sleep(TICK)
        with pytest.raises(RuntimeError, match="another task is awaiting this watch"):
            await anext(watch)
        with pytest.raises(RuntimeError, match="another task is awaiting this watch"):
            await watch.aclose()
        job.state, job.progress = "Completed", 100
    assert len(rest) == 1


@pytest.mark.parametrize("service", ["internal", "public"])
@pytest.mark.parametrize("method", ["watch", "watch_all"])
async def test_aclose_ends_a_watch_and_its_polls(
    fake: FakeMilvus, service: str, method: str, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    async with ImportClient(uri_of(fake, service)) as client:
        watch: Any = (
            client.watch(job.job_id, interval=TICK, timeout=guard)
            if method == "watch"
            else client.watch_all([job.job_id], interval=TICK, timeout=guard)
        )
        await anext(watch)
        await watch.aclose()
        await watch.aclose()
        polls = len(fake.received)
        job.progress = 50
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
        await anyio.sleep(TICK * 5)
        assert len(fake.received) == polls


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_what_watch_yields_may_be_changed_by_the_caller(
    fake: FakeMilvus, service: str, guard: float
) -> None:
    """An unchanged reply stays unchanged, whatever the caller did to the last progress."""
    files = [FakeFile("b.parquet"), FakeFile("a.parquet")]
    job = fake.add_job(state="Importing", progress=40, files=files)
    async with ImportClient(uri_of(fake, service)) as client:
        watch = client.watch(job.job_id, interval=TICK, timeout=guard)
        seen = await anext(watch)
        seen.details.sort(key=lambda detail: detail.file_name)
        seen.details.clear()
        seen.progress, seen.state = 99, ImportState.FAILED
        reply_count = job.reply_count
        step = asyncio.ensure_future(anext(watch))
        await until(lambda: job.reply_count > reply_count + 5 or step.done())
        assert not step.done()
        job.state, job.progress = "Completed", 100
        final = await step
    assert (final.state, final.progress) == ("Completed", 100)
    if service == "internal":
        assert [detail.file_name for detail in final.details] == ["[b.parquet]", "[a.parquet]"]


# Closing the client.


@on_each_method
async def test_closing_the_client_ends_a_wait_for_the_next_poll(
    fake: FakeMilvus, method: str, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    client = ImportClient(fake.internal_uri)
    ended: list[object] = []
    responses: list[object] = []
    options: dict[str, Any] = {"interval": 3600.0, "on_finish": responses.append}

    async def follow() -> None:
        try:
            ended.extend(await run(client, method, job.job_id, **options))
        except ClientClosedError as error:
            ended.append(error)

    with anyio.fail_after(guard):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await until(lambda: bool(responses))
            await client.close()
    [error] = ended
    assert isinstance(error, ClientClosedError)
    assert "the import continues" in str(error)
    assert not error.may_have_run


# Callbacks.


def plain(*_: object) -> None: ...


async def awaited(*_: object) -> None: ...


@pytest.mark.parametrize("callback", [3, awaited])
@pytest.mark.parametrize("name", ["on_progress", "on_retry", "on_finish"])
async def test_a_callback_that_cannot_be_called_is_a_type_error_before_anything_is_sent(
    fake: FakeMilvus, client: ImportClient, name: str, callback: object, guard: float
) -> None:
    job = fake.add_job(state="Completed", progress=100)
    words = rf"{name} (must be a function, got 3|must be a plain function)"
    options: dict[str, Any] = {"timeout": guard, name: callback}
    with pytest.raises(TypeError, match=words):
        await client.wait(job.job_id, **options)
    with pytest.raises(TypeError, match=words):
        await client.wait_all([job.job_id], **options)
    assert not fake.received
    options[name] = plain
    await client.wait(job.job_id, **options)


@pytest.mark.parametrize("method", ["wait", "wait_all"])
@pytest.mark.parametrize("name", ["on_progress", "on_retry"])
async def test_a_callback_that_returns_an_awaitable_is_a_type_error(
    fake: FakeMilvus, known: ImportClient, name: str, method: str, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    fake.inject("not-ready")

    def returning(*_: object) -> object:
        return awaited()

    options: dict[str, Any] = {name: returning, "interval": TICK, "timeout": guard}
    with pytest.raises(
        TypeError, match=f"{name} must be a plain function, got one that returned coroutine"
    ):
        await run(known, method, job.job_id, **options)


class CallbackError(Exception):
    pass


@pytest.mark.parametrize("service", ["internal", "public"])
@on_each_method
async def test_an_exception_of_on_retry_propagates_and_the_next_step_polls_again(
    fake: FakeMilvus, method: str, service: str, guard: float
) -> None:
    job = fake.add_job(state="Completed", progress=100)

    def raising(error: MilvusImportError, outage: float) -> None:
        raise CallbackError

    async with ImportClient(uri_of(fake, service)) as client:
        await client.check()
        fake.inject("not-ready")
        options: dict[str, Any] = {"interval": TICK, "timeout": guard, "on_retry": raising}
        if method in {"wait", "wait_all"}:
            with pytest.raises(CallbackError):
                await run(client, method, job.job_id, **options)
            return
        watch: Any = (
            client.watch(job.job_id, **options)
            if method == "watch"
            else client.watch_all([job.job_id], **options)
        )
        with pytest.raises(CallbackError):
            await anext(watch)
        with anyio.fail_after(guard):
            assert (await anext(watch)).done


# Errors that are retried, and errors that are not.


@on_each_method
async def test_a_connection_that_cannot_be_made_is_raised_immediately(method: str) -> None:
    faults = FaultLog()
    with closed_port() as port:
        async with ImportClient(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(UnavailableError, match=r"Check host and port"):
                await run(client, method, "1", on_retry=faults)
    assert faults == []


@on_each_method
async def test_max_outage_as_a_number_counts_from_the_start(
    fake: FakeMilvus, method: str, guard: float
) -> None:
    """A program may start before its server."""
    job = fake.add_job(state="Completed", progress=100)
    await fake.stop()
    faults = FaultLog()
    end: list[object] = []

    async def start_later() -> None:
        await faults.reach(2)
        await fake.start()

    async with ImportClient(fake.internal_uri) as client, anyio.create_task_group() as group:
        group.start_soon(start_later)
        options: dict[str, Any] = {"max_outage": guard, "interval": TICK, "on_retry": faults}
        end = await run(client, method, job.job_id, **options)
    assert len(end) == 1
    assert isinstance(end[0], ImportProgressData) or method == "watch_all"
    assert set(faults.kinds) == {UnavailableError}
    assert 0 <= faults.outages[0] < faults.outages[-1]


@on_each_method
async def test_max_outage_ends_an_outage_that_starts_before_the_first_response(
    method: str, scale: float, guard: float
) -> None:
    limit, faults = 0.3 * scale, FaultLog()
    with closed_port() as port:
        async with ImportClient(f"http://127.0.0.1:{port}") as client:
            started = time.monotonic()
            with pytest.raises(UnavailableError, match="without a successful response") as raised:
                await run(
                    client,
                    method,
                    "1",
                    interval=TICK,
                    max_outage=limit,
                    timeout=guard,
                    on_retry=faults,
                )
            assert time.monotonic() - started >= limit
    assert raised.value.outage is not None
    assert raised.value.outage >= limit
    assert faults


@pytest.mark.parametrize("status", [200, 404])
async def test_watch_does_not_retry_the_responses_of_a_web_server(
    status: int, guard: float
) -> None:
    faults = FaultLog()
    async with gateway_port(status) as port, ImportClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(CallError):
            await client.wait("1", timeout=guard, on_retry=faults)
    assert faults == []


@pytest.mark.parametrize("status", [429, 503])
async def test_a_gateway_without_a_server_is_retried_by_any_client(
    status: int, scale: float
) -> None:
    faults = FaultLog()
    async with gateway_port(status) as port, ImportClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(WaitTimeoutError, match="last error"):
            await client.wait("1", timeout=0.5 * scale, interval=TICK, on_retry=faults)
    assert len(faults) > 1


@pytest.mark.parametrize(
    "fault", ["not-ready", "proxy-not-ready", "coordinator-unavailable", "rate-limit", "empty"]
)
async def test_a_server_that_starts_is_retried_by_any_client(
    fake: FakeMilvus, client: ImportClient, fault: str, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject(fault, times=3)
    faults = FaultLog()
    watch = client.watch(job.job_id, interval=TICK, timeout=guard, on_retry=faults)
    assert await changes(watch) == CHANGES
    assert len(faults) == 3
    assert faults.outages == sorted(faults.outages)
    assert 0 <= faults.outages[0] < faults.outages[-1] < guard


@pytest.mark.parametrize(
    "fault",
    [
        *("unavailable", "deadline", "cancelled", "aborted", "unimplemented", "not-ready", "empty"),
        *("garbage", "cross-cluster"),
    ],
)
async def test_transient_errors_are_retried_after_a_successful_response(
    fake: FakeMilvus, known: ImportClient, fault: str, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject(fault, times=8)
    assert await changes(known.watch(job.job_id, interval=TICK, timeout=guard)) == CHANGES


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("denied", CallError),
        ("too-large", CallError),
        ("no-collection", MilvusStatusError),
        ("legacy", MilvusStatusError),
    ],
)
async def test_errors_that_are_not_transient_are_raised_immediately(
    fake: FakeMilvus, known: ImportClient, fault: str, error: type[MilvusImportError], guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject(fault)
    faults = FaultLog()
    watch = known.watch(job.job_id, interval=TICK, timeout=guard, on_retry=faults)
    with pytest.raises(error) as raised:
        await anext(watch)
    assert not isinstance(raised.value, WaitTimeoutError)
    assert faults == []


@pytest.mark.parametrize("service", ["internal", "public"])
@pytest.mark.parametrize("method", ["watch", "watch_all"])
async def test_a_watch_raises_an_error_once_and_then_polls_again(
    fake: FakeMilvus, method: str, service: str, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    async with ImportClient(uri_of(fake, service)) as client:
        options: dict[str, Any] = {"interval": TICK, "timeout": guard}
        watch: Any = (
            client.watch(job.job_id, **options)
            if method == "watch"
            else client.watch_all([job.job_id], **options)
        )
        assert (await anext(watch)).progress == 40
        raised: list[CallError] = []
        fake.inject("denied", times=2)
        for _ in range(2):
            with pytest.raises(CallError) as caught:
                await anext(watch)
            raised.append(caught.value)
        assert raised[0] is not raised[1]
        job.state, job.progress = "Completed", 100
        assert (await anext(watch)).done


async def test_watch_retries_while_another_server_is_at_the_address(guard: float) -> None:
    certificates = make_certificates()
    async with FakeMilvus(tls=certificates.server) as server:
        job = server.add_job(state="Importing", progress=40)
        async with ImportClient(server.internal_uri, tls=TLSConfig(ca=certificates.ca)) as client:
            faults = FaultLog()
            watch = client.watch(job.job_id, interval=TICK, timeout=guard, on_retry=faults)
            await anext(watch)
            await server.stop()
            changed: list[int] = []

            async def next_change() -> None:
                changed.append((await anext(watch)).progress)

            async with (
                FakeMilvus(internal_port=server.internal_port) as other,
                anyio.create_task_group() as group,
            ):
                group.start_soon(next_change)
                await until(lambda: any("Use http://" in str(error) for error, _ in faults), guard)
                await other.stop()
                await server.start()
                job.progress = 50
            assert changed == [50]


@on_each_method
async def test_max_outage_ends_an_outage_with_its_last_error(
    fake: FakeMilvus, client: ImportClient, method: str, scale: float, guard: float
) -> None:
    limit = 0.3 * scale
    job = fake.add_job(state="Importing", progress=40)
    await client.check()
    faults = FaultLog()
    fake.inject("coordinator-unavailable", times=None)
    started = time.monotonic()
    words = r"service unavailable.*retried for .* s without a successful response"
    with pytest.raises(MilvusStatusError, match=words) as raised:
        await run(
            client,
            method,
            job.job_id,
            interval=TICK,
            max_outage=limit,
            timeout=guard,
            on_retry=faults,
        )
    assert time.monotonic() - started >= limit
    assert faults
    assert raised.value not in [error for error, _ in faults]
    assert raised.value.outage is not None
    assert raised.value.outage >= limit
    assert all(outage < limit for outage in faults.outages)


@pytest.mark.parametrize("service", ["internal", "public"])
@on_each_method
async def test_the_polls_of_an_outage_are_paused(
    fake: FakeMilvus, method: str, service: str, scale: float
) -> None:
    """The pauses grow from a quarter of a second; without them there were hundreds of polls."""
    job = fake.add_job(state="Importing", progress=40)
    async with ImportClient(uri_of(fake, service)) as client:
        await client.check()
        polls = len(fake.received)
        fake.inject("coordinator-unavailable", times=None)
        with pytest.raises(WaitTimeoutError):
            await run(client, method, job.job_id, interval=10, timeout=0.6 * scale)
    assert 2 <= len(fake.received) - polls <= 2 + 4 * scale


@on_each_method
async def test_max_outage_0_retries_nothing(
    fake: FakeMilvus, known: ImportClient, method: str, guard: float
) -> None:
    job = fake.add_job()
    fake.inject("not-ready")
    with pytest.raises(MilvusStatusError, match="service not ready"):
        await run(known, method, job.job_id, max_outage=0, timeout=guard)


async def test_the_time_between_two_steps_does_not_count_for_max_outage(
    fake: FakeMilvus, client: ImportClient, scale: float, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    watch = client.watch(job.job_id, interval=TICK, max_outage=0.3 * scale, timeout=guard)
    await anext(watch)
    await anyio.sleep(0.5 * scale)
    fake.inject("not-ready")
    assert await changes(watch) == CHANGES[1:]


# Jobs that the server does not have.


@pytest.mark.parametrize("between", ["changed", "unchanged"])
@pytest.mark.parametrize("method", ["watch", "watch_all"])
@pytest.mark.parametrize("service", ["internal", "public"])
async def test_a_job_that_is_missing_once_and_returns_is_followed(
    fake: FakeMilvus, service: str, method: str, between: str, guard: float
) -> None:
    """Each response with the job, also an unchanged one, resets the count of missing ones."""
    interval = 15 * TICK  # the job is away for one poll only, also on a slow machine
    job = fake.add_job(state="Importing", progress=40)
    async with ImportClient(uri_of(fake, service)) as client:
        watch: Any = (
            client.watch(job.job_id, interval=interval, timeout=guard)
            if method == "watch"
            else client.watch_all([job.job_id], interval=interval, timeout=guard)
        )
        await anext(watch)
        step = asyncio.ensure_future(anext(watch))
        for _ in range(3):
            polls = len(fake.received)
            del fake.jobs[job.job_id]
            await until(lambda polls=polls, step=step: len(fake.received) > polls or step.done())  # type: ignore[misc]
            fake.jobs[job.job_id] = job
            reply_count = job.reply_count
            if between == "changed":
                job.progress += 1
                assert (await step).progress == job.progress
                step = asyncio.ensure_future(anext(watch))
            await until(lambda n=reply_count, step=step: job.reply_count >= n + 2 or step.done())  # type: ignore[misc]
        job.state, job.progress = "Completed", 100
        assert (await step).done


@pytest.mark.parametrize("method", ["watch", "watch_all"])
async def test_job_not_found_response_ends_an_outage(
    fake: FakeMilvus, method: str, scale: float, guard: float
) -> None:
    """The server responded: an error after it starts a new outage."""
    interval, faults = 0.3 * scale, FaultLog()
    job = fake.add_job(state="Importing", progress=40)
    async with ImportClient(fake.public_uri, service="public") as client:
        options: dict[str, Any] = {"interval": interval, "timeout": guard, "on_retry": faults}
        watch: Any = (
            client.watch(job.job_id, **options)
            if method == "watch"
            else client.watch_all([job.job_id], **options)
        )
        await anext(watch)
        for fault in ("not-ready", missing(job.job_id), "not-ready"):
            fake.inject(fault, method="GetImportState")
        job.state, job.progress = "Completed", 100
        assert (await anext(watch)).done
    assert len(faults) == 2
    assert faults.outages[1] < interval


@pytest.mark.parametrize("between", [None, "not-ready"])
async def test_a_job_that_is_missing_twice_raises_job_not_found_with_its_last_progress(
    fake: FakeMilvus, client: ImportClient, between: str | None, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    watch = client.watch(job.job_id, interval=TICK, timeout=guard)
    last = await anext(watch)
    polls = len(fake.received)
    fake.inject(missing(job.job_id))
    if between is not None:
        fake.inject(between)
    fake.inject(missing(job.job_id))
    with pytest.raises(JobNotFoundError, match="its last state was Importing at 40 %") as raised:
        await anext(watch)
    assert raised.value.progress == last
    assert raised.value.job_id == job.job_id
    assert len(fake.received) - polls == (2 if between is None else 3)


@pytest.mark.parametrize("service", ["internal", "public"])
@on_each_method
async def test_job_not_found_keeps_and_prints_the_last_progress_in_every_method(
    fake: FakeMilvus, method: str, service: str, guard: float
) -> None:
    """A server removes an ended job (retention) while its client was not polling."""
    job = fake.add_job(state="Importing", progress=70)
    async with ImportClient(uri_of(fake, service)) as client:

        async def remove() -> None:
            await until(lambda: job.reply_count >= 2)
            del fake.jobs[job.job_id]

        removing = asyncio.ensure_future(remove())
        with pytest.raises(
            JobNotFoundError, match="its last state was Importing at 70 %"
        ) as raised:
            await run(client, method, job.job_id, interval=TICK, timeout=guard)
        await removing
    progress = raised.value.progress
    assert progress is not None
    assert (progress.job_id, progress.state, progress.progress) == (job.job_id, "Importing", 70)


async def test_an_unknown_job_is_raised_after_one_poll(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    with pytest.raises(JobNotFoundError) as raised:
        await client.wait("1", timeout=guard)
    assert raised.value.progress is None
    assert len(fake.received) == 1


async def test_wait_after_create_import_survives_a_restart(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    faults = FaultLog()

    async def restart() -> None:
        await faults.reach(1)
        await fake.start()

    job_id = await client.create_import("books", ["a.parquet"])
    await fake.stop()
    async with anyio.create_task_group() as group:
        group.start_soon(restart)
        progress = await client.wait(job_id, interval=TICK, timeout=guard, on_retry=faults)
        assert progress.state is ImportState.COMPLETED
    assert UnavailableError in faults.kinds


# Time limits.


@pytest.mark.parametrize("timeout", [0, -1, -math.inf])
async def test_wait_with_timeout_0_polls_once(
    fake: FakeMilvus, client: ImportClient, timeout: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    with pytest.raises(WaitTimeoutError, match="Importing at 40 %") as raised:
        await client.wait(job.job_id, timeout=timeout)
    assert raised.value.progress is not None
    assert raised.value.job_id == job.job_id
    assert isinstance(raised.value, TimeoutError)
    assert job.reply_count == 1
    job.state, job.progress = "Completed", 100
    assert (await client.wait(job.job_id, timeout=timeout)).done


@pytest.mark.parametrize("timeout", [None, math.inf, 10**9])
async def test_wait_without_a_timeout_ends_with_the_job(
    fake: FakeMilvus, client: ImportClient, timeout: float | None, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    with anyio.fail_after(guard):
        assert (await client.wait(job.job_id, timeout=timeout, interval=TICK)).done


async def test_the_timeout_of_wait_is_exact_while_the_server_hangs(
    fake: FakeMilvus, known: ImportClient, scale: float
) -> None:
    job = fake.add_job()
    fake.inject("hang", times=None)
    started = time.monotonic()
    with pytest.raises(WaitTimeoutError, match="no response yet"):
        await known.wait(job.job_id, timeout=0.5)
    assert 0.5 <= time.monotonic() - started < 0.5 + 5 * scale
    assert not fake.received[-1].reset


async def test_rpc_timeout_is_the_deadline_of_each_poll(
    fake: FakeMilvus, known: ImportClient, scale: float, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject("hang")
    faults = FaultLog()
    final = await known.wait(
        job.job_id, interval=TICK, timeout=guard, rpc_timeout=0.5 * scale, on_retry=faults
    )
    assert final.done
    assert faults.kinds == [DeadlineExceededError]


async def test_a_wait_that_times_out_in_an_outage_reports_the_last_error(
    fake: FakeMilvus, known: ImportClient, scale: float
) -> None:
    job = fake.add_job()
    fake.inject("coordinator-unavailable", times=None)
    with pytest.raises(WaitTimeoutError, match="service unavailable") as raised:
        await known.wait(job.job_id, timeout=0.3 * scale, interval=TICK)
    assert isinstance(raised.value.__cause__, MilvusStatusError)


# How a wait ends.


async def test_on_progress_receives_each_change(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    seen: list[ImportProgressData] = []
    final = await client.wait(job.job_id, interval=TICK, timeout=guard, on_progress=seen.append)
    assert [(progress.state, progress.progress) for progress in seen] == CHANGES
    assert final == seen[-1]


async def test_a_failed_job_raises_the_reason_of_the_server(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(state="Failed", reason="no such file: a.parquet")
    with pytest.raises(ImportFailedError, match=r"no such file: a\.parquet") as raised:
        await client.wait(job.job_id, timeout=guard)
    assert raised.value.progress.reason == "no such file: a.parquet"
    assert raised.value.job_id == job.job_id


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_wait_until_uncommitted_returns_a_job_that_waits_for_its_commit(
    fake: FakeMilvus, service: str, guard: float
) -> None:
    job = fake.add_job(script=[("Importing", 40), ("Uncommitted", 99)])
    async with ImportClient(uri_of(fake, service)) as client:
        final = await client.wait(job.job_id, until="uncommitted", interval=TICK, timeout=guard)
    assert (final.state, final.progress) == (ImportState.UNCOMMITTED, 99)


@pytest.mark.parametrize("state", ["Committing", "Completed"])
async def test_wait_until_uncommitted_returns_later_states_too(
    fake: FakeMilvus, client: ImportClient, state: str, guard: float
) -> None:
    job = fake.add_job(state=state, progress=99)
    assert (await client.wait(job.job_id, until="uncommitted", timeout=guard)).state == state


@pytest.mark.parametrize("service", ["internal", "public"])
@pytest.mark.parametrize("method", ["wait", "wait_all"])
async def test_wait_logs_once_that_a_job_waits_for_its_commit(
    fake: FakeMilvus, service: str, method: str, guard: float, caplog: pytest.LogCaptureFixture
) -> None:
    script = [("Uncommitted", 99), ("Importing", 99), ("Uncommitted", 99), ("Completed", 100)]
    job = fake.add_job(script=script)
    async with ImportClient(uri_of(fake, service)) as client:
        await run(client, method, job.job_id, interval=TICK, timeout=guard)
    [record] = [r for r in caplog.records if "commit" in r.getMessage()]
    assert record.levelno == logging.WARNING
    assert job.job_id in record.getMessage()
    assert "commit_import" in record.getMessage()


async def test_the_reasons_of_job_and_files_are_merged(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    reply = internal_pb2.GetImportProgressResponse(
        state=internal_pb2.Failed,
        reason="import failed: a is bad",
        task_progresses=[
            internal_pb2.ImportTaskProgress(file_name="[a.npy]", reason="a is bad"),
            internal_pb2.ImportTaskProgress(file_name="[b.npy]", reason="b is bad too"),
            internal_pb2.ImportTaskProgress(file_name="[c.npy]"),
        ],
    )
    fake.inject(Fault(reply=reply.SerializeToString()))
    with pytest.raises(ImportFailedError) as raised:
        await client.wait("7", timeout=guard)
    assert raised.value.message == (
        "import job 7 failed: import failed: a is bad; [b.npy] b is bad too"
    )


@pytest.mark.parametrize(("count", "more"), [(10, False), (11, True)])
async def test_at_most_ten_reasons_of_files_are_printed(
    fake: FakeMilvus, client: ImportClient, count: int, more: bool, guard: float
) -> None:
    tasks = [
        internal_pb2.ImportTaskProgress(file_name=f"[{n}]", reason=f"bad-{n}-")
        for n in range(count)
    ]
    reply = internal_pb2.GetImportProgressResponse(state=internal_pb2.Failed, task_progresses=tasks)
    fake.inject(Fault(reply=reply.SerializeToString()))
    with pytest.raises(ImportFailedError) as raised:
        await client.wait("7", timeout=guard)
    assert raised.value.message.count("bad-") == 10
    assert ("and 1 more files" in raised.value.message) is more
