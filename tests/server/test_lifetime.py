"""A client from its making to its end: event loops, closing, and what is left afterwards."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import random
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import leaks
import pytest
import trio
from processes import FakeProcess
from interceptors import Pass

from milvus_import import (
    AccessDeniedError,
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
from milvus_import.testing import FakeMilvus, Fault

pytestmark = pytest.mark.anyio

GUARD = 20.0
ANSWER = 0.2
LEAVE = 0.03
JOB_ID = "450000000000000001"
JOB: dict[str, Any] = {"job_id": JOB_ID, "state": "Importing", "progress": 40}

PATHS: dict[str, dict[str, Any]] = {
    "deadline": {},
    "no deadline": {"timeout": None},
    "interceptor": {"interceptors": [Pass()]},
}
on_each_path = pytest.mark.parametrize("path", PATHS)


@pytest.fixture
async def server(fake: FakeMilvus) -> AsyncGenerator[FakeMilvus, None]:
    """With a job, and with gRPC warm: its own threads and descriptors are there."""
    fake.add_job(**JOB)
    async with ImportClient(fake.internal_uri) as client:
        await client.get_import_progress(JOB_ID)
    fake.received.clear()
    async with leaks.quiet_loop():
        yield fake


def closed(client: ImportClient) -> bool:
    return client._channel.closed  # pyright: ignore[reportPrivateUsage]


# Made, and bound to a loop.


def test_constructor_needs_no_loop_and_opens_nothing() -> None:
    before = leaks.descriptors()
    client = ImportClient("https://127.0.0.1:1", token="root:Milvus", interceptors=[Pass()])
    assert leaks.descriptors() == before
    assert repr(client) == "<ImportClient 127.0.0.1:1>"


def test_client_used_in_one_loop_after_another_binds_itself_anew(scale: float) -> None:
    process = FakeProcess(JOB)
    asyncio.run(process.start())
    try:
        _use_and_close(process.internal_uri, GUARD * scale)
        for _ in range(3):  # in one of them gRPC may open a descriptor of its own, which it keeps
            before = asyncio.run(_descriptors())
            _use_and_close(process.internal_uri, GUARD * scale)
            left = asyncio.run(_left(len(before), 5.0 * scale))
            if not left:
                return
            print(f"{sorted(before)} before, {sorted(left)} after")
        raise AssertionError("each time more descriptors are left")
    finally:
        asyncio.run(process.kill())


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


def _use_and_close(uri: str, timeout: float) -> None:
    client = ImportClient(uri, timeout=timeout)

    async def ask() -> int:
        return (await client.get_import_progress(JOB_ID)).data.progress

    assert [asyncio.run(ask()) for _ in range(5)] == [40] * 5
    asyncio.run(client.close())  # the loop of the last call is gone
    with pytest.raises(ClientClosedError):
        asyncio.run(ask())


async def test_second_live_loop_is_refused_and_harms_nothing(
    server: FakeMilvus, scale: float
) -> None:
    async with ImportClient(server.internal_uri) as client:
        await client.get_import_progress(JOB_ID)

        def elsewhere(use: Callable[[], Awaitable[object]]) -> None:
            async def run() -> None:
                with pytest.raises(RuntimeError, match="make one client for each event loop"):
                    await use()

            asyncio.run(run())

        with anyio.fail_after(GUARD * scale):
            for use in (lambda: client.get_import_progress(JOB_ID), client.close):
                await anyio.to_thread.run_sync(elsewhere, use)
        assert (await client.get_import_progress(JOB_ID)).data.progress == 40


def test_trio_is_refused_with_the_word_asyncio() -> None:
    async def run() -> None:
        async with ImportClient("127.0.0.1:1") as client:
            await client.get_import_progress(JOB_ID)

    with pytest.raises(RuntimeError, match="asyncio"):
        trio.run(run)


AFTER_FORK = """
import asyncio, os
from milvus_import import ImportClient, MilvusImportError

client = ImportClient("127.0.0.1:1", timeout=5)

