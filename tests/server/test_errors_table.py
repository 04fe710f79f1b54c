"""docs/errors.md against real faults: each fault of its table is caused and must look as stated."""

from __future__ import annotations

import asyncio
import base64
import json
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
import network
import pytest
import web
from certificates import ELSEWHERE, Certificates
from gateways import scripted_gateway
from h2_server import H2Server
from interceptors import HoldBack
from network import Relay
from processes import FakeProcess
from times import until

from milvus_import import (
    CallError,
    ClientClosedError,
    ImportClient,
    MilvusImportError,
    MilvusStatusError,
    TLSConfig,
)
from milvus_import.testing import FakeMilvus, Fault
from milvus_import.testing._server import settled
from milvus_import_pb import common_pb2

pytestmark = [pytest.mark.anyio, pytest.mark.real_delays]

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
TIME_TO_ERROR = 3.0
"""Seconds within which an error is raised."""
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
    time: str
    """How long it takes, as measured (scripts/fault_times.py), or "at `timeout`"."""
    may_have_run: bool | None
    transient: bool | None


BOOLEANS = {"yes": True, "maybe": True, "no": False, "": None}


def read_table() -> list[Row]:
    rows: list[Row] = []
    for line in PAGE.read_text(encoding="utf-8").partition("| Row |")[2].splitlines()[2:]:
        if not line.startswith("|"):
            break
        name, _, seen, seconds, ran, transient = (c.strip() for c in line.strip("|").split("|"))
        error = re.match(r"`(\w+)`: ", seen)
        rows.append(
            Row(
                name.strip("`"),
                error and error[1],
                tuple(re.findall(r'"(.*?)"', seen)),
                seconds,
                BOOLEANS[ran],
                BOOLEANS[transient],
            )
        )
    return rows


ROWS = read_table()

# ----------------------------------------------------------------------- how to cause them


async def get_progress(client: ImportClient) -> None:
    await client.get_import_progress(JOB)


async def create_import(client: ImportClient) -> None:
    await client.create_import("books", ["a.parquet"])


async def call_closed_client(client: ImportClient) -> None:
    await client.close()
    await get_progress(client)


async def close_during_calls(client: ImportClient) -> None:
    calls = [asyncio.create_task(get_progress(client)) for _ in range(200)]
    await asyncio.sleep(0.1)
    await client.close()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(end) for end in ends} == {ClientClosedError}
    await calls[0]


@dataclass(slots=True)
class Attempt:
    """A client and its call."""

    uri: str
    connect: dict[str, Any] = field(default_factory=dict[str, Any])
    call: Callable[[ImportClient], Awaitable[None]] = get_progress

    async def run(self) -> None:
        async with ImportClient(self.uri, **(SECRETS | self.connect)) as client:
            await self.call(client)


@dataclass(slots=True)
class Case:
    """A fault: the call that fails, and one that does what the table advises."""

    fails: Attempt
    fixed: Attempt | None = None
    ends_at: float = 0.0
    """The timeout of the call, if nothing ends it before."""


@dataclass(slots=True)
class Stage:
    """What a scenario may use."""

    host: str
    scale: float
    certificates: Certificates
    monkeypatch: pytest.MonkeyPatch
    fault_began: float = 0.0
    """When the fault began, if it was not there from the beginning."""

    def begin_fault(self) -> None:
        """The fault begins now."""
        self.fault_began = time.monotonic()

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
"""A TLS fault has to be recognised for localhost too, where [::1] may hide it."""


@asynccontextmanager
async def milvus(**arguments: Any) -> AsyncGenerator[FakeMilvus, None]:
    async with FakeMilvus(**arguments) as server:
        server.add_job(job_id=JOB)
        yield server


# Wrong address or service


