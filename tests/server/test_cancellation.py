"""Cancelled callers, and calls that end while their caller still waits."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import anyio
import grpc
import grpc.aio
import leaks
import network
import older_grpc
import pytest
from cancelling import (
    FOREVER,
    GRPC_PATHS,
    METHODS,
    PATHS,
    SCENARIOS,
    WAYS,
    Request,
    Scenario,
    alone,
    anyio_task_group,
    asyncio_shield,
    asyncio_timeout,
    cancel_at_random,
    gather_cancelled,
    inner_scope,
    move_on_after,
    on_each_path,
    on_each_path_and_rest,
    scope_cancelled_before,
    scope_deadline_extended,
    scope_without_time,
    task_cancelled_twice,
)
from interceptors import HoldBack, Pass, Raise
from loops import on_each_loop
from processes import FakeProcess
from times import GUARD, SCALE, until
from watching import both_services, connect

from milvus_import import (
    CallError,
    CallOptions,
    CallRecord,
    ClientClosedError,
    DeadlineExceededError,
    GetImportProgressResponse,
    ImportClient,
)
from milvus_import._connection import _base
from milvus_import.testing import FakeMilvus, Fault

pytestmark = pytest.mark.anyio

LEAVE = 0.03
"""Seconds after which a caller is cancelled ..."""
RESPONSE = 0.12
"""... and after which the server responds. Both use the clock of the same loop."""
JOB_ID = "450000000000000001"

Code = grpc.StatusCode
ErrorT = TypeVar("ErrorT", bound=Exception)


@pytest.fixture(autouse=True)
async def quiet() -> AsyncGenerator[None, None]:
    async with leaks.quiet_loop():
        yield


@pytest.fixture
def job_id(fake: FakeMilvus) -> str:
    return fake.add_job(job_id=JOB_ID, state="Importing", progress=40).job_id


def client_of(fake: FakeMilvus, path: str, **options: Any) -> ImportClient:
    service = "rest" if path == "rest" else "internal"
    return connect(fake, service, **({"rpc_timeout": GUARD} | options | PATHS[path]))


# The caller is cancelled, or has a limit that does not apply.


SHORT = (
    move_on_after,
    scope_cancelled_before,
    scope_without_time,
    inner_scope,
    anyio_task_group,
    asyncio_timeout,
    task_cancelled_twice,
    gather_cancelled,
    asyncio_shield,
    scope_deadline_extended,
)
"""The scenarios that differ in more than in who raises CancelledError at the same await."""


@pytest.mark.parametrize(
    ("scenario", "path"),
    [
        pytest.param(scenario, path, id=f"{scenario.__name__}-{path}")
        for path in PATHS
        for scenario in (SHORT if path in {"no deadline", "rest"} else SCENARIOS)
    ],
)
async def test_a_cancelled_caller_returns_and_the_read_continues(
    scenario: Scenario, path: str, fake: FakeMilvus, job_id: str
) -> None:
    fake.inject(Fault(delay=RESPONSE * SCALE), times=None)
    records: list[CallRecord] = []
    calls = 0

    def call() -> Coroutine[Any, Any, GetImportProgressResponse]:
        nonlocal calls
        calls += 1
        return client.get_import_progress(job_id)

    async with client_of(fake, path, on_finish=records.append) as client:
        await alone(scenario(call, LEAVE * SCALE))
        await until(lambda: len(records) >= calls)
    assert [record.code for record in records] == [Code.OK] * calls
    assert [received.reset for received in fake.received] == [False] * calls
    assert fake.jobs[job_id].reply_count == calls


@on_each_path_and_rest
async def test_a_detached_call_that_hangs_ends_at_its_deadline(
    path: str, fake: FakeMilvus, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifetime = 0.5 * SCALE
    monkeypatch.setattr(_base, "DETACHED_LIFETIME", lifetime)
    fake.inject("hang", times=None)
    records: list[CallRecord] = []
    async with client_of(fake, path, rpc_timeout=lifetime, on_finish=records.append) as client:
        await alone(move_on_after(lambda: client.get_import_progress(job_id), LEAVE * SCALE))
        await until(lambda: bool(fake.received))
        (received,) = fake.received
        assert (received.reset, records) == (False, [])
        await until(lambda: bool(records))
    ended = "CANCELLED" if path == "no deadline" else "DEADLINE_EXCEEDED"
    assert [record.code.name for record in records] == [ended]
    assert records[0].elapsed >= lifetime * 0.9


@pytest.mark.parametrize("cancelled", ["scope", "task"])
async def test_create_import_sends_nothing_if_its_caller_is_already_cancelled(
    cancelled: str, fake: FakeMilvus
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
        await asyncio.wait({task}, timeout=GUARD)
        assert task.cancelled() == (cancelled == "task")
    assert (fake.received, fake.jobs) == ([], {})


# The call ends while its caller waits.


async def error_of(request: Request, expected: type[ErrorT]) -> ErrorT:
    """Return the error of a call within limits that are not reached, and that it must not reach."""
    caught: list[ErrorT] = []

    async def scenario() -> None:
        with anyio.CancelScope() as scope, pytest.raises(expected) as raised:
            async with asyncio.timeout(FOREVER):
                await request()
        assert not scope.cancel_called
        caught.append(raised.value)

    await alone(scenario())
    return caught[0]


@on_each_path
async def test_a_call_cancelled_by_the_server_raises_call_error(
    path: str, fake: FakeMilvus, job_id: str
) -> None:
    fake.metadata, fake.trailing_metadata = (("node", "7"),), (("why", "drained"),)
    fake.inject("cancelled")
    async with client_of(fake, path) as client:
        error = await error_of(lambda: client.get_import_progress(job_id), CallError)
    assert (type(error), error.code) == (CallError, Code.CANCELLED)
    assert "the server cancelled the call" in str(error)
    assert error.record is not None
    assert ("node", "7") in error.record.initial_metadata
    assert ("why", "drained") in error.record.trailing_metadata


@on_each_path
async def test_the_timeout_of_a_call_raises_deadline_exceeded_error_and_cancels_no_scope(
    path: str, fake: FakeMilvus, job_id: str
) -> None:
    fake.inject("hang", times=None)
    options: CallOptions = {"timeout": 0.1 * SCALE}
    async with client_of(fake, path) as client:
        await error_of(lambda: client.get_import_progress(job_id, **options), DeadlineExceededError)


@pytest.mark.parametrize(
    ("closed", "path"),
    [*(("client", path) for path in PATHS), *(("channel", p) for p in GRPC_PATHS)],
)
async def test_close_ends_a_call_in_flight_without_cancelling_its_caller(
    closed: str, path: str, fake: FakeMilvus, job_id: str
) -> None:
    fake.inject("hang", times=None)
    records: list[CallRecord] = []
    expected = ClientClosedError if closed == "client" else CallError
    async with client_of(fake, path, on_finish=records.append) as client:

        async def close() -> None:
            await until(lambda: bool(fake.received))
            if closed == "client":
                await client.close()
            else:  # gRPC permits it
                await leaks.channel(client).close()

        request = partial(client.get_import_progress, job_id)
        await asyncio.gather(error_of(request, expected), close())
    assert [record.code for record in records] == [Code.CANCELLED]


UNSTARTED: dict[str, tuple[dict[str, Any], Code, str]] = {
    # A task notices that the call did not start.
    "deadline": ({}, Code.DEADLINE_EXCEEDED, "GetImportProgress"),
    "no deadline": ({"rpc_timeout": None}, Code.INTERNAL, "GetImportProgress"),
    "interceptor": ({"interceptors": [Pass()]}, Code.INTERNAL, "GetImportProgress"),
    "delayed": (
        {"interceptors": [HoldBack()]},
        *(Code.DEADLINE_EXCEEDED, "an interceptor delayed the call"),
    ),
}
"""Options, and the code and the text of an awaited call that never reaches the network."""


@pytest.mark.parametrize("path", UNSTARTED)
async def test_a_call_that_never_starts_is_given_up_soon_after_its_deadline(
    path: str, fake: FakeMilvus, job_id: str
) -> None:
    options, code, text = UNSTARTED[path]
    records: list[CallRecord] = []
    chosen: dict[str, Any] = {"rpc_timeout": 0.1 * SCALE, "on_finish": records.append} | options
    async with ImportClient(fake.internal_uri, **chosen) as client:
        if path != "delayed":  # metadata that passes the validation and that gRPC rejects
            client._settings.metadata = (("Bad Key", ""),)  # pyright: ignore[reportPrivateUsage]

        async def leaves() -> None:
            with anyio.move_on_after(LEAVE * SCALE), suppress(CallError):
                await client.get_import_progress(job_id)

        started = time.monotonic()
        request = partial(client.get_import_progress, job_id)
        error, _ = await asyncio.gather(error_of(request, CallError), alone(leaves()))
        assert time.monotonic() - started < 1.0 + SCALE
        assert (error.code, text in str(error)) == (code, True)
        in_flight = leaks.connection(client).open()
        await until(lambda: not in_flight)
    assert fake.received == []
    if path == "delayed":
        assert [record.code for record in records] == [code] * 2


RAISED: dict[str, tuple[Callable[[], BaseException], type[Exception], Code | None]] = {
    # New each time: it goes, and its call with it.
    "KeyError": (lambda: KeyError("mine"), KeyError, None),
    "bare KeyError": (KeyError, KeyError, None),
    "TimeoutError": (lambda: TimeoutError("mine"), TimeoutError, None),
    "CancelledError": (lambda: asyncio.CancelledError("mine"), CallError, Code.CANCELLED),
    "UsageError": (lambda: grpc.aio.UsageError("mine"), CallError, Code.INTERNAL),
    "ABORTED": (lambda: status(Code.ABORTED), CallError, Code.ABORTED),
    "CANCELLED": (lambda: status(Code.CANCELLED), CallError, Code.CANCELLED),
}


def status(code: Code) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "mine")


@pytest.mark.parametrize("timeout", [10.0, None])
@pytest.mark.parametrize("name", RAISED)
async def test_an_interceptor_that_raises_ends_the_call(
    name: str, timeout: float | None, fake: FakeMilvus
) -> None:
    raised, error, code = RAISED[name]
    interceptors = [Pass(), Raise(raised())]
    async with ImportClient(fake.internal_uri, interceptors=interceptors) as client:
        request = partial(client.get_import_progress, JOB_ID, timeout=timeout)
        caught = await error_of(request, error)
    assert (type(caught), getattr(caught, "code", None)) == (error, code)
    assert fake.received == []


async def test_the_cause_of_an_exception_of_an_interceptor_is_kept(
    fake: FakeMilvus, job_id: str
) -> None:
    error = KeyError("mine")
    error.__cause__ = OSError("the cause")
    async with ImportClient(fake.internal_uri, interceptors=[Raise(error)]) as client:
        with pytest.raises(KeyError) as caught:
            await client.get_import_progress(job_id)
    assert caught.value is error
    assert isinstance(error.__cause__, OSError)


# The response and the limit arrive at the same time.


async def by_deadline(client: ImportClient, moment: float) -> None:
    with suppress(DeadlineExceededError):
        await client.get_import_progress(JOB_ID, timeout=moment)


async def by_scope(client: ImportClient, moment: float) -> None:
    with anyio.move_on_after(moment):
        await client.get_import_progress(JOB_ID)


async def by_both(client: ImportClient, moment: float) -> None:
    with anyio.move_on_after(moment):
        await by_deadline(client, moment)


async def by_timeout(client: ImportClient, moment: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(moment):
            await client.get_import_progress(JOB_ID)


async def by_cancelling(client: ImportClient, moment: float) -> None:
    task = asyncio.create_task(client.get_import_progress(JOB_ID))
    asyncio.get_running_loop().call_later(moment, task.cancel)
    await asyncio.wait({task})
    assert task.cancelled() or task.result().data.progress == 40


Limit = Callable[[ImportClient, float], Coroutine[Any, Any, None]]


@on_each_path_and_rest
@pytest.mark.parametrize("limit", [by_deadline, by_scope, by_both, by_timeout, by_cancelling])
async def test_a_response_within_milliseconds_of_the_limit_is_a_result_or_the_limit(
    limit: Limit, path: str, fake: FakeMilvus, job_id: str
) -> None:
    delay = 0.05 * SCALE
    fake.inject(Fault(delay=delay), times=None)
    moments = [delay + milliseconds / 1000 for milliseconds in range(-2, 8)]
    records: list[CallRecord] = []
    async with client_of(fake, path, on_finish=records.append) as client:
        await asyncio.gather(
            *[alone(limit(client, moment)) for moment in moments for _ in range(3)]
        )
        await until(lambda: len(records) >= 3 * len(moments))
    assert len(records) == 3 * len(moments)


@on_each_path
async def test_a_response_that_arrived_while_the_event_loop_was_blocked_is_the_result(
    path: str,
) -> None:
    """The loop is blocked beyond the deadline and beyond the moment of giving up."""
    async with (
        FakeProcess({"job_id": JOB_ID, "state": "Importing", "progress": 40}) as server,
        ImportClient(server.internal_uri, **PATHS[path]) as client,
    ):
        await client.get_import_progress(JOB_ID)
        seconds = 0.5 * SCALE
        calls = [
            asyncio.ensure_future(client.get_import_progress(JOB_ID, timeout=seconds))
            for _ in range(5)
        ]
        await asyncio.sleep(0.01)
        time.sleep(seconds + 1.0 * SCALE)  # noqa: ASYNC251 - beyond the patched OVERDUE
        assert [(await call).data.progress for call in calls] == [40] * 5


@on_each_path
@pytest.mark.parametrize("wait", [True, False], ids=["awaited", "detached"])
async def test_a_status_code_unknown_to_grpc_is_an_error_and_a_record(
    path: str, wait: bool
) -> None:
    records: list[CallRecord] = []
    text = older_grpc.text_of_unknown_code(17, "odd")
    async with (
        network.status_port(17, "odd") as port,
        ImportClient(
            f"127.0.0.1:{port}", service="internal", on_finish=records.append, **PATHS[path]
        ) as client,
    ):
        if wait:
            with pytest.raises(CallError, match=text) as caught:
                await client.get_import_progress(JOB_ID)
            assert caught.value.code is Code.UNKNOWN
        else:
            with anyio.move_on_after(0):
                await client.get_import_progress(JOB_ID)
            await until(lambda: bool(records))
        assert not leaks.connection(client).open()
    assert [(record.code, record.details) for record in records] == [(Code.UNKNOWN, text)]


# on_finish


@on_each_path_and_rest
async def test_an_exception_of_on_finish_is_logged_and_does_not_affect_the_call(
    path: str, fake: FakeMilvus, job_id: str, caplog: pytest.LogCaptureFixture
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
    async with client_of(fake, path, on_finish=broken) as client:
        assert (await client.get_import_progress(job_id)).data.progress == 40
        fake.inject("denied")
        with pytest.raises(CallError):
            await client.get_import_progress(job_id)
        fake.inject(Fault(delay=RESPONSE * SCALE))
        with anyio.move_on_after(LEAVE * SCALE) as scope:
            await client.get_import_progress(job_id)
        assert scope.cancelled_caught
        await until(lambda: len(logged()) == 3)
    assert logged() == ["'OK'", "'PERMISSION_DENIED'", "'OK'"]


async def test_on_finish_that_raises_cancelled_error_or_returns_an_awaitable_is_logged(
    fake: FakeMilvus, job_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    def cancelling(record: CallRecord) -> None:
        raise asyncio.CancelledError

    async def later() -> None: ...

    def later_of(record: CallRecord) -> object:
        return later()

    async with ImportClient(fake.internal_uri) as client:
        for callback, words in (
            (cancelling, "on_finish raised"),
            (later_of, "on_finish returned an awaitable"),
        ):
            caplog.clear()
            response = await client.get_import_progress(job_id, on_finish=callback)
            assert response.data.progress == 40
            [entry] = [entry for entry in caplog.records if entry.name == "milvus_import"]
            assert words in entry.getMessage()


async def test_the_timer_does_not_keep_the_context_of_the_first_caller(
    fake: FakeMilvus, job_id: str
) -> None:
    """While calls overlap, one timer serves them all."""

    class Kept: ...

    variable: contextvars.ContextVar[Kept] = contextvars.ContextVar("kept")
    fake.inject("hang", times=None)
    async with ImportClient(fake.internal_uri) as client:

        async def first() -> weakref.ref[Kept]:
            kept = Kept()
            variable.set(kept)
            with anyio.move_on_after(LEAVE):
                await client.get_import_progress(job_id, timeout=LEAVE * 2)
            return weakref.ref(kept)

        second = asyncio.ensure_future(client.get_import_progress(job_id, timeout=GUARD))
        await until(lambda: bool(fake.received))
        kept = await asyncio.create_task(first())  # its deadline is earlier: it sets the timer
        await until(lambda: len(leaks.connection(client).open()) == 1)
        gc.collect()
        assert kept() is None
        second.cancel()


# Watches and waits; benchmarks/cancellation.py does the same with larger numbers.


@on_each_loop
@both_services
@pytest.mark.parametrize("method", METHODS)
async def test_cancellation_at_a_random_moment_always_ends_the_method(
    method: str, service: str
) -> None:
    result = await cancel_at_random(method, 20 * len(WAYS), service=service, guard=GUARD)
    assert result.lost == []
    assert result.foreign == []
    assert dict(result.ended) == {way.__name__: 20 for way in WAYS}
