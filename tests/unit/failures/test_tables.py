"""What an error means: class, hint, transient, may_have_run; by code and text, in tests/vectors."""

from __future__ import annotations

import email.utils
import errno
import re
import time
from typing import Any

import grpc
import pytest
from hint_keys import hint_key
from tables import rows

from milvus_import import (
    ArgumentError,
    CallError,
    CallRecord,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
)
from milvus_import._failures._http import (
    COMPRESSED,
    http_status_error,
    is_missing_route,
    response_text,
    transport_error,
    transport_failure,
)
from milvus_import._failures._statuses import (
    EMPTY_REPLY,
    call_error,
    connection_broke,
    failed_job_hint,
    http_hint,
    is_response,
    lacks_grpc_status,
    reply_error,
    returned_error,
    status_error,
    transient_http_status,
)
from milvus_import._hints import Hint
from milvus_import._services._replies import parse
from milvus_import_pb import common_pb2, internal_pb2

Code = grpc.StatusCode
RECORD = CallRecord("public", "a.B/C", Code.UNKNOWN, "", (), (), 0.1)
UNKNOWN_TEXT = "some text of the server"
HTTP2_STATUS = "Received http2 header with status: "
NO_JOB = "import job does not exist, jobID=7: importing data failed"
TOO_MANY = "The number of jobs has reached the limit, please try again later"


def name_of_row(row: list[str]) -> str:
    return f"{row[0]}-{row[1]}-{row[-1][-60:]}"


def meaning(error: CallError | MilvusStatusError) -> tuple[str, str, str]:
    """Return class, flags and hint as the tables write them."""
    flags = {
        "transient": error.transient,
        "may-have-run": error.may_have_run,
        "limited": error.rate_limited,
    }
    set_flags = " ".join(name for name, value in flags.items() if value)
    return type(error).__name__, set_flags, hint_key(error) or ""


# ------------------------------------------------------------------------------------- gRPC

OF_GRPC = rows("errors_of_grpc")


def test_every_grpc_code_is_in_the_table() -> None:
    codes = {row[0] for row in OF_GRPC if row[-1] == UNKNOWN_TEXT}
    assert codes == {code.name for code in Code} - {"OK"}


@pytest.mark.parametrize("row", OF_GRPC, ids=name_of_row)
def test_code_and_text_of_grpc_decide(row: list[str]) -> None:
    code, kind, flags, hint, facts, text = row
    error = call_error(grpc.StatusCode[code], text, RECORD)
    found = {
        "broke": connection_broke(error),
        "responded": is_response(error),
        "no status": lacks_grpc_status(error),
        "limited": error.rate_limited,
    }
    assert ", ".join(name for name, value in found.items() if value) == facts
    assert meaning(error) == (kind, flags + " limited" * error.rate_limited, hint)
    assert (error.code, error.details, error.record) == (grpc.StatusCode[code], text, RECORD)
    status = re.fullmatch(HTTP2_STATUS + r"([1-9]\d+)", text)
    assert error.http_status == (int(status[1]) if status else None)
    assert (error.message, error.target) == ("", None)


@pytest.mark.parametrize(
    "row", [row for row in OF_GRPC if HTTP2_STATUS in row[-1]], ids=name_of_row
)
def test_http_status_decides_also_if_the_stream_was_removed(row: list[str]) -> None:
    error, same = (
        call_error(grpc.StatusCode[row[0]], before + row[-1], RECORD)
        for before in ("Stream removed (", "")
    )
    if not same.http_status:
        assert error.http_status is None
        return
    assert error.http_status == same.http_status
    assert meaning(error)[1:] == meaning(same)[1:]
    assert (is_response(error), connection_broke(error)) == (is_response(same), False)


def test_call_that_was_not_sent_is_neither_transient_nor_may_have_run() -> None:
    error = call_error(Code.DEADLINE_EXCEEDED, "")
    assert meaning(error) == ("DeadlineExceededError", "", "ALLOW_MORE_TIME")
    assert error.record is None


def test_hint_and_http_status_of_the_caller_are_kept() -> None:
    error = call_error(Code.UNAVAILABLE, "x", RECORD, http_status=503, hint=Hint.CHECK_COLLECTION)
    assert (error.http_status, hint_key(error)) == (503, "CHECK_COLLECTION")
    assert error.transient


