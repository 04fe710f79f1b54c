"""What HTTP statuses, pages and the exceptions of aiohttp mean."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from certificates import Certificates, make_certificates

from milvus_import import CallError, CallRecord, UnavailableError, UnsupportedServerError
from milvus_import._errors import hint_of
from milvus_import._failures._http import (
    COMPRESSED,
    http_status_error,
    is_missing_route,
    missing_route_error,
    response_text,
    transport_error,
    transport_failure,
)
from milvus_import._failures._http_status import http_code, http_hint, transient_http_status
from milvus_import._hints import Hint

Code = grpc.StatusCode
RECORD = CallRecord("rest", "/v2/vectordb/jobs/import/list", Code.UNKNOWN, "", (), (), 0.1)
SECRET = "S3cret"
GUARD = 20.0


# ------------------------------------------------------------------------------ HTTP statuses


def test_2xx_408_429_and_5xx_except_501_and_505_are_transient() -> None:
    transient = {status for status in range(100, 1000) if transient_http_status(status)}
    assert transient == {*range(200, 300), 408, 429, *range(500, 600)} - {501, 505}


@pytest.mark.parametrize("secure", [False, True])
def test_each_http_status_has_a_hint(secure: bool) -> None:
    for status in range(100, 1000):
        if http_hint(status, secure=secure) is Hint.GATEWAY_ERROR:
            assert transient_http_status(status)
    assert http_hint(303, secure=secure) is (Hint.GATEWAY_ROUTE if secure else Hint.GATEWAY_HTTPS)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, Code.OK),
        (204, Code.OK),
        (301, Code.UNKNOWN),
        (400, Code.INTERNAL),
        (401, Code.UNAUTHENTICATED),
        (403, Code.PERMISSION_DENIED),
        (404, Code.UNIMPLEMENTED),
        (408, Code.DEADLINE_EXCEEDED),
        (418, Code.UNKNOWN),
        (429, Code.UNAVAILABLE),
        (500, Code.UNKNOWN),
        (503, Code.UNAVAILABLE),
    ],
)
def test_http_status_is_mapped_as_grpc_does(status: int, code: grpc.StatusCode) -> None:
    assert http_code(status) is code


@pytest.mark.parametrize(
    ("status", "may_have_run"),
    [(301, False), (400, False), (404, False), (429, False), (408, True), (499, True), (500, True)],
)
def test_rejected_request_has_not_run(status: int, may_have_run: bool) -> None:
    error = http_status_error(status, f"HTTP {status}", RECORD)
    assert (error.http_status, error.may_have_run) == (status, may_have_run)
    assert error.transient is transient_http_status(status)
    assert error.rate_limited is (status == 429)


@pytest.mark.parametrize(
    ("status", "title", "hint"),
    [
        (400, "Client sent an HTTP request to an HTTPS server.", Hint.USE_HTTPS),
        (400, "The plain HTTP request was sent to HTTPS port", Hint.USE_HTTPS),
        (400, "Request Header Or Cookie Too Large", Hint.GATEWAY_METADATA_SIZE),
        (400, "No required SSL certificate was sent", Hint.PASS_CLIENT_CERTIFICATE),
        (403, "RBAC: access denied", Hint.GATEWAY_RBAC),
        (403, "Forbidden", Hint.GATEWAY_ACCESS),
        (408, "stream timeout", Hint.GATEWAY_TIMEOUT),
        (504, "upstream request timeout", Hint.GATEWAY_TIMEOUT),
    ],
)
def test_page_of_a_gateway_decides_the_hint(status: int, title: str, hint: Hint) -> None:
    assert hint_of(http_status_error(status, f"HTTP {status} x: {title}", RECORD)) is hint


@pytest.mark.parametrize(
    ("status", "hint"), [(429, Hint.SERVER_RATE_LIMIT), (503, Hint.SERVER_STARTING), (500, None)]
)
def test_status_of_milvus_itself_has_other_hints(status: int, hint: Hint | None) -> None:
    assert hint_of(http_status_error(status, "x", RECORD, by_milvus=True)) is hint


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/html", b"<html><title>404 Not Found</title>\n<p>x", "HTTP 404 Not Found: Not Found"),
        ("text/html", b"<p>sorry", "HTTP 404 Not Found"),
        ("", b"  <p>sorry", "HTTP 404 Not Found"),
        ("text/plain", b"gone\naway\xff", "HTTP 404 Not Found: gone away\ufffd"),
        ("", b"", "HTTP 404 Not Found"),
    ],
)
def test_response_is_one_line_of_text(content_type: str, body: bytes, text: str) -> None:
    assert response_text(404, "Not Found", content_type, body) == text
    assert response_text(404, "", content_type, body).startswith("HTTP 404")


def test_missing_route_is_that_of_the_router_of_milvus() -> None:
    assert is_missing_route(404, b"404 page not found\n")
    assert not is_missing_route(404, b"<html>404 page not found</html>")
    assert not is_missing_route(200, b"404 page not found")
    error = missing_route_error("HTTP 404: 404 page not found", RECORD, Hint.REST_NEEDS_3_0)
    assert type(error) is UnsupportedServerError
    assert (error.http_status, error.may_have_run) == (404, False)
    assert hint_of(error) is Hint.REST_NEEDS_3_0


# ------------------------------------------------------------- requests without a response

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[int, None]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def failure_of(uri: str, *, proxy: str | None = None, **options: Any) -> CallError:
    """Return the error of a request that fails without an HTTP response."""
    async with aiohttp.ClientSession(auto_decompress=False) as session, asyncio.timeout(GUARD):
        try:
            async with session.post(uri, data=SECRET.encode(), proxy=proxy, **options) as response:
                await response.read()
        except (aiohttp.ClientError, OSError) as error:
            name = "HTTP_PROXY" if proxy else None
            code, details = transport_failure(error, proxy=name)
        else:
            pytest.fail("the request succeeded")
    assert SECRET not in details
    return transport_error(code, details, RECORD)


def responding(data: bytes, *, reset: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(data)
        if reset:
            linger = bytes((1, 0, 0, 0, 0, 0, 0, 0))
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        writer.close()

    return handle


def handshake(context: ssl.SSLContext) -> Handler:
    """Try a TLS handshake; after an alert, read on until the client closes the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        connection = context.wrap_bio(incoming, outgoing, server_side=True)
        while data := await reader.read(65536):
            incoming.write(data)
            with contextlib.suppress(ssl.SSLError):  # such as: more data is needed
                connection.do_handshake()
            writer.write(outgoing.read())
        writer.close()

    return handle


