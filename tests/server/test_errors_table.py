"""docs/errors.md against real faults: each row of its table is made, and must show what it says."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import grpc
import grpc.aio
import leaks
import network
import pytest
from certificates import ELSEWHERE, Certificates, make_certificates
from processes import FakeProcess
from network import Relay

from milvus_import import (
    CallError,
    ClientClosedError,
    ImportClient,
    MilvusImportError,
    RefusedError,
    TLSConfig,
)
from milvus_import._status import call_error
from milvus_import.testing import FakeMilvus, Fault
from milvus_import.testing._server import settled

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
GUARD = 3.0
"""Seconds within which a fault is told."""
JOB = "449839014328146739"

SECRET = "S3cret"
TOKEN = f"root:{SECRET}"
SPELLINGS = (SECRET, *(base64.b64encode(text.encode()).decode() for text in (TOKEN, SECRET)))
SECRETS: dict[str, Any] = {
    "token": TOKEN,
    "metadata": {"x-key": f"{SECRET}-value", "x-key-bin": f"{SECRET}-bytes".encode()},
}

# ------------------------------------------------------------------------------- the table


@dataclass(slots=True, frozen=True)
class Row:
    name: str
    error: str | None
    words: tuple[str, ...]
    may_have_run: bool | None
    told: str
    """After how long, as it was measured (scripts/fault_times.py), or "at `timeout`"."""


def read_table() -> list[Row]:
    rows: list[Row] = []
    for line in PAGE.read_text(encoding="utf-8").partition("| Row |")[2].splitlines()[2:]:
        if not line.startswith("|"):
            break
        name, _, seen, told, ran, _ = (cell.strip() for cell in line.strip("|").split("|"))
        error = re.match(r"`(\w+)`: ", seen)
        rows.append(
            Row(
                name.strip("`"),
                error and error[1],
                tuple(re.findall(r'"(.*?)"', seen)),
                {"no": False, "maybe": True, "": None}[ran],
                told,
            )
        )
    return rows


ROWS = read_table()

# --------------------------------------------------------------------------- how to make them


async def ask_progress(client: ImportClient) -> None:
    await client.get_import_progress(JOB)


async def ask_import(client: ImportClient) -> None:
    await client.create_import("books", ["a.parquet"])


async def ask_when_closed(client: ImportClient) -> None:
    await client.close()
    await ask_progress(client)


async def close_while_asking(client: ImportClient) -> None:
    asking = [asyncio.create_task(ask_progress(client)) for _ in range(200)]
    await asyncio.sleep(0.1)
    await client.close()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(end) for end in ends} == {ClientClosedError}
    await asking[0]


@dataclass(slots=True)
class Attempt:
    """A client and what it is asked for."""

    uri: str
    connect: dict[str, Any] = field(default_factory=dict[str, Any])
    ask: Callable[[ImportClient], Awaitable[None]] = ask_progress

    async def run(self) -> None:
        async with ImportClient(self.uri, **(SECRETS | self.connect)) as client:
            await self.ask(client)


@dataclass(slots=True)
class Case:
    """A fault at work: the call that meets it, and one that does what the row advises."""

    fails: Attempt
    mended: Attempt | None = None
    ends_at: float = 0.0
    """The call's timeout, where nothing ends it before."""


@dataclass(slots=True)
class Stage:
    """What a scenario may use."""

    host: str
    scale: float
    certificates: Certificates
    monkeypatch: pytest.MonkeyPatch
    broken: float = 0.0
    """When the fault was made, where it was not there from the beginning."""

    def breaks(self) -> None:
        """The fault is made now."""
        self.broken = time.monotonic()

    def ca(self, **more: Any) -> dict[str, Any]:
        """Connection arguments that trust the server's CA."""
        return {"tls": TLSConfig(ca=self.certificates.ca, **more)}


Scenario = Callable[[Stage], AbstractAsyncContextManager[Case]]
SCENARIOS: dict[str, Scenario] = {}
HOSTS: dict[str, tuple[str, ...]] = {}


