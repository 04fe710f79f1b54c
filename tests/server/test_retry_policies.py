"""The retry policies of docs/errors.md, written with public names only, against real faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import pytest
import stamina
from gateways import scripted_gateway
from network import Relay
from pages import code_blocks, run, table
from times import GUARD, SCALE, until

from milvus_import import ImportClient, MilvusImportError
from milvus_import.testing import FakeJob, FakeMilvus, Fault
from milvus_import_pb import common_pb2, internal_pb2

pytestmark = pytest.mark.anyio

JOB = "449839014328146739"
ATTEMPTS = 8
Code = grpc.StatusCode
Condition = Callable[[Exception], bool]


def page_policy() -> dict[str, Any]:
    """Return the conditions that docs/errors.md defines."""
    [block] = [block for block in code_blocks("errors.md") if "stamina" in block]
    names: dict[str, Any] = {}
    exec(block.partition("async for")[0], names)  # noqa: S102 - our own page
    return names


POLICY = page_policy()
CAN_REPEAT_READ: Condition = POLICY["can_repeat_read"]
CAN_REPEAT_WRITE: Condition = POLICY["can_repeat_write"]


async def repeat(on: Condition, call: Callable[[], Awaitable[Any]]) -> Any:
    async for attempt in stamina.retry_context(
        on=on,
        attempts=ATTEMPTS,
        timeout=None,
        wait_initial=0.02,
        wait_max=0.5,
        wait_jitter=0.02,
    ):
        with attempt:
            return await call()
    raise AssertionError("stamina raises the last error")


# ---------------------------------------------------------- every transient fault of the page

Place = Callable[[], AbstractAsyncContextManager[tuple[str, dict[str, Any]]]]
"""Yields the URI and the client's arguments."""


def injected(fault: str | Fault) -> Place:
    """The server responds with the fault twice, then as usual."""

    @asynccontextmanager
    async def place() -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        async with FakeMilvus() as fake:
            fake.add_job(job_id=JOB)
            fake.inject(fault, times=2)
            yield fake.internal_uri, {"rpc_timeout": 0.3 * SCALE if fault == "hang" else GUARD}

    return place


def gateway(*script: int | None) -> Place:
    """A gateway responds by itself, then routes the call."""

    @asynccontextmanager
    async def place() -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        reply = internal_pb2.GetImportProgressResponse(state=internal_pb2.Importing)
        async with scripted_gateway(*script, reply) as server:
            yield server.uri, {"service": "internal"}

    return place


def broken(damage: Callable[[Relay], None], fault: str | Fault = "hang") -> Place:
    """Three connections are damaged; the client repeats each call once by itself."""

    @asynccontextmanager
    async def place() -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        async with FakeMilvus() as fake, Relay(fake.internal_port) as relay:
            fake.add_job(job_id=JOB)
            fake.inject(fault, times=3)

            async def break_connections() -> None:
                for count in range(1, 4):
                    await until(lambda n=count: len(fake.received) >= n)  # type: ignore[misc]
                    damage(relay)

            breaking = asyncio.create_task(break_connections())
            yield relay.uri, {"rpc_timeout": GUARD}
            await breaking

    return place


