"""What nginx and HAProxy respond without Milvus: the error's class, code, hint and flags."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import grpc
import pytest
from certificates import ELSEWHERE, Certificates
from gateway_process import (
    Gateway,
    HAProxy,
    Nginx,
    configured,
    requiring_certificates,
    responding,
)
from hint_keys import hint_key

from milvus_import import (
    CallError,
    CallRecord,
    ImportClient,
    TLSConfig,
    UnauthenticatedError,
    UnavailableError,
)
from milvus_import.testing import FakeMilvus

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

JOB = "1"
Service = Literal["internal", "rest"]
PLAIN_REST = {"http2": False}
"""nginx accepts either HTTP/1 or HTTP/2 without TLS."""

# HTTP status, class, code, hint over gRPC, transient.
STATUSES = (
    (301, "CallError", "UNKNOWN", "GATEWAY_HTTPS", False),
    (400, "CallError", "INTERNAL", "GATEWAY_ROUTE", False),
    (401, "UnauthenticatedError", "UNAUTHENTICATED", "GATEWAY_ACCESS", False),
    (403, "AccessDeniedError", "PERMISSION_DENIED", "GATEWAY_ACCESS", False),
    (404, "UnsupportedServerError", "UNIMPLEMENTED", "GATEWAY_ROUTE", False),
    (413, "CallError", "UNKNOWN", "GATEWAY_REQUEST_SIZE", False),
    (429, "UnavailableError", "UNAVAILABLE", "GATEWAY_RATE_LIMIT", True),
    (431, "CallError", "UNKNOWN", "GATEWAY_METADATA_SIZE", False),
    (500, "CallError", "UNKNOWN", "GATEWAY_ERROR", True),
    (501, "CallError", "UNKNOWN", "GATEWAY_ROUTE", False),
    (502, "UnavailableError", "UNAVAILABLE", "GATEWAY_BACKEND", True),
    (503, "UnavailableError", "UNAVAILABLE", "GATEWAY_UNAVAILABLE", True),
    (504, "UnavailableError", "UNAVAILABLE", "GATEWAY_TIMEOUT", True),
    (505, "CallError", "UNKNOWN", "GATEWAY_ROUTE", False),
    (520, "CallError", "UNKNOWN", "GATEWAY_ERROR", True),
)


@pytest.fixture
def milvus(fake: FakeMilvus) -> FakeMilvus:
    """A server with a REST API and a job."""
    fake.version = "3.0"
    fake.add_job(job_id=JOB, state="Importing", progress=40)
    return fake


async def error_of(gateway: Gateway, ca: bytes | None = None, **options: Any) -> CallError:
    """Return the error of one read through the gateway."""
    options = {"service": "internal", "tls": TLSConfig(ca=ca) if ca else None} | options
    async with ImportClient(gateway.uri, **options) as client:
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(JOB)
    return caught.value


@pytest.mark.parametrize("service", ["internal", "rest"])
@pytest.mark.parametrize("row", STATUSES, ids=lambda row: str(row[0]))
async def test_http_status_decides_class_hint_and_transience(
    milvus: FakeMilvus,
    kind: type[Gateway],
    service: Service,
    row: tuple[int, str, str, str, bool],
) -> None:
    status, *expected, transient = row
    records: list[CallRecord] = []
    async with responding(kind, milvus, status, http2=service == "internal") as gateway:
        error = await error_of(gateway, service=service, on_finish=records.append)
    assert (error.http_status, error.transient) == (status, transient)
    if service == "internal":
        assert [type(error).__name__, error.code.name, hint_key(error)] == expected
    assert len(records) == 1
    assert milvus.received == []


# ------------------------------------------------------------------- responses, HTTP and TLS


class Case(NamedTuple):
    """A gateway, and the error of a read through it."""

    code: str
    http_status: int | None
    hint: str
    transient: bool
    nginx: dict[str, Any] | None = None
    """The options of nginx; None: the case is not run with it."""
    haproxy: dict[str, Any] | None = None
    tls: Literal["", "server", "elsewhere"] = ""
    """The certificate of the gateway."""
    scheme: Literal["", "http", "https"] = ""
    """The scheme of the client, if it is not the gateway's."""
    service: Literal["internal", "rest", "auto"] = "internal"