def refused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("data", "reset", "details"),
    [
        (b"", False, "the connection broke: Server disconnected"),
        (b"", True, "the connection broke: Connection reset by peer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", False, "the connection broke: "),
        (b"SSH-2.0-OpenSSH_9\r\n", False, "the response is not valid HTTP/1.1: "),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", False, "the response is not valid HTTP"),
    ],
)
async def test_response_that_breaks_off_or_is_not_http(
    data: bytes, reset: bool, details: str
) -> None:
    async with serving(responding(data, reset=reset)) as port:
        error = await failure_of(f"http://127.0.0.1:{port}/")
    broke = details.startswith("the connection broke")
    assert type(error) is (UnavailableError if broke else CallError)
    assert error.details.startswith(details)
    assert (error.transient, error.may_have_run) == (broke, True)


@pytest.mark.anyio
async def test_address_without_a_server() -> None:
    error = await failure_of(f"http://127.0.0.1:{refused_port()}/")
    assert error.details == "failed to connect: Connection refused"
    assert (hint_of(error), error.may_have_run) == (Hint.REST_CHECK_ADDRESS, False)
    error = await failure_of("http://milvus.invalid:19530/")
    assert error.details.startswith("failed to connect: name resolution failed: ")
    assert (hint_of(error), error.may_have_run) == (Hint.CHECK_HOST_NAME, False)


@pytest.mark.anyio
async def test_socket_that_does_not_exist(tmp_path: Path) -> None:
    connector = aiohttp.UnixConnector(str(tmp_path / "milvus.sock"))
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientError) as caught:
            await session.get("http://milvus/")
    error = transport_error(*transport_failure(caught.value, proxy=None), RECORD)
    assert error.details == "failed to connect: No such file or directory"
    assert hint_of(error) is Hint.CHECK_SOCKET_PATH


