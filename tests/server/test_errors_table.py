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
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import anyio
import grpc
import grpc.aio
import network
import pytest
import web
from certificates import ELSEWHERE, make_certificates
from gateways import scripted_gateway
from h2_server import H2Server
from interceptors import HoldBack
from network import Relay
from pages import table
from processes import FakeProcess
from times import SCALE, until

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

TIME_TO_ERROR = 3.0
"""Seconds within which an error is raised."""
TIMEOUT = 0.3 * SCALE
"""The timeout of a call that nothing ends before."""
JOB = "449839014328146739"
Code = grpc.StatusCode

SECRET = "S3cret"
TOKEN = f"root:{SECRET}"
SPELLINGS = (SECRET, *(base64.b64encode(text.encode()).decode() for text in (TOKEN, SECRET)))
SECRETS: dict[str, Any] = {
    "token": TOKEN,
    "metadata": {"x-key": f"{SECRET}-value", "x-key-bin": f"{SECRET}-bytes".encode()},
}

# ------------------------------------------------------------------------------- the table


class Row(NamedTuple):
    name: str
    error: str | None
    words: tuple[str, ...]
    time: str
    """How long it takes, as measured (scripts/fault_times.py), or "at `timeout`"."""
    may_have_run: bool | None
    transient: bool | None


BOOLEANS = {"yes": True, "maybe": True, "no": False, "": None}


def read_row(cells: list[str]) -> Row:
    name, _, seen, seconds, ran, transient = cells
    error = re.match(r"`(\w+)`: ", seen)
    words = tuple(re.findall(r'"(.*?)"', seen))
    flags = BOOLEANS[ran], BOOLEANS[transient]
    return Row(name.strip("`"), error and error[1], words, seconds, *flags)


ROWS = list(map(read_row, table("errors.md", "Faults")))

# -------------------------------------------------------------------------- what is called


@dataclass(slots=True)
class Stage:
    """Where a call goes, and when its fault began."""

    host: str
    place: Any
    """What the place of the case yields: a server, or a port."""
    fault_began: float = field(default_factory=time.monotonic)

    def begin_fault(self) -> None:
        """The fault begins now."""
        self.fault_began = time.monotonic()


Call = Callable[[ImportClient, Stage], Awaitable[object]]


async def get_progress(client: ImportClient, _: Stage) -> None:
    await client.get_import_progress(JOB)


async def create_import(client: ImportClient, _: Stage) -> None:
    await client.create_import("books", ["a.parquet"])


async def create_two_groups(client: ImportClient, _: Stage) -> None:
    await client.create_import("books", ["a.parquet", "b.parquet"])


async def list_imports(client: ImportClient, _: Stage) -> None:
    await client.list_imports("books")


async def wait(client: ImportClient, _: Stage) -> None:
    await client.wait(JOB, interval=0.01)


async def call_closed_client(client: ImportClient, stage: Stage) -> None:
    await client.close()
    await get_progress(client, stage)


async def close_during_calls(client: ImportClient, stage: Stage) -> None:
    calls = [asyncio.create_task(get_progress(client, stage)) for _ in range(200)]
    await asyncio.sleep(0.1)
    await client.close()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(end) for end in ends} == {ClientClosedError}
    await calls[0]


async def close_between_polls(client: ImportClient, stage: Stage) -> None:
    watch = client.watch(JOB, interval=3600)
    await anext(watch)
    following = asyncio.create_task(watch.__anext__())
    await asyncio.sleep(0)
    stage.begin_fault()
    await client.close()
    await following


async def kill_during_create(client: ImportClient, stage: Stage) -> None:
    await client.check()
    stage.place.freeze()
    call = asyncio.create_task(create_import(client, stage))
    await asyncio.sleep(0.1 * SCALE)
    await stage.place.kill()
    stage.begin_fault()
    await call


async def block_the_loop(client: ImportClient, stage: Stage) -> None:
    timeout = 1.0 * SCALE
    await client.check(timeout=TIME_TO_ERROR * SCALE)
    call = asyncio.create_task(client.get_import_progress(JOB, timeout=timeout))
    await asyncio.sleep(0.02)
    time.sleep(timeout + 0.5)  # noqa: ASYNC251 - that is the fault
    await call


