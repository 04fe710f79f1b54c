"""What a gateway responds in place of Milvus while jobs are followed, over gRPC and over REST."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import web
from h2_server import H2Server, Response, grpc_status, http, reply
from times import GUARD, TICK
from watching import FaultLog
from web import JOB, error_of

from milvus_import import (
    CallError,
    ImportClient,
    JobNotFoundError,
    MilvusImportError,
    WaitTimeoutError,
)
from milvus_import._errors import hint_of
from milvus_import._hints import Hint
from milvus_import._services._operations import GET_PROGRESS
from milvus_import._watch._poll import Poll, PollThrottle
from milvus_import_pb import common_pb2, internal_pb2

pytestmark = pytest.mark.anyio

PAGE = b"<html><head><title>Maintenance</title></head></html>"
MISSING = "import job does not exist, jobID=450000000000000001"
METHODS = ("watch", "wait", "watch_all", "wait_all")
on_each_method = pytest.mark.parametrize("method", METHODS)
on_each_transport = pytest.mark.parametrize("transport", ["grpc", "rest"])

REST: dict[str, bytes] = {
    "importing": web.IMPORTING,
    "completed": web.COMPLETED,
    "missing": web.reply({"code": 2100, "message": MISSING}),
    "page": web.reply(PAGE, 200, "content-type: text/html"),
    "text": web.reply(b"OK"),
    "empty": web.reply(b""),
    "no content": web.reply(b"", 204),
    "other JSON": web.reply({"status": "maintenance"}),
    "JSON list": web.reply(b"[]"),
    "half of the JSON": web.reply(b'{"code":0,"data":{"sta'),
    "unrouted": web.reply(PAGE, 404, "content-type: text/html"),
}
GRPC: dict[str, Response] = {
    "importing": reply(internal_pb2.GetImportProgressResponse(state=3, progress=40)),
    "completed": reply(internal_pb2.GetImportProgressResponse(state=5, progress=100)),
    "missing": reply(
        internal_pb2.GetImportProgressResponse(
            status=common_pb2.Status(code=2100, error_code=1, reason=MISSING)
        )
    ),
    "page": http(200, PAGE, ("content-type", "text/html")),
    "empty": http(200),
    "no content": http(204),
    "other JSON": http(200, b'{"status": "maintenance"}', ("content-type", "application/json")),
    "unrouted": http(404, PAGE, ("content-type", "text/html")),
}
TABLES: dict[str, dict[str, Any]] = {"grpc": GRPC, "rest": REST}
FAULTS = [
    (transport, name)
    for transport, table in TABLES.items()
    for name in table
    if name not in {"importing", "completed", "missing"}
]


Served = tuple[ImportClient, list[float]]
"""A client, and when each request of it arrived."""


@asynccontextmanager
async def scripted(transport: str, *script: Any, **options: Any) -> AsyncGenerator[Served, None]:
    """Respond with each reply in turn, and with the last one from then on.

    The replies are names of the table, or responses.
    """
    replies = [TABLES[transport].get(r, r) if isinstance(r, str) else r for r in script]
    times: list[float] = []
    if transport == "rest":
        async with web.connected(*replies, **options) as (client, web_server):
            yield client, times
            times.extend(request.arrived for request in web_server.requests)
        return

    def respond(_: object) -> Response:
        times.append(time.monotonic())
        response: Response = replies.pop(0) if len(replies) > 1 else replies[0]
        return response

    async with (
        H2Server(respond) as server,
        ImportClient(server.uri, service="internal", **options) as client,
    ):
        yield client, times


async def follow(client: ImportClient, method: str, **options: Any) -> str:
    """Follow the job to its end with one of the four methods; return its last state."""
    options = {"interval": TICK, "timeout": GUARD} | options
    if method.startswith("watch"):
        watch = client.watch(JOB, **options) if method == "watch" else None
        states = [item.state async for item in watch or client.watch_all([JOB], **options)]
        return states[-1]
    if method == "wait":
        return (await client.wait(JOB, **options)).state
    outcome = (await client.wait_all([JOB], **options))[JOB]
    if isinstance(outcome, MilvusImportError):
        raise outcome
    return outcome.state


# Pages, empty bodies and foreign JSON.


@on_each_method
@pytest.mark.parametrize(("transport", "fault"), FAULTS)
async def test_response_that_is_not_of_milvus_is_an_outage_of_a_known_server(
    transport: str, fault: str, method: str
) -> None:
    faults = FaultLog()
    script = ("importing", fault, fault, fault, "completed")
    async with scripted(transport, *script) as (client, _):
        assert await follow(client, method, on_retry=faults) == "Completed"
    errors = [error for error, _ in faults]
    assert len(errors) == 3
    assert all(isinstance(error, CallError) for error in errors)
    assert all(error.transient for error in errors) or fault == "unrouted"


@pytest.mark.parametrize(("transport", "fault"), FAULTS)
async def test_call_of_a_known_server_is_transient_after_such_a_response(
    transport: str, fault: str
) -> None:
    async with scripted(transport, "importing", fault) as (client, _):
        await client.get_import_progress(JOB)
        error = await error_of(client.get_import_progress(JOB), CallError)
        write = await error_of(client.create_import("books", ["a.json"]), CallError)
    if fault == "unrouted":
        return
    assert error.transient
    if transport == "rest":
        assert (hint_of(error), error.may_have_run) == (Hint.GATEWAY_ERROR, False)
    assert (hint_of(write), write.may_have_run) == (Hint.REPEAT_WITH_KEY, True)


@on_each_method
@pytest.mark.parametrize("fault", ["page", "empty", "other JSON", "no content"])
async def test_such_a_response_puts_the_address_in_doubt_before_a_good_one(
    fault: str, method: str
) -> None:
    async with scripted("rest", fault) as (client, _):
        error = await error_of(follow(client, method), CallError)
    assert (error.transient, hint_of(error)) == (False, Hint.REST_ROUTE)


# Two servers behind one address.


@on_each_transport
@on_each_method
@pytest.mark.parametrize(
    ("replies", "hint"),
    [
        (("importing", "missing", "importing", "missing", "missing"), Hint.SEVERAL_SERVERS),
        (("importing", "missing", "missing"), Hint.CHECK_JOB_ID),
    ],
    ids=["found again", "removed"],
)
async def test_only_a_job_that_is_found_again_names_a_load_balancer(
    transport: str, method: str, replies: tuple[str, ...], hint: Hint
) -> None:
    async with scripted(transport, *replies) as (client, _):
        error = await error_of(follow(client, method), JobNotFoundError)
    assert hint_of(error) is hint


# Retry-After.

_AFTER = ("retry-after", "1")
LIMITS: dict[str, tuple[str, Any]] = {
    "rest 429": ("rest", web.reply(PAGE, 429, "retry-after: 1")),
    "rest 503": ("rest", web.reply(PAGE, 503, "Retry-After: 1")),
    "rest status": ("rest", web.reply({"code": 8, "message": "rate limit"}, 200, "retry-after: 1")),
    "grpc trailing": ("grpc", grpc_status(14, "local_rate_limited", _AFTER)),
    "grpc exhausted": ("grpc", grpc_status(8, "slow down", _AFTER)),
    "grpc initial": (
        "grpc",
        Response(
            ((":status", "200"), ("content-type", "application/grpc"), _AFTER),
            b"",
            (("grpc-status", "14"), ("grpc-message", "no healthy upstream")),
        ),
    ),
}


@on_each_method
@pytest.mark.parametrize("name", LIMITS)
async def test_next_poll_waits_for_retry_after(name: str, method: str) -> None:
    transport, limited = LIMITS[name]
    faults = FaultLog()
    async with scripted(transport, "importing", limited, "completed") as (client, times):
        await follow(client, method, on_retry=faults)
    _, limited_at, next_at = times
    assert next_at - limited_at >= 0.99
    assert [error.retry_after for error, _ in faults] == [1.0]


@on_each_method
async def test_retry_after_does_not_extend_the_timeout(method: str) -> None:
    limited = web.reply(PAGE, 429, "retry-after: 3600")
    async with scripted("rest", "importing", limited) as (client, _), asyncio.timeout(GUARD):
        error = await error_of(follow(client, method, timeout=0.2), WaitTimeoutError)
    assert hint_of(error) is Hint.GATEWAY_RATE_LIMIT


def test_polls_are_delayed_longer_only_when_their_spacing_is_not_enough() -> None:
    """Otherwise a job that is rejected some times would wait for its first response too long."""
    throttle = PollThrottle()
    group: Any = SimpleNamespace(interval=2.0)
    poll = Poll(group, GET_PROGRESS, None)
    limited = CallError("limited", rate_limited=True, transient=True)
    now = 0.0
    while not throttle.at_limit:
        assert 2 <= poll.retry_delay(limited, spaced=not throttle.at_limit) <= 3
        now += 10
        throttle.on_rate_limit(now)
        assert now < 1000
    delays = [poll.retry_delay(limited, spaced=False) for _ in range(5)]
    assert [2 * 2**n <= delay <= 3 * 2**n for n, delay in enumerate(delays[:4])] == [True] * 4
    assert 16 <= delays[4] <= 24


@pytest.mark.parametrize(("seconds", "pause"), [(0.5, 0.5), (60, 60), (3600.0, 60), (1e9, 60)])
def test_retry_after_pauses_for_a_minute_at_most(seconds: float, pause: float) -> None:
    throttle = PollThrottle()
    throttle.wait(100.0, seconds)
    assert throttle.ready_at == 100 + pause
    throttle.wait(100.0, 0.1)  # a shorter one does not end it
    assert throttle.ready_at == 100 + pause