async def ask():
    try:
        await client.get_import_progress("1")
    except (MilvusImportError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"

print(asyncio.run(ask()), flush=True)
if os.fork() == 0:
    print(asyncio.run(ask()), flush=True)
    os._exit(0)
os.wait()
"""


async def test_use_after_a_fork_is_refused(scale: float) -> None:
    done = await _script(AFTER_FORK, scale)
    here, child = done.stdout.splitlines()
    assert here.startswith("UnavailableError: ")
    assert child.startswith("RuntimeError: ")
    assert "make the client after the fork" in child


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

for options in ({{}}, {{"timeout": None}}, {{"interceptors": [Pass()]}}):
    for more in ({{}}, {{"on_finish": lambda record: print(record.code)}}):
        asyncio.run(main(**options, **more))
        gc.collect()
"""


@pytest.mark.parametrize("close", [False, True])
async def test_loop_that_ends_over_abandoned_calls_is_quiet(close: bool, scale: float) -> None:
    done = await _script(LEFT_OPEN.format(close=close), scale)
    assert "StatusCode" in done.stdout
    complaints = [line for line in done.stderr.splitlines() if "GOAWAY" not in line]
    assert complaints == []


async def _script(source: str, scale: float) -> subprocess.CompletedProcess[str]:
    """Run it in a Python of its own, which must end well."""
    command = [sys.executable, "-c", source]
    paths = [*sys.path]
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=GUARD * scale,
            check=False,
            env={"PYTHONPATH": ":".join(paths), "GRPC_VERBOSITY": "NONE"},
        )
    )
    assert done.returncode == 0, done.stderr
    return done


# Closed.


async def test_close_without_any_call_and_again_and_again() -> None:
    client = ImportClient("127.0.0.1:1")
    for _ in range(3):
        await client.close()
    assert closed(client)


CALLS: dict[str, Callable[[ImportClient], Awaitable[object]]] = {
    "get_import_progress": lambda client: client.get_import_progress(JOB_ID),
    "list_imports": lambda client: client.list_imports(),
    "create_import": lambda client: client.create_import("books", ["a.parquet"]),
    "check": lambda client: client.check(),
    "watch": lambda client: anext(client.watch(JOB_ID)),
    "wait": lambda client: client.wait(JOB_ID),
    "watch_all": lambda client: anext(client.watch_all()),
}


@pytest.mark.parametrize("name", CALLS)
async def test_closed_client_refuses(name: str, server: FakeMilvus, scale: float) -> None:
    async with ImportClient(server.internal_uri) as client:
        await client.get_import_progress(JOB_ID)
    server.received.clear()
    with anyio.fail_after(GUARD * scale), pytest.raises(ClientClosedError, match="make a new one"):
        await CALLS[name](client)
    with pytest.raises(ClientClosedError, match="make a new one"):
        await client.__aenter__()
    assert server.received == []


@on_each_path
async def test_call_in_flight_at_close_may_still_be_answered(
    path: str, server: FakeMilvus, scale: float
) -> None:
    server.inject(Fault(delay=0.1))
    client = ImportClient(server.internal_uri, **PATHS[path])
    async with leaks.nothing_left(GUARD * scale, at_once=True):
        call = asyncio.create_task(client.get_import_progress(JOB_ID))
        await until(lambda: bool(server.received), GUARD * scale)
        await client.close()
        assert (await call).data.progress == 40


@on_each_path
async def test_call_that_hangs_at_close_is_ended_after_a_second(
    path: str, server: FakeMilvus, scale: float
) -> None:
    server.inject("hang", times=None)
    records: list[CallRecord] = []
    client = ImportClient(server.internal_uri, on_finish=records.append, **PATHS[path])
    async with leaks.nothing_left(GUARD * scale, at_once=True):
        call = asyncio.create_task(client.get_import_progress(JOB_ID))
        await until(lambda: bool(server.received), GUARD * scale)
        started = time.monotonic()
        await asyncio.gather(*[client.close() for _ in range(5)])
        assert 0.9 < time.monotonic() - started < 1 + GUARD * scale
        with pytest.raises(ClientClosedError, match="GetImportProgress"):
            await call
        assert [record.code.name for record in records] == ["CANCELLED"]


async def test_close_in_a_cancelled_scope_still_closes(server: FakeMilvus, scale: float) -> None:
    server.inject("hang", times=None)
    client = ImportClient(server.internal_uri)
    async with leaks.nothing_left(GUARD * scale, at_once=True):
        with anyio.CancelScope() as scope:
            await _cancel_during_call(client, server, scope, GUARD * scale)
        assert leaks.holdings().calls == set()


