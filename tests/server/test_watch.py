"""watch and wait: changes, errors, time limits, and how they end.

Also what watch_all and wait_all promise in the same words; test_watch_all.py has the rest.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
import weakref
from typing import Any

import anyio
import pytest
from certificates import make_certificates
from network import closed_port, gateway_port, server_ports
from times import GUARD, SCALE, TICK, until
from watching import (
    CHANGES,
    QUICK,
    SCRIPT,
    FaultLog,
    add_running,
    both_services,
    changes,
    complete,
    missing,
    on_each_method,
    on_each_wait,
    on_each_watch,
    run,
    start_watch,
)

from milvus_import import (
    CallError,
    ClientClosedError,
    DeadlineExceededError,
    ImportClient,
    ImportFailedError,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    TLSConfig,
    UnavailableError,
    WaitTimeoutError,
)
from milvus_import.testing import FakeFile, FakeJob, FakeMilvus, Fault
from milvus_import_pb import internal_pb2

pytestmark = pytest.mark.anyio


# The changes that a watch yields.


@pytest.mark.parametrize("service", ["internal", "public", "rest"])
async def test_watch_yields_each_change_once_and_ends_with_the_job(
    fake: FakeMilvus, client: ImportClient
) -> None:
    job = fake.add_job(script=SCRIPT)
    assert await changes(client.watch(job.job_id, **QUICK)) == CHANGES
    assert job.reply_count == len(SCRIPT)


async def test_watch_yields_the_first_state_immediately_whatever_the_interval(
    client: ImportClient, job: FakeJob
) -> None:
    assert (await anext(client.watch(job.job_id, interval=3600, timeout=GUARD))).progress == 40


async def test_leaving_the_watch_loop_stops_the_polls(
    fake: FakeMilvus, client: ImportClient
) -> None:
    job = fake.add_job(script=SCRIPT)
    # Long enough that the next poll is not due yet when the first reply arrives.
    async for _ in client.watch(job.job_id, interval=TICK * 25, timeout=GUARD):
        break
    await anyio.sleep(TICK * 30)
    assert job.reply_count == 1
    assert await changes(client.watch(job.job_id, **QUICK)) == CHANGES


async def test_watch_continues_after_a_cancelled_step(
    fake: FakeMilvus, client: ImportClient, job: FakeJob
) -> None:
    watch = client.watch(job.job_id, **QUICK)
    await anext(watch)
    fake.inject("hang")
    with anyio.move_on_after(TICK * 5) as scope:
        await anext(watch)
    assert scope.cancelled_caught
    complete(job)
    assert await changes(watch) == [("Completed", 100)]
    assert not any(received.reset for received in fake.received)


@pytest.mark.parametrize("timeout", [GUARD, 0])
async def test_a_cancelled_poll_is_repeated_immediately_and_does_not_count_for_timeout_0(
    fake: FakeMilvus, client: ImportClient, job: FakeJob, timeout: float
) -> None:
    """The first poll is cancelled: with timeout=0 the next step still polls once."""
    complete(job)
    fake.inject("hang")
    watch = client.watch(job.job_id, interval=3600, timeout=timeout)
    step = asyncio.ensure_future(anext(watch))
    await until(lambda: bool(fake.received))
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    with anyio.fail_after(GUARD):
        assert (await anext(watch)).done


@on_each_watch
async def test_a_watch_has_one_consumer(client: ImportClient, job: FakeJob, method: str) -> None:
    watch = start_watch(client, method, job.job_id)
    await anext(watch)
    rest = asyncio.create_task(changes(watch))
    await anyio.sleep(TICK)
    for second in (anext(watch), watch.aclose()):
        with pytest.raises(RuntimeError, match="another task is awaiting this watch"):
            await second
    complete(job)
    assert await rest == [("Completed", 100)]


@pytest.mark.parametrize("fault", ["unavailable", "denied", "too-large", "no-collection"])
async def test_a_watch_of_one_job_can_be_continued_after_an_error(
    fake: FakeMilvus, client: ImportClient, job: FakeJob, fault: str
) -> None:
    watch = client.watch(job.job_id, interval=TICK, max_outage=0)
    await anext(watch)
    for _ in range(2):
        fake.inject(fault)
        with pytest.raises(MilvusImportError):
            await anext(watch)
    complete(job)
    assert await changes(watch) == [("Completed", 100)]


@pytest.mark.parametrize("timeout", [0, GUARD])
@pytest.mark.parametrize("method", ["watch", "wait", "watch_all"])
async def test_an_error_that_is_raised_is_in_no_reference_cycle(
    client: ImportClient, job: FakeJob, method: str, timeout: float
) -> None:
    """It would keep the client alive until the next garbage collection."""
    left: weakref.ref[Exception] | None = None
    gc.disable()
    try:
        await run(client, method, job.job_id if timeout == 0 else "1", timeout=timeout)
    except MilvusImportError as error:
        left = weakref.ref(error)
    finally:
        alive = left is not None and left() is not None
        gc.enable()
    assert left is not None
    assert not alive


@both_services
@on_each_watch
async def test_aclose_ends_a_watch_and_its_polls(
    fake: FakeMilvus, client: ImportClient, job: FakeJob, method: str
) -> None:
    watch = start_watch(client, method, job.job_id)
    await anext(watch)
    await watch.aclose()
    await watch.aclose()
    polls = len(fake.received)
    job.progress = 50
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    await anyio.sleep(TICK * 5)
    assert len(fake.received) == polls


@both_services
async def test_what_watch_yields_may_be_changed_by_the_caller(
    client: ImportClient, service: str, job: FakeJob
) -> None:
    """An unchanged reply stays unchanged, whatever the caller did to the last progress."""
    job.files = [FakeFile("b.parquet"), FakeFile("a.parquet")]
    watch = client.watch(job.job_id, **QUICK)
    seen = await anext(watch)
    seen.details.sort(key=lambda detail: detail.file_name)
    seen.details.clear()
    seen.progress, seen.state = 99, ImportState.FAILED
    reply_count = job.reply_count
    step = asyncio.ensure_future(anext(watch))
    await until(lambda: job.reply_count > reply_count + 5 or step.done())
    assert not step.done()
    complete(job)
    final = await step
    assert (final.state, final.progress) == ("Completed", 100)
    if service == "internal":
        assert [detail.file_name for detail in final.details] == ["[b.parquet]", "[a.parquet]"]


@pytest.mark.parametrize("service", ["internal", "rest"])
@on_each_method
async def test_closing_the_client_ends_a_wait_for_the_next_poll(
    client: ImportClient, job: FakeJob, method: str
) -> None:
    responses: list[object] = []
    options = {"interval": 3600.0, "timeout": None, "on_finish": responses.append}
    following = asyncio.create_task(run(client, method, job.job_id, **options))
    await until(lambda: bool(responses))
    await client.close()
    with anyio.fail_after(GUARD), pytest.raises(ClientClosedError) as raised:
        await following
    assert "the import continues" in str(raised.value)
    assert not raised.value.may_have_run


# Callbacks.


def plain(*_: object) -> None: ...


async def awaited(*_: object) -> None: ...


def returning(*_: object) -> object:
    return awaited()


@pytest.mark.parametrize("callback", [3, awaited])
@pytest.mark.parametrize("name", ["on_progress", "on_retry", "on_finish"])
@on_each_wait
async def test_a_callback_that_cannot_be_called_is_a_type_error_before_anything_is_sent(
    client: ImportClient, job: FakeJob, method: str, name: str, callback: object
) -> None:
    complete(job)
    words = rf"{name} (must be a function, got 3|must be a plain function)"
    with pytest.raises(TypeError, match=words):
        await run(client, method, job.job_id, **{name: callback})
    assert not job.reply_count
    await run(client, method, job.job_id, **{name: plain})


@pytest.mark.parametrize("name", ["on_progress", "on_retry"])
@on_each_wait
async def test_a_callback_that_returns_an_awaitable_is_a_type_error(
    fake: FakeMilvus, known: ImportClient, job: FakeJob, name: str, method: str
) -> None:
    fake.inject("not-ready")
    words = f"{name} must be a plain function, got one that returned coroutine"
    with pytest.raises(TypeError, match=words):
        await run(known, method, job.job_id, **{name: returning})


@pytest.mark.parametrize("error", [KeyError("mine"), MilvusImportError("mine")])
@pytest.mark.parametrize("name", ["on_progress", "on_retry"])
@on_each_wait
async def test_an_exception_of_a_callback_ends_a_wait(
    fake: FakeMilvus, known: ImportClient, name: str, method: str, error: Exception
) -> None:
    """It propagates also if it is one of the package's own: it is no outcome of a job."""

    def raising(*_: object) -> None:
        raise error

    [job] = add_running(fake, 1)
    fake.inject("not-ready")
    with pytest.raises(type(error)) as raised:
        await run(known, method, job.job_id, **{name: raising})
    assert raised.value is error


