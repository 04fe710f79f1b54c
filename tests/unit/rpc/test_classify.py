from __future__ import annotations

from typing import Any

import grpc
import pytest

from milvus_import import (
    AccessDeniedError,
    CallError,
    CallRecord,
    ClientClosedError,
    DeadlineExceededError,
    ImportFailedError,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from milvus_import._status import (
    EMPTY_REPLY,
    bad_reply,
    call_error,
    is_transient,
    quote,
    refusal,
    unsupported,
)
from milvus_import_pb import common_pb2

Code = grpc.StatusCode
RECORD = CallRecord("public", "milvus.proto.milvus.MilvusService/X", Code.UNKNOWN, "", (), (), 0.1)
TARGET = "127.0.0.1:19530"
REFUSED = f"failed to connect to all addresses; last error: UNKNOWN: ipv4:{TARGET}: Failed to "
NO_ROUTE = "Received http2 header with status: 404"


def error_of(code: grpc.StatusCode, details: str = "", **changed: Any) -> CallError:
    arguments: dict[str, Any] = {
        "method": "GetImportState",
        "target": TARGET,
        "secure": False,
        "record": RECORD,
        "timeout": 10.0,
    }
    return call_error(code, details, **{**arguments, **changed})


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_the_class_follows_the_code_and_the_text_says_what_was_tried(code: grpc.StatusCode) -> None:
    classes = {
        Code.DEADLINE_EXCEEDED: DeadlineExceededError,
        Code.UNAVAILABLE: UnavailableError,
        Code.UNAUTHENTICATED: UnauthenticatedError,
        Code.PERMISSION_DENIED: AccessDeniedError,
        Code.UNIMPLEMENTED: UnsupportedServerError,
    }
    error = error_of(code, "the server's words")
    assert type(error) is classes.get(code, CallError)
    assert (error.code, error.details, error.record) == (code, "the server's words", RECORD)
    assert f"GetImportState at {TARGET}" in str(error)
    assert "the server's words" in str(error)


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", True),
        (Code.DEADLINE_EXCEEDED, "context deadline exceeded", True),
        (Code.UNAVAILABLE, "Stream removed (Socket closed)", True),
        (Code.UNAVAILABLE, "Socket closed", True),
        (Code.UNAVAILABLE, REFUSED + "connect to remote host: Connection refused", False),
        (Code.UNAVAILABLE, "DNS resolution failed for nowhere:1: not found", False),
        (Code.UNAVAILABLE, REFUSED + "SSL_ERROR_SSL: WRONG_VERSION_NUMBER", False),
        (Code.CANCELLED, "", True),
        (Code.UNKNOWN, "boom", True),
        (Code.INTERNAL, "the reply could not be parsed", True),
        (Code.ABORTED, "", True),
        (Code.UNAUTHENTICATED, "missing authorization in header", False),
        (Code.PERMISSION_DENIED, "no", False),
        (Code.UNIMPLEMENTED, "unknown method", False),
        (Code.INVALID_ARGUMENT, "", False),
    ],
)
def test_whether_the_server_may_have_acted(
    code: grpc.StatusCode, details: str, expected: bool
) -> None:
    assert error_of(code, details).may_have_run is expected


@pytest.mark.parametrize(
    ("code", "details", "arguments", "mend"),
    [
        (Code.UNAVAILABLE, REFUSED + "connect: Connection refused", {}, "nothing listens there"),
        (Code.UNAVAILABLE, "x: WRONG_VERSION_NUMBER", {"secure": True}, "write http://"),
        (Code.UNAVAILABLE, "CERTIFICATE_VERIFY_FAILED", {"secure": True}, "TLSConfig(ca=...)"),
        (Code.UNAVAILABLE, "Trying to connect an http1.x server", {}, "an HTTP server answers"),
        (Code.UNAVAILABLE, REFUSED + "Failed parsing HTTP/2 (x)", {}, "does not speak gRPC"),
        (Code.UNAVAILABLE, "Stream removed (Failed parsing HTTP/2)", {}, "spoils the connection"),
        (Code.UNKNOWN, "Stream removed (Failed parsing HTTP/2)", {}, "spoils the connection"),
        (Code.UNKNOWN, "Stream removed (Socket closed)", {}, "the connection broke, or no gRPC"),
        (Code.UNAVAILABLE, REFUSED + "something else", {}, "write https://"),
        (Code.UNAUTHENTICATED, "missing authorization in header", {}, "pass token="),
        (Code.UNAUTHENTICATED, "invalid token format", {}, "without 'Bearer'"),
        (Code.UNAUTHENTICATED, "auth check failure, please check", {}, "user and the password"),
        (Code.PERMISSION_DENIED, "PrivilegeImport: permission deny", {}, "grant the user"),
        (
            Code.RESOURCE_EXHAUSTED,
            "CLIENT: Received message larger than max",
            {},
            "max_receive_byt",
        ),
        (Code.UNKNOWN, "cross cluster routing[expectCluster=a]", {}, "'cluster' and 'serverid'"),
        (Code.UNKNOWN, "node not match[expectedNodeID=1]", {}, "'cluster' and 'serverid'"),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {}, "no answer within 10 s. Check that"),
        (Code.DEADLINE_EXCEEDED, "", {"record": None, "timeout": -1.0}, "not sent"),
        (Code.DEADLINE_EXCEEDED, "context deadline exceeded", {}, "after 0.1 s (context dead"),
        (Code.DEADLINE_EXCEEDED, "context deadline exceeded", {}, "gave up before the call's ti"),
        (Code.DEADLINE_EXCEEDED, "context deadline exceeded", {"timeout": None}, "gave up before"),
        (Code.DEADLINE_EXCEEDED, "context deadline exceeded", {"timeout": 0.1}, "within 0.1 s. Ch"),
    ],
)
def test_a_known_fault_names_its_mend(
    code: grpc.StatusCode, details: str, arguments: dict[str, Any], mend: str
) -> None:
    assert mend.lower() in str(error_of(code, details, **arguments)).lower()