@pytest.mark.parametrize(
    ("details", "given", "hint", "transient"),
    [
        (EMPTY_REPLY, None, None, True),
        ("the reply could not be parsed", None, "CHECK_IS_MILVUS", False),
        ("the reply could not be parsed", Hint.INVALID_UTF8, "INVALID_UTF8", False),
    ],
)
def test_invalid_reply_is_an_error_although_the_call_succeeded(
    details: str, given: Hint | None, hint: str | None, transient: bool
) -> None:
    error = reply_error(details, given)
    assert (type(error), error.code, error.details) == (CallError, Code.INTERNAL, details)
    assert (error.record, error.http_status) == (None, None)
    assert (hint_key(error), error.transient, error.may_have_run) == (hint, transient, True)
    assert is_response(reply_error(details)) is transient


def test_errors_that_are_not_of_a_call_come_from_a_server() -> None:
    assert is_response(MilvusStatusError("", code=65535))
    assert is_response(ArgumentError(""))


IN_AN_HOUR = email.utils.formatdate(time.time() + 3600, usegmt=True)


@pytest.mark.parametrize("key", ["retry-after", "Retry-After"])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("8", 8.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        (b"3", 3.0),
        *[(value, None) for value in ("-1", "", "soon", "Soon, please", "inf", "nan", "1e3")],
        *[(value, None) for value in ("9" * 400, "\u0663", "Wed, 99 Oct 9999 07:28:00 GMT")],
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),  # in the past
        pytest.param(IN_AN_HOUR, pytest.approx(3300, abs=300), id="in an hour"),
    ],
)
def test_retry_after_is_a_number_of_seconds_a_date_or_none(
    key: str, value: str | bytes, seconds: Any
) -> None:
    pairs = ((key, value),)
    for initial, trailing in ((pairs, ()), ((), pairs)):
        record = CallRecord("public", "a.B/C", Code.UNKNOWN, "", initial, trailing, 1)
        assert call_error(Code.UNAVAILABLE, "x", record).retry_after == seconds
    assert call_error(Code.UNAVAILABLE, "x").retry_after is None


# ------------------------------------------------------------------------------------- HTTP


def test_2xx_408_429_and_5xx_except_501_and_505_are_transient() -> None:
    transient = {status for status in range(100, 1000) if transient_http_status(status)}
    assert transient == {*range(200, 300), 408, 429, *range(500, 600)} - {501, 505}


@pytest.mark.parametrize("secure", [False, True])
def test_each_http_status_has_a_hint(secure: bool) -> None:
    for status in range(100, 1000):
        if http_hint(status, secure=secure) is Hint.GATEWAY_ERROR:
            assert transient_http_status(status)
    assert http_hint(303, secure=secure) is (Hint.GATEWAY_ROUTE if secure else Hint.GATEWAY_HTTPS)


@pytest.mark.parametrize("row", rows("errors_of_http"), ids=name_of_row)
def test_http_status_and_text_decide(row: list[str]) -> None:
    status, sender, code, *expected, text = row
    error = http_status_error(int(status), text, RECORD, by_milvus=sender == "milvus")
    assert meaning(error) == tuple(expected)
    assert (error.http_status, error.code) == (int(status), grpc.StatusCode[code])
    assert error.transient is transient_http_status(int(status))


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
    text, hint = "HTTP 404: 404 page not found", Hint.REST_NEEDS_3_0
    error = call_error(Code.UNIMPLEMENTED, text, RECORD, http_status=404, hint=hint)
    assert type(error) is UnsupportedServerError
    assert (error.http_status, error.may_have_run) == (404, False)
    assert hint_key(error) == "REST_NEEDS_3_0"


def test_rest_names_the_limit_of_open_files() -> None:
    import aiohttp

    for error in (OSError(errno.EMFILE, "x"), aiohttp.ClientOSError(errno.ENFILE, "x")):
        code, details = transport_failure(error, proxy=None)
        found = transport_error(code, details, RECORD)
        assert details.startswith("failed to connect: Too many open files")
        assert (hint_key(found), found.may_have_run) == ("OPEN_FILES", False)


def test_rest_does_not_quote_the_text_of_an_unknown_exception() -> None:
    import aiohttp

    for kind in (aiohttp.InvalidURL, ValueError):
        details = f"the request failed ({kind.__name__})"
        assert transport_failure(kind("S3cret"), proxy=None) == (Code.INTERNAL, details)


