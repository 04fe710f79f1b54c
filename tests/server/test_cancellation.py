"""Every way a caller leaves a call, and every way a call ends without its caller leaving."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import grpc
import grpc.aio
import leaks
import network
import pytest
from processes import FakeProcess
from interceptors import HoldBack, Pass, Raise

from milvus_import import (
    CallError,
    CallRecord,
    ClientClosedError,
    DeadlineExceededError,
    GetImportProgressResponse,
    ImportClient,
    _call,
)
from milvus_import.testing import FakeMilvus, Fault

pytestmark = pytest.mark.anyio

LEAVE = 0.03
"""Seconds after which a caller leaves ..."""
ANSWER = 0.12
"""... and after which the server answers. Both clocks are the same loop's: the order is sure."""
GUARD = 20.0
FOREVER = 3600.0
JOB_ID = "450000000000000001"

Code = grpc.StatusCode
Ask = Callable[[], Coroutine[Any, Any, GetImportProgressResponse]]

PATHS: dict[str, dict[str, Any]] = {
    "deadline": {},
    "no deadline": {"timeout": None},
    "interceptor": {"interceptors": [Pass()]},
}
"""The ways a call takes through the client, which differ in what is awaited."""
on_each_path = pytest.mark.parametrize("path", PATHS)


@pytest.fixture(autouse=True)
async def quiet() -> AsyncGenerator[None, None]:
    async with leaks.quiet_loop():
        yield


@pytest.fixture
def job_id(fake: FakeMilvus) -> str:
    return fake.add_job(job_id=JOB_ID, state="Importing", progress=40).job_id


def status(code: Code) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "mine")


async def alone(scenario: Coroutine[Any, Any, None], seconds: float) -> None:
    """Run it in a task of its own, which must end, and not be left half cancelled."""

    async def run() -> int:
        await scenario
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.create_task(run())
    done, _ = await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    assert done, "it hangs"
    assert task.result() == 0


# The caller leaves.


async def move_on_after(ask: Ask, leave: float) -> None:
    with anyio.move_on_after(leave) as scope:
        await ask()
    assert scope.cancelled_caught


async def fail_after(ask: Ask, leave: float) -> None:
    with pytest.raises(TimeoutError) as caught, anyio.fail_after(leave):
        await ask()
    assert type(caught.value) is TimeoutError


async def scope_cancelled(ask: Ask, leave: float) -> None:
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(leave, scope.cancel)
        await ask()
    assert scope.cancelled_caught


async def scope_cancelled_before(ask: Ask, leave: float) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ask()
    assert scope.cancelled_caught


async def scope_without_time(ask: Ask, leave: float) -> None:
    with anyio.move_on_after(0) as scope:
        await ask()
    assert scope.cancelled_caught


async def outer_scope(ask: Ask, leave: float) -> None:
    with anyio.move_on_after(leave) as outer, anyio.move_on_after(FOREVER) as inner:
        await ask()
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)


async def inner_scope(ask: Ask, leave: float) -> None:
    with anyio.fail_after(FOREVER) as outer:
        with anyio.move_on_after(leave) as inner:
            await ask()
        assert inner.cancelled_caught
        await ask()
    assert not outer.cancel_called


async def anyio_task_group(ask: Ask, leave: float) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
        await anyio.sleep(leave)
        group.cancel_scope.cancel()


async def anyio_sibling_fails(ask: Ask, leave: float) -> None:
    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.sleep(leave)
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def asyncio_sibling_fails(ask: Ask, leave: float) -> None:
    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            await asyncio.sleep(leave)
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def asyncio_timeout(ask: Ask, leave: float) -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(leave):
            await ask()
    assert type(caught.value) is TimeoutError


async def asyncio_timeout_around_a_scope(ask: Ask, leave: float) -> None:
    async def limited() -> None:
        with anyio.fail_after(FOREVER):
            await ask()

    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(leave):
            await limited()
    assert type(caught.value) is TimeoutError


