from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import leaks
import pytest
from certificates import make_certificates
from ports import dead_port, gateway_port
from watching import TICK, FaultLog, changes, gone

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
    RefusedError,
    TLSConfig,
    UnavailableError,
    WaitTimeoutError,
)
from milvus_import.testing import FakeMilvus, Fault
from milvus_import_pb import internal_pb2

pytestmark = pytest.mark.anyio

SCRIPT = [
    ("Pending", 0),
    ("Pending", 0),
    ("Importing", 40),
    ("Importing", 40),
    ("Importing", 60),
    ("Completed", 100),
]
CHANGES = [("Pending", 0), ("Importing", 40), ("Importing", 60), ("Completed", 100)]


@pytest.fixture
def guard(scale: float) -> float:
    """Seconds after which a wait that should have ended fails its test."""
    return 20.0 * scale


@pytest.fixture
async def client(fake: FakeMilvus) -> AsyncIterator[ImportClient]:
    """A client of the internal service that never had an answer."""
    async with ImportClient(fake.internal_uri) as client:
        yield client


@pytest.fixture
async def known(client: ImportClient) -> ImportClient:
    """The same after a good answer."""
    await client.check()
    return client


def uri_of(fake: FakeMilvus, service: str) -> str:
    return fake.internal_uri if service == "internal" else fake.public_uri