@pytest.mark.parametrize(
    ("code", "details", "hint"),
    [
        ("UNAVAILABLE", "the connection broke: [SSL: TLSV1_UNRECOGNIZED_NAME] x",
         "UNKNOWN_VIRTUAL_HOST"),
        ("UNAVAILABLE", "the connection broke: [SSL: SSLV3_ALERT_BAD_CERTIFICATE] x",
         "PASS_CLIENT_CERTIFICATE"),
        ("UNAVAILABLE", "failed to connect: [SSL: RECORD_LAYER_FAILURE] x", "USE_HTTP"),
        ("INTERNAL", f"{COMPRESSED} (gzip)", "REST_COMPRESSED"),
    ],
)  # fmt: skip
def test_text_of_a_rest_connection_decides_the_hint(code: str, details: str, hint: str) -> None:
    assert hint_key(transport_error(grpc.StatusCode[code], details, RECORD)) == hint


# ---------------------------------------------------------------------------------- Statuses

OF_STATUSES = rows("errors_of_statuses")


def error_of(**status: Any) -> MilvusStatusError:
    """Return the error of a Status, by way of the message that a service sends."""
    return returned_error(common_pb2.Status(**status))


@pytest.mark.parametrize("row", OF_STATUSES, ids=name_of_row)
def test_code_and_text_of_a_status_decide(row: list[str]) -> None:
    code, error_code, *expected, reason = row
    error = error_of(code=int(code or 0), error_code=int(error_code or 0), reason=reason)
    assert meaning(error) == tuple(expected)
    if expected[1:] == ["transient may-have-run", "SERVER_STARTING"]:  # a coordinator is away
        for status in ({"code": 65535}, {"code": 2100}, {"error_code": 1}):
            assert meaning(error_of(**status, reason="attempt #1", detail=reason)) == tuple(
                expected
            )
        assert not error_of(code=100, reason=reason).transient  # a final code


def test_status_without_a_code_is_success() -> None:
    done = common_pb2.Status(reason="done", detail="all of it", retriable=True)
    reply = internal_pb2.ImportResponse(status=done, jobID="7")
    assert parse(internal_pb2.ImportResponse, reply.SerializeToString()) == reply


def test_detail_decides_the_class_too_but_the_retriable_flag_is_unreliable() -> None:
    assert not error_of(code=65535, retriable=True).transient
    assert type(error_of(code=2100, reason="inner", detail=NO_JOB)) is JobNotFoundError


def test_error_keeps_every_field_of_the_status() -> None:
    status = {
        "code": 100,
        "error_code": 4,
        "reason": "collection not found[collection=books]",
        "detail": "a chain\ngoroutine 1 [running]",
        "retriable": True,
    }
    error = error_of(**status)
    assert {name: getattr(error, name) for name in status} == status
    assert error.http_status is None
    assert error.message == f"Milvus returned the status code 100: {status['reason']}"
    assert "goroutine" not in str(error)


def test_status_of_rest_keeps_its_http_status_and_retry_after() -> None:
    headers = (("retry-after", "8"),)
    record = CallRecord("rest", "list", grpc.StatusCode.OK, "", headers, (), 0.1)
    error = status_error(1807, 0, "slow", http_status=200, record=record)
    assert (error.http_status, error.retry_after, error.rate_limited) == (200, 8.0, True)


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        ({"error_code": 5}, "Milvus returned the status error_code 5: no reason given"),
        ({"code": 5}, "Milvus returned the status code 5: no reason given"),
        ({"code": 5, "detail": "only the detail"}, "status code 5: only the detail"),
        ({"code": 5, "reason": "a\nb"}, "status code 5: a b"),
    ],
)
def test_message_names_the_code_and_the_reason(status: dict[str, Any], ending: str) -> None:
    assert error_of(**status).message.endswith(ending)


@pytest.mark.parametrize(("hint", "reason"), rows("reasons_of_jobs"))
def test_reason_of_a_failed_job_decides_its_hint(hint: str, reason: str) -> None:
    assert failed_job_hint(reason) is (Hint[hint] if hint else None)
    assert failed_job_hint(" " * 9000 + reason) is None


def test_only_the_first_8_kb_of_a_text_are_searched() -> None:
    ready, not_searched = "service not ready", " " * 8192 + "service not ready"
    late: list[MilvusImportError] = [
        call_error(Code.UNKNOWN, not_searched, RECORD),
        error_of(code=2100, reason=" " * 9000 + NO_JOB, detail=" " * 9000 + TOO_MANY),
    ]
    assert [(type(error), error.transient) for error in late] == [
        (CallError, False),
        (MilvusStatusError, False),
    ]
    assert call_error(Code.UNKNOWN, " " * 8000 + ready, RECORD).transient
    assert type(error_of(code=2100, reason=" " * 8000 + NO_JOB)) is JobNotFoundError
    assert getattr(late[0], "details", "").endswith(ready)
    assert getattr(late[1], "reason", "").endswith(NO_JOB)
    assert len(late[1].message) < 800
