"""How a REST call ends: deadlines, cancellation, broken connections and closing.

What is the same as on gRPC is in test_cancellation.py.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import grpc
import pytest
import web

from milvus_import import (
    CallError,
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    UnavailableError,
)
from milvus_import._services import _select
from milvus_import._services._select import RETRY_DELAY
from milvus_import.testing import FakeMilvus, Fault

pytestmark = pytest.mark.anyio

JOB = "450000000000000001"
LEAVE = 0.03
"""Seconds after which a caller is cancelled ..."""
RESPONSE = 0.12
"""... and after which the server responds."""
GUARD = 20.0
CODE = grpc.StatusCode
PROGRESS = web.reply({"code": 0, "data": {"state": "Importing", "progress": 40}})
CREATED = web.reply({"code": 0, "data": {"jobId": JOB}})


@pytest.fixture(autouse=True)
async def quiet() -> AsyncGenerator[None, None]:
    """Fail if the event loop reports an exception that nobody retrieved."""
    loop, reports = asyncio.get_running_loop(), list[Any]()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    yield
    gc.collect()
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    assert not reports


@pytest.fixture
async def fake() -> AsyncGenerator[FakeMilvus, None]:
    async with FakeMilvus(version="3.0") as server:
        server.add_job(job_id=JOB, state="Importing", progress=40)
        yield server


def connect(uri: str, **options: Any) -> ImportClient:
    return ImportClient(uri, service="rest", **options)


async def until(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


# Cancellation.


async def test_random_cancellation_loses_neither_the_cancellation_nor_a_record(
    fake: FakeMilvus, scale: float
) -> None:
    moments = random.Random(18)
    fake.choose_fault = lambda _: Fault(delay=moments.uniform(0, 0.01))
    records: list[CallRecord] = []
    outcomes: list[str] = []

    async def one() -> None:
        patient = moments.random() < 0.3
        with anyio.move_on_after(GUARD * scale if patient else moments.uniform(0, 0.02)) as scope:
            response = await client.get_import_progress(JOB)
            assert response.data.progress == 40
        assert not scope.cancelled_caught or scope.cancel_called
        outcomes.append("cancelled" if scope.cancelled_caught else "ended")

    async with connect(
        fake.rest_uri, rpc_timeout=GUARD * scale, on_finish=records.append
    ) as client:
        for _ in range(20):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(one)
        await until(lambda: len(records) == 200, GUARD * scale)
    assert len(outcomes) == 200
    assert set(outcomes) == {"cancelled", "ended"}
    assert {record.code for record in records} == {CODE.OK}
    assert not any(received.reset for received in fake.received)


async def test_no_job_is_created_by_a_caller_that_is_already_cancelled(fake: FakeMilvus) -> None:
    async with connect(fake.rest_uri) as client:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.create_import("books", ["a.json"])
    assert not fake.received


async def test_cancelled_create_is_not_reset(fake: FakeMilvus, scale: float) -> None:
    fake.inject(Fault(delay=RESPONSE * scale))
    async with connect(fake.rest_uri) as client:
        with anyio.move_on_after(LEAVE * scale) as scope:
            await client.create_import("books", ["a.json"])
        assert scope.cancelled_caught
    assert [received.reset for received in fake.received] == [False]
    assert len(fake.jobs) == 2


# Deadlines.


@pytest.mark.parametrize("fault", ["http-hang", "hang"])
async def test_deadline_is_the_exact_total(fault: str, fake: FakeMilvus, scale: float) -> None:
    fake.inject(fault, times=None)
    records: list[CallRecord] = []
    async with connect(fake.rest_uri) as client:
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError) as caught:
            await client.get_import_progress(JOB, timeout=0.4, on_finish=records.append)
        elapsed = time.monotonic() - started
    assert 0.39 <= elapsed < GUARD * scale
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.transient, caught.value.http_status) == (True, None)
    assert "no response within 0.4 s" in str(caught.value)
    assert [record.code for record in records] == [CODE.DEADLINE_EXCEEDED]


async def test_deadline_covers_a_body_that_arrives_slowly() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            served.set()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with connect(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(DeadlineExceededError):
            await client.get_import_progress(JOB, timeout=0.3)
    await asyncio.wait_for(served.wait(), GUARD)
    server.close()


@pytest.mark.parametrize("timeout", [0, -1, -1e9])
async def test_expired_timeout_sends_nothing(timeout: float, fake: FakeMilvus) -> None:
    async with connect(fake.rest_uri) as client:
        with pytest.raises(DeadlineExceededError) as caught:
            await client.get_import_progress(JOB, timeout=timeout)
    assert (caught.value.record, caught.value.transient, caught.value.may_have_run) == (
        None,
        False,
        False,
    )
    assert not fake.received


async def test_deadline_of_a_create_may_have_run(fake: FakeMilvus) -> None:
    fake.inject("http-hang")
    async with connect(fake.rest_uri) as client:
        with pytest.raises(DeadlineExceededError) as caught:
            await client.create_import("books", ["a.json"], timeout=0.3)
    assert caught.value.may_have_run
    assert "idempotency_key" in caught.value.hint


async def test_both_names_of_describe_share_one_deadline() -> None:
    missing = web.reply(b"404 page not found", 404, "content-type: text/plain")
    async with web.serving(missing, web.HANG) as server, connect(server.uri) as client:
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            await client.get_import_progress(JOB, timeout=0.5)
        assert time.monotonic() - started >= 0.49
        assert [request.path.rpartition("/")[2] for request in server.requests] == [
            "describe",
            "get_progress",
        ]


async def test_blocked_event_loop_does_not_lose_a_response(fake: FakeMilvus) -> None:
    async with connect(fake.rest_uri) as client:
        await client.get_import_progress(JOB)
        # The response is due before the deadline, and both while the loop is blocked.
        fake.inject(Fault(delay=0.2))
        asyncio.get_running_loop().call_later(0.1, time.sleep, 0.5)
        response = await client.get_import_progress(JOB, timeout=0.3)
    assert response.data.progress == 40


# Connections.


async def test_connection_is_kept_alive() -> None:
    async with web.serving(PROGRESS) as server, connect(server.uri) as client:
        for _ in range(5):
            await client.get_import_progress(JOB)
        assert {request.connection for request in server.requests} == {0}


async def test_read_is_repeated_once_if_the_connection_is_closed() -> None:
    records: list[CallRecord] = []
    async with web.serving(PROGRESS, web.CLOSE, PROGRESS) as server, connect(server.uri) as client:
        for _ in range(2):
            await client.get_import_progress(JOB, on_finish=records.append)
        assert [request.connection for request in server.requests] == [0, 0, 1]
    _, broken, retried = server.requests
    assert retried.arrived - broken.arrived >= RETRY_DELAY
    assert [record.code for record in records] == [CODE.OK, CODE.UNAVAILABLE, CODE.OK]


async def test_read_is_repeated_only_once() -> None:
    async with web.serving(PROGRESS, web.CLOSE) as server, connect(server.uri) as client:
        await client.get_import_progress(JOB)
        with pytest.raises(UnavailableError) as caught:
            await client.get_import_progress(JOB)
        assert len(server.requests) == 3
    assert caught.value.transient
    assert "the connection broke" in str(caught.value)


async def test_read_is_not_repeated_if_its_timeout_expires_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_select, "RETRY_DELAY", 2 * GUARD)
    async with web.serving(web.CLOSE) as server, connect(server.uri) as client:
        with pytest.raises(UnavailableError, match="the connection broke") as caught:
            await client.get_import_progress(JOB, timeout=GUARD)
        assert len(server.requests) == 1
    assert caught.value.transient
    assert caught.value.record is not None


@pytest.mark.parametrize(
    "reply", [web.CLOSE, web.reply(b'{"code":0,"da', length=90, headers="connection: close")]
)
async def test_write_is_never_repeated(reply: bytes) -> None:
    async with web.serving(CREATED, reply) as server, connect(server.uri) as client:
        await client.create_import("books", ["a.json"])
        with pytest.raises(UnavailableError) as caught:
            await client.create_import("books", ["a.json"])
        for method in (client.commit_import, client.abort_import):
            with pytest.raises(UnavailableError):
                await method(JOB)
        assert len(server.requests) == 4
    assert (caught.value.transient, caught.value.may_have_run) == (True, True)


async def test_write_after_the_server_closed_an_idle_connection_uses_a_new_one() -> None:
    closing = web.reply({"code": 0, "data": {"jobId": JOB}}, headers="connection: close")
    async with web.serving(closing) as server, connect(server.uri) as client:
        for _ in range(3):
            await client.create_import("books", ["a.json"])
        assert [request.connection for request in server.requests] == [0, 1, 2]


async def test_truncated_reply_is_an_error() -> None:
    reply = web.reply(b'{"code":0,"data":{"state":"Comp', length=500, headers="connection: close")
    async with web.serving(reply) as server, connect(server.uri) as client:
        with pytest.raises(UnavailableError):
            await client.get_import_progress(JOB)
        assert len(server.requests) == 2


async def test_refused_connection_is_neither_repeated_nor_run() -> None:
    async with web.serving(PROGRESS) as server:
        uri = server.uri
    records: list[CallRecord] = []
    async with connect(uri) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.create_import("books", ["a.json"], on_finish=records.append)
    assert not caught.value.may_have_run
    assert "Connection refused" in str(caught.value)
    assert "19530" in caught.value.hint
    assert len(records) == 1


async def test_unknown_host_is_named() -> None:
    async with connect("http://milvus.invalid:19530") as client:
        with pytest.raises(UnavailableError) as caught:
            await client.get_import_progress(JOB)
    assert "resolution failed" in str(caught.value)
    assert caught.value.hint.startswith("Check the host name")


@pytest.mark.parametrize(
    "reply",
    [
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00 not HTTP\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ],
    ids=["HTTP/2", "SSH", "invalid length"],
)
async def test_server_that_does_not_speak_http(reply: bytes) -> None:
    async with web.serving(reply) as server, connect(server.uri) as client:
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(JOB)
    assert type(caught.value) is CallError
    assert "the response is not valid HTTP/1.1: " in str(caught.value)
    assert not caught.value.transient
    assert "19529" in caught.value.hint


async def test_watch_survives_a_restart(fake: FakeMilvus, scale: float) -> None:
    job = fake.add_job(seconds=1.0 * scale)
    async with connect(fake.rest_uri) as client:
        waiting = asyncio.create_task(client.wait(job.job_id, interval=0.05 * scale))
        await asyncio.sleep(0.2 * scale)
        await fake.stop()
        await asyncio.sleep(0.3 * scale)
        await fake.start()
        assert (await asyncio.wait_for(waiting, GUARD * scale)).progress == 100


async def test_many_calls_share_a_limited_number_of_connections(fake: FakeMilvus) -> None:
    async with connect(fake.rest_uri) as client:
        responses = await asyncio.gather(*[client.get_import_progress(JOB) for _ in range(400)])
    assert len(responses) == 400


# Closing.


@pytest.mark.real_delays
async def test_close_waits_for_a_response_that_is_on_its_way(fake: FakeMilvus) -> None:
    fake.inject(Fault(delay=0.2))
    client = connect(fake.rest_uri)
    call = asyncio.create_task(client.get_import_progress(JOB))
    await until(lambda: fake.received, GUARD)
    await client.close()
    assert (await call).data.progress == 40


async def test_close_leaves_no_task(fake: FakeMilvus) -> None:
    before = asyncio.all_tasks()
    async with connect(fake.rest_uri) as client:
        fake.inject("http-hang")
        with anyio.move_on_after(0.05):
            await client.get_import_progress(JOB)
    left = {task for task in asyncio.all_tasks() - before if "_exchange" in repr(task)}
    assert not left


async def test_client_that_was_not_closed_warns(fake: FakeMilvus) -> None:
    client = connect(fake.rest_uri)
    await client.get_import_progress(JOB)
    services: Any = client._services  # pyright: ignore[reportPrivateUsage]
    await services.connection._session.close()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del client, services