async def _cancel_during_call(
    client: ImportClient, server: FakeMilvus, scope: anyio.CancelScope, guard: float
) -> None:
    async with client, anyio.create_task_group() as group:
        group.start_soon(client.get_import_progress, JOB_ID)
        await until(lambda: bool(server.received), guard)
        scope.cancel()


async def test_close_that_is_cancelled_natively_goes_on_by_itself(
    server: FakeMilvus, scale: float
) -> None:
    server.inject("hang", times=None)
    client = ImportClient(server.internal_uri)
    async with leaks.nothing_left(GUARD * scale, at_once=True):
        call = asyncio.create_task(client.get_import_progress(JOB_ID))
        await until(lambda: bool(server.received), GUARD * scale)
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(LEAVE * scale)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert closing.cancelling() == 1
        with pytest.raises(ClientClosedError):
            await call
        await client.close()


async def test_close_after_somebody_has_cancelled_every_task_still_closes(
    server: FakeMilvus, scale: float
) -> None:
    server.inject("hang", times=None)
    client = ImportClient(server.internal_uri)
    before = asyncio.all_tasks()

    async def work() -> None:
        async with client:
            with anyio.move_on_after(LEAVE * scale):
                await client.get_import_progress(JOB_ID)

    working = asyncio.create_task(work())
    await until(lambda: closed(client), GUARD * scale)
    (closing,) = [task for task in asyncio.all_tasks() - before if "_shut" in repr(task)]
    for task in (closing, working):
        task.cancel()
    await asyncio.wait({working})
    await client.close()
    async with leaks.nothing_left(GUARD * scale):
        pass
    assert leaks.holdings().calls == set()
    assert client._channel._connection is None  # pyright: ignore[reportPrivateUsage]


@on_each_path
async def test_connection_is_freed_at_once_when_its_client_is_closed_and_dropped(
    path: str, server: FakeMilvus
) -> None:
    """Without waiting for the garbage collector: nothing of ours is a cycle."""
    faults = ("denied", "not-ready", "empty", "garbage")
    for fault in faults:
        server.inject(fault)
    client = ImportClient(server.internal_uri, **PATHS[path])
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
        connection = weakref.ref(leaks.connection(client))
        await client.close()
        del client
        assert connection() is None
    finally:
        gc.enable()


ENDINGS: dict[str, tuple[Fault | str, CallOptions]] = {
    "answered": (Fault(), {}),
    "failed": ("denied", {}),
    "late": ("hang", {"timeout": 0.1}),
    "abandoned": (Fault(delay=ANSWER), {}),
    "abandoned for ever": ("hang", {}),
}


EXPECTED = {"failed": (AccessDeniedError,), "late": (DeadlineExceededError,)}


@on_each_path
@pytest.mark.parametrize("ending", ENDINGS)
async def test_closing_leaves_nothing_behind(
    ending: str, path: str, server: FakeMilvus, scale: float
) -> None:
    fault, options = ENDINGS[ending]
    server.inject(fault, times=None)
    nothing_left = leaks.nothing_left(GUARD * scale, at_once=True)
    async with nothing_left, ImportClient(server.internal_uri, **PATHS[path]) as client:
        await asyncio.gather(*[_ask(client, ending, options, scale) for _ in range(5)])


async def _ask(client: ImportClient, ending: str, options: CallOptions, scale: float) -> None:
    patience = LEAVE if "abandoned" in ending else GUARD
    with anyio.move_on_after(patience * scale) as scope, suppress(*EXPECTED.get(ending, ())):
        await client.get_import_progress(JOB_ID, **options)
    assert scope.cancelled_caught == ("abandoned" in ending)


