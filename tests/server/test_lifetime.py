"""The lifetime of a client: event loops, threads, close(), and what is left afterwards."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import leaks
import pytest
import trio
from cancelling import GRPC_PATHS, on_each_path
from interceptors import Around, Pass
from loops import on_each_loop
from processes import FakeProcess
from times import GUARD, SCALE, until
from watching import run

from milvus_import import (
    AccessDeniedError,
    CallError,
    CallOptions,
    CallRecord,
    ClientClosedError,
    DeadlineExceededError,
    GetImportProgressOption,
    GetImportProgressResponse,
    ImportClient,
    MilvusImportError,
    UnavailableError,
    get_import_progress,
)
from milvus_import._connection import _base
from milvus_import.testing import FakeMilvus, Fault

pytestmark = pytest.mark.anyio

RESPONSE = 0.2
LEAVE = 0.03
JOB_ID = "7"


@pytest.fixture
async def server(fake: FakeMilvus) -> AsyncGenerator[FakeMilvus, None]:
    """A server with a job. gRPC has started its own threads and opened its own descriptors."""
    fake.add_job(job_id=JOB_ID, state="Importing", progress=40)
    async with ImportClient(fake.internal_uri) as client:
        await client.get_import_progress(JOB_ID)
    fake.received.clear()
    async with leaks.quiet_loop():
        yield fake


def closed(client: ImportClient) -> bool:
    return leaks.connection(client).closed


async def call_in_flight(
    client: ImportClient, server: FakeMilvus
) -> asyncio.Task[GetImportProgressResponse]:
    """Start a call; return when the server has received it."""
    call = asyncio.create_task(client.get_import_progress(JOB_ID))
    await until(lambda: bool(server.received))
    return call


# Creation, and binding to an event loop.


def test_constructor_needs_no_loop_and_opens_nothing() -> None:
    before = leaks.descriptors()
    client = ImportClient("https://127.0.0.1:1", token="root:Milvus", interceptors=[Pass()])
    assert leaks.descriptors() <= before
    assert repr(client) == "<ImportClient 127.0.0.1:1>"


def test_a_client_can_be_used_in_one_event_loop_after_another(process: FakeProcess) -> None:
    _use_and_close(process.internal_uri)
    for _ in range(3):  # in one of them gRPC may open a descriptor of its own, which it keeps
        before = asyncio.run(_descriptors())
        _use_and_close(process.internal_uri)
        left = asyncio.run(_left(len(before), 5.0 * SCALE))
        if not left:
            return
        print(f"{sorted(before)} before, {sorted(left)} after")
    raise AssertionError("each time more descriptors are left")


async def _descriptors() -> set[str]:
    await asyncio.sleep(0.02)
    gc.collect()
    return leaks.descriptors()


async def _left(count: int, seconds: float) -> set[str]:
    """The descriptors, while they are more than so many."""
    end = time.monotonic() + seconds
    while len(found := await _descriptors()) > count:
        if time.monotonic() >= end:
            return found
    return set()


def _use_and_close(uri: str) -> None:
    client = ImportClient(uri, rpc_timeout=GUARD)

    async def call() -> int:
        return (await client.get_import_progress(JOB_ID)).data.progress

    assert [asyncio.run(call()) for _ in range(5)] == [40] * 5
    asyncio.run(client.close())  # the loop of the last call is gone
    with pytest.raises(ClientClosedError):
        asyncio.run(call())


async def test_use_in_a_second_running_event_loop_is_a_runtime_error(server: FakeMilvus) -> None:
    async with ImportClient(server.internal_uri) as client:
        await client.get_import_progress(JOB_ID)

        def elsewhere(use: Callable[[], Awaitable[object]]) -> None:
            async def run() -> None:
                with pytest.raises(RuntimeError, match="create one client per event loop"):
                    await use()

            asyncio.run(run())

        with anyio.fail_after(GUARD):
            for use in (lambda: client.get_import_progress(JOB_ID), client.close):
                await anyio.to_thread.run_sync(elsewhere, use)
        assert (await client.get_import_progress(JOB_ID)).data.progress == 40


def test_two_threads_that_make_the_first_call_at_the_same_time_bind_the_client_once(
    process: FakeProcess,
) -> None:
    """One thread gets a response, the other RuntimeError; never both of them."""

    async def call(
        client: ImportClient, barrier: threading.Barrier, held: threading.Barrier
    ) -> str:
        barrier.wait(GUARD)
        try:
            response = await client.get_import_progress(JOB_ID)
        except RuntimeError as error:
            held.wait(GUARD)  # the loop of the other thread is still running
            return str(error)
        held.wait(GUARD)
        await client.close()
        return str(response.data.progress)

    for _ in range(20):
        client = ImportClient(process.internal_uri, rpc_timeout=GUARD)
        barriers = threading.Barrier(2), threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(asyncio.run, call(client, *barriers)) for _ in range(2)]
            ends = sorted(future.result(GUARD) for future in calls)
        assert ends[0] == "40"
        assert "create one client per event loop" in ends[1]


@pytest.mark.parametrize("form", [list, iter])
async def test_channel_options_may_be_an_iterator(form: Any, server: FakeMilvus) -> None:
    """Options that are read twice would be lost: the receive limit would not apply."""
    options = form([("grpc.max_receive_message_length", 1)])
    async with ImportClient(server.internal_uri, channel_options=options) as client:
        with pytest.raises(CallError, match="larger than max"):
            await client.get_import_progress(JOB_ID)


EVERY_METHOD: dict[str, Callable[[ImportClient], Awaitable[object]]] = {
    "check": lambda client: client.check(),
    "get_import_progress": lambda client: client.get_import_progress(JOB_ID),
    "list_imports": lambda client: client.list_imports("books"),
    "create_import": lambda client: client.create_import("books", ["a.json"]),
    "commit_import": lambda client: client.commit_import(JOB_ID),
    "abort_import": lambda client: client.abort_import(JOB_ID),
    "wait": lambda client: run(client, "wait", JOB_ID),
    "wait_all": lambda client: run(client, "wait_all", JOB_ID),
    "watch": lambda client: run(client, "watch", JOB_ID),
    "watch_all": lambda client: run(client, "watch_all", JOB_ID),
}
REST_ONLY = ("commit_import", "abort_import")


@pytest.mark.parametrize("service", ["auto", "rest"])
@pytest.mark.parametrize("method", EVERY_METHOD)
def test_use_in_trio_is_a_runtime_error_that_names_asyncio(method: str, service: Any) -> None:
    async def main() -> None:
        async with ImportClient("127.0.0.1:1", service=service) as client:
            await EVERY_METHOD[method](client)

    with pytest.raises(RuntimeError, match=r"milvus-import needs asyncio.*asyncio\.run"):
        trio.run(main)


LEFT_OPEN = """
import asyncio, gc, sys
import grpc.aio
from interceptors import Pass
from milvus_import import ImportClient
from milvus_import.testing import FakeMilvus

