"""How a REST call ends: deadlines, cancellation, broken connections, and closing.

What is the same as on gRPC is in test_cancellation.py.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import grpc
import leaks
import pytest
import web
from times import GUARD, SCALE, until
from web import HANG, IMPORTING, JOB, connected, error_of
from web import rest_client as connect

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

LEAVE = 0.03 * SCALE
"""Seconds after which a caller is cancelled ..."""
RESPONSE = 0.12 * SCALE
"""... and after which the server responds."""
NOBODY = "http://127.0.0.1:9"
CODE = grpc.StatusCode


@pytest.fixture(autouse=True)
async def quiet() -> AsyncGenerator[None, None]:
    async with leaks.quiet_loop():
        yield


@pytest.fixture
async def fake() -> AsyncGenerator[FakeMilvus, None]:
    async with FakeMilvus(version="3.0") as server:
        server.add_job(job_id=JOB, state="Importing", progress=40)
        yield server


@pytest.fixture
async def client(fake: FakeMilvus) -> AsyncGenerator[ImportClient, None]:
    async with connect(fake.rest_uri) as rest:
        yield rest


# Cancellation.


async def test_random_cancellation_loses_neither_the_cancellation_nor_a_record(
    fake: FakeMilvus,
) -> None:
    moments = random.Random(18)
    fake.choose_fault = lambda _: Fault(delay=moments.uniform(0, 0.01))
    records: list[CallRecord] = []
    outcomes: list[str] = []

    async def one(client: ImportClient) -> None:
        patient = moments.random() < 0.3
        with anyio.move_on_after(GUARD if patient else moments.uniform(0, 0.02)) as scope:
            response = await client.get_import_progress(JOB)
            assert response.data.progress == 40
        assert not scope.cancelled_caught or scope.cancel_called
        outcomes.append("cancelled" if scope.cancelled_caught else "ended")

    async with connect(fake.rest_uri, rpc_timeout=GUARD, on_finish=records.append) as client:
        for _ in range(20):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(one, client)
        await until(lambda: len(records) == 200)
    assert len(outcomes) == 200
    assert set(outcomes) == {"cancelled", "ended"}
    assert {record.code for record in records} == {CODE.OK}
    assert not any(received.reset for received in fake.received)


@pytest.mark.parametrize("seconds", [0, LEAVE], ids=["before", "during"])
async def test_cancelled_create_is_not_sent_or_not_reset(
    seconds: float, fake: FakeMilvus, client: ImportClient
) -> None:
    fake.inject(Fault(delay=RESPONSE))
    with anyio.move_on_after(seconds) as scope:
        if not seconds:
            scope.cancel()
        await client.create_import("books", ["a.json"])
    assert scope.cancelled_caught
    await client.close()
    assert [received.reset for received in fake.received] == ([False] if seconds else [])
    assert len(fake.jobs) == (2 if seconds else 1)


# Deadlines.


@pytest.mark.parametrize("fault", ["http-hang", "hang"])
async def test_deadline_is_the_exact_total(
    fault: str, fake: FakeMilvus, client: ImportClient
) -> None:
    fake.inject(fault, times=None)
    records: list[CallRecord] = []
    started = time.monotonic()
    call = client.get_import_progress(JOB, timeout=0.4, on_finish=records.append)
    error = await error_of(call, TimeoutError, r"no response within 0\.4 s")
    assert 0.39 <= time.monotonic() - started < GUARD
    assert type(error) is DeadlineExceededError
    assert (error.transient, error.http_status) == (True, None)
    assert [record.code for record in records] == [CODE.DEADLINE_EXCEEDED]
    create = client.create_import("books", ["a.json"], timeout=0.3)
    error = await error_of(create, DeadlineExceededError)
    assert error.may_have_run
    assert "idempotency_key" in error.hint


async def test_deadline_covers_a_body_that_arrives_slowly() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            ended.set()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        await error_of(client.get_import_progress(JOB, timeout=0.3), DeadlineExceededError)
    await asyncio.wait_for(ended.wait(), GUARD)
    server.close()


@pytest.mark.parametrize("timeout", [0, -1, -1e9])
async def test_expired_timeout_sends_nothing(
    timeout: float, fake: FakeMilvus, client: ImportClient
) -> None:
    error = await error_of(client.get_import_progress(JOB, timeout=timeout), DeadlineExceededError)
    assert (error.record, error.transient, error.may_have_run) == (None, False, False)
    assert not fake.received


async def test_both_names_of_describe_share_one_deadline() -> None:
    async with connected(web.NO_ROUTE, HANG) as (client, server):
        started = time.monotonic()
        await error_of(client.get_import_progress(JOB, timeout=0.5), DeadlineExceededError)
        assert time.monotonic() - started >= 0.49
    assert [request.method for request in server.requests] == ["describe", "get_progress"]


async def test_blocked_event_loop_does_not_lose_a_response(
    fake: FakeMilvus, client: ImportClient
) -> None:
    await client.get_import_progress(JOB)
    # The response is due before the deadline, and both while the loop is blocked.
    fake.inject(Fault(delay=0.2))
    asyncio.get_running_loop().call_later(0.1, time.sleep, 0.5)
    assert (await client.get_import_progress(JOB, timeout=0.3)).data.progress == 40


# Connections.

CLOSING = web.reply({"code": 0, "data": {"jobId": JOB}}, headers="connection: close")
CUT = web.reply(b'{"code":0,"data":{"state":"Comp', length=500, headers="connection: close")
OK, BROKEN = CODE.OK, CODE.UNAVAILABLE


@pytest.mark.parametrize(
    ("replies", "connections", "codes"),
    [
        ([IMPORTING], [0, 0, 0], [OK, OK, OK]),
        ([IMPORTING, web.CLOSE, IMPORTING], [0, 0, 1, 1], [OK, BROKEN, OK, OK]),  # repeated once
        ([IMPORTING, web.CLOSE], [0, 0, 1], [OK, BROKEN, BROKEN]),  # and only once
        ([CUT], [0, 1], [BROKEN, BROKEN]),
    ],
    ids=["kept alive", "broken once", "broken twice", "cut off"],
)
async def test_connections_of_reads(
    replies: list[bytes], connections: list[int], codes: list[CODE]
) -> None:
    records: list[CallRecord] = []
    async with connected(*replies, on_finish=records.append) as (client, server):
        for _ in range(codes.count(OK)):
            await client.get_import_progress(JOB)
        if codes[-1] is BROKEN:
            call = client.get_import_progress(JOB)
            assert (await error_of(call, UnavailableError, "the connection broke")).transient
        assert [request.connection for request in server.requests] == connections
    assert [record.code for record in records] == codes
    if codes[1] is BROKEN:
        repeated = codes.index(BROKEN) + 1
        arrived = [request.arrived for request in server.requests]
        assert arrived[repeated] - arrived[repeated - 1] >= RETRY_DELAY


async def test_read_is_not_repeated_if_its_timeout_expires_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_select, "RETRY_DELAY", 2 * GUARD)
    async with connected(web.CLOSE) as (client, server):
        call = client.get_import_progress(JOB, timeout=GUARD)
        error = await error_of(call, UnavailableError, "the connection broke")
        assert len(server.requests) == 1
    assert error.transient
    assert error.record is not None


@pytest.mark.parametrize("reply", [web.CLOSE, CUT], ids=["closed", "cut off"])
async def test_write_is_never_repeated(reply: bytes) -> None:
    async with connected(web.CREATED, reply) as (client, server):
        await client.create_import("books", ["a.json"])
        for call in (
            client.create_import("books", ["a.json"]),
            client.commit_import(JOB),
            client.abort_import(JOB),
        ):
            error = await error_of(call, UnavailableError)
            assert (error.transient, error.may_have_run) == (True, True)
        assert len(server.requests) == 4


async def test_write_after_the_server_closed_an_idle_connection_uses_a_new_one() -> None:
    async with connected(CLOSING) as (client, server):
        for _ in range(3):
            await client.create_import("books", ["a.json"])
        assert [request.connection for request in server.requests] == [0, 1, 2]


@pytest.mark.parametrize(
    ("uri", "text", "hint"),
    [
        (NOBODY, "Connection refused", "19530"),
        ("http://milvus.invalid:19530", "resolution failed", "Check the host name"),
    ],
)
async def test_failed_connection_is_neither_repeated_nor_run(
    uri: str, text: str, hint: str
) -> None:
    records: list[CallRecord] = []
    async with connect(uri, on_finish=records.append) as client:
        error = await error_of(client.create_import("books", ["a.json"]), UnavailableError, text)
    assert not error.may_have_run
    assert hint in error.hint
    assert len(records) == 1


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
    async with connected(reply) as (client, _):
        error = await error_of(client.get_import_progress(JOB), CallError)
    assert type(error) is CallError
    assert "the response is not valid HTTP/1.1: " in str(error)
    assert not error.transient
    assert "19529" in error.hint


async def test_many_calls_share_a_limited_number_of_connections(client: ImportClient) -> None:
    responses = await asyncio.gather(*[client.get_import_progress(JOB) for _ in range(400)])
    assert len(responses) == 400


# Closing.


@pytest.mark.real_delays
async def test_close_waits_for_a_response_that_is_on_its_way(
    fake: FakeMilvus, client: ImportClient
) -> None:
    fake.inject(Fault(delay=0.2))
    call = asyncio.create_task(client.get_import_progress(JOB))
    await until(lambda: bool(fake.received))
    await client.close()
    assert (await call).data.progress == 40


async def test_close_leaves_no_task(fake: FakeMilvus) -> None:
    before = asyncio.all_tasks()
    async with connect(fake.rest_uri) as client:
        fake.inject("http-hang")
        with anyio.move_on_after(0.05):
            await client.get_import_progress(JOB)
    assert not {task for task in asyncio.all_tasks() - before if "_exchange" in repr(task)}


async def test_client_that_was_not_closed_warns(fake: FakeMilvus) -> None:
    client = connect(fake.rest_uri)
    await client.get_import_progress(JOB)
    services: Any = client._services  # pyright: ignore[reportPrivateUsage]
    await services.connection._session.close()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del client, services
