"""What nginx and HAProxy respond without Milvus: the error's class, code, hint and flags."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from certificates import Certificates
from gateway_process import Gateway, HAProxy, Nginx

from milvus_import import (
    AccessDeniedError,
    CallError,
    CallRecord,
    ImportClient,
    TLSConfig,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._hints import Hint
from milvus_import.testing import FakeMilvus

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Code = grpc.StatusCode
JOB = "450000000000000001"

GATEWAYS = ("nginx", "haproxy")
# HTTP status, class, code, hint, transient.
STATUSES = (
    (301, CallError, Code.UNKNOWN, Hint.GATEWAY_HTTPS, False),
    (400, CallError, Code.INTERNAL, Hint.GATEWAY_ROUTE, False),
    (401, UnauthenticatedError, Code.UNAUTHENTICATED, Hint.GATEWAY_ACCESS, False),
    (403, AccessDeniedError, Code.PERMISSION_DENIED, Hint.GATEWAY_ACCESS, False),
    (404, UnsupportedServerError, Code.UNIMPLEMENTED, Hint.GATEWAY_ROUTE, False),
    (413, CallError, Code.UNKNOWN, Hint.GATEWAY_REQUEST_SIZE, False),
    (429, UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_RATE_LIMIT, True),
    (431, CallError, Code.UNKNOWN, Hint.GATEWAY_METADATA_SIZE, False),
    (500, CallError, Code.UNKNOWN, Hint.GATEWAY_ERROR, True),
    (501, CallError, Code.UNKNOWN, Hint.GATEWAY_ROUTE, False),
    (502, UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_BACKEND, True),
    (503, UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_UNAVAILABLE, True),
    (504, UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_TIMEOUT, True),
    (505, CallError, Code.UNKNOWN, Hint.GATEWAY_ROUTE, False),
    (520, CallError, Code.UNKNOWN, Hint.GATEWAY_ERROR, True),
)


def responding(name: str, backend: FakeMilvus, status: int) -> Gateway:
    """Return a gateway that responds with this HTTP status to every request."""
    redirect = 300 <= status < 400
    if name == "nginx":
        address = " https://localhost/" if redirect else ""
        return Nginx(backend, location=f"return {status}{address};")
    rule = f"redirect scheme https code {status}" if redirect else f"return status {status}"
    return HAProxy(backend, frontend=f"http-request {rule}")


async def error_of(
    gateway: Gateway, ca: bytes | None = None, *, metadata: Any = (), **options: Any
) -> CallError:
    """Return the error of one read through the gateway."""
    options = {"service": "internal"} | options
    if ca is not None:
        options["tls"] = TLSConfig(ca=ca)
    async with ImportClient(gateway.uri, **options) as client:
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(JOB, metadata=metadata)
    return caught.value


@pytest.mark.parametrize("name", GATEWAYS)
@pytest.mark.parametrize("row", STATUSES, ids=lambda row: str(row[0]))
async def test_http_status_decides_class_hint_and_transience(
    fake: FakeMilvus, name: str, row: tuple[int, type[CallError], grpc.StatusCode, Hint, bool]
) -> None:
    status, kind, code, hint, transient = row
    records: list[CallRecord] = []
    async with responding(name, fake, status) as gateway:
        error = await error_of(gateway, on_finish=records.append)
    assert (type(error), error.code, error.http_status) == (kind, code, status)
    assert (error.hint, error.transient) == (hint.python, transient)
    assert len(records) == 1
    assert fake.received == []


async def test_http_redirect_of_a_tls_gateway_hints_at_its_address(
    fake: FakeMilvus, certificates: Certificates
) -> None:
    location = "return 301 https://milvus.example.org/;"
    async with Nginx(fake, tls=certificates.server, location=location) as gateway:
        error = await error_of(gateway, certificates.ca)
    assert (error.http_status, error.hint) == (301, Hint.GATEWAY_REDIRECT.python)


@pytest.mark.parametrize("status", [408, 444])
async def test_a_stream_that_nginx_resets_is_transient(fake: FakeMilvus, status: int) -> None:
    """nginx sends no response for 444, its own status, and for 408: it resets the stream."""
    async with responding("nginx", fake, status) as gateway:
        error = await error_of(gateway)
    assert (error.code, error.http_status) == (Code.INTERNAL, None)
    assert "RST_STREAM" in error.details
    assert (error.hint, error.transient) == (Hint.RECONNECT.python, True)


# ----------------------------------------------------------------------- the backend


@pytest.mark.parametrize(
    ("name", "status", "hint"),
    [("nginx", 502, Hint.GATEWAY_BACKEND), ("haproxy", 503, Hint.GATEWAY_UNAVAILABLE)],
)
async def test_dead_backend(fake: FakeMilvus, name: str, status: int, hint: Hint) -> None:
    await fake.stop()
    async with Nginx(fake) if name == "nginx" else HAProxy(fake) as gateway:
        error = await error_of(gateway)
        requests = await gateway.logged(1)
        assert [request.status for request in requests] == [status]
    assert (error.code, error.http_status) == (Code.UNAVAILABLE, status)
    assert (error.hint, error.transient) == (hint.python, True)


@pytest.mark.parametrize("name", GATEWAYS)
async def test_read_timeout_of_the_gateway_is_raised_once_as_504(
    fake: FakeMilvus, name: str, scale: float
) -> None:
    fake.inject("hang", times=None)
    records: list[CallRecord] = []
    gateway = (
        Nginx(fake, location="grpc_read_timeout 2s;")
        if name == "nginx"
        else HAProxy(fake, server_timeout=2)
    )
    async with gateway:
        error = await error_of(gateway, on_finish=records.append, rpc_timeout=60 * scale)
        requests = await gateway.logged(1)
        assert [request.status for request in requests] == [504]
    assert (error.code, error.http_status) == (Code.UNAVAILABLE, 504)
    assert (error.hint, error.transient) == (Hint.GATEWAY_TIMEOUT.python, True)
    assert len(records) == len(fake.received) == 1  # not retried
    print(f"{name}: the 504 was raised after {records[0].elapsed:.3f} s")
    assert records[0].elapsed < 2.5 * scale


# ---------------------------------------------------------------------- routes and HTTP


@pytest.mark.parametrize("response", ["return 404;", "return 200;", "return 200 page;"])
async def test_auto_reads_from_the_public_service_if_the_internal_one_is_not_routed(
    fake: FakeMilvus, response: str
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    async with Nginx(fake, internal=response) as gateway, ImportClient(gateway.uri) as client:
        progress = await client.get_import_progress(job.job_id)
    assert (progress.service, progress.data.progress) == ("public", 40)


@pytest.mark.parametrize("response", ["return 200;", "return 200 page;"])
async def test_a_write_without_grpc_status_is_not_sent_to_the_next_service(
    fake: FakeMilvus, response: str
) -> None:
    async with Nginx(fake, internal=response) as gateway, ImportClient(gateway.uri) as client:
        with pytest.raises(CallError) as caught:
            await client.create_import("books", ["a.parquet"])
        assert len(await gateway.logged(1)) == 1
    assert caught.value.may_have_run
    assert caught.value.hint == Hint.REPEAT_WITH_KEY.python
    assert fake.jobs == {}


@pytest.mark.parametrize("response", ["return 200;", "return 200 page;"])
async def test_http_200_without_grpc_status_hints_at_the_routes(
    fake: FakeMilvus, response: str
) -> None:
    async with Nginx(fake, location=response) as gateway:
        error = await error_of(gateway)
        of_both = await error_of(gateway, service="auto")
    assert (error.code, error.http_status, error.transient) == (Code.UNKNOWN, None, True)
    assert (of_both.code, of_both.transient) == (Code.UNKNOWN, True)
    assert error.hint == of_both.hint == Hint.NO_GRPC_STATUS.python


@pytest.mark.parametrize("name", GATEWAYS)
async def test_unrouted_services_hint_at_the_routes(fake: FakeMilvus, name: str) -> None:
    async with responding(name, fake, 404) as gateway:
        error = await error_of(gateway, service="auto")
        requests = await gateway.logged(2)
        assert [request.status for request in requests] == [404, 404]
    assert isinstance(error, UnsupportedServerError)
    assert (error.http_status, error.hint) == (404, Hint.GATEWAY_ROUTE.python)


@pytest.mark.parametrize("name", GATEWAYS)
async def test_authorization_stripped_by_the_gateway(fake: FakeMilvus, name: str) -> None:
    fake.token = "root:Milvus"
    gateway = (
        Nginx(fake, location="grpc_set_header Authorization '';")
        if name == "nginx"
        else HAProxy(fake, frontend="http-request del-header authorization")
    )
    async with gateway:
        error = await error_of(gateway, service="public", token="root:Milvus")
        without = await error_of(gateway, service="public")
    assert isinstance(error, UnauthenticatedError)
    assert error.hint == Hint.GATEWAY_STRIPS_AUTHORIZATION.python
    assert without.hint == Hint.PASS_TOKEN.python


# --------------------------------------------------------------------------------- TLS


@pytest.mark.parametrize("name", GATEWAYS)
async def test_tls_without_http2(fake: FakeMilvus, certificates: Certificates, name: str) -> None:
    gateway = (
        Nginx(fake, tls=certificates.server, http2=False)
        if name == "nginx"
        else HAProxy(fake, tls=certificates.server, alpn="")
    )
    async with gateway:
        error = await error_of(gateway, certificates.ca)
    assert (error.code, error.hint) == (Code.UNAVAILABLE, Hint.ENABLE_HTTP2.python)
    assert not error.may_have_run


async def test_proxy_pass_instead_of_grpc_pass(fake: FakeMilvus) -> None:
    """nginx calls the server with HTTP/1, and sends what comes back as HTTP/0.9."""
    async with Nginx(fake, internal="proxy_pass http://internal;") as gateway:
        error = await error_of(gateway)
    assert error.hint == Hint.GATEWAY_GRPC_PASS.python, error


async def test_plaintext_without_http2(fake: FakeMilvus) -> None:
    async with Nginx(fake, http2=False) as gateway:
        error = await error_of(gateway)
    assert (error.code, error.hint) == (Code.UNAVAILABLE, Hint.USE_HTTPS_HTTP1.python)


def requiring_certificates(name: str, backend: FakeMilvus, certificates: Certificates) -> Gateway:
    if name == "nginx":
        server = "ssl_verify_client on; ssl_client_certificate ca.pem;"
        gateway: Gateway = Nginx(backend, tls=certificates.server, server=server)
    else:
        gateway = HAProxy(backend, tls=certificates.server)
        gateway.bind = f"ca-file {gateway.folder}/ca.pem verify required"
    gateway.write_file("ca.pem", certificates.ca)
    return gateway


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [("nginx", Code.INTERNAL, 400), ("haproxy", Code.UNAVAILABLE, None)],
)
async def test_client_certificate_required(
    fake: FakeMilvus,
    certificates: Certificates,
    name: str,
    code: grpc.StatusCode,
    status: int | None,
) -> None:
    async with requiring_certificates(name, fake, certificates) as gateway:
        error = await error_of(gateway, certificates.ca)
        key, chain = certificates.client
        tls = TLSConfig(ca=certificates.ca, cert=chain, key=key)
        async with ImportClient(gateway.uri, tls=tls) as client:
            assert await client.check() == "internal"
    assert (error.code, error.http_status) == (code, status)
    assert error.hint == Hint.PASS_CLIENT_CERTIFICATE.python


@pytest.mark.parametrize("name", GATEWAYS)
async def test_unknown_virtual_host(
    fake: FakeMilvus, certificates: Certificates, name: str
) -> None:
    if name == "nginx":
        gateway: Gateway = Nginx(
            fake, tls=certificates.elsewhere, server_name="milvus.elsewhere.example"
        )
    else:
        gateway = HAProxy(fake, tls=certificates.elsewhere, bind="strict-sni")
    async with gateway:
        error = await error_of(gateway, certificates.ca)
    assert (error.code, error.hint) == (Code.UNAVAILABLE, Hint.UNKNOWN_VIRTUAL_HOST.python)


@pytest.mark.parametrize("name", GATEWAYS)
async def test_https_for_a_plaintext_gateway(
    fake: FakeMilvus, certificates: Certificates, name: str
) -> None:
    async with Nginx(fake) if name == "nginx" else HAProxy(fake) as gateway:
        gateway.secure = True
        error = await error_of(gateway, certificates.ca)
    assert (error.code, error.hint) == (Code.UNAVAILABLE, Hint.USE_HTTP.python)
