"""The REST API behind nginx and HAProxy: their own responses, TLS, and outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from certificates import Certificates
from gateway_process import Gateway, HAProxy, Nginx, until
from watching import FaultLog

from milvus_import import (
    CallError,
    ImportClient,
    MilvusImportError,
    TLSConfig,
    UnauthenticatedError,
    UnavailableError,
)
from milvus_import._errors import hint_of
from milvus_import._hints import Hint
from milvus_import.testing import FakeMilvus

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

GUARD = 60.0
INTERVAL = 0.05
JOB = "1"
both = pytest.mark.parametrize("name", ["nginx", "haproxy"])


@pytest.fixture
async def milvus() -> AsyncGenerator[FakeMilvus]:
    """A server with a REST API."""
    async with FakeMilvus(version="3.0") as server:
        server.add_job(job_id=JOB, state="Importing", progress=40)
        yield server


def plain(name: str, backend: FakeMilvus, **options: Any) -> Gateway:
    """Return a gateway without TLS that accepts HTTP/1."""
    return (
        Nginx(backend, http2=False, **options) if name == "nginx" else HAProxy(backend, **options)
    )


def with_tls(name: str, backend: FakeMilvus, pair: Any, **options: Any) -> Gateway:
    """Return a gateway with TLS that accepts HTTP/1."""
    if name == "nginx":
        return Nginx(backend, tls=pair, **options)
    return HAProxy(backend, tls=pair, alpn="h2,http/1.1", **options)


async def error_of(gateway: Gateway, *, metadata: Any = (), **options: Any) -> CallError:
    """Return the error of one read through the gateway."""
    async with ImportClient(gateway.uri, service="rest", **options) as client:
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(JOB, metadata=metadata)
    return caught.value


@both
async def test_calls_pass(milvus: FakeMilvus, name: str, certificates: Certificates) -> None:
    tls = TLSConfig(ca=certificates.ca)
    for gateway in (plain(name, milvus), with_tls(name, milvus, certificates.server)):
        given = tls if gateway.secure else None
        async with gateway, ImportClient(gateway.uri, tls=given, service="rest") as client:
            assert (await client.get_import_progress(JOB)).data.progress == 40


# ------------------------------------------------------------------------------- TLS


@both
@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_client_certificate_required(
    milvus: FakeMilvus, certificates: Certificates, name: str, version: str
) -> None:
    """With TLS 1.3 the gateway reports it only after the handshake of the client."""
    if name == "nginx":
        server = f"ssl_protocols TLSv{version}; ssl_verify_client on;"
        server += " ssl_client_certificate ca.pem;"
        gateway = with_tls(name, milvus, certificates.server, server=server)
    else:
        gateway = with_tls(name, milvus, certificates.server)
        assert isinstance(gateway, HAProxy)
        gateway.bind = f"ca-file {gateway.folder}/ca.pem verify required"
        gateway.bind += f" ssl-min-ver TLSv{version} ssl-max-ver TLSv{version}"
    gateway.write_file("ca.pem", certificates.ca)
    async with gateway:
        errors = [await error_of(gateway, tls=TLSConfig(ca=certificates.ca)) for _ in range(10)]
        key, chain = certificates.client
        tls = TLSConfig(ca=certificates.ca, cert=chain, key=key)
        async with ImportClient(gateway.uri, tls=tls, service="rest") as client:
            await client.get_import_progress(JOB)
    for error in errors:
        if name == "nginx":
            assert (error.http_status, hint_of(error)) == (400, Hint.PASS_CLIENT_CERTIFICATE)
        else:
            # The alert may be lost when the connection is reset: then the hint has all the causes.
            assert type(error) is UnavailableError
            assert "TLSConfig(cert=..., key=...)" in error.hint, error
        assert not error.may_have_run or error.transient


@both
async def test_http_for_a_gateway_with_tls(
    milvus: FakeMilvus, certificates: Certificates, name: str
) -> None:
    async with with_tls(name, milvus, certificates.server) as gateway:
        gateway.secure = False
        error = await error_of(gateway)
        gateway.secure = True
    assert "Use https://" in error.hint, error
    assert error.http_status == (400 if name == "nginx" else None)


@both
async def test_https_for_a_gateway_without_tls(
    milvus: FakeMilvus, certificates: Certificates, name: str
) -> None:
    async with plain(name, milvus) as gateway:
        gateway.secure = True
        error = await error_of(gateway, tls=TLSConfig(ca=certificates.ca))
    assert (hint_of(error), error.may_have_run) == (Hint.USE_HTTP, False)


@both
async def test_unknown_virtual_host(
    milvus: FakeMilvus, certificates: Certificates, name: str
) -> None:
    options: dict[str, Any] = (
        {"server_name": "milvus.elsewhere.example"} if name == "nginx" else {"bind": "strict-sni"}
    )
    async with with_tls(name, milvus, certificates.elsewhere, **options) as gateway:
        error = await error_of(gateway, tls=TLSConfig(ca=certificates.ca))
    assert (type(error), hint_of(error)) == (UnavailableError, Hint.UNKNOWN_VIRTUAL_HOST)
    assert not error.may_have_run


# -------------------------------------------------------------------- responses and headers


@both
async def test_headers_larger_than_the_buffers(milvus: FakeMilvus, name: str) -> None:
    async with plain(name, milvus) as gateway, ImportClient(gateway.uri, service="rest") as client:
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(JOB, metadata={"x-large": "a" * 40_000})
        assert (await client.get_import_progress(JOB)).data.progress == 40
    error = caught.value
    assert (error.http_status, error.transient) == (400, False)
    assert hint_of(error) is Hint.GATEWAY_METADATA_SIZE


@both
async def test_authorization_stripped_by_the_gateway(milvus: FakeMilvus, name: str) -> None:
    milvus.token = "root:Milvus"
    options = (
        {"location": "proxy_set_header Authorization '';"}
        if name == "nginx"
        else {"frontend": "http-request del-header authorization"}
    )
    async with plain(name, milvus, **options) as gateway:
        error = await error_of(gateway, token="root:Milvus")
        without = await error_of(gateway)
    assert isinstance(error, UnauthenticatedError)
    assert hint_of(error) is Hint.CHECK_OR_FORWARD_CREDENTIALS
    assert hint_of(without) is Hint.PASS_TOKEN


@both
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504])
async def test_http_status_decides(milvus: FakeMilvus, name: str, status: int) -> None:
    options = (
        {"location": f"return {status};"}
        if name == "nginx"
        else {"frontend": f"http-request return status {status}"}
    )
    async with plain(name, milvus, **options) as gateway:
        error = await error_of(gateway)
    assert (error.http_status, error.transient) == (status, status >= 429)


# ------------------------------------------------------------------------------- outages

PAGES = {
    "page": "return 200 '<title>Maintenance</title>';",
    "empty": "return 200;",
    "204": "return 204;",
    "JSON": 'return 200 \'{"status":"maintenance"}\';',
    "503": "return 503;",
}


@pytest.mark.parametrize("service", ["rest", "internal"])
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["wait", "wait_all"])
async def test_wait_survives_a_page_in_place_of_milvus(
    milvus: FakeMilvus, page: str, method: str, service: Any
) -> None:
    """While the flag exists, nginx responds with the page."""
    faults = FaultLog()
    gateway = Nginx(milvus, http2=service != "rest")
    gateway.location = f"if (-f {gateway.flag}) {{ {PAGES[page]} }}"
    options: dict[str, Any] = {
        "interval": INTERVAL,
        "timeout": GUARD,
        "on_retry": faults,
    }
    async with gateway, ImportClient(gateway.uri, service=service) as client:
        await client.get_import_progress(JOB)
        gateway.flag.touch()
        waiting: asyncio.Task[Any] = asyncio.ensure_future(
            client.wait(JOB, **options) if method == "wait" else client.wait_all([JOB], **options)
        )
        await until(lambda: len(faults) >= 3 or waiting.done(), GUARD)
        milvus.jobs[JOB].state, milvus.jobs[JOB].progress = "Completed", 100
        gateway.flag.unlink()
        found = await waiting
    outcome = found if method == "wait" else found[JOB]
    assert outcome.state == "Completed"
    assert all(error.transient for error, _ in faults)


@both
async def test_retry_after_of_a_gateway(milvus: FakeMilvus, name: str) -> None:
    gateway: Gateway
    if name == "nginx":
        gateway = Nginx(milvus, http2=False)
        gateway.location = (
            f"if (-f {gateway.flag}) {{ add_header Retry-After 2 always; return 429; }}"
        )
    else:
        gateway = HAProxy(milvus, frontend="http-request return status 429 hdr Retry-After 2")
    errors: list[MilvusImportError] = []
    async with gateway, ImportClient(gateway.uri, service="rest") as client:
        if name == "haproxy":
            with pytest.raises(UnavailableError) as caught:
                await client.get_import_progress(JOB)
            assert (caught.value.retry_after, caught.value.rate_limited) == (2.0, True)
            return
        await client.get_import_progress(JOB)
        gateway.flag.touch()
        waiting = asyncio.ensure_future(
            client.wait(JOB, interval=INTERVAL, on_retry=lambda e, _: errors.append(e))
        )
        await until(lambda: bool(errors), GUARD)
        gateway.flag.unlink()
        milvus.jobs[JOB].state = "Completed"
        await asyncio.wait_for(waiting, GUARD)
        requests = await gateway.logged(3)
    assert [request.status for request in requests] == [200, 429, 200]
    assert requests[2].time - requests[1].time >= 1.9
    assert [error.retry_after for error in errors] == [2.0]