# What a watch gives.


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_each_change_comes_once_and_the_end_ends_it(
    fake: FakeMilvus, service: str, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    async with ImportClient(uri_of(fake, service)) as client:
        seen = await changes(client.watch(job.job_id, interval=TICK, timeout=guard))
    assert seen == CHANGES
    assert job.answered == len(SCRIPT)


async def test_the_first_state_comes_at_once(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    watch = client.watch(job.job_id, interval=3600, timeout=guard)
    assert (await anext(watch)).progress == 40


async def test_a_job_that_flips_after_its_end_is_told_once(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(script=[("Importing", 40), ("Completed", 100), ("Failed", 0)])
    watch = client.watch(job.job_id, interval=TICK, timeout=guard)
    assert await changes(watch) == [("Importing", 40), ("Completed", 100)]
    assert await changes(watch) == []
    assert job.answered == 2


async def test_leaving_the_loop_stops_the_polls(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    async for _ in client.watch(job.job_id, interval=TICK, timeout=guard):
        break
    await anyio.sleep(TICK * 10)
    assert job.answered == 1
    assert await changes(client.watch(job.job_id, interval=TICK, timeout=guard)) == CHANGES


async def test_a_cancelled_step_can_be_taken_again(
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


@pytest.mark.parametrize("many", [False, True], ids=["watch", "watch_all"])
async def test_a_watch_is_for_one_consumer(
    fake: FakeMilvus, client: ImportClient, many: bool, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    options: dict[str, Any] = {"interval": TICK, "timeout": guard}
    watch: AsyncIterator[Any] = (
        client.watch_all([job.job_id], **options) if many else client.watch(job.job_id, **options)
    )
    await anext(watch)
    rest: list[object] = []

    async def follow() -> None:
        rest.extend([change async for change in watch])

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await anyio.sleep(TICK)
        with pytest.raises(RuntimeError, match="another task is waiting for this watch"):
            await anext(watch)
        job.state, job.progress = "Completed", 100
    assert len(rest) == 1


@pytest.mark.parametrize("method", ["watch", "wait", "watch_all", "wait_all"])
async def test_closing_the_client_ends_what_waits_for_the_next_poll(
    fake: FakeMilvus, method: str, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    client = ImportClient(fake.internal_uri)
    ended: list[object] = []
    answers: list[object] = []
    options: dict[str, Any] = {"interval": 3600.0, "call": {"on_finish": answers.append}}

    async def follow() -> None:
        try:
            if method == "watch":
                ended.extend([progress async for progress in client.watch(job.job_id, **options)])
            elif method == "watch_all":
                ended.extend([job async for job in client.watch_all([job.job_id], **options)])
            elif method == "wait":
                ended.append(await client.wait(job.job_id, **options))
            else:
                ended.extend((await client.wait_all([job.job_id], **options)).values())
        except ClientClosedError as error:
            ended.append(error)

    with anyio.fail_after(guard):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await leaks.until(lambda: bool(answers), guard)
            await client.close()
    [error] = ended
    assert isinstance(error, ClientClosedError)
    assert "the import goes on" in str(error)


def plain(*_: object) -> None: ...


async def awaited(*_: object) -> None: ...


@pytest.mark.parametrize("callback", [3, awaited])
@pytest.mark.parametrize("name", ["on_progress", "on_fault", "on_finish"])
async def test_a_callback_that_cannot_be_called_is_refused_before_anything_is_sent(
    fake: FakeMilvus, client: ImportClient, name: str, callback: object, guard: float
) -> None:
    job = fake.add_job(state="Completed", progress=100)

    def options(callback: object) -> dict[str, Any]:
        given = {name: callback}
        return {"timeout": guard} | ({"call": given} if name == "on_finish" else given)

    words = rf"{name} is .*(3 is not callable|called and not awaited: pass a plain function)"
    with pytest.raises(TypeError, match=words):
        await client.wait(job.job_id, **options(callback))
    with pytest.raises(TypeError, match=words):
        await client.wait_all([job.job_id], **options(callback))
    assert not fake.received
    await client.wait(job.job_id, **options(plain))


# Faults.


@pytest.mark.parametrize("method", ["watch", "wait", "watch_all", "wait_all"])
async def test_a_wrong_address_fails_at_once(method: str) -> None:
    told = FaultLog()

    async def ask(client: ImportClient) -> object:
        if method == "watch":
            return await anext(client.watch("1", on_fault=told))
        if method == "wait":
            return await client.wait("1", on_fault=told)
        if method == "watch_all":
            return await anext(client.watch_all(["1"], on_fault=told))
        outcome = (await client.wait_all(["1"], on_fault=told))["1"]
        assert isinstance(outcome, MilvusImportError)
        raise outcome

    with dead_port() as port:
        async with ImportClient(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(UnavailableError, match=r"Nothing listens there"):
                await ask(client)
    assert told == []


@pytest.mark.parametrize("status", [200, 404, 500, 503])
async def test_a_web_server_is_not_taken_for_one_that_starts(status: int, guard: float) -> None:
    told = FaultLog()
    async with gateway_port(status) as port, ImportClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(CallError):
            await client.wait("1", timeout=guard, on_fault=told)
    assert told == []


@pytest.mark.parametrize(
    "fault", ["not-ready", "proxy-not-ready", "coordinator-away", "rate-limit", "empty"]
)
async def test_a_server_that_says_it_starts_is_waited_for_by_any_client(
    fake: FakeMilvus, client: ImportClient, fault: str, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject(fault, times=3)
    told = FaultLog()
    watch = client.watch(job.job_id, interval=TICK, timeout=guard, on_fault=told)
    assert await changes(watch) == CHANGES
    assert len(told) == 3
    seconds = [outage for _, outage in told]
    assert seconds == sorted(seconds)
    assert 0 <= seconds[0] < seconds[-1] < guard


@pytest.mark.parametrize(
    "fault", ["unavailable", "deadline", "cancelled", "unimplemented", "not-ready", "empty"]
)
async def test_a_client_that_was_answered_bears_what_may_pass(
    fake: FakeMilvus, known: ImportClient, fault: str, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject(fault, times=12)
    assert await changes(known.watch(job.job_id, interval=TICK, timeout=guard)) == CHANGES


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("denied", CallError),
        ("cross-cluster", CallError),
        ("garbage", CallError),
        ("too-large", CallError),
        ("aborted", CallError),
        ("no-collection", RefusedError),
        ("legacy", RefusedError),
    ],
)
async def test_what_will_not_pass_is_raised_at_once(
    fake: FakeMilvus, known: ImportClient, fault: str, error: type[MilvusImportError], guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject(fault)
    told = FaultLog()
    watch = known.watch(job.job_id, interval=TICK, timeout=guard, on_fault=told)
    with pytest.raises(error) as raised:
        await anext(watch)
    assert not isinstance(raised.value, WaitTimeoutError)
    assert told == []


async def test_an_answered_client_bears_that_its_server_is_another_for_a_while(
    guard: float,
) -> None:
    certificates = make_certificates()
    async with FakeMilvus(tls=certificates.server) as server:
        job = server.add_job(state="Importing", progress=40)
        async with ImportClient(server.internal_uri, tls=TLSConfig(ca=certificates.ca)) as client:
            told = FaultLog()
            watch = client.watch(job.job_id, interval=TICK, timeout=guard, on_fault=told)
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
                await told.reach(2)
                await other.stop()
                await server.start()
                job.progress = 50
            assert changed == [50]
    assert any("write http://" in str(error) for error, _ in told)


async def test_an_outage_beyond_the_limit_ends_with_its_last_fault(
    fake: FakeMilvus, client: ImportClient, scale: float, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    told = FaultLog()
    watch = client.watch(
        job.job_id,
        interval=TICK,
        max_outage=0.3 * scale,
        timeout=guard,
        on_fault=told,
    )
    await anext(watch)
    fake.inject("coordinator-away", times=None)
    started = time.monotonic()
    words = rf"no good answer for .* s, max_outage is {0.3 * scale:g} s.*service unavailable"
    with pytest.raises(RefusedError, match=words) as raised:
        await anext(watch)
    assert time.monotonic() - started >= 0.3 * scale
    assert told
    assert raised.value not in [error for error, _ in told]
    assert all(outage < 0.3 * scale for _, outage in told)


async def test_no_outage_is_borne_where_none_is_allowed(
    fake: FakeMilvus, known: ImportClient, guard: float
) -> None:
    job = fake.add_job()
    fake.inject("not-ready")
    with pytest.raises(RefusedError, match="service not ready"):
        await known.wait(job.job_id, max_outage=0, timeout=guard)


async def test_the_time_a_caller_takes_between_two_steps_is_no_outage(
    fake: FakeMilvus, client: ImportClient, scale: float, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    watch = client.watch(job.job_id, interval=TICK, max_outage=1.0 * scale, timeout=guard)
    await anext(watch)
    await anyio.sleep(1.5 * scale)
    fake.inject("not-ready")
    assert await changes(watch) == CHANGES[1:]


async def test_a_job_that_vanishes_once_and_comes_back_is_not_lost(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    watch = client.watch(job.job_id, interval=TICK, timeout=guard)
    seen = [await anext(watch)]
    fake.inject(gone(job.job_id))
    assert await changes(watch) == CHANGES[1:]
    assert seen[0].state is ImportState.PENDING


@pytest.mark.parametrize("between", [None, "not-ready"])
async def test_a_job_that_vanishes_twice_isgone(
    fake: FakeMilvus, client: ImportClient, between: str | None, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    watch = client.watch(job.job_id, interval=TICK, timeout=guard)
    last = await anext(watch)
    asked = len(fake.received)
    fake.inject(gone(job.job_id))
    if between is not None:
        fake.inject(between)
    fake.inject(gone(job.job_id))
    with pytest.raises(JobNotFoundError) as raised:
        await anext(watch)
    assert raised.value.progress == last
    assert len(fake.received) - asked == (2 if between is None else 3)


async def test_a_job_that_never_was_is_refused_at_once(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    with pytest.raises(JobNotFoundError) as raised:
        await client.wait("1", timeout=guard)
    assert raised.value.progress is None
    assert len(fake.received) == 1


async def test_a_created_job_is_waited_for_through_a_blip(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    told = FaultLog()

    async def back_when_missed() -> None:
        await told.reach(1)
        await fake.start()

    job_id = await client.create_import("books", ["a.parquet"])
    await fake.stop()
    async with anyio.create_task_group() as group:
        group.start_soon(back_when_missed)
        progress = await client.wait(job_id, interval=TICK, timeout=guard, on_fault=told)
        assert progress.state is ImportState.COMPLETED
    assert UnavailableError in told.kinds


# Time limits.


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -math.inf])
async def test_no_time_is_one_poll(fake: FakeMilvus, client: ImportClient, timeout: float) -> None:
    job = fake.add_job(state="Importing", progress=40)
    with pytest.raises(WaitTimeoutError, match="Importing at 40 %") as raised:
        await client.wait(job.job_id, timeout=timeout)
    assert raised.value.progress is not None
    assert isinstance(raised.value, TimeoutError)
    assert job.answered == 1
    job.state, job.progress = "Completed", 100
    assert (await client.wait(job.job_id, timeout=timeout)).done


@pytest.mark.parametrize("timeout", [None, math.inf, 1e9, 10**9])
async def test_a_huge_limit_or_none_lets_a_job_end(
    fake: FakeMilvus, client: ImportClient, timeout: float | None, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    with anyio.fail_after(guard):
        assert (await client.wait(job.job_id, timeout=timeout, interval=TICK)).done


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": math.nan}, ValueError),
        ({"timeout": 1e10}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"interval": 0}, ValueError),
        ({"interval": -1}, ValueError),
        ({"interval": math.inf}, ValueError),
        ({"interval": None}, TypeError),
        ({"max_outage": -1}, ValueError),
        ({"max_outage": math.nan}, ValueError),
        ({"until": "done"}, ValueError),
        ({"call": {"time_out": 1}}, TypeError),
        ({"job_id": "x"}, ValueError),
    ],
)
async def test_misuse_is_refused_before_anything_is_sent(
    fake: FakeMilvus, client: ImportClient, options: dict[str, Any], error: type[Exception]
) -> None:
    arguments: dict[str, Any] = {"job_id": "1"} | options
    with pytest.raises(error, match="time_out" if "call" in options else next(iter(options))):
        await client.wait(**arguments)
    assert fake.received == []


async def test_a_limit_is_exact_while_the_server_hangs(
    fake: FakeMilvus, known: ImportClient, scale: float
) -> None:
    job = fake.add_job()
    fake.inject("hang", times=None)
    started = time.monotonic()
    with pytest.raises(WaitTimeoutError, match="no answer came in time"):
        await known.wait(job.job_id, timeout=0.5)
    assert 0.5 <= time.monotonic() - started < 0.5 + 5 * scale
    assert not fake.received[-1].reset


async def test_each_poll_has_its_own_deadline(
    fake: FakeMilvus, known: ImportClient, scale: float, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    fake.inject("hang")
    told = FaultLog()
    final = await known.wait(
        job.job_id,
        interval=TICK,
        timeout=guard,
        call={"timeout": 0.5 * scale},
        on_fault=told,
    )
    assert final.done
    assert told.kinds == [DeadlineExceededError]


async def test_a_wait_that_runs_out_in_an_outage_says_why(
    fake: FakeMilvus, known: ImportClient, scale: float
) -> None:
    job = fake.add_job()
    fake.inject("coordinator-away", times=None)
    with pytest.raises(WaitTimeoutError, match="service unavailable") as raised:
        await known.wait(job.job_id, timeout=0.3 * scale, interval=TICK)
    assert isinstance(raised.value.__cause__, RefusedError)


# How a wait ends.


async def test_progress_is_told_on_the_way(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(script=SCRIPT)
    seen: list[ImportProgressData] = []
    final = await client.wait(job.job_id, interval=TICK, timeout=guard, on_progress=seen.append)
    assert [(progress.state, progress.progress) for progress in seen] == CHANGES
    assert final is seen[-1]


async def test_a_failed_job_raises_the_servers_reason(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(state="Failed", reason="no such file: a.parquet")
    with pytest.raises(ImportFailedError, match=r"no such file: a\.parquet") as raised:
        await client.wait(job.job_id, timeout=guard)
    assert raised.value.progress is not None
    assert raised.value.progress.reason == "no such file: a.parquet"


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_a_job_that_waits_for_its_commit_is_not_failed(
    fake: FakeMilvus, service: str, guard: float
) -> None:
    job = fake.add_job(script=[("Importing", 40), ("Uncommitted", 99)])
    async with ImportClient(uri_of(fake, service)) as client:
        final = await client.wait(job.job_id, until="uncommitted", interval=TICK, timeout=guard)
    assert (final.state, final.progress) == (ImportState.UNCOMMITTED, 99)


@pytest.mark.parametrize("state", ["Committing", "Completed"])
async def test_waiting_for_the_uncommitted_is_over_later_too(
    fake: FakeMilvus, client: ImportClient, state: str, guard: float
) -> None:
    job = fake.add_job(state=state, progress=99)
    assert (await client.wait(job.job_id, until="uncommitted", timeout=guard)).state == state


@pytest.mark.parametrize("until", ["completed", "uncommitted"])
async def test_a_failure_at_99_percent_with_a_reason_is_a_failure(
    fake: FakeMilvus, until: Any, guard: float
) -> None:
    job = fake.add_job(state="Failed", progress=99, reason="disk full")
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(ImportFailedError, match="disk full"):
            await client.wait(job.job_id, until=until, timeout=guard)


@pytest.mark.parametrize("service", ["internal", "public"])
@pytest.mark.parametrize("method", ["wait", "wait_all"])
async def test_a_plain_wait_says_once_where_the_commit_is(
    fake: FakeMilvus, service: str, method: str, guard: float, caplog: pytest.LogCaptureFixture
) -> None:
    script = [("Uncommitted", 99), ("Importing", 99), ("Uncommitted", 99), ("Completed", 100)]
    job = fake.add_job(script=script)
    async with ImportClient(uri_of(fake, service)) as client:
        if method == "wait":
            await client.wait(job.job_id, interval=TICK, timeout=guard)
        else:
            await client.wait_all([job.job_id], interval=TICK, timeout=guard)
    [record] = [r for r in caplog.records if "commit" in r.getMessage()]
    assert record.levelno == logging.WARNING
    assert job.job_id in record.getMessage()
    assert "REST" in record.getMessage()


async def test_the_reasons_of_job_and_files_are_merged(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    reply = internal_pb2.GetImportProgressResponse(
        state=internal_pb2.Failed,
        reason="import failed: a is bad",
        task_progresses=[
            internal_pb2.ImportTaskProgress(file_name="[a.npy]", reason="a is bad"),
            internal_pb2.ImportTaskProgress(file_name="[b.npy]", reason="b is empty"),
            internal_pb2.ImportTaskProgress(file_name="[c.npy]"),
        ],
    )
    fake.inject(Fault(reply=reply.SerializeToString()))
    with pytest.raises(ImportFailedError) as raised:
        await client.wait("7", timeout=guard)
    assert str(raised.value) == ("import job 7 failed: import failed: a is bad; [b.npy] b is empty")