@scenario()
async def internal_service_on_public_port(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        yield Case(Attempt(server.public_uri, {"service": "internal"}), Attempt(server.public_uri))


@scenario()
async def public_service_on_internal_port(stage: Stage) -> AsyncGenerator[Case, None]:
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


# No connection


@scenario()
async def refused_connection(stage: Stage) -> AsyncGenerator[Case, None]:
    with network.closed_port() as port:
        yield Case(Attempt(f"http://{network.HOST}:{port}"))


@scenario()
async def refused_connection_waited_for(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    with network.closed_port() as port:
        waits = {"wait_for_ready": True, "rpc_timeout": timeout}
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
        yield Case(
            Attempt(f"http://{network.HOST}:{port}", {"rpc_timeout": timeout}), ends_at=timeout
        )


@scenario()
async def blackhole(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    with network.blackhole_port() as port:
        yield Case(
            Attempt(f"http://{network.HOST}:{port}", {"rpc_timeout": timeout}), ends_at=timeout
        )


@scenario()
async def broken_connection(stage: Stage) -> AsyncGenerator[Case, None]:
    async with network.breaking_port() as port:
        yield Case(Attempt(f"http://{network.HOST}:{port}"))


# During a call

OWN_CONNECTION = {"channel_options": [("grpc.use_local_subchannel_pool", 1)]}
"""Otherwise gRPC may give a new channel the connection that is about to end."""


def breakage(name: str, damage: Callable[[Relay], None], fault: str | Fault = "hang") -> None:
    """A connection that is damaged during create_import, which is never resent."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with milvus() as server, Relay(server.internal_port) as relay:

            async def call(client: ImportClient) -> None:
                server.inject(fault)
                call_task = asyncio.create_task(create_import(client))
                await until(lambda: bool(server.received))
                damage(relay)
                stage.begin_fault()
                await call_task

            yield Case(
                Attempt(relay.uri, call=call), Attempt(relay.uri, OWN_CONNECTION, create_import)
            )

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

        async def call(client: ImportClient) -> None:
            await client.check(timeout=TIME_TO_ERROR * stage.scale)
            relay.drop()
            stage.begin_fault()
            await get_progress(client)

        yield Case(Attempt(relay.uri, {"rpc_timeout": timeout}, call), ends_at=timeout)


@scenario()
async def server_stopped(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    async with FakeProcess({"job_id": JOB}) as server:

        async def call(client: ImportClient) -> None:
            await client.check(timeout=TIME_TO_ERROR * stage.scale)
            server.freeze()
            stage.begin_fault()
            await get_progress(client)

        yield Case(Attempt(server.internal_uri, {"rpc_timeout": timeout}, call), ends_at=timeout)


@scenario()
async def server_killed(stage: Stage) -> AsyncGenerator[Case, None]:
    async with FakeProcess({"job_id": JOB}) as server:

        async def call(client: ImportClient) -> None:
            await client.check()
            server.freeze()
            call_task = asyncio.create_task(create_import(client))
            await asyncio.sleep(0.1 * stage.scale)
            await server.kill()
            stage.begin_fault()
            await call_task

        yield Case(Attempt(server.internal_uri, call=call))


@scenario()
async def loop_blocked(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 1.0 * stage.scale
    async with FakeProcess({"job_id": JOB}) as server:

        async def call(client: ImportClient) -> None:
            await client.check(timeout=TIME_TO_ERROR * stage.scale)
            call_task = asyncio.create_task(get_progress(client))
            await asyncio.sleep(0.02)
            time.sleep(timeout + 0.5)  # noqa: ASYNC251 - that is the fault
            await call_task

        yield Case(Attempt(server.internal_uri, {"rpc_timeout": timeout}, call))


PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")


@scenario()
async def unreachable_proxy_on_loopback(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        with network.closed_port() as port:
            for variable in PROXY_VARIABLES:
                stage.monkeypatch.setenv(variable, f"http://{network.HOST}:{port}")
            yield Case(Attempt(server.internal_uri))


@scenario(*PROXY_VARIABLES)
async def unreachable_proxy(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        with network.closed_port() as port:
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
    """A gateway in front of Milvus that responds by itself."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with network.gateway_port(status) as port:
            yield Case(Attempt(f"http://{network.HOST}:{port}"))

    make.__name__ = name
    scenario()(make)


gateway("gateway_forbids", 403)
gateway("gateway_without_route", 404)
gateway("gateway_redirect", 301)
gateway("gateway_rate_limit", 429)
gateway("gateway_error", 500)
gateway("gateway_without_server", 503)
gateway("gateway_timeout", 504)
gateway("web_page", 200)


def gateway_status(name: str, code: grpc.StatusCode, text: str) -> None:
    """A gateway such as Envoy, which turns its own errors into gRPC statuses."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with network.status_port(code.value[0], text) as port:
            yield Case(Attempt(f"http://{network.HOST}:{port}"))

    make.__name__ = name
    scenario()(make)


gateway_status("envoy_without_server", grpc.StatusCode.UNAVAILABLE, "no healthy upstream")
gateway_status("envoy_timeout", grpc.StatusCode.UNAVAILABLE, "upstream request timeout")
gateway_status("envoy_rate_limit", grpc.StatusCode.RESOURCE_EXHAUSTED, "local_rate_limited")
gateway_status("envoy_rbac", grpc.StatusCode.PERMISSION_DENIED, "RBAC: access denied")
gateway_status(
    "gateway_strips_authorization",
    grpc.StatusCode.UNAUTHENTICATED,
    "missing authorization in header",
)


@scenario()
async def gateway_empty_response(stage: Stage) -> AsyncGenerator[Case, None]:
    async with scripted_gateway(None) as gateway:
        yield Case(Attempt(gateway.uri, {"service": "internal"}))


# Credentials


def credentials(name: str, connect: dict[str, Any]) -> None:
    """A server that accepts one token, and a client that sends something else."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with milvus(token=TOKEN) as server:
            yield Case(Attempt(server.public_uri, connect), Attempt(server.public_uri))

    make.__name__ = name
    scenario()(make)


credentials("no_credentials", {"token": None})
credentials("malformed_credentials", {"metadata": {"authorization": f"Bearer {TOKEN}"}})
credentials("wrong_credentials", {"token": None, "user": "root", "password": f"not {SECRET}"})

# Responses of the server


def status(code: int, reason: str) -> Fault:
    return Fault(status=common_pb2.Status(code=code, error_code=1, reason=reason, detail=reason))


def response(
    name: str, fault: str | Fault, call: Callable[[ImportClient], Awaitable[None]] = get_progress
) -> None:
    """A fault that passes: the next call succeeds."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with milvus() as server:
            server.inject(fault)
            attempt = Attempt(server.public_uri, {"service": "public"}, call)
            yield Case(attempt, attempt)

    make.__name__ = name
    scenario()(make)


response("server_deadline", "deadline")
response("server_cancelled", "cancelled")
response("server_rate_limit", Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests"))
response("coordinator_unavailable", "coordinator-unavailable")
response("routing_metadata", "cross-cluster")
response("denied", "denied", create_import)
response("unparseable_reply", "garbage")
response("empty_reply", "empty")
response("proxy_starting", "proxy-not-ready", create_import)
response("not_ready", "not-ready")
response("rate_limit", "rate-limit")
response("job_limit", "job-limit", create_import)
response(
    "job_limit_of_2_3",
    status(65535, "import task queue max size is 3, currently there are 3 tasks is pending"),
    create_import,
)
response(
    "too_many_files",
    status(2100, "The max number of import files should not exceed 1024"),
    create_import,
)
response("file_type", status(2100, "unexpected file type, files=[a.txt]"), create_import)
response("disk_quota", status(2100, "disk quota exceeded: importing data failed"), create_import)
response("unknown_status", status(65535, "something new"), create_import)
response("no_such_collection", "no-collection", create_import)
response("legacy_status", "legacy")


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
        yield Case(
            Attempt(uri, {"max_send_bytes": 10}, create_import), Attempt(uri, call=create_import)
        )


@scenario()
async def unknown_job(stage: Stage) -> AsyncGenerator[Case, None]:
    async with FakeMilvus() as server:
        yield Case(Attempt(server.internal_uri))


@scenario()
async def unknown_job_of_2_3(stage: Stage) -> AsyncGenerator[Case, None]:
    async with FakeMilvus(version="2.3") as server:
        yield Case(Attempt(server.public_uri))


@scenario()
async def unknown_job_of_a_database(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        server.inject(status(2100, "import job does not exist, jobID=4, dbID=1"))
        yield Case(Attempt(server.internal_uri))


@scenario()
async def several_servers(stage: Stage) -> AsyncGenerator[Case, None]:
    gone = status(2100, f"import job does not exist, jobID={JOB}")
    async with milvus() as server:
        replies = iter([None, gone, None, gone, gone])
        server.choose_fault = lambda _: next(replies)

        async def call(client: ImportClient) -> None:
            await client.wait(JOB, interval=0.01)

        yield Case(Attempt(server.internal_uri, call=call))


@scenario()
async def progress_denied_over_rest(stage: Stage) -> AsyncGenerator[Case, None]:
    user = f"bob:{SECRET}1"
    async with milvus(version="2.5", token=TOKEN) as server:
        server.users = {user: {"books"}}
        rest: dict[str, Any] = {"service": "rest", "metadata": {}}
        yield Case(Attempt(server.rest_uri, rest | {"token": user}), Attempt(server.rest_uri, rest))


@scenario()
async def web_page_over_rest(stage: Stage) -> AsyncGenerator[Case, None]:
    async with web.serving(web.reply(b"<title>Welcome</title>")) as page:
        yield Case(Attempt(page.uri, {"service": "rest", "metadata": {}}))


@scenario()
async def large_metadata(stage: Stage) -> AsyncGenerator[Case, None]:
    async with H2Server(lambda request: request.go_away(11)) as port:
        large = SECRETS["metadata"] | {"x-large": "x" * 5_000}
        yield Case(Attempt(port.uri, {"metadata": large, "service": "internal"}))


@scenario()
async def slow_interceptor(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    async with milvus() as server:
        slow = {"rpc_timeout": timeout, "interceptors": [HoldBack()]}
        yield Case(
            Attempt(server.internal_uri, slow), Attempt(server.internal_uri), ends_at=timeout
        )


@scenario()
async def create_deadline(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    async with milvus(version="2.3") as server:
        server.inject("hang", method="Import")
        yield Case(
            Attempt(server.public_uri, {"rpc_timeout": timeout}, create_import), ends_at=timeout
        )


@scenario()
async def slow_server(stage: Stage) -> AsyncGenerator[Case, None]:
    timeout = 0.3 * stage.scale
    async with milvus() as server:

        async def call(client: ImportClient) -> None:
            await client.check(timeout=TIME_TO_ERROR * stage.scale)
            server.inject("hang")
            stage.begin_fault()
            await get_progress(client)

        yield Case(Attempt(server.internal_uri, {"rpc_timeout": timeout}, call), ends_at=timeout)


@scenario()
async def many_groups(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def call(client: ImportClient) -> None:
            await client.create_import("books", ["a.parquet", "b.parquet"])

        yield Case(
            Attempt(server.public_uri, {"service": "public"}, call),
            Attempt(server.internal_uri, call=call),
        )


@scenario()
async def commit_on_grpc(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def call(client: ImportClient) -> None:
            await client.commit_import(JOB)

        yield Case(Attempt(server.public_uri, call=call))


@scenario()
async def job_list_without_ids(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def call(client: ImportClient) -> None:
            await client.list_imports("books")

        yield Case(Attempt(server.public_uri, call=call), Attempt(server.internal_uri, call=call))


# Jobs


def failed_job(name: str, reason: str) -> None:
    """A job that has failed, and a caller that waits for it."""

    async def make(stage: Stage) -> AsyncGenerator[Case, None]:
        async with FakeMilvus() as server:
            server.add_job(job_id=JOB, state="Failed", reason=reason)

            async def call(client: ImportClient) -> None:
                await client.wait(JOB)

            yield Case(Attempt(server.internal_uri, call=call))

    make.__name__ = name
    scenario()(make)


failed_job("job_file_not_found", "error: key not found[key=/home/me/books.json], file: id:1")
failed_job("job_file_type", "unsupported file type: .txt")
failed_job("job_json_layout", "the JSON root key should be 'rows'")
failed_job("job_npy_names", "there is no file corresponding to field: vector")
failed_job("job_large_strings", "unsupported data type large_utf8")
failed_job("job_restarted", "task marked failed as service restarted")
failed_job("job_bucket_keys", "Access Denied.")
failed_job("job_missing_column", "field 'title' not in arrow schema")
failed_job("job_file_size", "file size 17179869185 exceeds the maxSize 17179869184")
failed_job("job_import_timeout", "import timeout")


@scenario()
async def wait_timeout(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def call(client: ImportClient) -> None:
            await client.wait(JOB, timeout=0)

        yield Case(Attempt(server.internal_uri, call=call))


# The client itself


@scenario()
async def bad_argument(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def call(client: ImportClient) -> None:
            await client.get_import_progress("latest")

        yield Case(Attempt(server.internal_uri, call=call))
        assert not server.received


@scenario()
async def closed_client(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        yield Case(
            Attempt(server.internal_uri, call=call_closed_client), Attempt(server.internal_uri)
        )


@scenario()
async def closed_during_call(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        server.inject("hang", times=None)
        yield Case(Attempt(server.internal_uri, call=close_during_calls))


@scenario()
async def closed_between_polls(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def call(client: ImportClient) -> None:
            watch = client.watch(JOB, interval=3600)
            await anext(watch)
            following = asyncio.create_task(watch.__anext__())
            await asyncio.sleep(0)
            stage.begin_fault()
            await client.close()
            await following

        yield Case(Attempt(server.internal_uri, call=call))


@scenario()
async def second_loop(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:

        async def call(client: ImportClient) -> None:
            await get_progress(client)
            stage.begin_fault()
            await anyio.to_thread.run_sync(lambda: asyncio.run(get_progress(client)))

        yield Case(Attempt(server.internal_uri, call=call))


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

        async def call(client: ImportClient) -> None:
            command = [sys.executable, "-P", "-c", AFTER_FORK, server.internal_uri]
            with anyio.fail_after(20 * stage.scale):
                done = await anyio.run_process(command)
            seconds, _, text = done.stdout.decode().partition(" ")
            stage.fault_began = time.monotonic() - float(seconds)
            raise RuntimeError(text)

        yield Case(Attempt(server.internal_uri, call=call))


@scenario()
async def no_time_left(stage: Stage) -> AsyncGenerator[Case, None]:
    async with milvus() as server:
        yield Case(Attempt(server.internal_uri, {"rpc_timeout": 0}), Attempt(server.internal_uri))
        assert len(server.received) == 1  # the fixed call's


# ------------------------------------------------------------------------------- the tests


@pytest.fixture
def stage(
    scale: float, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Stage]:
    for variable in (*PROXY_VARIABLES, "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return lambda host: Stage(host, scale, certificates, monkeypatch)


def test_every_row_has_a_scenario_and_every_scenario_has_a_row() -> None:
    assert sorted(row.name for row in ROWS) == sorted(SCENARIOS)


def test_every_row_states_its_time_to_error() -> None:
    for row in ROWS:
        pattern = r"immediately|at `timeout`|\d\.\d s" if row.error else ""
        assert re.fullmatch(pattern, row.time), row.name


@pytest.mark.parametrize(
    ("row", "host"),
    [
        pytest.param(row, host, id=f"{row.name}-{host}")
        for row in ROWS
        for host in HOSTS.get(row.name, ())
    ],
)
async def test_fault_shows_what_its_row_states(
    row: Row,
    host: str,
    stage: Callable[[str], Stage],
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    place = stage(host)
    async with SCENARIOS[row.name](place) as case:
        place.begin_fault()
        error: Exception | None = None
        try:
            await case.fails.run()
        except (MilvusImportError, RuntimeError) as caught:
            error = caught
        elapsed = time.monotonic() - place.fault_began
        record_property(row.name, elapsed if error and not case.ends_at else "")
        assert bool(case.ends_at) == (row.time == "at `timeout`")
        assert case.ends_at * 0.9 <= elapsed < case.ends_at + TIME_TO_ERROR * place.scale
        if case.fixed is not None:
            with anyio.fail_after(TIME_TO_ERROR * 5 * place.scale):
                await case.fixed.run()
    if error is None:
        assert row.error is None
        return
    assert type(error).__name__ == row.error
    assert [words for words in row.words if words not in str(error)] == [], str(error)
    check_attributes(error, row)
    if isinstance(error, (CallError, MilvusStatusError)):
        target = re.sub("^https?://", "", case.fails.uri)
        assert re.match(rf"[\w ]+ at {re.escape(target)}: ", str(error))
        assert error.target == target
        assert error.job_id == (JOB if case.fails.call is get_progress else error.job_id)
    shown = (str(error), repr(error), caplog.text, *traceback.format_exception(error))
    if isinstance(error, MilvusImportError):
        shown += (json.dumps(error.to_dict()),)
    assert not [spelling for spelling in SPELLINGS if spelling in "".join(shown)]


def check_attributes(error: Exception, row: Row) -> None:
    """The attributes that docs/errors.md lists are set, and agree with each other."""
    if not isinstance(error, MilvusImportError):
        assert (row.may_have_run, row.transient) == (None, None)
        return
    assert (error.may_have_run, error.transient) == (row.may_have_run, row.transient)
    assert str(error).startswith(error.message)
    assert error.hint in str(error)
    if isinstance(error, CallError):
        if error.record is None:
            assert row.name in WITHOUT_RECORD
            return
        assert error.record.code is error.code
        assert error.service == "rest" or error.record.details in error.details
        assert error.record.details
        assert SECRET not in repr(error.record)
    elif isinstance(error, MilvusStatusError):
        assert error.code or error.error_code
        assert error.reason in str(error)
    if isinstance(error, (CallError, MilvusStatusError)):
        assert error.service is not None
        assert error.method is not None


WITHOUT_RECORD = {
    *(
        "empty-reply",
        "no-time-left",
        "unparseable-reply",
        "web-page-over-rest",
        "commit-on-grpc",
        "many-groups",
        "job-list-without-ids",
    ),
}
"""Nothing was sent, or gRPC or HTTP reported success."""