async def main(**options):
    async with FakeMilvus() as server:
        server.add_job(job_id="1")
        client = ImportClient(server.internal_uri, **options)
        await client.get_import_progress("1")
        server.inject("hang", times=None)
        for _ in range(5):
            try:
                async with asyncio.timeout(0.01):
                    await client.get_import_progress("1")
            except TimeoutError:
                pass
        if {close}:
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0)

for options in ({{}}, {{"rpc_timeout": None}}, {{"interceptors": [Pass()]}}):
    for more in ({{}}, {{"on_finish": lambda record: print(record.code)}}):
        asyncio.run(main(**options, **more))
        gc.collect()
"""


@pytest.mark.parametrize("close", [False, True])
async def test_an_event_loop_that_ends_with_detached_calls_logs_nothing(close: bool) -> None:
    environment = {"PYTHONPATH": ":".join(sys.path), "GRPC_VERBOSITY": "NONE"}
    with anyio.fail_after(GUARD):
        done = await anyio.run_process(
            [sys.executable, "-c", LEFT_OPEN.format(close=close)], check=False, env=environment
        )
    errors = done.stderr.decode()
    assert done.returncode == 0, errors
    assert "StatusCode" in done.stdout.decode()
    assert [line for line in errors.splitlines() if "GOAWAY" not in line] == []


# Closed.


async def test_close_is_idempotent_also_without_any_call() -> None:
    client = ImportClient("127.0.0.1:1")
    for _ in range(3):
        await client.close()
    assert closed(client)


@pytest.mark.parametrize("name", [name for name in EVERY_METHOD if name not in REST_ONLY])
async def test_a_closed_client_raises_client_closed_error(name: str, server: FakeMilvus) -> None:
    async with ImportClient(server.internal_uri) as client:
        await client.get_import_progress(JOB_ID)
    server.received.clear()
    with anyio.fail_after(GUARD), pytest.raises(ClientClosedError, match="create a new client"):
        await EVERY_METHOD[name](client)
    with pytest.raises(ClientClosedError, match="create a new client"):
        await client.__aenter__()
    assert server.received == []


@on_each_path
async def test_close_waits_for_a_call_in_flight(path: str, server: FakeMilvus) -> None:
    server.inject(Fault(delay=0.1))
    client = ImportClient(server.internal_uri, **GRPC_PATHS[path])
    async with leaks.nothing_left(immediately=True):
        call = await call_in_flight(client, server)
        await client.close()
        assert (await call).data.progress == 40


@pytest.mark.real_delays
@on_each_path
async def test_close_cancels_a_call_that_hangs_after_one_second(
    path: str, server: FakeMilvus
) -> None:
    server.inject("hang", times=None)
    records: list[CallRecord] = []
    client = ImportClient(server.internal_uri, on_finish=records.append, **GRPC_PATHS[path])
    async with leaks.nothing_left(immediately=True):
        call = await call_in_flight(client, server)
        started = time.monotonic()
        await asyncio.gather(*[client.close() for _ in range(5)])
        assert 0.9 < time.monotonic() - started < 1 + GUARD
        with pytest.raises(ClientClosedError, match="GetImportProgress"):
            await call
        assert [record.code.name for record in records] == ["CANCELLED"]


@pytest.mark.parametrize("timeout", [10 * GUARD, None])
async def test_close_ends_a_call_whose_interceptor_ignores_its_cancellation(
    timeout: float | None, server: FakeMilvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_base, "CLOSE_GRACE", 0.05)
    started, released = asyncio.Event(), asyncio.Event()

    async def stubborn(_: object) -> None:
        started.set()
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()
        raise LookupError

    records: list[CallRecord] = []
    options: Any = {"interceptors": [Around(stubborn)], "on_finish": records.append}
    client = ImportClient(server.internal_uri, rpc_timeout=timeout, **options)
    async with leaks.nothing_left():
        call = asyncio.create_task(client.get_import_progress(JOB_ID))
        await started.wait()
        await client.close()
        try:
            done, _ = await asyncio.wait({call}, timeout=GUARD)
        finally:
            released.set()
        assert done
        with pytest.raises(ClientClosedError) as caught:
            await call
    assert caught.value.may_have_run
    assert [record.code.name for record in records] == ["CANCELLED"]


async def test_close_in_a_cancelled_scope_closes(server: FakeMilvus) -> None:
    server.inject("hang", times=None)
    client = ImportClient(server.internal_uri)
    async with leaks.nothing_left(immediately=True):
        with anyio.CancelScope() as scope:
            async with client, anyio.create_task_group() as group:
                group.start_soon(client.get_import_progress, JOB_ID)
                await until(lambda: bool(server.received))
                scope.cancel()
        assert leaks.holdings()["calls"] == set()


async def test_close_continues_if_its_task_is_cancelled(server: FakeMilvus) -> None:
    server.inject("hang", times=None)
    client = ImportClient(server.internal_uri)
    async with leaks.nothing_left(immediately=True):
        call = await call_in_flight(client, server)
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(LEAVE * SCALE)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert closing.cancelling() == 1
        with pytest.raises(ClientClosedError):
            await call
        await client.close()


async def test_close_completes_after_every_task_was_cancelled(server: FakeMilvus) -> None:
    server.inject("hang", times=None)
    client = ImportClient(server.internal_uri)
    before = asyncio.all_tasks()

    async def work() -> None:
        async with client:
            with anyio.move_on_after(LEAVE * SCALE):
                await client.get_import_progress(JOB_ID)

    working = asyncio.create_task(work())
    await until(lambda: closed(client))
    closing = [
        task for task in asyncio.all_tasks() - before if "milvus_import/_connection" in repr(task)
    ]
    for task in (*closing, working):
        task.cancel()
    await asyncio.wait({working})
    await client.close()
    async with leaks.nothing_left():
        pass
    assert leaks.holdings()["calls"] == set()
    assert leaks.connection(client).loop is None


@on_each_path
async def test_the_connection_is_freed_with_its_closed_client_without_the_garbage_collector(
    path: str, server: FakeMilvus
) -> None:
    """No object of the package is part of a reference cycle."""
    faults = ("denied", "not-ready", "empty", "garbage")
    for fault in faults:
        server.inject(fault)
    client = ImportClient(server.internal_uri, **GRPC_PATHS[path])
    errors: list[weakref.ref[MilvusImportError]] = []
    gc.collect()
    gc.disable()
    try:
        for _ in faults:
            try:
                await client.get_import_progress(JOB_ID)
            except MilvusImportError as error:
                errors.append(weakref.ref(error))
        assert [error() for error in errors] == [None] * len(faults)
        connection = weakref.ref(leaks.channel(client))
        await client.close()
        del client
        assert connection() is None
    finally:
        gc.enable()


ENDINGS: dict[str, tuple[Fault | str, CallOptions]] = {
    "response": (Fault(), {}),
    "failed": ("denied", {}),
    "late": ("hang", {"timeout": 0.1}),
    "detached": (Fault(delay=RESPONSE), {}),
    "detached for ever": ("hang", {}),
}
EXPECTED = {"failed": (AccessDeniedError,), "late": (DeadlineExceededError,)}


@on_each_path
@pytest.mark.parametrize("ending", ENDINGS)
async def test_close_leaves_no_task_timer_call_or_descriptor(
    ending: str, path: str, server: FakeMilvus
) -> None:
    fault, options = ENDINGS[ending]
    server.inject(fault, times=None)
    nothing_left = leaks.nothing_left(immediately=True)
    async with nothing_left, ImportClient(server.internal_uri, **GRPC_PATHS[path]) as client:
        await asyncio.gather(*[_ask(client, ending, options) for _ in range(5)])


async def _ask(client: ImportClient, ending: str, options: CallOptions) -> None:
    seconds = LEAVE * SCALE if "detached" in ending else GUARD
    with anyio.move_on_after(seconds) as scope, suppress(*EXPECTED.get(ending, ())):
        await client.get_import_progress(JOB_ID, **options)
    assert scope.cancelled_caught == ("detached" in ending)


@on_each_path
async def test_an_error_or_a_task_does_not_keep_the_connection_alive(
    path: str, server: FakeMilvus
) -> None:
    server.inject("denied")
    server.inject("hang", times=None)
    async with leaks.nothing_left(immediately=True):
        async with ImportClient(server.internal_uri, **GRPC_PATHS[path]) as client:
            with pytest.raises(AccessDeniedError) as denied:
                await client.get_import_progress(JOB_ID)
            with pytest.raises(DeadlineExceededError) as late:
                await client.get_import_progress(JOB_ID, timeout=0.1)
            left = asyncio.create_task(client.get_import_progress(JOB_ID))
            closed = asyncio.create_task(client.get_import_progress(JOB_ID))
            await until(lambda: len(server.received) == 4)
            left.cancel()
        await asyncio.wait({left, closed})
    assert (left.cancelled(), type(closed.exception())) == (True, ClientClosedError)
    assert denied.value.record
    assert late.value.record


async def test_a_client_that_is_garbage_collected_open_frees_its_connection_and_warns(
    server: FakeMilvus,
) -> None:
    async with leaks.nothing_left():
        with pytest.warns(ResourceWarning, match="<ImportClient .*> was not closed"):
            await ImportClient(server.internal_uri).get_import_progress(JOB_ID)


# The function.


async def test_the_function_leaves_no_task_timer_call_or_descriptor(server: FakeMilvus) -> None:
    option = GetImportProgressOption(server.internal_uri, JOB_ID)
    async with leaks.nothing_left(immediately=True):
        assert (await get_import_progress(option)).data.progress == 40
        server.inject("hang")
        with pytest.raises(DeadlineExceededError):
            await get_import_progress(option, timeout=0.1)
        with pytest.raises(UnavailableError):
            await get_import_progress(GetImportProgressOption("127.0.0.1:1", JOB_ID))


@pytest.mark.real_delays
@pytest.mark.parametrize("fault", [Fault(delay=RESPONSE), "hang"], ids=["responds", "hangs"])
async def test_the_cancelled_function_waits_at_most_one_second_for_its_call(
    fault: Fault | str, server: FakeMilvus
) -> None:
    server.inject(fault)
    option = GetImportProgressOption(server.internal_uri, JOB_ID)
    async with leaks.nothing_left(immediately=True):
        with anyio.fail_after(GUARD), anyio.move_on_after(LEAVE * SCALE) as scope:
            await get_import_progress(option, timeout=None)
        assert scope.cancelled_caught
    (received,) = server.received
    if fault == "hang":
        await until(lambda: received.reset)
    assert received.reset == (fault == "hang")


# Other event loops, and many calls.


@on_each_loop
@on_each_path
async def test_three_hundred_calls_cancelled_at_random_moments_reset_no_request_and_leave_nothing(
    path: str, server: FakeMilvus
) -> None:
    draw = random.Random(20)
    server.inject(Fault(delay=RESPONSE * SCALE), times=None)
    ended: list[CallRecord] = []
    responded: list[GetImportProgressResponse] = []
    options: CallOptions = {"on_finish": ended.append}

    async def call(client: ImportClient, number: int) -> None:
        await asyncio.sleep(draw.uniform(0, 0.5 * SCALE))
        seconds = draw.uniform(0, 2 * RESPONSE * SCALE) if number % 10 else GUARD
        with anyio.move_on_after(seconds):
            responded.append(
                await client.get_import_progress(JOB_ID, **options if number % 2 else {})
            )

    nothing_left = leaks.nothing_left(immediately=True)
    async with nothing_left, ImportClient(server.internal_uri, **GRPC_PATHS[path]) as client:
        with anyio.fail_after(GUARD):
            await asyncio.gather(*[call(client, number) for number in range(300)])
            in_flight = leaks.connection(client).open()
            await until(lambda: not in_flight)
    assert len(server.received) == 300
    assert not any(received.reset for received in server.received)
    assert [record.code.name for record in ended] == ["OK"] * 150
    assert 30 <= len(responded) < 300