@both_services
@on_each_watch
async def test_an_exception_of_on_retry_propagates_and_the_next_step_polls_again(
    fake: FakeMilvus, known: ImportClient, job: FakeJob, method: str
) -> None:
    def raising(error: MilvusImportError, outage: float) -> None:
        raise ZeroDivisionError

    complete(job)
    fake.inject("not-ready")
    watch = start_watch(known, method, job.job_id, on_retry=raising)
    with pytest.raises(ZeroDivisionError):
        await anext(watch)
    with anyio.fail_after(GUARD):
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
    fake: FakeMilvus, client: ImportClient, job: FakeJob, method: str
) -> None:
    """A program may start before its server."""
    complete(job)
    await fake.stop()
    faults = FaultLog()
    starting = faults.then(2, fake.start())
    [end] = await run(client, method, job.job_id, max_outage=GUARD, on_retry=faults)
    await starting
    assert end.job_id == job.job_id
    assert set(faults.kinds) == {UnavailableError}
    assert 0 <= faults.outages[0] < faults.outages[-1]


@pytest.mark.parametrize("connected", [True, False])
@on_each_method
async def test_max_outage_ends_an_outage_with_its_last_error(
    fake: FakeMilvus, client: ImportClient, job: FakeJob, method: str, connected: bool
) -> None:
    """Also one that starts before the first response."""
    limit, faults = 0.3 * SCALE, FaultLog()
    if connected:
        await client.check()
        fake.inject("coordinator-unavailable", times=None)
    else:
        await fake.stop()
    error = MilvusStatusError if connected else UnavailableError
    words = r"(?i)unavailable.*retried for .* s without a successful response"
    started = time.monotonic()
    with pytest.raises(error, match=words) as raised:
        await run(client, method, job.job_id, max_outage=limit, on_retry=faults)
    assert time.monotonic() - started >= limit
    assert faults
    assert raised.value not in [error for error, _ in faults]
    assert (raised.value.outage or 0) >= limit
    assert all(outage < limit for outage in faults.outages)


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, CallError), (404, CallError), (429, WaitTimeoutError), (503, WaitTimeoutError)],
)
async def test_a_gateway_is_retried_by_any_client_and_a_web_server_is_not(
    status: int, error: type[MilvusImportError]
) -> None:
    faults = FaultLog()
    async with gateway_port(status) as port, ImportClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(error) as raised:
            await client.wait("1", timeout=0.5 * SCALE, interval=TICK, on_retry=faults)
    if error is WaitTimeoutError:
        assert "last error" in str(raised.value)
        assert len(faults) > 1
    else:
        assert faults == []