async def call_in_a_second_loop(client: ImportClient, stage: Stage) -> None:
    await get_progress(client, stage)
    stage.begin_fault()
    await anyio.to_thread.run_sync(lambda: asyncio.run(get_progress(client, stage)))


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


async def call_after_fork(_: ImportClient, stage: Stage) -> None:
    command = [sys.executable, "-P", "-c", AFTER_FORK, stage.place.internal_uri]
    with anyio.fail_after(20 * SCALE):
        done = await anyio.run_process(command)
    seconds, text = done.stdout.decode().split(" ", 1)
    stage.fault_began = time.monotonic() - float(seconds)
    raise RuntimeError(text)


def after_a_response(begin: Callable[[Any], object]) -> Call:
    """Return a call of a client that has had a successful response before the fault."""

    async def call(client: ImportClient, stage: Stage) -> None:
        await client.check(timeout=TIME_TO_ERROR * SCALE)
        begin(stage.place)
        stage.begin_fault()
        await get_progress(client, stage)

    return call


# ------------------------------------------------------------------------ where it is called

RUNNING: dict[str, Any] = {"job_id": JOB}


@asynccontextmanager
async def milvus(
    fault: str | Fault | None = None,
    *,
    method: str | None = None,
    times: int | None = 1,
    job: dict[str, Any] | None = RUNNING,
    users: dict[str, Any] | None = None,
    requests: int | None = None,
    **arguments: Any,
) -> AsyncGenerator[FakeMilvus, None]:
    """A FakeMilvus with a job, whose next call has a fault; ``requests`` must reach it."""
    async with FakeMilvus(**arguments) as server:
        if job is not None:
            server.add_job(**job)
        if fault is not None:
            server.inject(fault, method=method, times=times)
        server.users = users or {}
        yield server
    assert requests in {None, len(server.received)}


class Relayed(NamedTuple):
    server: FakeMilvus
    relay: Relay


@asynccontextmanager
async def relayed() -> AsyncGenerator[Relayed, None]:
    async with milvus() as server, Relay(server.internal_port) as relay:
        yield Relayed(server, relay)


@asynccontextmanager
async def empty_grpc_server() -> AsyncGenerator[int, None]:
    server = grpc.aio.server()
    port = server.add_insecure_port(f"{network.HOST}:0")
    await server.start()
    yield port
    await server.stop(None)
    await settled()


@asynccontextmanager
async def alternating_servers() -> AsyncGenerator[FakeMilvus, None]:
    gone = status(2100, f"import job does not exist, jobID={JOB}")
    async with milvus() as server:
        replies = iter([None, gone, None, gone, gone])
        server.choose_fault = lambda _: next(replies)
        yield server


def status(code: int, reason: str) -> Fault:
    return Fault(status=common_pb2.Status(code=code, error_code=1, reason=reason, detail=reason))


# --------------------------------------------------------------------------------- the cases

Place = Callable[[], AbstractAsyncContextManager[Any] | AbstractContextManager[Any]]

INTERNAL, PUBLIC, REST = (f"{{place.{name}_uri}}" for name in ("internal", "public", "rest"))
HTTP, HTTPS = (f"{scheme}://{{host}}:{{place.internal_port}}" for scheme in ("http", "https"))
PORT, HTTPS_PORT, URI, RELAY = (
    *("http://{host}:{place}", "https://{host}:{place}"),
    *("{place.uri}", "{place.relay.uri}"),
)


@dataclass(slots=True)
class Attempt:
    """A client and its call."""

    uri: str = INTERNAL
    """Formatted with a Stage."""
    connect: dict[str, Any] = field(default_factory=dict[str, Any])
    call: Call = get_progress

    async def run(self, stage: Stage) -> None:
        async with ImportClient(self.target(stage), **(SECRETS | self.connect)) as client:
            await self.call(client, stage)

    def target(self, stage: Stage) -> str:
        return self.uri.format(host=stage.host, place=stage.place)