@pytest.mark.anyio
async def test_proxy_that_refuses_is_named() -> None:
    error = await failure_of("http://milvus:19530/", proxy=f"http://127.0.0.1:{refused_port()}")
    assert error.details == "failed to connect through the proxy HTTP_PROXY: Connection refused"
    assert (hint_of(error), error.may_have_run) == (Hint.REST_PROXY, False)
    async with serving(responding(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")) as port:
        error = await failure_of("https://milvus:19530/", proxy=f"http://127.0.0.1:{port}")
    assert error.details == "failed to connect through the proxy HTTP_PROXY: HTTP 407"
    assert (type(error), error.http_status) == (UnavailableError, None)


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return make_certificates()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        ("plaintext", Hint.USE_HTTP),
        ("untrusted", Hint.TRUST_CA),
        ("other-name", Hint.EXPECT_SERVER_NAME),
        ("expired", Hint.RENEW_CERTIFICATE),
        ("no-client-certificate", Hint.PASS_CLIENT_CERTIFICATE),
        ("no-client-certificate-1.2", Hint.PASS_CLIENT_CERTIFICATE),
    ],
)
async def test_every_failure_of_tls_is_unavailable(
    fault: str, hint: Hint, certificates: Certificates, tmp_path: Path
) -> None:
    pairs = {"other-name": certificates.elsewhere, "expired": certificates.expired}
    key, cert = pairs.get(fault, certificates.server)
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "cert.pem").write_bytes(cert)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    if fault.startswith("no-client-certificate"):
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(cadata=certificates.ca.decode())
    client = ssl.create_default_context(
        cadata=None if fault == "untrusted" else certificates.ca.decode()
    )
    if fault.endswith("1.2"):
        client.maximum_version = ssl.TLSVersion.TLSv1_2
    handler = responding(b"HTTP/1.1 400 x\r\n\r\n") if fault == "plaintext" else handshake(server)
    async with serving(handler) as port:
        error = await failure_of(f"https://127.0.0.1:{port}/", ssl=client)
    assert type(error) is UnavailableError
    assert (hint_of(error), error.transient, error.may_have_run) == (hint, True, False)


@pytest.mark.anyio
async def test_connection_that_is_reset_during_the_handshake_of_tls() -> None:
    async with serving(responding(b"")) as port:
        error = await failure_of(f"https://127.0.0.1:{port}/")
    assert error.details == "failed to connect: Connection reset by peer"
    assert (error.transient, error.may_have_run) == (True, False)


def test_limit_of_open_files_is_named() -> None:
    for error in (OSError(errno.EMFILE, "x"), aiohttp.ClientOSError(errno.ENFILE, "x")):
        code, details = transport_failure(error, proxy=None)
        found = transport_error(code, details, RECORD)
        assert details.startswith("failed to connect: Too many open files")
        assert (hint_of(found), found.may_have_run) == (Hint.OPEN_FILES, False)


@pytest.mark.parametrize("error", [aiohttp.InvalidURL(SECRET), ValueError(SECRET)])
def test_text_of_an_unknown_exception_is_not_quoted(error: Exception) -> None:
    code, details = transport_failure(error, proxy=None)
    name = type(error).__name__
    assert (code, details) == (Code.INTERNAL, f"the request failed ({name})")


@pytest.mark.parametrize(
    ("details", "hint"),
    [
        ("the connection broke: [SSL: TLSV1_UNRECOGNIZED_NAME] x", Hint.UNKNOWN_VIRTUAL_HOST),
        (
            "the connection broke: [SSL: SSLV3_ALERT_BAD_CERTIFICATE] x",
            Hint.PASS_CLIENT_CERTIFICATE,
        ),
        ("failed to connect: [SSL: RECORD_LAYER_FAILURE] x", Hint.USE_HTTP),
    ],
)
def test_text_of_tls_decides_the_hint(details: str, hint: Hint) -> None:
    assert hint_of(transport_error(Code.UNAVAILABLE, details, RECORD)) is hint


def test_compressed_response_has_its_own_hint() -> None:
    error = transport_error(Code.INTERNAL, f"{COMPRESSED} (gzip)", RECORD)
    assert hint_of(error) is Hint.REST_COMPRESSED
