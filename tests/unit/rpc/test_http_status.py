"""HTTP statuses of gateways and web servers: which pass by themselves, and the hint of each."""

from __future__ import annotations

import pytest

from milvus_import._failures._http_status import http_hint, transient_http_status
from milvus_import._failures._texts import http_status
from milvus_import._hints import Hint


def test_408_429_and_5xx_except_501_and_505_are_transient() -> None:
    transient = {status for status in range(100, 1000) if transient_http_status(status)}
    assert transient == {408, 429, *range(500, 600)} - {501, 505}


@pytest.mark.parametrize("secure", [False, True])
def test_each_http_status_has_a_hint(secure: bool) -> None:
    for status in range(100, 1000):
        hint = http_hint(status, secure=secure)
        if hint is Hint.GATEWAY_ERROR:
            assert transient_http_status(status)
        assert isinstance(hint, Hint)
    assert http_hint(400, secure=secure) is (
        Hint.PASS_CLIENT_CERTIFICATE if secure else Hint.GATEWAY_ROUTE
    )
    assert http_hint(303, secure=secure) is (Hint.GATEWAY_ROUTE if secure else Hint.GATEWAY_HTTPS)


@pytest.mark.parametrize(
    ("details", "status"),
    [
        ("Received http2 header with status: 503", 503),
        ("Stream removed (Received http2 header with status: 404)", 404),
        ("Received http2 header with status: 50", None),
        ("status: 503", None),
        ("", None),
    ],
)
def test_http_status_is_read_from_the_text_of_grpc(details: str, status: int | None) -> None:
    assert http_status(details) == status
