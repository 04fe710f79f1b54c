"""What each gRPC status means: class, transient, may_have_run, hint, by code and text."""

from __future__ import annotations

import email.utils
import time

import grpc
import pytest

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
from milvus_import._failures._grpc import (
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
UNCONNECTED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:19530: "

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
Row = tuple[grpc.StatusCode, str, type[CallError], bool, bool, Hint | None, str]
TEXTS: list[Row] = [
    # code, text: class, transient, may_have_run, hint, other facts
    # The connection was not established.
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "Failed to connect to remote host: Connection refused",
        UnavailableError,
        True,
        False,
        None,
        "",
    ),
    (Code.UNAVAILABLE, UNCONNECTED + "Socket closed", UnavailableError, True, False, None, ""),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "getsockopt(SO_ERROR): Connection reset by peer",
        UnavailableError,
        True,
        False,
        None,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "socket: Too many open files (24)",
        UnavailableError,
        True,
        False,
        Hint.OPEN_FILES,
        "",
    ),
    (
        Code.UNAVAILABLE,
        "connections to all backends failing; last error: Socket closed",
        UnavailableError,
        True,
        False,
        None,
        "",
    ),
    (
        Code.UNAVAILABLE,
        "DNS resolution failed for nowhere:1: not found",
        UnavailableError,
        True,
        False,
        None,
        "",
    ),
    (
        Code.UNAVAILABLE,
        "errors resolving a:1: [field:hostname lookup error: Domain name not found]",
        UnavailableError,
        True,
        False,
        None,
        "",
    ),
    (
        Code.FAILED_PRECONDITION,
        "unix:/x: connect failed: No such file or directory",
        CallError,
        False,
        False,
        None,
        "",
    ),
    (Code.UNKNOWN, "failed to connect to all addresses", CallError, False, True, None, ""),
    # TLS.
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "SSL_ERROR_SSL: WRONG_VERSION_NUMBER",
        UnavailableError,
        True,
        False,
        Hint.USE_HTTP,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "CERTIFICATE_VERIFY_FAILED: certificate has expired",
        UnavailableError,
        True,
        False,
        Hint.RENEW_CERTIFICATE,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "CERTIFICATE_VERIFY_FAILED: self signed",
        UnavailableError,
        True,
        False,
        Hint.TRUST_CA,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "Hostname Verification Check failed.",
        UnavailableError,
        True,
        False,
        Hint.EXPECT_SERVER_NAME,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "Peer name localhost is not in peer certificate",
        UnavailableError,
        True,
        False,
        Hint.EXPECT_SERVER_NAME,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "SSL_ERROR_SSL: TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        UnavailableError,
        True,
        False,
        Hint.ENABLE_HTTP2,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "Cannot check peer: missing selected ALPN property.",
        UnavailableError,
        True,
        False,
        Hint.ENABLE_HTTP2,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "SSL_ERROR_SSL: TLSV1_UNRECOGNIZED_NAME",
        UnavailableError,
        True,
        False,
        Hint.UNKNOWN_VIRTUAL_HOST,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "Unwrap failed (TSI_DATA_CORRUPTED)",
        UnavailableError,
        True,
        False,
        Hint.PASS_CLIENT_CERTIFICATE,
        "",
    ),
    (
        Code.UNAVAILABLE,
        "Stream removed (TLSV1_ALERT_CERTIFICATE_REQUIRED)",
        UnavailableError,
        True,
        False,
        Hint.PASS_CLIENT_CERTIFICATE,
        "",
    ),
    # Servers that are not gRPC's.
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "Failed parsing HTTP/2 (x)",
        UnavailableError,
        True,
        False,
        Hint.USE_HTTPS_NOT_GRPC,
        "",
    ),
    (
        Code.UNAVAILABLE,
        UNCONNECTED + "Trying to connect an http1.x server (HTTP status 400)",
        UnavailableError,
        True,
        False,
        Hint.USE_HTTPS_HTTP1,
        "",
    ),
    (
        Code.UNAVAILABLE,
        "Failed parsing HTTP/2 (Frame size 4740180 is larger)",
        UnavailableError,
        True,
        True,
        Hint.USE_HTTPS_HTTP1,
        "",
    ),
    (
        Code.UNKNOWN,
        "Failed parsing HTTP/2 (Frame size 4740180 is larger)",
        UnavailableError,
        True,
        True,
        Hint.USE_HTTPS_HTTP1,
        "",
    ),
    (Code.UNKNOWN, "No status received", CallError, True, True, Hint.NO_GRPC_STATUS, "no status"),
    (Code.INTERNAL, "No status received", CallError, True, True, Hint.NO_GRPC_STATUS, ""),
    (
        Code.UNKNOWN,
        "Stream removed (Data frame with END_STREAM flag received)",
        CallError,
        True,
        True,
        Hint.NO_GRPC_STATUS,
        "no status",
    ),
    # Connections that broke.
    (Code.UNAVAILABLE, "Socket closed", UnavailableError, True, True, None, "broke"),
    (
        Code.UNAVAILABLE,
        "Stream removed (Socket closed)",
        UnavailableError,
        True,
        True,
        None,
        "broke",
    ),
    (
        Code.UNAVAILABLE,
        "Stream removed (recvmsg:Connection reset by peer (104))",
        UnavailableError,
        True,
        True,
        None,
        "broke",
    ),
    (Code.UNAVAILABLE, "sendmsg:Broken pipe", UnavailableError, True, True, None, "broke"),
    (
        Code.UNKNOWN,
        "Stream removed",
        UnavailableError,
        True,
        True,
        Hint.BROKEN_OR_NOT_GRPC,
        "broke",
    ),
    (Code.INTERNAL, "Stream removed", UnavailableError, True, True, Hint.BROKEN_OR_NOT_GRPC, ""),
    (
        Code.UNKNOWN,
        "Stream removed (Failed parsing HTTP/2 (Frame size 16777215 is larger))",
        UnavailableError,
        True,
        True,
        Hint.CORRUPTED_STREAM,
        "broke",
    ),
    (
        Code.UNAVAILABLE,
        "Stream removed (Failed parsing HTTP/2)",
        UnavailableError,
        True,
        True,
        Hint.CORRUPTED_STREAM,
        "broke",
    ),
    (
        Code.INTERNAL,
        "frame of size 9 overflows local window of 8",
        UnavailableError,
        True,
        True,
        Hint.CORRUPTED_STREAM,
        "",
    ),
    (
        Code.UNAVAILABLE,
        "GOAWAY received; Error code: 0; Debug Text: bye",
        UnavailableError,
        True,
        True,
        None,
        "broke",
    ),
    (
        Code.UNAVAILABLE,
        "Stream removed (GOAWAY received; Error code: 0; Debug Text: )",
        UnavailableError,
        True,
        False,
        Hint.RECONNECT,
        "broke",
    ),
    (
        Code.UNKNOWN,
        "Stream removed (GOAWAY received; Error code: 0; Debug Text: )",
        UnavailableError,
        True,
        False,
        Hint.RECONNECT,
        "broke",
    ),
    (
        Code.UNAVAILABLE,
        "Stream removed (GOAWAY received; Error code: 0; Socket closed)",
        UnavailableError,
        True,
        True,
        None,
        "broke",
    ),
    (
        Code.UNAVAILABLE,
        "Stream removed (GOAWAY received; Error code: 2; Debug Text: bye)",
        UnavailableError,
        True,
        True,
        Hint.GATEWAY_CLOSED,
        "broke",
    ),
    (
        Code.UNAVAILABLE,
        "Stream removed (GOAWAY received; Error code: 11; Debug Text: )",
        UnavailableError,
        True,
        True,
        Hint.GATEWAY_METADATA_SIZE,
        "broke",
    ),
    (
        Code.UNAVAILABLE,
        "GOAWAY received; Error code: 11; Debug Text: too_many_pings",
        UnavailableError,
        True,
        True,
        None,
        "broke",
    ),
    (Code.UNKNOWN, "the server quotes: Stream removed", CallError, False, True, None, ""),
    (
        Code.RESOURCE_EXHAUSTED,
        "Socket closed",
        CallError,
        True,
        True,
        Hint.SERVER_RATE_LIMIT,
        "responded, limited",
    ),
    # The server reset this call alone.
    (
        Code.INTERNAL,
        "Received RST_STREAM with error code 2",
        CallError,
        True,
        True,
        Hint.RECONNECT,
        "",
    ),
    (
        Code.INTERNAL,
        "Stream removed (RST_STREAM (Received RST_STREAM with error code 2))",
        CallError,
        True,
        True,
        Hint.RECONNECT,
        "",
    ),
    (
        Code.UNAVAILABLE,
        "Stream removed (RST_STREAM (Received RST_STREAM with error code 7))",
        UnavailableError,
        True,
        True,
        Hint.RECONNECT,
        "",
    ),
    (
        Code.CANCELLED,
        "Stream removed (RST_STREAM (Received RST_STREAM with error code 8))",
        CallError,
        True,
        True,
        None,
        "",
    ),
    # Gateways.
    (
        Code.UNAVAILABLE,
        "upstream connect error or disconnect/reset before headers",
        UnavailableError,
        True,
        True,
        Hint.GATEWAY_BACKEND,
        "responded",
    ),
    (Code.UNKNOWN, "no healthy upstream", CallError, True, True, Hint.GATEWAY_BACKEND, "responded"),
    (
        Code.UNAVAILABLE,
        "upstream request timeout",
        UnavailableError,
        True,
        True,
        Hint.GATEWAY_TIMEOUT,
        "responded",
    ),
    (
        Code.DEADLINE_EXCEEDED,
        "stream timeout",
        DeadlineExceededError,
        True,
        True,
        Hint.GATEWAY_TIMEOUT,
        "responded",
    ),
    (Code.INTERNAL, "the upstream failed", CallError, True, True, None, ""),
    (
        Code.RESOURCE_EXHAUSTED,
        "local_rate_limited",
        CallError,
        True,
        True,
        Hint.GATEWAY_RATE_LIMIT,
        "responded, limited",
    ),
    (
        Code.UNAVAILABLE,
        "local_rate_limited",
        UnavailableError,
        True,
        True,
        Hint.GATEWAY_RATE_LIMIT,
        "responded, limited",
    ),
    (
        Code.UNKNOWN,
        "Received http2 header with status: 0",
        CallError,
        False,
        True,
        Hint.GATEWAY_GRPC_PASS,
        "",
    ),
    (Code.UNKNOWN, "", CallError, False, True, Hint.GATEWAY_NO_TEXT, ""),
    (
        Code.PERMISSION_DENIED,
        "RBAC: access denied",
        AccessDeniedError,
        False,
        False,
        Hint.GATEWAY_RBAC,
        "",
    ),
    (
        Code.PERMISSION_DENIED,
        "not on the list of the office",
        AccessDeniedError,
        False,
        False,
        Hint.GATEWAY_RBAC,
        "",
    ),
    (
        Code.UNAUTHENTICATED,
        "User authentication failed. Missing username and password.",
        UnauthenticatedError,
        False,
        False,
        Hint.GATEWAY_ACCESS,
        "",
    ),
    # Milvus and its server library.
    (
        Code.UNAUTHENTICATED,
        "missing authorization in header",
        UnauthenticatedError,
        False,
        False,
        Hint.PASS_TOKEN,
        "",
    ),
    (
        Code.UNAUTHENTICATED,
        "invalid token format",
        UnauthenticatedError,
        False,
        False,
        Hint.PASS_PLAIN_TOKEN,
        "",
    ),
    (
        Code.UNAUTHENTICATED,
        "auth check failure, please check api key is correct",
        UnauthenticatedError,
        False,
        False,
        Hint.CHECK_CREDENTIALS,
        "",
    ),
    (
        Code.UNAUTHENTICATED,
        "code 1800: user hasn't authenticated",
        UnauthenticatedError,
        False,
        False,
        Hint.CHECK_OR_FORWARD_CREDENTIALS,
        "",
    ),
    (
        Code.PERMISSION_DENIED,
        "PrivilegeImport: permission deny to bob in the `default` database",
        AccessDeniedError,
        False,
        False,
        Hint.GRANT_PRIVILEGE,
        "",
    ),
    (
        Code.UNKNOWN,
        "service unavailable: internal: Milvus Proxy is not ready yet. please wait",
        CallError,
        True,
        False,
        Hint.SERVER_STARTING,
        "responded",
    ),
    (
        Code.UNKNOWN,
        "service not ready[proxy=1]: Initializing",
        CallError,
        True,
        False,
        Hint.SERVER_STARTING,
        "responded",
    ),
    (
        Code.UNKNOWN,
        "find no available mixcoord, check mixcoord state",
        CallError,
        True,
        True,
        Hint.SERVER_STARTING,
        "responded",
    ),
    (
        Code.INTERNAL,
        "DataCoord is not ready",
        CallError,
        True,
        True,
        Hint.SERVER_STARTING,
        "responded",
    ),
    (
        Code.UNKNOWN,
        "rpc error: code = Unavailable desc = error reading from server: EOF",
        CallError,
        True,
        True,
        Hint.SERVER_STARTING,
        "responded",
    ),
    (
        Code.UNKNOWN,
        "empty grpc client: failed to connect 10.0.0.1:13333",
        CallError,
        True,
        True,
        Hint.SERVER_STARTING,
        "responded",
    ),
    (
        Code.UNKNOWN,
        "etcdserver: request timed out",
        CallError,
        True,
        True,
        Hint.SERVER_STARTING,
        "responded",
    ),
    (
        Code.UNKNOWN,
        "etcdserver: mvcc: required revision has been compacted",
        CallError,
        False,
        True,
        None,
        "",
    ),
    (
        Code.UNKNOWN,
        "node not match[expectedNodeID=99][actualNodeID=1]",
        CallError,
        True,
        False,
        Hint.SERVER_STARTING,
        "responded",
    ),
    (
        Code.UNKNOWN,
        "node not found[node=7]",
        CallError,
        True,
        True,
        Hint.SERVER_STARTING,
        "responded",
    ),
    (
        Code.UNKNOWN,
        "cross cluster routing[expectedCluster=by-dev][actualCluster=other]",
        CallError,
        False,
        False,
        Hint.DROP_ROUTING_METADATA,
        "",
    ),
    (
        Code.INTERNAL,
        "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
        CallError,
        False,
        False,
        None,
        "",
    ),
    (
        Code.INTERNAL,
        "grpc: error while marshaling: string field contains invalid UTF-8",
        CallError,
        False,
        True,
        Hint.INVALID_UTF8,
        "",
    ),
    (
        Code.RESOURCE_EXHAUSTED,
        "too many requests",
        CallError,
        True,
        True,
        Hint.SERVER_RATE_LIMIT,
        "responded, limited",
    ),
    (
        Code.RESOURCE_EXHAUSTED,
        "CLIENT: Received message larger than max (70000000 vs. 67108864)",
        CallError,
        False,
        True,
        Hint.RAISE_MAX_RECEIVE,
        "responded",
    ),
    (
        Code.RESOURCE_EXHAUSTED,
        "Stream removed (CLIENT: Received message larger than max (9 vs. 1))",
        CallError,
        False,
        True,
        Hint.RAISE_MAX_RECEIVE,
        "responded",
    ),
    (
        Code.RESOURCE_EXHAUSTED,
        "CLIENT: Sent message larger than max (9 vs. 1)",
        CallError,
        False,
        False,
        Hint.RAISE_MAX_SEND,
        "responded",
    ),
    (
        Code.RESOURCE_EXHAUSTED,
        "SERVER: Received message larger than max",
        CallError,
        False,
        False,
        Hint.REQUEST_TOO_LARGE,
        "responded",
    ),
    (
        Code.RESOURCE_EXHAUSTED,
        "grpc: received message larger than max (9 vs. 1)",
        CallError,
        False,
        False,
        Hint.REQUEST_TOO_LARGE,
        "responded",
    ),
    (
        Code.RESOURCE_EXHAUSTED,
        "received initial metadata size exceeds hard limit",
        CallError,
        False,
        True,
        Hint.GATEWAY_METADATA_SIZE,
        "responded",
    ),
    (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", DeadlineExceededError, True, True, None, ""),
    (
        Code.DEADLINE_EXCEEDED,
        "an interceptor delayed the call beyond its deadline",
        DeadlineExceededError,
        True,
        True,
        Hint.INTERCEPTOR_SLOW,
        "",
    ),
    (Code.UNKNOWN, "boom", CallError, False, True, None, ""),
]


def test_every_grpc_code_is_in_the_table() -> None:
    assert CODES.keys() == {code for code in Code if code is not Code.OK}


@pytest.mark.parametrize("code", CODES)
def test_code_decides_class_transient_and_may_have_run(code: grpc.StatusCode) -> None:
    error = call_error(code, "some text of the server", RECORD)
    assert (type(error), error.transient, error.may_have_run) == CODES[code]
    assert (error.code, error.details, error.record) == (code, "some text of the server", RECORD)
    assert (error.http_status, error.message, error.target) == (None, "", None)


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: f"{row[0].name}-{row[1][-60:]}")
def test_text_decides_what_an_error_means(row: Row) -> None:
    code, text, kind, transient, may_have_run, hint, facts = row
    error = call_error(code, text, RECORD)
    assert type(error) is kind
    assert (error.transient, error.may_have_run) == (transient, may_have_run)
    assert hint_of(error) is hint
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