@dataclass(slots=True)
class Case:
    """A fault: the call that fails, and one that does what the table advises."""

    place: Place
    fails: Attempt
    fixed: Attempt | None = None
    hosts: tuple[str, ...] = (network.HOST,)
    """The case runs once for each; a proxy variable is set to a port that refuses connections."""

    @property
    def ends_at(self) -> float:
        """The timeout that ends the call; 0 if something ends it before."""
        return TIMEOUT if self.fails.connect.get("rpc_timeout") == TIMEOUT else 0.0


LATE = {"rpc_timeout": TIMEOUT}
OWN_CONNECTION = {"channel_options": [("grpc.use_local_subchannel_pool", 1)]}
"""Otherwise gRPC may give a new channel the connection that is about to end."""
USERS = {f"bob:{SECRET}1": {"books"}}
OVER_REST: dict[str, Any] = {"service": "rest", "metadata": {}}
PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
NOT_LOOPBACK = "http://0.0.0.0:{place.internal_port}"
"""This machine, but no loopback address."""
CERTIFICATES = make_certificates()
BOTH = (network.HOST, "localhost")
"""A TLS fault has to be recognised for localhost too, where [::1] may hide it."""


def ca(**more: Any) -> dict[str, Any]:
    """Return connection arguments that trust the server's CA."""
    return {"tls": TLSConfig(ca=CERTIFICATES.ca, **more)}


def relay(damage: Callable[[Relay], None], fault: str | Fault = "hang") -> Case:
    """A create_import, which is never resent, whose connection is damaged."""

    async def call(client: ImportClient, stage: Stage) -> None:
        stage.place.server.inject(fault)
        creating = asyncio.create_task(create_import(client, stage))
        await until(lambda: bool(stage.place.server.received))
        damage(stage.place.relay)
        stage.begin_fault()
        await creating

    return Case(relayed, Attempt(RELAY, {}, call), Attempt(RELAY, OWN_CONNECTION, create_import))


def gateway(http_status: int) -> Case:
    return Case(partial(network.gateway_port, http_status), Attempt(PORT))


def envoy(code: int, text: str) -> Case:
    """A gateway that turns its own errors into gRPC statuses."""
    return Case(partial(network.status_port, code, text), Attempt(PORT))


def secured(**connect: Any) -> Case:
    return Case(partial(milvus, token=TOKEN), Attempt(PUBLIC, connect), Attempt(PUBLIC))


def passing(fault: str | Fault, call: Call = get_progress) -> Case:
    """A fault that passes: the next call succeeds."""
    attempt = Attempt(PUBLIC, {"service": "public"}, call)
    return Case(partial(milvus, fault), attempt, attempt)


def failed(reason: str) -> Case:
    job = RUNNING | {"state": "Failed", "reason": reason}
    return Case(partial(milvus, job=job), Attempt(call=wait))