@on_each_path
async def test_error_or_task_that_is_kept_does_not_keep_the_connection(
    path: str, server: FakeMilvus, scale: float
) -> None:
    server.inject("denied")
    server.inject("hang", times=None)
    async with leaks.nothing_left(GUARD * scale, at_once=True):
        async with ImportClient(server.internal_uri, **PATHS[path]) as client:
            with pytest.raises(AccessDeniedError) as denied:
                await client.get_import_progress(JOB_ID)
            with pytest.raises(DeadlineExceededError) as late:
                await client.get_import_progress(JOB_ID, timeout=0.1)
            left = asyncio.create_task(client.get_import_progress(JOB_ID))
            closed = asyncio.create_task(client.get_import_progress(JOB_ID))
            await until(lambda: len(server.received) == 4, GUARD * scale)
            left.cancel()
        await asyncio.wait({left, closed})
    assert (left.cancelled(), type(closed.exception())) == (True, ClientClosedError)
    assert denied.value.record
    assert late.value.record


async def test_client_dropped_without_closing_frees_its_connection(
    server: FakeMilvus, scale: float
) -> None:
    async with leaks.nothing_left(GUARD * scale):
        await ImportClient(server.internal_uri).get_import_progress(JOB_ID)


# The function.


async def test_function_leaves_nothing_behind(server: FakeMilvus, scale: float) -> None:
    option = GetImportProgressOption(server.internal_uri, JOB_ID)
    async with leaks.nothing_left(GUARD * scale, at_once=True):
        assert (await get_import_progress(option)).data.progress == 40
        server.inject("hang")
        with pytest.raises(DeadlineExceededError):
            await get_import_progress(option, timeout=0.1)
        with pytest.raises(UnavailableError):
            await get_import_progress(GetImportProgressOption("127.0.0.1:1", JOB_ID))


@pytest.mark.parametrize("fault", [Fault(delay=ANSWER), "hang"], ids=["answered", "hangs"])
async def test_cancelled_function_waits_for_its_call_a_second_at_most(
    fault: Fault | str, server: FakeMilvus, scale: float
) -> None:
    server.inject(fault)
    option = GetImportProgressOption(server.internal_uri, JOB_ID)
    async with leaks.nothing_left(GUARD * scale, at_once=True):
        with anyio.fail_after(GUARD * scale), anyio.move_on_after(LEAVE * scale) as scope:
            await get_import_progress(option, timeout=None)
        assert scope.cancelled_caught
    (received,) = server.received
    if fault == "hang":
        await until(lambda: received.reset, GUARD * scale)
    assert received.reset == (fault == "hang")


# Other loops than asyncio's own, and many calls.


LOOPS = ["asyncio", "asyncio, eager tasks"] if sys.version_info >= (3, 12) else ["asyncio"]
if importlib.util.find_spec("uvloop"):  # made for Linux and macOS
    LOOPS.append("uvloop")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": getattr(request, "param", "") == "uvloop"}


@pytest.fixture
async def eager(request: pytest.FixtureRequest) -> None:
    if sys.version_info >= (3, 12) and "eager" in request.node.name:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)


@pytest.mark.parametrize("anyio_backend", LOOPS, indirect=True)
@pytest.mark.usefixtures("eager")
@on_each_path
async def test_three_hundred_calls_abandoned_at_random_moments_leave_nothing_and_reset_nothing(
    path: str, server: FakeMilvus, scale: float
) -> None:
    draw = random.Random(20)
    server.inject(Fault(delay=ANSWER * scale), times=None)
    ended: list[CallRecord] = []
    answered: list[GetImportProgressResponse] = []
    options: CallOptions = {"on_finish": ended.append}

    async def ask(client: ImportClient, number: int) -> None:
        await asyncio.sleep(draw.uniform(0, 0.5 * scale))
        seconds = draw.uniform(0, 2 * ANSWER * scale) if number % 10 else GUARD * scale
        with anyio.move_on_after(seconds):
            answered.append(
                await client.get_import_progress(JOB_ID, **options if number % 2 else {})
            )

    nothing_left = leaks.nothing_left(GUARD * scale, at_once=True)
    async with nothing_left, ImportClient(server.internal_uri, **PATHS[path]) as client:
        with anyio.fail_after(GUARD * scale):
            await asyncio.gather(*[ask(client, number) for number in range(300)])
            in_flight = leaks.connection(client).in_flight
            await until(lambda: not in_flight, GUARD * scale)
    assert len(server.received) == 300
    assert not any(received.reset for received in server.received)
    assert [record.code.name for record in ended] == ["OK"] * 150
    assert 30 <= len(answered) < 300