@pytest.mark.parametrize(
    ("status", "code", "mend"),
    [
        (301, Code.UNKNOWN, "check host and port, and whether it passes gRPC on"),
        (400, Code.INTERNAL, "check host and port, and whether it passes gRPC on"),
        (401, Code.UNAUTHENTICATED, "check whom it lets through"),
        (403, Code.PERMISSION_DENIED, "check whom it lets through"),
        (413, Code.UNKNOWN, "name fewer files at once"),
        (429, Code.UNAVAILABLE, "poll less often"),
        (500, Code.UNKNOWN, "check host and port, and whether it passes gRPC on"),
        (502, Code.UNAVAILABLE, "it may not reach Milvus"),
        (503, Code.UNAVAILABLE, "it may not reach Milvus"),
        (504, Code.UNAVAILABLE, "it may not reach Milvus"),
    ],
)
def test_an_answer_of_http_is_not_taken_for_one_of_milvus(
    status: int, code: grpc.StatusCode, mend: str
) -> None:
    text = str(error_of(code, f"Received http2 header with status: {status}"))
    assert f"{status}). A gateway or a web server answered, not Milvus: " in text
    assert mend in text
    assert "user" not in text


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (
            {"internal": "unknown method GetImportProgress for service Proxy", "public": "none"},
            ["Milvus 2.3", "use port 19530", "unknown method GetImportProgress", "none"],
        ),
        ({"internal": "unknown service a", "public": "unknown service b"}, ["19530", "19529"]),
        ({"internal": "unknown service a"}, ["19529", "service='auto'"]),
        ({"public": "unknown service b"}, ["19530", "service='auto'"]),
        ({"internal": NO_ROUTE}, ["whether it passes gRPC on"]),
        ({"internal": NO_ROUTE, "public": NO_ROUTE}, ["whether it passes gRPC on"]),
        ({"internal": NO_ROUTE, "public": "unknown service b"}, ["is this Milvus?"]),
    ],
)
def test_a_server_that_knows_no_such_method_is_told_with_every_answer(
    answers: Any, words: list[str]
) -> None:
    error = unsupported(answers, "milvus:1")
    assert error.code is Code.UNIMPLEMENTED
    assert not error.may_have_run
    for word in (*words, *answers.values(), "milvus:1"):
        assert word.lower() in str(error).lower()
    for text in answers.values():
        assert text in error.details


# ------------------------------------------------------------------------------ Milvus' Status

NO_JOB = "import job does not exist, jobID=7: importing data failed"
NO_KEY = "key not found[key=by-dev/meta/importtask/7]"
TOO_MANY = "The number of jobs has reached the limit, please try again later"


def refusal_of(**status: Any) -> RefusedError:
    return refusal(common_pb2.Status(**status), "ImportV2", "milvus:1", "internal")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"code": 1}, RefusedError),
        ({"code": -1}, RefusedError),
        ({"error_code": 1}, RefusedError),
        ({"error_code": 12345}, RefusedError),
        ({"code": 2100, "reason": NO_JOB}, JobNotFoundError),
        ({"code": 2101, "reason": NO_JOB}, JobNotFoundError),
        ({"code": 2100, "reason": "inner", "detail": NO_JOB}, JobNotFoundError),
        ({"error_code": 1, "reason": NO_JOB}, JobNotFoundError),
        ({"code": 2100, "reason": "parse job id failed"}, RefusedError),
        ({"code": 100, "reason": NO_JOB}, RefusedError),
        ({"code": 1, "reason": NO_JOB}, RefusedError),
        ({"code": 1000, "error_code": 1, "reason": NO_KEY}, JobNotFoundError),
        ({"code": 1000, "reason": "key not found[key=by-dev/meta/collection/7]"}, RefusedError),
        ({"code": 2100, "reason": TOO_MANY}, JobLimitError),
        ({"code": 2101, "reason": TOO_MANY.upper()}, JobLimitError),
        ({"code": 9, "reason": TOO_MANY}, RefusedError),
    ],
)
def test_the_class_of_a_refusal(status: dict[str, Any], expected: type[RefusedError]) -> None:
    assert type(refusal_of(**status)) is expected