CASES: dict[str, Case] = {
    # Wrong address or service
    "internal-service-on-public-port": Case(
        milvus, Attempt(PUBLIC, {"service": "internal"}), Attempt(PUBLIC)
    ),
    "public-service-on-internal-port": Case(
        milvus, Attempt(INTERNAL, {"service": "public"}), Attempt(INTERNAL)
    ),
    "both-services-unknown": Case(empty_grpc_server, Attempt("{host}:{place}")),
    "internal-port-of-2-3": Case(partial(milvus, version="2.3"), Attempt(), Attempt(PUBLIC)),
    "many-groups": Case(
        milvus,
        Attempt(PUBLIC, {"service": "public"}, create_two_groups),
        Attempt(call=create_two_groups),
    ),
    "commit-on-grpc": Case(milvus, Attempt(PUBLIC, call=lambda c, _: c.commit_import(JOB))),
    "job-list-without-ids": Case(
        milvus,
        Attempt(PUBLIC, call=list_imports),
        Attempt(call=list_imports),
    ),
    # No connection
    "refused-connection": Case(network.closed_port, Attempt(PORT)),
    "refused-connection-waited-for": Case(
        network.closed_port, Attempt(PORT, LATE | {"wait_for_ready": True})
    ),
    "unknown-host": Case(
        network.nameless_dns, Attempt("dns://{host}:{place}/milvus.invalid:19530")
    ),
    "no-socket": Case(nullcontext, Attempt("unix:/nowhere/milvus.sock")),
    "silent-port": Case(network.silent_port, Attempt(PORT, LATE)),
    "blackhole": Case(network.blackhole_port, Attempt(PORT, LATE)),
    "broken-connection": Case(network.breaking_port, Attempt(PORT)),
    "unreachable-proxy-on-loopback": Case(milvus, Attempt(), hosts=PROXY_VARIABLES),
    "unreachable-proxy": Case(
        milvus,
        Attempt(NOT_LOOPBACK),
        Attempt(NOT_LOOPBACK, {"channel_options": [("grpc.enable_http_proxy", 0)]}),
        hosts=PROXY_VARIABLES,
    ),
    # During a call
    "connection-reset": relay(Relay.reset),
    "connection-half-closed": relay(Relay.half_close),
    "reply-cut-off": relay(lambda relay: relay.cut(after=5), Fault(delay=0.05)),
    "garbage-on-the-wire": relay(lambda r: r.garbage(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")),
    "oversized-frame": relay(Relay.oversized_frame),
    "connection-silent": Case(
        relayed, Attempt(RELAY, LATE, after_a_response(lambda place: place.relay.drop()))
    ),
    "server-stopped": Case(
        partial(FakeProcess, RUNNING), Attempt(INTERNAL, LATE, after_a_response(FakeProcess.freeze))
    ),
    "slow-server": Case(
        milvus, Attempt(INTERNAL, LATE, after_a_response(lambda server: server.inject("hang")))
    ),
    "server-killed": Case(partial(FakeProcess, RUNNING), Attempt(call=kill_during_create)),
    "loop-blocked": Case(partial(FakeProcess, RUNNING), Attempt(call=block_the_loop)),
    "slow-interceptor": Case(
        milvus, Attempt(INTERNAL, LATE | {"interceptors": [HoldBack()]}), Attempt()
    ),
    "create-deadline": Case(
        partial(milvus, "hang", method="Import", version="2.3"),
        Attempt(PUBLIC, LATE, create_import),
    ),
    # TLS
    "plaintext-to-tls": Case(
        partial(milvus, tls=CERTIFICATES.server), Attempt(HTTP), Attempt(HTTPS, ca()), BOTH
    ),
    "tls-to-plaintext": Case(milvus, Attempt(HTTPS), Attempt(HTTP), BOTH),
    "untrusted-ca": Case(
        partial(milvus, tls=CERTIFICATES.server),
        Attempt(HTTPS, {"tls": TLSConfig(ca=CERTIFICATES.other_ca)}),
        Attempt(HTTPS, ca()),
        BOTH,
    ),
    "expired-certificate": Case(partial(milvus, tls=CERTIFICATES.expired), Attempt(HTTPS, ca())),
    "wrong-host-name": Case(
        partial(milvus, tls=CERTIFICATES.elsewhere),
        Attempt(HTTPS, ca()),
        Attempt(HTTPS, ca(server_name=ELSEWHERE)),
        BOTH,
    ),
    "no-client-certificate": Case(
        partial(milvus, tls=CERTIFICATES.server, client_ca=CERTIFICATES.ca),
        Attempt(HTTPS, ca()),
        Attempt(HTTPS, ca(cert=CERTIFICATES.client[1], key=CERTIFICATES.client[0])),
        BOTH,
    ),
    # Other servers and gateways
    "http-server": Case(network.http_port, Attempt(PORT)),
    "https-server": Case(partial(network.http_port, CERTIFICATES.https), Attempt(HTTPS_PORT, ca())),
    "other-server": Case(network.ssh_port, Attempt(PORT)),
    "gateway-forbids": gateway(403),
    "gateway-without-route": gateway(404),
    "gateway-redirect": gateway(301),
    "gateway-rate-limit": gateway(429),
    "gateway-error": gateway(500),
    "gateway-without-server": gateway(503),
    "gateway-timeout": gateway(504),
    "web-page": gateway(200),
    "envoy-without-server": envoy(14, "no healthy upstream"),
    "envoy-timeout": envoy(14, "upstream request timeout"),
    "envoy-rate-limit": envoy(8, "local_rate_limited"),
    "envoy-rbac": envoy(7, "RBAC: access denied"),
    "gateway-strips-authorization": envoy(16, "missing authorization in header"),
    "gateway-empty-response": Case(
        partial(scripted_gateway, None), Attempt(URI, {"service": "internal"})
    ),
    "large-metadata": Case(
        partial(H2Server, lambda request: request.go_away(11)),
        Attempt(URI, {"service": "internal", "metadata": {"x-large": "x" * 5_000}}),
    ),
    "web-page-over-rest": Case(
        partial(web.serving, web.reply(b"<title>Welcome</title>")), Attempt(URI, OVER_REST)
    ),
    # Responses of the server
    "no-credentials": secured(token=None),
    "malformed-credentials": secured(metadata={"authorization": f"Bearer {TOKEN}"}),
    "wrong-credentials": secured(token=None, user="root", password=f"not {SECRET}"),
    "server-deadline": passing("deadline"),
    "server-cancelled": passing("cancelled"),
    "server-rate-limit": passing(Fault(Code.RESOURCE_EXHAUSTED, "too many requests")),
    "coordinator-unavailable": passing("coordinator-unavailable"),
    "routing-metadata": passing("cross-cluster"),
    "denied": passing("denied", create_import),
    "unparseable-reply": passing("garbage"),
    "empty-reply": passing("empty"),
    "proxy-starting": passing("proxy-not-ready", create_import),
    "not-ready": passing("not-ready"),
    "rate-limit": passing("rate-limit"),
    "job-limit": passing("job-limit", create_import),
    "job-limit-of-2-3": passing(
        status(65535, "import task queue max size is 3, currently there are 3 tasks is pending"),
        create_import,
    ),
    "too-many-files": passing(
        status(2100, "The max number of import files should not exceed 1024"), create_import
    ),
    "file-type": passing(status(2100, "unexpected file type, files=[a.txt]"), create_import),
    "disk-quota": passing(
        status(2100, "disk quota exceeded: importing data failed"), create_import
    ),
    "unknown-status": passing(status(65535, "something new"), create_import),
    "no-such-collection": passing("no-collection", create_import),
    "legacy-status": passing("legacy"),
    "reply-too-large": Case(milvus, Attempt(INTERNAL, {"max_receive_bytes": 10}), Attempt()),
    "request-too-large": Case(
        milvus,
        Attempt(INTERNAL, {"max_send_bytes": 10}, create_import),
        Attempt(call=create_import),
    ),
    "unknown-job": Case(partial(milvus, job=None), Attempt()),
    "unknown-job-of-2-3": Case(partial(milvus, job=None, version="2.3"), Attempt(PUBLIC)),
    "unknown-job-of-a-database": Case(
        partial(milvus, status(2100, "import job does not exist, jobID=4, dbID=1")), Attempt()
    ),
    "several-servers": Case(alternating_servers, Attempt(call=wait)),
    "progress-denied-over-rest": Case(
        partial(milvus, version="2.5", token=TOKEN, users=USERS, requests=2),  # no fallback
        Attempt(REST, OVER_REST | {"token": f"bob:{SECRET}1"}),
        Attempt(REST, OVER_REST),
    ),
    # Jobs
    "job-file-not-found": failed("error: key not found[key=/home/me/books.json], file: id:1"),
    "job-file-type": failed("unsupported file type: .txt"),
    "job-json-layout": failed("the JSON root key should be 'rows'"),
    "job-npy-names": failed("there is no file corresponding to field: vector"),
    "job-large-strings": failed("unsupported data type large_utf8"),
    "job-restarted": failed("task marked failed as service restarted"),
    "job-bucket-keys": failed("Access Denied."),
    "job-missing-column": failed("field 'title' not in arrow schema"),
    "job-file-size": failed("file size 17179869185 exceeds the maxSize 17179869184"),
    "job-import-timeout": failed("import timeout"),
    # The client itself
    "wait-timeout": Case(milvus, Attempt(call=lambda client, _: client.wait(JOB, timeout=0))),
    "bad-argument": Case(
        partial(milvus, requests=0), Attempt(call=lambda c, _: c.get_import_progress("latest"))
    ),
    "closed-client": Case(milvus, Attempt(call=call_closed_client), Attempt()),
    "closed-during-call": Case(
        partial(milvus, "hang", times=None), Attempt(call=close_during_calls)
    ),
    "closed-between-polls": Case(milvus, Attempt(call=close_between_polls)),
    "second-loop": Case(milvus, Attempt(call=call_in_a_second_loop)),
    "after-fork": Case(milvus, Attempt(call=call_after_fork)),
    "no-time-left": Case(
        partial(milvus, requests=1),  # that of the call that is fixed
        Attempt(INTERNAL, {"rpc_timeout": 0}),
        Attempt(),
    ),
}
# ------------------------------------------------------------------------------- the tests


def test_every_row_has_a_case_and_every_case_has_a_row() -> None:
    assert sorted(row.name for row in ROWS) == sorted(CASES)


def test_every_row_states_its_time_to_error() -> None:
    for row in ROWS:
        pattern = r"immediately|at `timeout`|\d\.\d s" if row.error else ""
        assert re.fullmatch(pattern, row.time), row.name


@pytest.mark.parametrize(
    ("row", "host"),
    [
        pytest.param(row, host, id=f"{row.name}-{host}")
        for row in ROWS
        if row.name in CASES
        for host in CASES[row.name].hosts
    ],
)
async def test_fault_shows_what_its_row_states(
    row: Row,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    case = CASES[row.name]
    for variable in (*PROXY_VARIABLES, "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(variable, raising=False)
    async with AsyncExitStack() as stack:
        if host in PROXY_VARIABLES:
            closed = stack.enter_context(network.closed_port())
            monkeypatch.setenv(host, f"http://{network.HOST}:{closed}")
        place = case.place()
        stage = Stage(
            host,
            stack.enter_context(place)
            if isinstance(place, AbstractContextManager)
            else await stack.enter_async_context(place),
        )
        error: Exception | None = None
        try:
            await case.fails.run(stage)
        except (MilvusImportError, RuntimeError) as caught:
            error = caught
        elapsed = time.monotonic() - stage.fault_began
        record_property(row.name, elapsed if error and not case.ends_at else "")
        assert bool(case.ends_at) == (row.time == "at `timeout`")
        assert case.ends_at * 0.9 <= elapsed < case.ends_at + TIME_TO_ERROR * SCALE
        if case.fixed is not None:
            with anyio.fail_after(TIME_TO_ERROR * 5 * SCALE):
                await case.fixed.run(stage)
    if error is None:
        assert row.error is None
        return
    assert type(error).__name__ == row.error
    assert [words for words in row.words if words not in str(error)] == [], str(error)
    check_attributes(error, row)
    if isinstance(error, (CallError, MilvusStatusError)):
        target = re.sub("^https?://", "", case.fails.target(stage))
        assert re.match(rf"[\w ]+ at {re.escape(target)}: ", str(error))
        assert error.target == target
        assert error.job_id == (JOB if case.fails.call is get_progress else error.job_id)
    shown = [str(error), repr(error), caplog.text, *traceback.format_exception(error)]
    if isinstance(error, MilvusImportError):
        shown.append(json.dumps(error.to_dict()))
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
    *("empty-reply", "no-time-left", "unparseable-reply", "web-page-over-rest"),
    *("commit-on-grpc", "many-groups", "job-list-without-ids"),
}
"""Nothing was sent, or gRPC or HTTP reported success."""