@asynccontextmanager
async def late_server() -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Nothing listens; the server starts during the retries."""
    async with FakeMilvus() as fake:
        fake.add_job(job_id=JOB)
        await fake.stop()

        async def start() -> None:
            await asyncio.sleep(0.1 * SCALE)
            await fake.start()

        starting = asyncio.create_task(start())
        yield fake.internal_uri, {}
        await starting


def status(code: int, error_code: int, reason: str) -> Fault:
    return Fault(status=common_pb2.Status(code=code, error_code=error_code, reason=reason))


PASSING: dict[str, Place] = {
    "refused-connection": late_server,
    "broken-connection": broken(Relay.reset),
    "connection-reset": broken(Relay.reset),
    "connection-half-closed": broken(Relay.half_close),
    "reply-cut-off": broken(lambda relay: relay.cut(after=5), Fault(delay=0.05)),
    "server-killed": broken(Relay.reset),
    "garbage-on-the-wire": broken(lambda r: r.garbage(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")),
    "oversized-frame": broken(Relay.oversized_frame),
    "connection-silent": injected("hang"),
    "slow-server": injected("hang"),
    "server-stopped": injected("hang"),
    "server-deadline": injected("deadline"),
    "server-cancelled": injected("cancelled"),
    "gateway-rate-limit": gateway(429, 429),
    "gateway-error": gateway(500, 500),
    "gateway-without-server": gateway(502, 503),
    "gateway-timeout": gateway(504),
    "gateway-empty-response": gateway(None, None),
    "envoy-without-server": injected(Fault(Code.UNAVAILABLE, "no healthy upstream")),
    "envoy-timeout": injected(Fault(Code.UNAVAILABLE, "upstream request timeout")),
    "envoy-rate-limit": injected(Fault(Code.RESOURCE_EXHAUSTED, "local_rate_limited")),
    "empty-reply": injected("empty"),
    "proxy-starting": injected("proxy-not-ready"),
    "not-ready": injected("not-ready"),
    "coordinator-unavailable": injected("coordinator-unavailable"),
    "rate-limit": injected("rate-limit"),
    "server-rate-limit": injected(Fault(Code.RESOURCE_EXHAUSTED, "too many requests")),
    "job-limit": injected("job-limit"),
    "job-limit-of-2-3": injected(status(65535, 1, "import task queue max size is 3")),
}
LASTING = {
    # Each has the class of a fault that passes: gRPC reports both alike.
    *("unknown-host", "no-socket", "silent-port", "blackhole", "refused-connection-waited-for"),
    *("unreachable-proxy", "plaintext-to-tls", "tls-to-plaintext", "untrusted-ca"),
    *("expired-certificate", "wrong-host-name", "no-client-certificate"),
    *("http-server", "https-server", "other-server", "web-page", "slow-interceptor"),
    # A write, tested below, and a wait, which is repeated without a policy.
    *("create-deadline", "wait-timeout"),
}


def test_every_transient_row_of_the_page_is_covered() -> None:
    transient = {row[0].strip("`") for row in table("errors.md", "Faults") if row[5] == "yes"}
    assert transient == PASSING.keys() | LASTING


@pytest.mark.parametrize("name", PASSING)
async def test_a_policy_on_transient_survives_the_fault(name: str) -> None:
    errors: list[MilvusImportError] = []

    def can_repeat(error: Exception) -> bool:
        if isinstance(error, MilvusImportError):
            errors.append(error)
        return CAN_REPEAT_READ(error)

    async with PASSING[name]() as (uri, arguments), ImportClient(uri, **arguments) as client:
        response = await repeat(can_repeat, lambda: client.get_import_progress(JOB))
    assert response.data.state in {"Pending", "Importing"}
    assert errors, "the fault did not occur"
    assert all(error.transient for error in errors)


@pytest.mark.parametrize(
    "fault", ["denied", "garbage", "no-collection", "legacy", "too-large", "cross-cluster"]
)
async def test_a_policy_on_transient_does_not_repeat_other_errors(
    fake: FakeMilvus, client: ImportClient, fault: str
) -> None:
    fake.inject(fault, times=None)
    with pytest.raises(MilvusImportError):
        await repeat(CAN_REPEAT_READ, lambda: client.get_import_progress(JOB))
    assert len(fake.received) == 1


# ----------------------------------------------------------------------------------- writes


def create(client: ImportClient, **options: Any) -> Callable[[], Awaitable[str]]:
    return lambda: client.create_import("books", ["a.parquet"], **options)


@pytest.mark.parametrize(
    "fault", ["not-ready", "proxy-not-ready", "job-limit", "coordinator-unavailable", "rate-limit"]
)
async def test_a_policy_for_writes_repeats_create_import_that_has_not_run(
    fake: FakeMilvus, client: ImportClient, fault: str
) -> None:
    fake.inject(fault, times=2)
    job_id = await repeat(CAN_REPEAT_WRITE, create(client))
    assert (list(fake.jobs), len(fake.received)) == ([job_id], 3)


async def test_a_policy_for_writes_survives_a_server_that_starts_late() -> None:
    async with late_server() as (uri, _), ImportClient(uri) as client:
        await repeat(CAN_REPEAT_WRITE, create(client))


CUTS: dict[str, Callable[[Relay], None]] = {
    "reset": Relay.reset,
    "half-close": Relay.half_close,
    "cut in the reply": lambda relay: relay.cut(after=5),
}


@asynccontextmanager
async def losing_the_reply(
    fake: FakeMilvus, damage: Callable[[Relay], None]
) -> AsyncGenerator[ImportClient, None]:
    """A client whose connection breaks after the job was created, before the reply arrives."""
    async with Relay(fake.internal_port) as relay, ImportClient(relay.uri) as client:
        await client.check()
        relay.delay = 0.2 * SCALE

        async def lose() -> None:
            await until(lambda: bool(fake.jobs))
            relay.delay = 0.0
            damage(relay)

        losing = asyncio.create_task(lose())
        yield client
        await losing


@pytest.mark.parametrize("cut", CUTS)
async def test_a_policy_for_writes_starts_one_job_if_the_connection_drops_after_the_request(
    fake: FakeMilvus, cut: str
) -> None:
    async with losing_the_reply(fake, CUTS[cut]) as client:
        with pytest.raises(MilvusImportError) as caught:
            await repeat(CAN_REPEAT_WRITE, create(client))
    assert (caught.value.transient, caught.value.may_have_run) == (True, True)
    assert len(fake.jobs) == 1


async def test_create_import_resent_with_its_idempotency_key_starts_one_job(
    fake: FakeMilvus,
) -> None:
    fake.idempotency_keys = True
    async with losing_the_reply(fake, Relay.reset) as client:
        job_id = await repeat(CAN_REPEAT_READ, create(client, idempotency_key="books-1"))
    assert list(fake.jobs) == [job_id]
    assert [r.method for r in fake.received].count("ImportV2") == 2


# ---------------------------------------------------------------------------------- the page


def page_example() -> str:
    [example] = code_blocks("errors.md", "json")
    return example


@pytest.mark.parametrize("block", range(len(code_blocks("errors.md"))))
async def test_the_code_of_the_page_runs(
    client: ImportClient, job: FakeJob, block: int, capsys: pytest.CaptureFixture[str]
) -> None:
    await run(code_blocks("errors.md")[block], client=client, job_id=job.job_id)
    for line in capsys.readouterr().out.splitlines():
        assert json.loads(line).keys() == json.loads(page_example()).keys()


def test_the_json_example_of_the_page_has_every_key() -> None:
    assert json.loads(page_example()).keys() == MilvusImportError("x").to_dict().keys()