PAGE, EMPTY = {"location": "return 200 page;"}, {"location": "return 200;"}
VIRTUAL_HOST: dict[str, Any] = {
    "nginx": {"server_name": ELSEWHERE},
    "haproxy": {"bind": "strict-sni"},
    "tls": "elsewhere",
}
RESETS = ("INTERNAL", None, "RECONNECT", True)
NO_STATUS = ("UNKNOWN", None, "NO_GRPC_STATUS", True)
CASES = {
    "redirect to the address of a gateway with TLS": Case(
        *("UNKNOWN", 301, "GATEWAY_REDIRECT", False),
        nginx={"location": "return 301 https://milvus.example.org/;"},
        tls="server",
    ),
    # nginx sends no response for 444, its own status, and for 408: it resets the stream.
    "reset by 408": Case(*RESETS, nginx={"location": "return 408;"}),
    "reset by 444": Case(*RESETS, nginx={"location": "return 444;"}),
    "empty": Case(*NO_STATUS, nginx=EMPTY),
    "empty auto": Case(*NO_STATUS, nginx=EMPTY, service="auto"),
    "page": Case(*NO_STATUS, nginx=PAGE),
    "page auto": Case(*NO_STATUS, nginx=PAGE, service="auto"),
    "TLS without HTTP/2": Case(
        *("UNAVAILABLE", None, "ENABLE_HTTP2", True),
        nginx={"http2": False},
        haproxy={"alpn": ""},
        tls="server",
    ),
    "plaintext without HTTP/2": Case(
        *("UNAVAILABLE", None, "USE_HTTPS_HTTP1", True), nginx={"http2": False}
    ),
    # nginx calls the server with HTTP/1, and sends what comes back as HTTP/0.9.
    "proxy_pass instead of grpc_pass": Case(
        *("UNKNOWN", None, "GATEWAY_GRPC_PASS", False),
        nginx={"internal": "proxy_pass http://internal;"},
    ),
    "unknown virtual host": Case(
        *("UNAVAILABLE", None, "UNKNOWN_VIRTUAL_HOST", True), **VIRTUAL_HOST
    ),
    "unknown virtual host of REST": Case(
        *("UNAVAILABLE", None, "UNKNOWN_VIRTUAL_HOST", True), **VIRTUAL_HOST, service="rest"
    ),
    "https:// without TLS": Case(
        *("UNAVAILABLE", None, "USE_HTTP", True), nginx={}, haproxy={}, scheme="https"
    ),
    "https:// without TLS over REST": Case(
        *("UNAVAILABLE", None, "USE_HTTP", True),
        nginx=PLAIN_REST,
        haproxy={},
        scheme="https",
        service="rest",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_error_behind_a_gateway_with(
    milvus: FakeMilvus, certificates: Certificates, name: str
) -> None:
    case = CASES[name]
    kinds: dict[type[Gateway], dict[str, Any] | None] = {Nginx: case.nginx, HAProxy: case.haproxy}
    pair = getattr(certificates, case.tls) if case.tls else None
    for kind, options in kinds.items():
        if options is None:
            continue
        async with kind(milvus, tls=pair, **options) as gateway:
            if case.scheme:
                gateway.secure = case.scheme == "https"
            ca = certificates.ca if gateway.secure else None
            error = await error_of(gateway, ca, service=case.service)
        assert (error.code.name, error.http_status, hint_key(error)) == case[:3]
        assert error.transient == case.transient
        if case.code == "UNAVAILABLE":
            assert type(error) is UnavailableError
            assert not error.may_have_run


async def test_http_for_a_gateway_with_tls_over_rest(
    milvus: FakeMilvus, certificates: Certificates, kind: type[Gateway]
) -> None:
    async with kind(milvus, tls=certificates.server) as gateway:
        gateway.secure = False
        error = await error_of(gateway, service="rest")
    assert "Use https://" in error.hint, error
    assert error.http_status == (400 if kind is Nginx else None)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("service", ["internal", "rest"])
async def test_client_certificate_required(
    milvus: FakeMilvus,
    certificates: Certificates,
    kind: type[Gateway],
    service: Service,
    version: str,
) -> None:
    """With TLS 1.3 the gateway reports it only after the handshake of the client."""
    async with requiring_certificates(kind, milvus, certificates, version) as gateway:
        errors = [await error_of(gateway, certificates.ca, service=service) for _ in range(10)]
        key, chain = certificates.client
        tls = TLSConfig(ca=certificates.ca, cert=chain, key=key)
        async with ImportClient(gateway.uri, tls=tls, service=service) as client:
            assert await client.check() == service
    for error in errors:
        if service == "internal":
            assert hint_key(error) == "PASS_CLIENT_CERTIFICATE"
        else:
            assert not error.may_have_run or error.transient
        if kind is Nginx:
            assert (error.code, error.http_status) == (grpc.StatusCode.INTERNAL, 400)
            assert hint_key(error) == "PASS_CLIENT_CERTIFICATE"
        else:
            # The alert may be lost when the connection is reset: then the hint has all the causes.
            assert (type(error), error.http_status) == (UnavailableError, None)
            assert "TLSConfig(cert=..., key=...)" in error.hint, error


# ----------------------------------------------------------------------- the backend


async def test_dead_backend(fake: FakeMilvus, kind: type[Gateway]) -> None:
    await fake.stop()
    status, hint = (502, "GATEWAY_BACKEND") if kind is Nginx else (503, "GATEWAY_UNAVAILABLE")
    async with kind(fake) as gateway:
        error = await error_of(gateway)
        assert [request.status for request in await gateway.logged(1)] == [status]
    assert (error.code, error.http_status) == (grpc.StatusCode.UNAVAILABLE, status)
    assert (hint_key(error), error.transient) == (hint, True)


async def test_read_timeout_of_the_gateway_is_raised_once_as_504(
    fake: FakeMilvus, kind: type[Gateway], scale: float
) -> None:
    fake.inject("hang", times=None)
    records: list[CallRecord] = []
    nginx, haproxy = {"location": "grpc_read_timeout 2s;"}, {"server_timeout": 2}
    async with configured(kind, fake, nginx=nginx, haproxy=haproxy) as gateway:
        error = await error_of(gateway, on_finish=records.append, rpc_timeout=60 * scale)
        assert [request.status for request in await gateway.logged(1)] == [504]
    assert (error.code, error.http_status) == (grpc.StatusCode.UNAVAILABLE, 504)
    assert (hint_key(error), error.transient) == ("GATEWAY_TIMEOUT", True)
    assert len(records) == len(fake.received) == 1  # not retried
    assert records[0].elapsed < 2.5 * scale


# ------------------------------------------------------------------ routes and authorization


@pytest.mark.parametrize("response", ["return 404;", "return 200;", "return 200 page;"])
async def test_only_reads_are_sent_to_the_next_service(milvus: FakeMilvus, response: str) -> None:
    """The internal service is not routed: a write without a gRPC status may have run."""
    jobs = dict(milvus.jobs)
    async with Nginx(milvus, internal=response) as gateway, ImportClient(gateway.uri) as client:
        progress = await client.get_import_progress(JOB)
        assert (progress.service, progress.data.progress) == ("public", 40)
    if response == "return 404;":
        return
    async with Nginx(milvus, internal=response) as gateway, ImportClient(gateway.uri) as client:
        with pytest.raises(CallError) as caught:
            await client.create_import("books", ["a.parquet"])
        assert len(await gateway.logged(1)) == 1
    assert caught.value.may_have_run
    assert hint_key(caught.value) == "REPEAT_WITH_KEY"
    assert milvus.jobs == jobs


async def test_unrouted_services_hint_at_the_routes(fake: FakeMilvus, kind: type[Gateway]) -> None:
    async with responding(kind, fake, 404) as gateway:
        error = await error_of(gateway, service="auto")
        assert [request.status for request in await gateway.logged(2)] == [404, 404]
    assert (type(error).__name__, error.http_status) == ("UnsupportedServerError", 404)
    assert hint_key(error) == "GATEWAY_ROUTE"


@pytest.mark.parametrize(
    ("service", "hint"),
    [("public", "GATEWAY_STRIPS_AUTHORIZATION"), ("rest", "CHECK_OR_FORWARD_CREDENTIALS")],
)
async def test_authorization_stripped_by_the_gateway(
    milvus: FakeMilvus, kind: type[Gateway], service: str, hint: str
) -> None:
    milvus.token = "root:Milvus"
    rest = service == "rest"
    directive = f"{'proxy' if rest else 'grpc'}_set_header Authorization '';"
    nginx = {"location": directive, "http2": not rest}
    haproxy = {"frontend": "http-request del-header authorization"}
    async with configured(kind, milvus, nginx=nginx, haproxy=haproxy) as gateway:
        error = await error_of(gateway, service=service, token="root:Milvus")
        without = await error_of(gateway, service=service)
    assert type(error) is UnauthenticatedError
    assert (hint_key(error), hint_key(without)) == (hint, "PASS_TOKEN")


async def test_calls_of_rest_pass(
    milvus: FakeMilvus, kind: type[Gateway], certificates: Certificates
) -> None:
    plain = configured(kind, milvus, nginx=PLAIN_REST)
    for gateway in (plain, kind(milvus, tls=certificates.server)):
        tls = TLSConfig(ca=certificates.ca) if gateway.secure else None
        async with gateway, ImportClient(gateway.uri, tls=tls, service="rest") as client:
            assert (await client.get_import_progress(JOB)).data.progress == 40
