"""What HTTP statuses, pages and the exceptions of aiohttp mean.

The exceptions of real connections are in server/test_rest_calls.py and test_rest_requests.py.
"""

from __future__ import annotations

import errno

import grpc
import pytest

from milvus_import import CallRecord, UnsupportedServerError
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
from milvus_import._failures._statuses import http_code, http_hint, transient_http_status
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


def test_rest_names_the_limit_of_open_files() -> None:
    import aiohttp

    for error in (OSError(errno.EMFILE, "x"), aiohttp.ClientOSError(errno.ENFILE, "x")):
        code, details = transport_failure(error, proxy=None)
        found = transport_error(code, details, RECORD)
        assert details.startswith("failed to connect: Too many open files")
        assert (hint_of(found), found.may_have_run) == (Hint.OPEN_FILES, False)


def test_rest_does_not_quote_the_text_of_an_unknown_exception() -> None:
    import aiohttp

    for error in (aiohttp.InvalidURL(SECRET), ValueError(SECRET)):
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