def scenario(*hosts: str) -> Callable[[Callable[[Stage], AsyncGenerator[Case, None]]], None]:
    """Register under the function's name, with dashes; run once for each of ``hosts``."""

    def register(make: Callable[[Stage], AsyncGenerator[Case, None]]) -> None:
        name = make.__name__.replace("_", "-")
        SCENARIOS[name] = asynccontextmanager(make)
        HOSTS[name] = hosts or (network.HOST,)

    return register


BOTH = (network.HOST, "localhost")
"""A fault of TLS is told by localhost too, where [::1] may hide it."""


@asynccontextmanager
async def milvus(**arguments: Any) -> AsyncGenerator[FakeMilvus, None]:
    async with FakeMilvus(**arguments) as server:
        server.add_job(job_id=JOB)
        yield server


# Wrong wiring


@scenario()
async def internal_asked_on_public_port(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        yield Case(Attempt(server.public_uri, {"service": "internal"}), Attempt(server.public_uri))


@scenario()
async def public_asked_on_internal_port(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        yield Case(
            Attempt(server.internal_uri, {"service": "public"}), Attempt(server.internal_uri)
        )


@scenario()
async def both_services_unknown(stage: Stage) -> AsyncGenerator[Case, None]:
    server = grpc.aio.server()
    port = server.add_insecure_port(f"{network.HOST}:0")
    await server.start()
    yield Case(Attempt(f"{network.HOST}:{port}"))
    await server.stop(None)
    await settled()


@scenario()
async def internal_port_of_2_3(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus(version="2.3") as server:
        yield Case(Attempt(server.internal_uri), Attempt(server.public_uri))


# No way there


@scenario()
async def dead_port(stage: Stage) -> AsyncGenerator[Case, None]:
    with network.dead_port() as port:
        yield Case(Attempt(f"http://{network.HOST}:{port}"))


@scenario()
async def dead_port_waited_for(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    with network.dead_port() as port:
        waits = {"wait_for_ready": True, "timeout": timeout}
        yield Case(Attempt(f"http://{network.HOST}:{port}", waits), ends_at=timeout)


@scenario()
async def unknown_host(stage: Stage) -> AsyncGenerator[Case, None]:
    async with network.nameless_dns() as port:
        yield Case(Attempt(f"dns://{network.HOST}:{port}/milvus.invalid:19530"))


@scenario()
async def no_socket(stage: Stage) -> AsyncGenerator[Case, None]:
    yield Case(Attempt("unix:/nowhere/milvus.sock"))


@scenario()
async def silent_port(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    with network.silent_port() as port:
        yield Case(Attempt(f"http://{network.HOST}:{port}", {"timeout": timeout}), ends_at=timeout)


@scenario()
async def blackhole(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    with network.blackhole_port() as port:
        yield Case(Attempt(f"http://{network.HOST}:{port}", {"timeout": timeout}), ends_at=timeout)


@scenario()
async def broken_connection(stage: Stage) -> AsyncGenerator[Case, None]:
    async with network.breaking_port() as port:
        yield Case(Attempt(f"http://{network.HOST}:{port}", ask=ask_import))


# In the middle of a call

OWN_CONNECTION = {"channel_options": [("grpc.use_local_subchannel_pool", 1)]}
"""Else gRPC may give a new channel the connection that is about to end."""


def breakage(name: str, damage: Callable[[Relay], None], fault: str | Fault = "hang") -> None:
    """A connection that is damaged while an order is under way, which is never sent again."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with milvus() as server, Relay(server.internal_port) as relay:

            async def ask(client: ImportClient) -> None:
                server.inject(fault)
                asking = asyncio.create_task(ask_import(client))
                await until(lambda: bool(server.received), GUARD * stage.scale)
                damage(relay)
                stage.breaks()
                await asking

            yield Case(Attempt(relay.uri, ask=ask), Attempt(relay.uri, OWN_CONNECTION, ask_import))

    make.__name__ = name
    scenario()(make)


breakage("connection_reset", Relay.reset)
breakage("connection_half_closed", Relay.half_close)
breakage("reply_cut_off", lambda relay: relay.cut(after=5), Fault(delay=0.05))
breakage("garbage_on_the_wire", lambda relay: relay.garbage(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"))
breakage("oversized_frame", Relay.oversized_frame)


@scenario()
async def connection_silent(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    async with milvus() as server, Relay(server.internal_port) as relay:

        async def ask(client: ImportClient) -> None:
            await client.check(timeout=GUARD * stage.scale)
            relay.drop()
            stage.breaks()
            await ask_progress(client)

        yield Case(Attempt(relay.uri, {"timeout": timeout}, ask), ends_at=timeout)


@scenario()
async def server_stopped(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    async with FakeProcess({"job_id": JOB}) as server:

        async def ask(client: ImportClient) -> None:
            await client.check(timeout=GUARD * stage.scale)
            server.freeze()
            stage.breaks()
            await ask_progress(client)

        yield Case(Attempt(server.internal_uri, {"timeout": timeout}, ask), ends_at=timeout)


@scenario()
async def server_killed(stage: Stage) -> AsyncGenerator[Case, None]:
    async with FakeProcess({"job_id": JOB}) as server:

        async def ask(client: ImportClient) -> None:
            await client.check()
            server.freeze()
            asking = asyncio.create_task(ask_import(client))
            await asyncio.sleep(0.1 * stage.scale)
            await server.kill()
            stage.breaks()
            await asking

        yield Case(Attempt(server.internal_uri, ask=ask))


@scenario()
async def loop_blocked(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 1.0 * stage.scale
    async with FakeProcess({"job_id": JOB}) as server:

        async def ask(client: ImportClient) -> None:
            await client.check(timeout=GUARD * stage.scale)
            asking = asyncio.create_task(ask_progress(client))
            await asyncio.sleep(0.02)
            time.sleep(timeout + 0.5)  # noqa: ASYNC251 - that is the fault
            await asking

        yield Case(Attempt(server.internal_uri, {"timeout": timeout}, ask))


PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")


@scenario()
async def dead_proxy_on_loopback(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        with network.dead_port() as port:
            for variable in PROXY_VARIABLES:
                stage.monkeypatch.setenv(variable, f"http://{network.HOST}:{port}")
            yield Case(Attempt(server.internal_uri))


@scenario(*PROXY_VARIABLES)
async def dead_proxy(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        with network.dead_port() as port:
            stage.monkeypatch.setenv(stage.host, f"http://{network.HOST}:{port}")
            uri = f"http://0.0.0.0:{server.internal_port}"  # this machine, but no loopback address
            yield Case(
                Attempt(uri), Attempt(uri, {"channel_options": [("grpc.enable_http_proxy", 0)]})
            )


# TLS


@scenario(*BOTH)
async def plaintext_to_tls(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus(tls=stage.certificates.server) as server:
        address = f"{stage.host}:{server.internal_port}"
        yield Case(Attempt(f"http://{address}"), Attempt(f"https://{address}", stage.ca()))


@scenario(*BOTH)
async def tls_to_plaintext(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        address = f"{stage.host}:{server.internal_port}"
        yield Case(Attempt(f"https://{address}"), Attempt(f"http://{address}"))


@scenario(*BOTH)
async def untrusted_ca(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus(tls=stage.certificates.server) as server:
        uri = f"https://{stage.host}:{server.internal_port}"
        wrong = {"tls": TLSConfig(ca=stage.certificates.other_ca)}
        yield Case(Attempt(uri, wrong), Attempt(uri, stage.ca()))


@scenario()
async def expired_certificate(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus(tls=stage.certificates.expired) as server:
        yield Case(Attempt(server.internal_uri, stage.ca()))


@scenario(*BOTH)
async def wrong_host_name(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus(tls=stage.certificates.elsewhere) as server:
        uri = f"https://{stage.host}:{server.internal_port}"
        yield Case(Attempt(uri, stage.ca()), Attempt(uri, stage.ca(server_name=ELSEWHERE)))


@scenario(*BOTH)
async def no_client_certificate(stage: Stage) -> AsyncGenerator[Case, None]:
    key, cert = stage.certificates.client
    ca = stage.certificates.ca
    async with milvus(tls=stage.certificates.server, client_ca=ca) as server:
        uri = f"https://{stage.host}:{server.internal_port}"
        yield Case(Attempt(uri, stage.ca()), Attempt(uri, stage.ca(cert=cert, key=key)))


@scenario()
async def http_server(stage: Stage) -> AsyncGenerator[Case, None]:
    async with network.http_port() as port:
        yield Case(Attempt(f"http://{network.HOST}:{port}"))


@scenario()
async def https_server(stage: Stage) -> AsyncGenerator[Case, None]:
    async with network.http_port(stage.certificates.https) as port:
        yield Case(Attempt(f"https://{network.HOST}:{port}", stage.ca()))


@scenario()
async def other_server(stage: Stage) -> AsyncGenerator[Case, None]:
    async with network.ssh_port() as port:
        yield Case(Attempt(f"http://{network.HOST}:{port}"))


def gateway(name: str, status: int) -> None:
    """Something before Milvus that speaks HTTP/2 and answers by itself."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with network.gateway_port(status) as port:
            yield Case(Attempt(f"http://{network.HOST}:{port}"))

    make.__name__ = name
    scenario()(make)


gateway("gateway_forbids", 403)
gateway("gateway_without_route", 404)
gateway("gateway_rate_limit", 429)
gateway("gateway_without_server", 503)
gateway("web_page", 200)


# Credentials


def credentials(name: str, connect: dict[str, Any]) -> None:
    """A server that knows one token, and a client that brings something else."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with milvus(token=TOKEN) as server:
            yield Case(Attempt(server.public_uri, connect), Attempt(server.public_uri))

    make.__name__ = name
    scenario()(make)


credentials("no_credentials", {"token": None})
credentials("malformed_credentials", {"metadata": {"authorization": f"Bearer {TOKEN}"}})
credentials("wrong_credentials", {"token": None, "user": "root", "password": f"not {SECRET}"})

# What the server answers


def answer(
    name: str, fault: str | Fault, ask: Callable[[ImportClient], Awaitable[None]] = ask_progress
) -> None:
    """A fault that passes: the same call works the next time."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with milvus() as server:
            server.inject(fault)
            attempt = Attempt(server.public_uri, {"service": "public"}, ask)
            yield Case(attempt, attempt)

    make.__name__ = name
    scenario()(make)


answer("server_deadline", "deadline")
answer("denied", "denied", ask_import)
answer("unparseable_reply", "garbage")
answer("empty_reply", "empty")
answer("proxy_starting", "proxy-not-ready", ask_import)
answer("not_ready", "not-ready")
answer("rate_limit", "rate-limit")
answer("job_limit", "job-limit", ask_import)
answer("no_such_collection", "no-collection", ask_import)
answer("legacy_status", "legacy")


@scenario()
async def reply_too_large(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        yield Case(
            Attempt(server.internal_uri, {"max_receive_bytes": 10}), Attempt(server.internal_uri)
        )


@scenario()
async def request_too_large(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        uri = server.internal_uri
        yield Case(Attempt(uri, {"max_send_bytes": 10}, ask_import), Attempt(uri, ask=ask_import))


@scenario()
async def unknown_job(stage: Stage) -> AsyncGenerator[Case, None]:
    async with FakeMilvus() as server:
        yield Case(Attempt(server.internal_uri))


@scenario()
async def unknown_job_of_2_3(stage: Stage) -> AsyncGenerator[Case, None]:
    async with FakeMilvus(version="2.3") as server:
        yield Case(Attempt(server.public_uri))


# The client itself


@scenario()
async def closed_client(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        yield Case(Attempt(server.internal_uri, ask=ask_when_closed), Attempt(server.internal_uri))


@scenario()
async def closed_during_call(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        server.inject("hang", times=None)
        yield Case(Attempt(server.internal_uri, ask=close_while_asking))


@scenario()
async def closed_between_polls(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def ask(client: ImportClient) -> None:
            watch = client.watch(JOB, interval=3600)
            await anext(watch)
            following = asyncio.create_task(watch.__anext__())
            await asyncio.sleep(0)
            stage.breaks()
            await client.close()
            await following

        yield Case(Attempt(server.internal_uri, ask=ask))


@scenario()
async def second_loop(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def ask(client: ImportClient) -> None:
            await ask_progress(client)
            stage.breaks()
            await anyio.to_thread.run_sync(lambda: asyncio.run(ask_progress(client)))

        yield Case(Attempt(server.internal_uri, ask=ask))


AFTER_FORK = """
import asyncio, os, sys, time
from milvus_import import ImportClient

client = ImportClient(sys.argv[1])
asyncio.run(client.check())
if os.fork() == 0:
    start = time.monotonic()
    try:
        asyncio.run(client.check())
    except RuntimeError as error:
        print(time.monotonic() - start, error, flush=True)
    os._exit(0)
os.wait()
"""


@scenario()
async def after_fork(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def ask(client: ImportClient) -> None:
            command = [sys.executable, "-P", "-c", AFTER_FORK, server.internal_uri]
            with anyio.fail_after(20 * stage.scale):
                done = await anyio.run_process(command)
            seconds, _, text = done.stdout.decode().partition(" ")
            stage.broken = time.monotonic() - float(seconds)
            raise RuntimeError(text)

        yield Case(Attempt(server.internal_uri, ask=ask))


@scenario()
async def no_time_left(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        yield Case(Attempt(server.internal_uri, {"timeout": 0}), Attempt(server.internal_uri))
        assert len(server.received) == 1  # the mended call's


# ------------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return make_certificates()


@pytest.fixture
def stage(
    scale: float, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Stage]:
    for variable in (*PROXY_VARIABLES, "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return lambda host: Stage(host, scale, certificates, monkeypatch)


def test_every_row_has_its_scenario_and_every_scenario_its_row() -> None:
    assert sorted(row.name for row in ROWS) == sorted(SCENARIOS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_says_after_how_long_its_error_is_told(row: Row) -> None:
    assert re.fullmatch(r"at once|at `timeout`|\d\.\d s" if row.error else "", row.told)


@pytest.mark.parametrize(
    ("row", "host"),
    [
        pytest.param(row, host, id=f"{row.name}-{host}")
        for row in ROWS
        for host in HOSTS.get(row.name, ())
    ],
)
async def test_fault_shows_what_its_row_says(
    row: Row,
    host: str,
    stage: Callable[[str], Stage],
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    place = stage(host)
    async with SCENARIOS[row.name](place) as case:
        place.breaks()
        error: Exception | None = None
        try:
            await case.fails.run()
        except (MilvusImportError, RuntimeError) as caught:
            error = caught
        elapsed = time.monotonic() - place.broken
        record_property(row.name, elapsed if error and not case.ends_at else "")
        assert bool(case.ends_at) == (row.told == "at `timeout`")
        assert case.ends_at * 0.9 <= elapsed < case.ends_at + GUARD * place.scale
        if case.mended is not None:
            with anyio.fail_after(GUARD * 5 * place.scale):
                await case.mended.run()
    if error is None:
        assert row.error is None
        return
    assert type(error).__name__ == row.error
    assert [words for words in row.words if words not in str(error)] == [], str(error)
    check_attributes(error, row)
    if isinstance(error, (CallError, RefusedError)):
        target = re.sub("^https?://", "", case.fails.uri)
        assert re.match(rf"(Get)?Import\w* at {re.escape(target)}(:| was refused:) ", str(error))
    told = (str(error), repr(error), caplog.text, *traceback.format_exception(error))
    assert not [spelling for spelling in SPELLINGS if spelling in "".join(told)]


def check_attributes(error: Exception, row: Row) -> None:
    """Those that docs/errors.md promises are set, and agree with each other."""
    if isinstance(error, CallError):
        assert error.may_have_run is row.may_have_run
        if error.record is None:
            assert row.name in {"empty-reply", "no-time-left"}
            return
        assert error.record.code is error.code
        assert error.record.details in error.details
        assert error.record.details
        assert SECRET not in repr(error.record)
    elif isinstance(error, RefusedError):
        assert error.code or error.error_code
        assert error.reason in str(error)
        assert error.service is not None
    assert isinstance(error, CallError) or row.may_have_run is None


# gRPC's words for the same fault differ between grpcio 1.66 and 1.85, and from call to call where a
# name has two addresses. As recorded on both:

ALL_FAILED = "failed to connect to all addresses; last error: "
IPV6_REFUSED = "UNKNOWN: ipv6:%5B::1%5D:19530: Failed to connect to remote host: Connection refused"
IPV4_REFUSED = (
    "UNKNOWN: ipv4:127.0.0.1:19530: Failed to connect to remote host: connect: Connection "
    "refused (111)"
)
OLD_WRONG_NAME = "UNKNOWN: ipv4:127.0.0.1:19530: Peer name localhost is not in peer certificate"
NEW_WRONG_NAME = (
    "UNKNOWN: ipv4:127.0.0.1:19530: Custom verification check failed with error: "
    "UNAUTHENTICATED: Hostname Verification Check failed."
)
NO_CERTIFICATE = "UNAVAILABLE: ipv4:127.0.0.1:19530: recvmsg:Connection reset by peer"
OLD_UNKNOWN = (
    "DNS resolution failed for localhost:19530: C-ares status is not ARES_SUCCESS qtype=A "
    "name=localhost is_balancer=0: Domain name not found"
)
NEW_UNKNOWN = (
    "errors resolving localhost:19530: [field:hostname lookup error:address lookup failed "
    "for localhost:19530: Domain name not found]"
)
UNKNOWN_PROXY = (
    "errors resolving proxy:3128: [field:hostname lookup error:address lookup failed for "
    "proxy:3128: Domain name not found]"
)
PROXY_SAYS_NO = "UNKNOWN: ipv4:127.0.0.1:3128: HTTP proxy returned response code 403"


@pytest.mark.parametrize(
    ("uri", "details", "words"),
    [
        ("http://localhost:19530", ALL_FAILED + IPV6_REFUSED, "if it expects TLS, write https://"),
        ("https://localhost:19530", ALL_FAILED + IPV6_REFUSED, "without TLS, write http://"),
        ("https://localhost:19530", ALL_FAILED + IPV6_REFUSED, "TLSConfig(ca=...)"),
        ("https://localhost:19530", ALL_FAILED + IPV6_REFUSED, "TLSConfig(server_name=...)"),
        ("https://localhost:19530", ALL_FAILED + IPV6_REFUSED, "TLSConfig(cert=..., key=...)"),
        ("https://[::1]:19530", ALL_FAILED + IPV6_REFUSED, "check host and port"),
        ("http://127.0.0.1:19530", ALL_FAILED + IPV4_REFUSED, "check host and port"),
        ("https://localhost:19530", ALL_FAILED + OLD_WRONG_NAME, "TLSConfig(server_name=...)"),
        ("https://localhost:19530", ALL_FAILED + NEW_WRONG_NAME, "TLSConfig(server_name=...)"),
        ("https://localhost:19530", ALL_FAILED + NO_CERTIFICATE, "TLSConfig(cert=..., key=...)"),
        ("http://localhost:19530", OLD_UNKNOWN, "The host name cannot be resolved"),
        ("http://localhost:19530", NEW_UNKNOWN, "The host name cannot be resolved"),
        ("http://milvus:19530", UNKNOWN_PROXY, "A proxy variable"),
        ("http://milvus:19530", ALL_FAILED + PROXY_SAYS_NO, "A proxy variable"),
        ("http://milvus:19529", ALL_FAILED + IPV4_REFUSED, "A proxy variable"),
    ],
)
def test_words_of_every_grpcio_are_understood(uri: str, details: str, words: str) -> None:
    scheme, _, target = uri.partition("://")
    error = call_error(
        grpc.StatusCode.UNAVAILABLE,
        details,
        method="ImportV2",
        target=target,
        secure=scheme == "https",
    )
    assert words in str(error)
    assert not error.may_have_run
