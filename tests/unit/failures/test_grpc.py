"""What each gRPC status means: class, transient, may_have_run, hint, by code and text."""

from __future__ import annotations

import email.utils
import time

import grpc
import pytest
from tables import rows

from milvus_import import (
    AccessDeniedError,
    ArgumentError,
    CallError,
    CallRecord,
    DeadlineExceededError,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._errors import hint_of
from milvus_import._failures._statuses import (
    EMPTY_REPLY,
    call_error,
    connection_broke,
    is_response,
    lacks_grpc_status,
    reply_error,
)
from milvus_import._hints import Hint

Code = grpc.StatusCode
RECORD = CallRecord("public", "a.B/C", Code.UNKNOWN, "", (), (), 0.1)

CODES: dict[grpc.StatusCode, tuple[type[CallError], bool, bool]] = {
    # class, transient, may_have_run of a text that is not known
    Code.CANCELLED: (CallError, True, True),
    Code.UNKNOWN: (CallError, False, True),
    Code.INVALID_ARGUMENT: (CallError, False, False),
    Code.DEADLINE_EXCEEDED: (DeadlineExceededError, True, True),
    Code.NOT_FOUND: (CallError, False, False),
    Code.ALREADY_EXISTS: (CallError, False, True),
    Code.PERMISSION_DENIED: (AccessDeniedError, False, False),
    Code.UNAUTHENTICATED: (UnauthenticatedError, False, False),
    Code.RESOURCE_EXHAUSTED: (CallError, True, True),
    Code.FAILED_PRECONDITION: (CallError, False, True),
    Code.ABORTED: (CallError, True, True),
    Code.OUT_OF_RANGE: (CallError, False, True),
    Code.UNIMPLEMENTED: (UnsupportedServerError, False, False),
    Code.INTERNAL: (CallError, False, True),
    Code.UNAVAILABLE: (UnavailableError, True, True),
    Code.DATA_LOSS: (CallError, False, True),
}
TEXTS = rows("errors_of_grpc")


def test_every_grpc_code_is_in_the_table() -> None:
    assert CODES.keys() == {code for code in Code if code is not Code.OK}


@pytest.mark.parametrize("code", CODES)
def test_code_decides_class_transient_and_may_have_run(code: grpc.StatusCode) -> None:
    error = call_error(code, "some text of the server", RECORD)
    assert (type(error), error.transient, error.may_have_run) == CODES[code]
    assert (error.code, error.details, error.record) == (code, "some text of the server", RECORD)
    assert (error.http_status, error.message, error.target) == (None, "", None)


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: f"{row[0]}-{row[-1][-60:]}")
def test_text_decides_what_an_error_means(row: list[str]) -> None:
    code, kind, flags, hint, facts, text = row
    error = call_error(grpc.StatusCode[code], text, RECORD)
    assert type(error).__name__ == kind
    assert (error.transient, error.may_have_run) == ("transient" in flags, "may-have-run" in flags)
    assert hint_of(error) is (Hint[hint] if hint else None)
    found = {
        "broke": connection_broke(error),
        "responded": is_response(error),
        "no status": lacks_grpc_status(error),
        "limited": error.rate_limited,
    }
    assert ", ".join(name for name, value in found.items() if value) == facts