def test_a_refusal_keeps_every_field_and_says_the_reason() -> None:
    error = refusal_of(
        code=100,
        error_code=4,
        reason="collection not found[collection=books]",
        detail="a chain\ngoroutine 1 [running]",
        retriable=True,
    )
    assert (error.code, error.error_code, error.retriable) == (100, 4, True)
    assert error.reason == "collection not found[collection=books]"
    assert error.detail == "a chain\ngoroutine 1 [running]"
    assert error.service == "internal"
    assert "ImportV2 at milvus:1" in str(error)
    assert error.reason in str(error)
    assert "code 100" in str(error)
    assert "goroutine" not in str(error)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"code": 65535, "reason": "attempt #9: collection not found[c=x]"}, "collection's name"),
        ({"code": 800, "reason": "database not found[database=x]"}, "check db_name"),
        ({"code": 200, "reason": "partition not found[partition=x]"}, "check partition_name"),
        ({"code": 2100, "reason": NO_JOB}, "check the job id"),
        ({"code": 2100, "reason": TOO_MANY}, "try again when"),
        ({"error_code": 5}, "error_code 5"),
        ({"code": 5}, "no reason given (code 5)"),
        ({"code": 5, "detail": "only the detail"}, "only the detail"),
    ],
)
def test_a_refusal_names_the_mend_where_it_is_known(status: dict[str, Any], words: str) -> None:
    assert words.lower() in str(refusal_of(**status)).lower()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        *[(RefusedError("", code=code), True) for code in (1, 2, 4, 8, 12)],
        *[
            (RefusedError("", code=code), False)
            for code in (3, 9, 49, 56, 100, 200, 800, 1100, 2100, 2101, 10000, 10001, 65535)
        ],
        *[(RefusedError("", error_code=code), True) for code in (49, 56)],
        *[(RefusedError("", error_code=code), False) for code in (1, 2, 4, 8, 12)],
        (RefusedError("", code=8, error_code=1), True),
        (RefusedError("", code=65535, error_code=49), False),
        (RefusedError("", code=65535, retriable=True), False),
        (JobNotFoundError("", code=2100), False),
        (JobLimitError("", code=2100), False),
        (error_of(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"), True),
        (error_of(Code.UNAVAILABLE, REFUSED + "connect: Connection refused"), True),
        (error_of(Code.UNAVAILABLE, "Stream removed (Socket closed)"), True),
        (error_of(Code.UNAVAILABLE, "x: WRONG_VERSION_NUMBER", secure=True), True),
        (error_of(Code.UNAVAILABLE, "x: CERTIFICATE_VERIFY_FAILED", secure=True), True),
        (error_of(Code.UNAVAILABLE, "Hostname Verification Check failed.", secure=True), True),
        (error_of(Code.UNAVAILABLE, "Failed parsing HTTP/2"), True),
        (error_of(Code.UNKNOWN, "Stream removed (Failed parsing HTTP/2)"), True),
        (error_of(Code.INTERNAL, "Received RST_STREAM with error code 2"), True),
        (error_of(Code.RESOURCE_EXHAUSTED, "Stream removed (CLIENT: Received message)"), False),
        (RefusedError("", code=65535, reason="service not ready[proxy=1]"), True),
        (error_of(Code.CANCELLED, "the server stops"), True),
        (error_of(Code.UNIMPLEMENTED, "unknown service"), True),
        (unsupported({"internal": "a", "public": "b"}, "milvus"), True),
        (UnsupportedServerError("", code=Code.FAILED_PRECONDITION), False),
        (error_of(Code.UNKNOWN, "Milvus Proxy is not ready yet. please wait"), True),
        (error_of(Code.UNKNOWN, "service not ready[proxy=1]: Initializing"), True),
        (error_of(Code.UNKNOWN, "node not match[expectedNodeID=1]"), False),
        (error_of(Code.UNAUTHENTICATED, "auth check failure"), False),
        (error_of(Code.PERMISSION_DENIED, "no"), False),
        (error_of(Code.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max"), False),
        (error_of(Code.INTERNAL, "the reply could not be parsed"), False),
        (bad_reply(EMPTY_REPLY, method="X", target="milvus"), True),
        (bad_reply("the reply's columns differ", method="X", target="milvus"), False),
        (ImportFailedError(""), False),
        (WaitTimeoutError(""), False),
        (ClientClosedError(""), False),
    ],
)
def test_which_errors_a_poll_may_outlive(error: MilvusImportError, expected: bool) -> None:
    assert is_transient(error) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("one  two\n\tthree ", "one two three"),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 500 + "..."),
    ],
)
def test_somebody_elses_words_are_kept_to_one_short_line(text: str, expected: str) -> None:
    assert quote(text) == expected