async def scope_around_an_asyncio_timeout(ask: Ask, leave: float) -> None:
    with anyio.move_on_after(leave) as scope:
        async with asyncio.timeout(FOREVER):
            await ask()
    assert scope.cancelled_caught


async def asyncio_wait_for(ask: Ask, leave: float) -> None:
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(ask(), leave)
    assert type(caught.value) is TimeoutError


async def task_cancelled(ask: Ask, leave: float) -> None:
    task = asyncio.create_task(ask())
    await asyncio.sleep(leave)
    assert task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert task.cancelling() == 1


async def task_cancelled_twice(ask: Ask, leave: float) -> None:
    task = asyncio.create_task(ask())
    await asyncio.sleep(leave)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def own_task_cancelled_and_caught(ask: Ask, leave: float) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(leave, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await ask()
    assert task.cancelling() == 1
    task.uncancel()


async def gather_cancelled(ask: Ask, leave: float) -> None:
    both = asyncio.gather(ask(), ask())
    asyncio.get_running_loop().call_later(leave, both.cancel)
    with pytest.raises(asyncio.CancelledError):
        await both


# The caller is about to leave, and stays.


async def shielded_scope(ask: Ask, leave: float) -> None:
    with anyio.move_on_after(leave) as outer:
        with anyio.CancelScope(shield=True):
            assert (await ask()).data.progress == 40
        await anyio.lowlevel.checkpoint()
    assert outer.cancelled_caught


async def asyncio_shield(ask: Ask, leave: float) -> None:
    task = asyncio.create_task(ask())
    with anyio.move_on_after(leave) as scope:
        await asyncio.shield(task)
    assert scope.cancelled_caught
    assert (await task).data.progress == 40


async def scope_deadline_extended(ask: Ask, leave: float) -> None:
    with anyio.fail_after(leave) as scope:
        asyncio.get_running_loop().call_later(leave / 2, setattr, scope, "deadline", float("inf"))
        assert (await ask()).data.progress == 40
    assert not scope.cancel_called


async def asyncio_timeout_extended(ask: Ask, leave: float) -> None:
    async with asyncio.timeout(leave) as limit:
        asyncio.get_running_loop().call_later(leave / 2, limit.reschedule, None)
        assert (await ask()).data.progress == 40


async def limits_never_reached(ask: Ask, leave: float) -> None:
    with anyio.fail_after(FOREVER):
        async with asyncio.timeout(FOREVER):
            assert (await asyncio.wait_for(ask(), FOREVER)).data.progress == 40


SCENARIOS: tuple[Callable[[Ask, float], Coroutine[Any, Any, None]], ...] = (
    move_on_after,
    fail_after,
    scope_cancelled,
    scope_cancelled_before,
    scope_without_time,
    outer_scope,
    inner_scope,
    anyio_task_group,
    anyio_sibling_fails,
    asyncio_sibling_fails,
    asyncio_timeout,
    asyncio_timeout_around_a_scope,
    scope_around_an_asyncio_timeout,
    asyncio_wait_for,
    task_cancelled,
    task_cancelled_twice,
    own_task_cancelled_and_caught,
    gather_cancelled,
    shielded_scope,
    asyncio_shield,
    scope_deadline_extended,
    asyncio_timeout_extended,
    limits_never_reached,
)


@on_each_path
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_cancellation_is_clean_and_the_read_is_left_to_end(
    scenario: Callable[[Ask, float], Coroutine[Any, Any, None]],
    path: str,
    fake: FakeMilvus,
    job_id: str,
    scale: float,
) -> None:
    fake.inject(Fault(delay=ANSWER * scale), times=None)
    records: list[CallRecord] = []
    asked = 0

    def ask() -> Coroutine[Any, Any, GetImportProgressResponse]:
        nonlocal asked
        asked += 1
        return client.get_import_progress(job_id)

    options: dict[str, Any] = {"timeout": GUARD * scale, "on_finish": records.append} | PATHS[path]
    async with ImportClient(fake.internal_uri, **options) as client:
        await alone(scenario(ask, LEAVE * scale), GUARD * scale)
        await until(lambda: len(records) >= asked, GUARD * scale)
    assert [record.code for record in records] == [Code.OK] * asked
    assert [received.reset for received in fake.received] == [False] * asked
    assert fake.jobs[job_id].answered == asked


@on_each_path
async def test_a_call_that_hangs_is_left_at_once_and_ends_by_itself(
    path: str, fake: FakeMilvus, job_id: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifetime = 0.5 * scale
    monkeypatch.setattr(_call, "ABANDONED_LIFETIME", lifetime)
    fake.inject("hang", times=None)
    records: list[CallRecord] = []
    options: dict[str, Any] = {"timeout": lifetime, "on_finish": records.append} | PATHS[path]
    async with ImportClient(fake.internal_uri, **options) as client:
        await alone(
            move_on_after(lambda: client.get_import_progress(job_id), LEAVE * scale), GUARD * scale
        )
        (received,) = fake.received
        assert (received.reset, records) == (False, [])
        await until(lambda: bool(records), GUARD * scale)
    ended = "CANCELLED" if path == "no deadline" else "DEADLINE_EXCEEDED"
    assert [record.code.name for record in records] == [ended]
    assert records[0].elapsed >= lifetime * 0.9


@pytest.mark.parametrize("cancelled", ["scope", "task"])
async def test_no_job_is_started_by_a_caller_already_cancelled(
    cancelled: str, fake: FakeMilvus, scale: float
) -> None:
    async with ImportClient(fake.internal_uri) as client:

        async def create() -> None:
            with anyio.CancelScope() as scope:
                if cancelled == "scope":
                    scope.cancel()
                else:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                await client.create_import("books", ["a.parquet"])

        task = asyncio.create_task(create())
        await asyncio.wait({task}, timeout=GUARD * scale)
        assert task.done()
        assert task.cancelled() == (cancelled == "task")
    assert (fake.received, fake.jobs) == ([], {})


# The call ends; its caller has not left.


@on_each_path
async def test_cancelled_by_the_server_is_a_call_error(
    path: str, fake: FakeMilvus, job_id: str, scale: float
) -> None:
    fake.metadata, fake.trailing_metadata = (("node", "7"),), (("why", "drained"),)
    fake.inject("cancelled")
    async with ImportClient(fake.internal_uri, **PATHS[path]) as client:

        async def scenario() -> None:
            with pytest.raises(CallError, match="the server cancelled the call") as caught:
                with anyio.fail_after(FOREVER):
                    await client.get_import_progress(job_id)
            assert (type(caught.value), caught.value.code) == (CallError, Code.CANCELLED)
            record = caught.value.record
            assert record is not None
            assert ("node", "7") in record.initial_metadata
            assert ("why", "drained") in record.trailing_metadata

        await alone(scenario(), GUARD * scale)


@on_each_path
async def test_deadline_of_the_call_is_a_deadline_error_and_no_cancellation(
    path: str, fake: FakeMilvus, job_id: str, scale: float
) -> None:
    fake.inject("hang", times=None)
    async with ImportClient(fake.internal_uri, **PATHS[path]) as client:

        async def scenario() -> None:
            with anyio.CancelScope() as scope, pytest.raises(DeadlineExceededError):
                async with asyncio.timeout(FOREVER):
                    await client.get_import_progress(job_id, timeout=0.1 * scale)
            assert not scope.cancel_called

        await alone(scenario(), GUARD * scale)


@on_each_path
@pytest.mark.parametrize("closed", ["client", "channel"])
async def test_closing_during_the_call_ends_it_without_cancelling_the_caller(
    closed: str, path: str, fake: FakeMilvus, job_id: str, scale: float
) -> None:
    fake.inject("hang", times=None)
    records: list[CallRecord] = []
    options: dict[str, Any] = {"timeout": GUARD * scale, "on_finish": records.append} | PATHS[path]
    async with ImportClient(fake.internal_uri, **options) as client:

        async def scenario() -> None:
            with anyio.CancelScope() as scope:
                async with asyncio.timeout(FOREVER):
                    with pytest.raises(ClientClosedError if closed == "client" else CallError):
                        await client.get_import_progress(job_id)
            assert not scope.cancel_called

        async def close() -> None:
            await until(lambda: bool(fake.received), GUARD * scale)
            if closed == "client":
                await client.close()
            else:  # not ours to do, but it may happen
                await leaks.connection(client).channel.close()

        await asyncio.gather(alone(scenario(), GUARD * scale), close())
    assert [record.code for record in records] == [Code.CANCELLED]


@pytest.mark.parametrize(
    "metadata",
    [{"Bad Key": "x"}, {"": "x"}, {":authority": "x"}, {"key": "\n"}, {"key": "ü"}, {"grpc-x": ""}],
)
async def test_metadata_that_grpc_refuses_is_refused_before_anything_is_sent(
    metadata: dict[str, str], fake: FakeMilvus, job_id: str
) -> None:
    async with ImportClient(fake.internal_uri) as client:
        with pytest.raises(ValueError, match="metadata"):
            await client.get_import_progress(job_id, metadata=metadata)
    assert fake.received == []


@on_each_path
async def test_call_that_grpc_never_starts_ends_all_the_same(
    path: str, fake: FakeMilvus, job_id: str, scale: float
) -> None:
    options: dict[str, Any] = {"timeout": 0.1 * scale} | PATHS[path]
    async with ImportClient(fake.internal_uri, **options) as client:
        # Past the validation.
        client._settings.metadata = (("Bad Key", ""),)  # pyright: ignore[reportPrivateUsage]

        async def waits() -> None:
            with pytest.raises(CallError) as caught:
                await client.get_import_progress(job_id)
            assert caught.value.code is Code.INTERNAL

        async def leaves() -> None:
            with anyio.move_on_after(LEAVE * scale), suppress(CallError):
                await client.get_import_progress(job_id)

        await asyncio.gather(alone(waits(), GUARD * scale), alone(leaves(), GUARD * scale))
        in_flight = leaks.connection(client).in_flight
        await until(lambda: not in_flight, GUARD * scale)
    assert fake.received == []


@pytest.mark.parametrize("timeout", [10.0, None])
@pytest.mark.parametrize(
    ("raised", "ended"),
    [
        (lambda: KeyError("mine"), (KeyError, None)),
        (lambda: TimeoutError("mine"), (TimeoutError, None)),
        (lambda: asyncio.CancelledError("mine"), (CallError, Code.CANCELLED)),
        (lambda: grpc.aio.UsageError("mine"), (CallError, Code.INTERNAL)),
        (lambda: status(Code.ABORTED), (CallError, Code.ABORTED)),
        (lambda: status(Code.CANCELLED), (CallError, Code.CANCELLED)),
    ],
    ids=["KeyError", "TimeoutError", "CancelledError", "UsageError", "ABORTED", "CANCELLED"],
)
async def test_interceptor_that_raises_ends_the_call(
    raised: Callable[[], BaseException],  # new each time: it goes, and its call with it
    ended: tuple[type[Exception], Code | None],
    timeout: float | None,
    fake: FakeMilvus,
    scale: float,
) -> None:
    interceptors = [Pass(), Raise(raised())]
    async with ImportClient(fake.internal_uri, interceptors=interceptors) as client:

        async def scenario() -> None:
            with anyio.CancelScope() as scope, pytest.raises(ended[0]) as caught:
                await client.get_import_progress(JOB_ID, timeout=timeout)
            assert (type(caught.value), getattr(caught.value, "code", None)) == ended
            assert not scope.cancel_called

        await alone(scenario(), GUARD * scale)
    assert fake.received == []


async def test_cause_of_what_an_interceptor_raises_is_kept(fake: FakeMilvus, job_id: str) -> None:
    error = KeyError("mine")
    error.__cause__ = OSError("the cause")
    async with ImportClient(fake.internal_uri, interceptors=[Raise(error)]) as client:
        with pytest.raises(KeyError) as caught:
            await client.get_import_progress(job_id)
    assert caught.value is error
    assert isinstance(error.__cause__, OSError)


async def test_interceptor_that_holds_a_call_back_is_given_up_after_the_deadline(
    fake: FakeMilvus, job_id: str, scale: float
) -> None:
    interceptors = [HoldBack()]
    async with ImportClient(
        fake.internal_uri, interceptors=interceptors, timeout=0.1 * scale
    ) as client:

        async def waits() -> None:
            with pytest.raises(DeadlineExceededError, match="an interceptor kept the call"):
                await client.get_import_progress(job_id)

        def ask() -> Coroutine[Any, Any, GetImportProgressResponse]:
            return client.get_import_progress(job_id)

        await asyncio.gather(
            alone(waits(), GUARD * scale), alone(move_on_after(ask, LEAVE * scale), GUARD * scale)
        )
        in_flight = leaks.connection(client).in_flight
        await until(lambda: not in_flight, GUARD * scale)
    assert fake.received == []


# The answer and the end of the patience meet.


async def by_deadline(client: ImportClient, moment: float) -> None:
    with suppress(DeadlineExceededError):
        await client.get_import_progress(JOB_ID, timeout=moment)


async def by_scope(client: ImportClient, moment: float) -> None:
    with anyio.move_on_after(moment):
        await client.get_import_progress(JOB_ID)


async def by_both(client: ImportClient, moment: float) -> None:
    with anyio.move_on_after(moment), suppress(DeadlineExceededError):
        await client.get_import_progress(JOB_ID, timeout=moment)


async def by_timeout(client: ImportClient, moment: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(moment):
            await client.get_import_progress(JOB_ID)


async def by_cancelling(client: ImportClient, moment: float) -> None:
    task = asyncio.create_task(client.get_import_progress(JOB_ID))
    asyncio.get_running_loop().call_later(moment, task.cancel)
    await asyncio.wait({task})
    assert task.cancelled() or task.result().data.progress == 40


LIMITS: tuple[Callable[[ImportClient, float], Coroutine[Any, Any, None]], ...] = (
    by_deadline,
    by_scope,
    by_both,
    by_timeout,
    by_cancelling,
)


@on_each_path
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.__name__)
async def test_answer_within_milliseconds_of_the_limit_is_an_answer_or_the_limit(
    limit: Callable[[ImportClient, float], Coroutine[Any, Any, None]],
    path: str,
    fake: FakeMilvus,
    job_id: str,
    scale: float,
) -> None:
    delay = 0.05 * scale
    fake.inject(Fault(delay=delay), times=None)
    moments = [delay + milliseconds / 1000 for milliseconds in range(-2, 8)]
    records: list[CallRecord] = []
    options: dict[str, Any] = {"timeout": GUARD * scale, "on_finish": records.append} | PATHS[path]
    async with ImportClient(fake.internal_uri, **options) as client:
        await asyncio.gather(
            *[alone(limit(client, moment), GUARD * scale) for moment in moments for _ in range(3)]
        )
        await until(lambda: len(records) >= 3 * len(moments), GUARD * scale)
    assert len(records) == 3 * len(moments)


@on_each_path
async def test_event_loop_blocked_across_the_limit_makes_no_false_end(
    path: str, scale: float
) -> None:
    async with (
        FakeProcess({"job_id": JOB_ID, "state": "Importing", "progress": 40}) as server,
        ImportClient(server.internal_uri, **PATHS[path]) as client,
    ):
        await client.get_import_progress(JOB_ID)
        moment = 0.2 * scale
        limits = [
            asyncio.create_task(alone(limit(client, moment), GUARD * scale)) for limit in LIMITS
        ]
        await asyncio.sleep(0.01)
        time.sleep(moment + 1.2)  # noqa: ASYNC251 - past the second at which a call is given up
        await asyncio.gather(*limits)


@on_each_path
async def test_reply_that_comes_as_the_sweep_looks_is_the_reply(
    path: str, fake: FakeMilvus, job_id: str, scale: float
) -> None:
    """Between the end of an RPC and its caller's next step a late sweep may look twice."""
    fake.inject(Fault(delay=ANSWER * scale))
    async with ImportClient(fake.internal_uri, **PATHS[path]) as client:
        asking = asyncio.create_task(client.get_import_progress(job_id))
        connection = leaks.connection(client)
        await until(lambda: bool(connection.in_flight), GUARD * scale)
        (call,) = connection.in_flight
        connection.in_flight[call] = 0.0

        def look_twice(_: object) -> None:
            connection.sweep()
            connection.sweep()

        call.add_done_callback(look_twice)
        assert (await asking).data.progress == 40
        assert not connection.in_flight


@on_each_path
@pytest.mark.parametrize("wait", [True, False], ids=["waited for", "left"])
async def test_status_beyond_those_of_grpc_is_an_error_and_a_record(
    path: str, wait: bool, scale: float
) -> None:
    records: list[CallRecord] = []
    async with (
        network.status_port(17, "odd") as port,
        ImportClient(
            f"127.0.0.1:{port}", service="internal", on_finish=records.append, **PATHS[path]
        ) as client,
    ):
        if wait:
            with pytest.raises(CallError, match="odd") as caught:
                await client.get_import_progress(JOB_ID)
            assert caught.value.code is Code.UNKNOWN
        else:
            with anyio.move_on_after(0):
                await client.get_import_progress(JOB_ID)
            await until(lambda: bool(records), GUARD * scale)
        assert not leaks.connection(client).in_flight
    assert [(record.code, record.details) for record in records] == [(Code.UNKNOWN, "odd")]


async def test_call_kept_beyond_its_deadline_has_the_same_record_for_all(scale: float) -> None:
    records: list[CallRecord] = []
    options: Any = {"timeout": 0.1, "interceptors": [HoldBack()], "on_finish": records.append}
    async with ImportClient("127.0.0.1:1", service="internal", **options) as client:
        with anyio.move_on_after(0.02):
            await client.get_import_progress(JOB_ID)
        with pytest.raises(DeadlineExceededError, match="interceptor"):
            await client.get_import_progress(JOB_ID)
        await until(lambda: len(records) == 2, GUARD * scale)
    assert [record.code for record in records] == [Code.DEADLINE_EXCEEDED] * 2


# on_finish


@on_each_path
async def test_on_finish_that_raises_is_logged_and_changes_nothing(
    path: str, fake: FakeMilvus, job_id: str, scale: float, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(record: CallRecord) -> None:
        raise KeyError(record.code.name)

    def logged() -> list[str]:
        return [
            str(entry.exc_info[1])
            for entry in caplog.records
            if entry.name == "milvus_import" and entry.exc_info
        ]

    caplog.set_level(logging.ERROR)
    async with ImportClient(fake.internal_uri, on_finish=broken, **PATHS[path]) as client:
        assert (await client.get_import_progress(job_id)).data.progress == 40
        fake.inject("denied")
        with pytest.raises(CallError):
            await client.get_import_progress(job_id)
        fake.inject(Fault(delay=ANSWER * scale))
        with anyio.move_on_after(LEAVE * scale) as scope:
            await client.get_import_progress(job_id)
        assert scope.cancelled_caught
        await until(lambda: len(logged()) == 3, GUARD * scale)
    assert logged() == ["'OK'", "'PERMISSION_DENIED'", "'OK'"]