STATUSES = {
    # code of gRPC, hint with https://, transient, whether a server or a gateway responded
    301: (Code.UNKNOWN, Hint.GATEWAY_REDIRECT, False, False),
    400: (Code.INTERNAL, Hint.PASS_CLIENT_CERTIFICATE, False, False),
    401: (Code.UNAUTHENTICATED, Hint.GATEWAY_ACCESS, False, False),
    403: (Code.PERMISSION_DENIED, Hint.GATEWAY_ACCESS, False, False),
    404: (Code.UNIMPLEMENTED, Hint.GATEWAY_ROUTE, False, False),
    408: (Code.UNKNOWN, Hint.GATEWAY_ERROR, True, True),
    413: (Code.UNKNOWN, Hint.GATEWAY_REQUEST_SIZE, False, False),
    429: (Code.UNAVAILABLE, Hint.GATEWAY_RATE_LIMIT, True, True),
    431: (Code.UNKNOWN, Hint.GATEWAY_METADATA_SIZE, False, False),
    500: (Code.UNKNOWN, Hint.GATEWAY_ERROR, True, False),
    501: (Code.UNKNOWN, Hint.GATEWAY_ROUTE, False, False),
    502: (Code.UNAVAILABLE, Hint.GATEWAY_BACKEND, True, True),
    503: (Code.UNAVAILABLE, Hint.GATEWAY_UNAVAILABLE, True, True),
    504: (Code.UNAVAILABLE, Hint.GATEWAY_TIMEOUT, True, True),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("before", ["", "Stream removed ("])
def test_http_status_in_the_text_decides(status: int, before: str) -> None:
    code, hint, transient, responded = STATUSES[status]
    error = call_error(code, f"{before}Received http2 header with status: {status}", RECORD)
    assert error.http_status == status
    assert (hint_of(error), error.transient) == (hint, transient)
    assert (is_response(error), connection_broke(error)) == (responded, False)
    assert error.rate_limited is (status == 429)


def test_call_that_was_not_sent_is_neither_transient_nor_may_have_run() -> None:
    error = call_error(Code.DEADLINE_EXCEEDED, "")
    assert (error.transient, error.may_have_run, error.record) == (False, False, None)
    assert hint_of(error) is Hint.ALLOW_MORE_TIME


def test_hint_and_http_status_of_the_caller_are_kept() -> None:
    error = call_error(Code.UNAVAILABLE, "x", RECORD, http_status=503, hint=Hint.CHECK_COLLECTION)
    assert (error.http_status, hint_of(error), error.transient) == (
        503,
        Hint.CHECK_COLLECTION,
        True,
    )


@pytest.mark.parametrize(
    ("details", "given", "hint", "transient"),
    [
        (EMPTY_REPLY, None, None, True),
        ("the reply could not be parsed", None, Hint.CHECK_IS_MILVUS, False),
        ("the reply could not be parsed", Hint.INVALID_UTF8, Hint.INVALID_UTF8, False),
    ],
)
def test_invalid_reply_is_an_error_although_the_call_succeeded(
    details: str, given: Hint | None, hint: Hint | None, transient: bool
) -> None:
    error = reply_error(details, given, record=RECORD, http_status=200)
    assert (type(error), error.code, error.record) == (CallError, Code.INTERNAL, RECORD)
    assert (error.details, error.http_status) == (details, 200)
    assert (hint_of(error), error.transient, error.may_have_run) == (hint, transient, True)
    assert is_response(reply_error(details)) is transient


def test_only_the_first_8_kb_of_a_text_are_searched() -> None:
    assert call_error(Code.UNKNOWN, " " * 8000 + "service not ready", RECORD).transient
    late = call_error(Code.UNKNOWN, " " * 8192 + "service not ready", RECORD)
    assert not late.transient
    assert late.details.endswith("service not ready")


def test_errors_that_are_not_of_a_call_come_from_a_server() -> None:
    assert is_response(MilvusStatusError("", code=65535))
    assert is_response(ArgumentError(""))


# ------------------------------------------------------------------------------- retry-after


def retry_after(value: str | bytes, *, trailing: bool = False, key: str = "retry-after") -> object:
    pairs = ((key, value),)
    record = CallRecord(
        "public", "a.B/C", Code.UNKNOWN, "", () if trailing else pairs, pairs if trailing else (), 1
    )
    return call_error(Code.UNAVAILABLE, "x", record).retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("8", 8.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        (b"3", 3.0),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("Soon, please", None),
        ("inf", None),
        ("nan", None),
        ("1e3", None),
        ("9" * 400, None),
        ("\u0663", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),  # in the past
        ("Wed, 99 Oct 9999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_none(
    value: str | bytes, seconds: float | None
) -> None:
    assert retry_after(value) == seconds
    assert retry_after(value, trailing=True, key="Retry-After") == seconds


def test_retry_after_may_be_a_date() -> None:
    date = email.utils.formatdate(time.time() + 3600, usegmt=True)
    seconds = retry_after(date)
    assert isinstance(seconds, float)
    assert 3000 < seconds <= 3600
    assert call_error(Code.UNAVAILABLE, "x").retry_after is None