@pytest.mark.parametrize(
    "fault", ["not-ready", "proxy-not-ready", "coordinator-unavailable", "rate-limit", "empty"]
)
async def test_a_server_that_starts_is_retried_by_any_client(
    fake: FakeMilvus, client: ImportClient, fault: str
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject(fault, times=3)
    faults = FaultLog()
    assert await changes(client.watch(job.job_id, on_retry=faults, **QUICK)) == CHANGES
    assert len(faults) == 3
    assert faults.outages == sorted(faults.outages)
    assert 0 <= faults.outages[0] < faults.outages[-1] < GUARD


@pytest.mark.parametrize(
    "fault",
    [
        *("unavailable", "deadline", "cancelled", "aborted", "unimplemented", "not-ready", "empty"),
        *("garbage", "cross-cluster"),
    ],
)
async def test_transient_errors_are_retried_after_a_successful_response(
    fake: FakeMilvus, known: ImportClient, fault: str
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject(fault, times=8)
    assert await changes(known.watch(job.job_id, **QUICK)) == CHANGES


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
    fake: FakeMilvus, known: ImportClient, job: FakeJob, fault: str, error: type[MilvusImportError]
) -> None:
    fake.inject(fault)
    faults = FaultLog()
    with pytest.raises(error) as raised:
        await anext(known.watch(job.job_id, on_retry=faults, **QUICK))
    assert not isinstance(raised.value, WaitTimeoutError)
    assert faults == []


@both_services
@on_each_watch
async def test_a_watch_raises_an_error_once_and_then_polls_again(
    fake: FakeMilvus, client: ImportClient, job: FakeJob, method: str
) -> None:
    watch = start_watch(client, method, job.job_id)
    assert (await anext(watch)).progress == 40
    raised: list[CallError] = []
    fake.inject("denied", times=2)
    for _ in range(2):
        with pytest.raises(CallError) as caught:
            await anext(watch)
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    complete(job)
    assert (await anext(watch)).done


async def test_watch_retries_while_another_server_is_at_the_address() -> None:
    certificates = make_certificates()
    async with FakeMilvus(tls=certificates.server, **server_ports()) as server:
        job = server.add_job(state="Importing", progress=40)
        async with ImportClient(server.internal_uri, tls=TLSConfig(ca=certificates.ca)) as client:
            faults = FaultLog()
            watch = client.watch(job.job_id, on_retry=faults, **QUICK)
            await anext(watch)
            await server.stop()
            async with FakeMilvus(internal_port=server.internal_port) as other:
                change = asyncio.ensure_future(anext(watch))
                await until(lambda: any("Use http://" in str(error) for error, _ in faults))
                await other.stop()
                await server.start()
                job.progress = 50
                assert (await change).progress == 50


@both_services
@on_each_method
async def test_the_polls_of_an_outage_are_paused(
    fake: FakeMilvus, known: ImportClient, job: FakeJob, method: str
) -> None:
    """The pauses grow from a quarter of a second; without them there were hundreds of polls."""
    polls = len(fake.received)
    fake.inject("coordinator-unavailable", times=None)
    with pytest.raises(WaitTimeoutError):
        await run(known, method, job.job_id, interval=10, timeout=0.6 * SCALE)
    assert 2 <= len(fake.received) - polls <= 2 + 4 * SCALE


@on_each_method
async def test_max_outage_0_retries_nothing(
    fake: FakeMilvus, known: ImportClient, job: FakeJob, method: str
) -> None:
    fake.inject("not-ready")
    with pytest.raises(MilvusStatusError, match="service not ready"):
        await run(known, method, job.job_id, max_outage=0)


async def test_the_time_between_two_steps_does_not_count_for_max_outage(
    fake: FakeMilvus, client: ImportClient
) -> None:
    job = fake.add_job(script=SCRIPT)
    watch = client.watch(job.job_id, max_outage=0.3 * SCALE, **QUICK)
    await anext(watch)
    await anyio.sleep(0.5 * SCALE)
    fake.inject("not-ready")
    assert await changes(watch) == CHANGES[1:]


async def test_wait_after_create_import_survives_a_restart(
    fake: FakeMilvus, client: ImportClient
) -> None:
    faults = FaultLog()
    job_id = await client.create_import("books", ["a.parquet"])
    await fake.stop()
    starting = faults.then(1, fake.start())
    progress = await client.wait(job_id, on_retry=faults, **QUICK)
    await starting
    assert progress.state is ImportState.COMPLETED
    assert UnavailableError in faults.kinds


# Jobs that the server does not have.


@on_each_watch
@pytest.mark.parametrize("service", ["public"])
async def test_job_not_found_response_ends_an_outage(
    fake: FakeMilvus, client: ImportClient, job: FakeJob, method: str
) -> None:
    """The server responded: an error after it starts a new outage."""
    interval, faults = 0.3 * SCALE, FaultLog()
    watch = start_watch(client, method, job.job_id, interval=interval, on_retry=faults)
    await anext(watch)
    for fault in ("not-ready", missing(job.job_id), "not-ready"):
        fake.inject(fault, method="GetImportState")
    complete(job)
    assert (await anext(watch)).done
    assert len(faults) == 2
    assert faults.outages[1] < interval


@both_services
@on_each_method
async def test_a_job_that_is_missing_twice_is_job_not_found_with_its_last_progress(
    fake: FakeMilvus, client: ImportClient, job: FakeJob, method: str
) -> None:
    """A server removes an ended job (retention) while its client was not polling."""
    following = asyncio.create_task(run(client, method, job.job_id))
    await until(lambda: job.reply_count >= 2)
    polls = len(fake.received)
    del fake.jobs[job.job_id]
    with pytest.raises(JobNotFoundError, match="its last state was Importing at 40 %") as raised:
        await following
    assert raised.value.job_id == job.job_id
    progress = raised.value.progress
    assert progress is not None
    assert (progress.job_id, progress.state, progress.progress) == (job.job_id, "Importing", 40)
    assert len(fake.received) - polls == 2


# Time limits.


@pytest.mark.parametrize("timeout", [0, -1, -math.inf])
async def test_wait_with_timeout_0_polls_once(
    client: ImportClient, job: FakeJob, timeout: float
) -> None:
    with pytest.raises(WaitTimeoutError, match="Importing at 40 %") as raised:
        await client.wait(job.job_id, timeout=timeout)
    assert raised.value.progress is not None
    assert raised.value.job_id == job.job_id
    assert isinstance(raised.value, TimeoutError)
    assert job.reply_count == 1
    complete(job)
    assert (await client.wait(job.job_id, timeout=timeout)).done


@pytest.mark.parametrize("timeout", [None, math.inf, 10**9])
async def test_wait_without_a_timeout_ends_with_the_job(
    fake: FakeMilvus, client: ImportClient, timeout: float | None
) -> None:
    job = fake.add_job(script=SCRIPT)
    with anyio.fail_after(GUARD):
        assert (await client.wait(job.job_id, timeout=timeout, interval=TICK)).done


@both_services
@on_each_method
async def test_the_timeout_is_exact_while_the_server_hangs(
    fake: FakeMilvus, known: ImportClient, job: FakeJob, method: str
) -> None:
    fake.inject("hang", times=None)
    started = time.monotonic()
    words = f"1 of 1 .* 0.5 s: {job.job_id}" if method == "watch_all" else "no response yet"
    with pytest.raises(WaitTimeoutError, match=words):
        await run(known, method, job.job_id, timeout=0.5)
    assert 0.5 <= time.monotonic() - started < 0.5 + 5 * SCALE
    assert not fake.received[-1].reset


async def test_rpc_timeout_is_the_deadline_of_each_poll(
    fake: FakeMilvus, known: ImportClient, job: FakeJob
) -> None:
    complete(job)
    fake.inject("hang")
    faults = FaultLog()
    await known.wait(job.job_id, rpc_timeout=0.5 * SCALE, on_retry=faults, **QUICK)
    assert faults.kinds == [DeadlineExceededError]


async def test_a_wait_that_times_out_in_an_outage_reports_the_last_error(
    fake: FakeMilvus, known: ImportClient, job: FakeJob
) -> None:
    fake.inject("coordinator-unavailable", times=None)
    with pytest.raises(WaitTimeoutError, match="service unavailable") as raised:
        await known.wait(job.job_id, timeout=0.3 * SCALE, interval=TICK)
    assert isinstance(raised.value.__cause__, MilvusStatusError)


# How a wait ends.


@both_services
@on_each_wait
async def test_on_progress_receives_each_change(
    fake: FakeMilvus, client: ImportClient, method: str
) -> None:
    job = fake.add_job(script=SCRIPT)
    seen: list[Any] = []
    [final] = await run(client, method, job.job_id, on_progress=seen.append)
    assert [(progress.state, progress.progress) for progress in seen] == CHANGES
    assert (final if method == "wait" else final.job) == seen[-1]


async def test_a_failed_job_raises_the_reason_of_the_server(
    fake: FakeMilvus, client: ImportClient
) -> None:
    job = fake.add_job(state="Failed", reason="no such file: a.parquet")
    with pytest.raises(ImportFailedError, match=r"no such file: a\.parquet") as raised:
        await client.wait(job.job_id, **QUICK)
    assert raised.value.progress.reason == "no such file: a.parquet"
    assert raised.value.job_id == job.job_id


@pytest.mark.parametrize("end", ["Uncommitted", "Committing", "Completed"])
@both_services
@on_each_wait
async def test_until_uncommitted_returns_a_job_that_waits_for_its_commit_or_is_committed(
    fake: FakeMilvus, client: ImportClient, service: str, method: str, end: str
) -> None:
    job = fake.add_job(script=[("Importing", 40), (end, 99)])
    [final] = await run(client, method, job.job_id, until="uncommitted")
    hidden = service == "public" and end == "Committing"
    assert (final.state, final.progress) == ("Uncommitted" if hidden else end, 99)


@both_services
@on_each_wait
async def test_wait_logs_once_that_a_job_waits_for_its_commit(
    fake: FakeMilvus, client: ImportClient, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    script = [("Uncommitted", 99), ("Importing", 99), ("Uncommitted", 99), ("Completed", 100)]
    job = fake.add_job(script=script)
    await run(client, method, job.job_id)
    [record] = [r for r in caplog.records if "commit" in r.getMessage()]
    assert record.levelno == logging.WARNING
    assert job.job_id in record.getMessage()
    assert "commit_import" in record.getMessage()


MANY = {f"[{n}]": f"bad-{n}" for n in range(11)}


@pytest.mark.parametrize(
    ("reason", "of_files", "message"),
    [
        (
            "import failed: a is bad",
            {"[a.npy]": "a is bad", "[b.npy]": "b is bad too", "[c.npy]": ""},
            "import failed: a is bad; [b.npy] b is bad too",
        ),
        ("", dict([*MANY.items()][:10]), "; ".join(f"[{n}] bad-{n}" for n in range(10))),
        ("", MANY, "; ".join(f"[{n}] bad-{n}" for n in range(10)) + "; and 1 more files"),
    ],
    ids=["merged", "ten", "eleven"],
)
async def test_the_reasons_of_job_and_at_most_ten_files_are_merged(
    fake: FakeMilvus, client: ImportClient, reason: str, of_files: dict[str, str], message: str
) -> None:
    task = internal_pb2.ImportTaskProgress
    reply = internal_pb2.GetImportProgressResponse(
        state=internal_pb2.Failed,
        reason=reason,
        task_progresses=[task(file_name=name, reason=why) for name, why in of_files.items()],
    )
    fake.inject(Fault(reply=reply.SerializeToString()))
    with pytest.raises(ImportFailedError) as raised:
        await client.wait("7", **QUICK)
    assert raised.value.message == f"import job 7 failed: {message}"
