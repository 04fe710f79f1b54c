"""What a failed RPC means: error class, hint, retry decisions, for each code and text."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from milvus_import import (
    AccessDeniedError,
    ArgumentError,
    CallError,
    CallRecord,
    ClientClosedError,
    DeadlineExceededError,
    ImportFailedError,
    ImportProgressData,
    ImportState,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from milvus_import._errors import hint_of
from milvus_import._failures._context import CallContext
from milvus_import._failures._grpc import (
    bad_reply,
    call_error,
    connection_broke,
    from_a_server,
    is_rate_limit,
    lacks_grpc_status,
)
from milvus_import._failures._texts import EMPTY_REPLY
from milvus_import._hints import Hint
from milvus_import._text import quote

Code = grpc.StatusCode
TARGET = "127.0.0.1:19530"
CONTEXT = CallContext(
    method="GetImportState",
    service="public",
    read=True,
    target=TARGET,
    secure=False,
    timeout=10.0,
    responded=False,
    authorized=False,
)
UNCONNECTED = f"failed to connect to all addresses; last error: UNKNOWN: ipv4:{TARGET}: "
REFUSED = UNCONNECTED + "Failed to connect to remote host: Connection refused"
UNRESOLVED = (
    "errors resolving milvus.example:19530: [field:hostname lookup error:address lookup failed "
    "for milvus.example:19530: Domain name not found]"
)
TOO_LARGE = "CLIENT: Received message larger than max (70000000 vs. 67108864)"


def record_after(elapsed: float) -> CallRecord:
    return CallRecord("public", "a.B/C", Code.UNKNOWN, "", (), (), elapsed)


RECORD = record_after(0.1)


def error_of(
    code: grpc.StatusCode, details: str = "", record: CallRecord | None = RECORD, **changed: Any
) -> CallError:
    return call_error(code, details, CONTEXT._replace(**changed), record)


def found_hint(code: grpc.StatusCode, details: str = "", **changed: Any) -> Hint | None:
    return hint_of(error_of(code, details, **changed))


def http(status: int) -> str:
    return f"Received http2 header with status: {status}"


# ------------------------------------------------------------------------------- every code

CODES: dict[grpc.StatusCode, tuple[type[CallError], bool, bool]] = {
    # class, transient, may_have_run, of a text that is not known
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


def test_every_grpc_code_is_in_the_table() -> None:
    assert CODES.keys() == {code for code in Code if code is not Code.OK}


@pytest.mark.parametrize("code", CODES)
def test_code_decides_class_transient_and_may_have_run(code: grpc.StatusCode) -> None:
    error = error_of(code, "some text of the server")
    kind, transient, may_have_run = CODES[code]
    assert type(error) is kind
    assert (error.transient, error.may_have_run) == (transient, may_have_run)
    assert (error.code, error.details, error.record) == (code, "some text of the server", RECORD)
    assert (error.method, error.service, error.target) == ("GetImportState", "public", TARGET)
    assert error.http_status is None
    assert error.message.startswith(f"GetImportState at {TARGET}: {code.name}")
    assert "(some text of the server)" in error.message


def test_message_names_method_target_code_and_text_then_the_hint() -> None:
    error = error_of(Code.PERMISSION_DENIED, "PrivilegeImport:\npermission deny")
    assert error.message == (
        f"GetImportState at {TARGET}: PERMISSION_DENIED (PrivilegeImport: permission deny)"
    )
    assert str(error) == f"{error.message}. {Hint.GRANT_PRIVILEGE.python}"


# ------------------------------------------------------- texts that decide may_have_run


@pytest.mark.parametrize(
    ("code", "details", "may_have_run"),
    [
        (Code.UNAVAILABLE, "Stream removed (Socket closed)", True),
        (Code.UNAVAILABLE, "Socket closed", True),
        (Code.UNAVAILABLE, REFUSED, False),
        (Code.UNAVAILABLE, "DNS resolution failed for nowhere:1: not found", False),
        (Code.UNAVAILABLE, UNRESOLVED, False),
        (Code.UNAVAILABLE, UNCONNECTED + "SSL_ERROR_SSL: WRONG_VERSION_NUMBER", False),
        (Code.UNKNOWN, "failed to connect to all addresses", True),  # quoted by a server
        (Code.FAILED_PRECONDITION, "unix:/x: connect failed: No such file or directory", False),
        (Code.RESOURCE_EXHAUSTED, "CLIENT: Sent message larger than max (9 vs. 1)", False),
        (Code.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max", False),
        (Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max (9 vs. 1)", False),
        (Code.RESOURCE_EXHAUSTED, TOO_LARGE, True),  # the reply was received, so it ran
        (Code.UNKNOWN, "cross cluster routing[expectCluster=a]", False),
        (Code.UNKNOWN, "node not match[expectedNodeID=1]", False),
        (Code.UNKNOWN, "Milvus Proxy is not ready yet. please wait", False),
        (Code.UNKNOWN, "service not ready[proxy=1]: Initializing", False),
        (Code.UNAVAILABLE, http(503), True),
        (Code.UNIMPLEMENTED, http(404), False),
    ],
)
def test_text_decides_whether_the_request_may_have_run(
    code: grpc.StatusCode, details: str, may_have_run: bool
) -> None:
    assert error_of(code, details).may_have_run is may_have_run


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (Code.UNKNOWN, "Stream removed", UnavailableError),
        (Code.UNKNOWN, "Stream removed (Socket closed)", UnavailableError),
        (Code.UNKNOWN, "Stream removed (Data frame with END_STREAM flag received)", CallError),
        (Code.UNKNOWN, "the server quotes: Stream removed", CallError),
        (Code.UNKNOWN, "Failed parsing HTTP/2", UnavailableError),
        (Code.INTERNAL, "frame of size 9 overflows local window of 8", UnavailableError),
        (Code.INTERNAL, "Received RST_STREAM with error code 2", CallError),
        (Code.RESOURCE_EXHAUSTED, "Stream removed", CallError),
    ],
)
def test_a_lost_connection_is_unavailable_whatever_its_code(
    code: grpc.StatusCode, details: str, kind: type[CallError]
) -> None:
    error = error_of(code, details)
    assert (type(error), error.code) == (kind, code)


# ----------------------------------------------------------- texts that decide transient


@pytest.mark.parametrize(
    ("code", "details", "transient"),
    [
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", True),
        (Code.UNAVAILABLE, REFUSED, True),
        (Code.UNAVAILABLE, "Stream removed (Socket closed)", True),
        (Code.UNAVAILABLE, "x: WRONG_VERSION_NUMBER", True),
        (Code.UNAVAILABLE, "x: CERTIFICATE_VERIFY_FAILED", True),
        (Code.UNAVAILABLE, "Failed parsing HTTP/2", True),
        (Code.UNKNOWN, "Stream removed", True),
        (Code.UNKNOWN, "Stream removed (Failed parsing HTTP/2)", True),
        (Code.UNKNOWN, "No status received", True),
        (Code.UNKNOWN, "the server quotes: Stream removed", False),
        (Code.UNKNOWN, "Milvus Proxy is not ready yet. please wait", True),
        (Code.UNKNOWN, "service not ready[proxy=1]: Initializing", True),
        (Code.UNKNOWN, "node not match[expectedNodeID=1]", False),
        (Code.UNKNOWN, "boom", False),
        (Code.INTERNAL, "Received RST_STREAM with error code 2", True),
        (Code.INTERNAL, "frame of size 16777215 overflows local window of 4194204", True),
        (Code.INTERNAL, "the reply could not be parsed", False),
        (Code.RESOURCE_EXHAUSTED, "rate limit exceeded", True),
        (Code.RESOURCE_EXHAUSTED, TOO_LARGE, False),
        (Code.RESOURCE_EXHAUSTED, f"Stream removed ({TOO_LARGE})", False),
        (Code.RESOURCE_EXHAUSTED, "received initial metadata size exceeds hard limit", False),
        (Code.CANCELLED, "the server stops", True),
        (Code.ABORTED, "the call was aborted", True),
        (Code.UNIMPLEMENTED, "unknown service", False),
        (Code.UNAUTHENTICATED, "auth check failure", False),
        *[(Code.UNKNOWN, http(status), False) for status in (301, 302, 413, 501, 505)],
        *[(Code.UNKNOWN, http(status), True) for status in (408, 500, 520, 599)],
        *[(Code.UNAVAILABLE, http(status), True) for status in (429, 502, 503, 504)],
        (Code.INTERNAL, http(400), False),
        (Code.UNAUTHENTICATED, http(401), False),
        (Code.PERMISSION_DENIED, http(403), False),
        (Code.UNIMPLEMENTED, http(404), False),
    ],
)
def test_text_decides_whether_the_error_is_transient(
    code: grpc.StatusCode, details: str, transient: bool
) -> None:
    assert error_of(code, details).transient is transient


# ------------------------------------------------------------------------------------ hints


@pytest.mark.parametrize(
    ("code", "details", "changed", "hint"),
    [
        # Milvus itself.
        (Code.UNAUTHENTICATED, "missing authorization in header", {}, Hint.PASS_TOKEN),
        (Code.UNAUTHENTICATED, "invalid token format", {}, Hint.PASS_PLAIN_TOKEN),
        (
            Code.UNAUTHENTICATED,
            "auth check failure, please check api key is correct",
            {},
            Hint.CHECK_CREDENTIALS,
        ),
        (Code.PERMISSION_DENIED, "PrivilegeImport: permission deny to b", {}, Hint.GRANT_PRIVILEGE),
        (Code.RESOURCE_EXHAUSTED, "rate limit exceeded", {}, Hint.SERVER_RATE_LIMIT),
        (Code.RESOURCE_EXHAUSTED, TOO_LARGE, {}, Hint.RAISE_MAX_RECEIVE),
        (Code.RESOURCE_EXHAUSTED, "CLIENT: Sent message larger than max", {}, Hint.RAISE_MAX_SEND),
        (
            Code.RESOURCE_EXHAUSTED,
            "SERVER: Received message larger than max",
            {},
            Hint.REQUEST_TOO_LARGE,
        ),
        (
            Code.RESOURCE_EXHAUSTED,
            "grpc: received message larger than max (9 vs. 1)",
            {},
            Hint.REQUEST_TOO_LARGE,
        ),
        (Code.UNKNOWN, "cross cluster routing[expectCluster=a]", {}, Hint.DROP_ROUTING_METADATA),
        (Code.UNKNOWN, "node not match[expectedNodeID=1]", {}, Hint.DROP_ROUTING_METADATA),
        (Code.UNKNOWN, "Milvus Proxy is not ready yet. please", {}, Hint.SERVER_STARTING),
        (Code.INTERNAL, "grpc: error while marshaling: invalid UTF-8", {}, Hint.INVALID_UTF8),
        (Code.UNKNOWN, "boom", {}, None),
        # The address.
        (Code.UNAVAILABLE, REFUSED, {}, Hint.CHECK_ADDRESS),
        (Code.UNAVAILABLE, REFUSED, {"target": "localhost:19530"}, Hint.REFUSED_OR_HTTPS),
        (
            Code.UNAVAILABLE,
            REFUSED,
            {"target": "localhost:19530", "secure": True},
            Hint.REFUSED_OR_TLS,
        ),
        (
            Code.UNAVAILABLE,
            REFUSED,
            {"target": f"ipv4:{TARGET},10.0.0.1:19530"},
            Hint.REFUSED_OR_HTTPS,
        ),
        (Code.UNAVAILABLE, REFUSED, {"target": "milvus:443"}, Hint.UNSET_PROXY),
        (Code.UNAVAILABLE, REFUSED, {"responded": True}, Hint.RECONNECT),
        (Code.UNAVAILABLE, UNRESOLVED, {"target": "milvus.example:19530"}, Hint.CHECK_HOST_NAME),
        (Code.UNAVAILABLE, "DNS resolution failed for x:1", {}, Hint.CHECK_HOST_NAME),
        (
            Code.UNAVAILABLE,
            (
                "failed to connect to all addresses; last error: FAILED_PRECONDITION: unix:/run/x: "
                "connect failed: addr: unix:/run/x error: No such file or directory"
            ),
            {"target": "unix:/run/x"},
            Hint.CHECK_SOCKET_PATH,
        ),
        (Code.UNAVAILABLE, UNCONNECTED + "Socket closed", {}, Hint.RESTARTING_OR_HTTPS),
        (
            Code.UNAVAILABLE,
            UNCONNECTED + "Socket closed",
            {"secure": True},
            Hint.RESTARTING_OR_CERTIFICATE,
        ),
        (Code.UNAVAILABLE, "Socket closed", {}, Hint.RECONNECT),
        (Code.UNAVAILABLE, "Stream removed (Socket closed)", {"responded": True}, Hint.RECONNECT),
        (Code.UNAVAILABLE, UNCONNECTED + "Failed parsing HTTP/2 (x)", {}, Hint.USE_HTTPS_NOT_GRPC),
        (
            Code.UNAVAILABLE,
            UNCONNECTED + "Trying to connect an http1.x server (HTTP status 400)",
            {},
            Hint.USE_HTTPS_HTTP1,
        ),
        (
            Code.UNAVAILABLE,
            UNCONNECTED + "Failed parsing HTTP/2 (frame type 80) (Trying to connect an http1.x s)",
            {},
            Hint.USE_HTTPS_HTTP1,
        ),
        (Code.UNAVAILABLE, "Stream removed (Failed parsing HTTP/2)", {}, Hint.CORRUPTED_STREAM),
        (Code.UNKNOWN, "Stream removed (Failed parsing HTTP/2)", {}, Hint.CORRUPTED_STREAM),
        (Code.INTERNAL, "frame of size 9 overflows local window", {}, Hint.CORRUPTED_STREAM),
        (Code.UNKNOWN, "Stream removed", {}, Hint.BROKEN_OR_NOT_GRPC),
        (Code.UNKNOWN, "Stream removed", {"responded": True}, Hint.RECONNECT),
        # TLS.
        (Code.UNAVAILABLE, "x: WRONG_VERSION_NUMBER", {"secure": True}, Hint.USE_HTTP),
        (Code.UNAVAILABLE, "x: CERTIFICATE_VERIFY_FAILED", {"secure": True}, Hint.TRUST_CA),
        (
            Code.UNAVAILABLE,
            "Hostname Verification Check failed.",
            {"secure": True},
            Hint.EXPECT_SERVER_NAME,
        ),
        (
            Code.UNAVAILABLE,
            "Peer name localhost is not in peer certificate",
            {"secure": True},
            Hint.EXPECT_SERVER_NAME,
        ),
        # Deadlines.
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {}, Hint.CHECK_REACHABLE_HTTP),
        (
            Code.DEADLINE_EXCEEDED,
            "Deadline Exceeded",
            {"secure": True},
            Hint.CHECK_REACHABLE_HTTPS,
        ),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {"responded": True}, Hint.SERVER_SLOW),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {"method": "Import"}, Hint.CREATE_DEADLINE),
        (Code.DEADLINE_EXCEEDED, "context deadline exceeded", {}, Hint.SERVER_DEADLINE),
        (Code.DEADLINE_EXCEEDED, "", {"record": None}, Hint.ALLOW_MORE_TIME),
    ],
)
def test_text_decides_the_hint(
    code: grpc.StatusCode, details: str, changed: dict[str, Any], hint: Hint | None
) -> None:
    assert found_hint(code, details, **changed) is hint


@pytest.mark.parametrize(
    ("code", "details", "changed", "hint"),
    [
        *[
            (Code.UNKNOWN, http(status), {"secure": False}, Hint.GATEWAY_HTTPS)
            for status in (301, 302, 307, 308)
        ],
        *[
            (Code.UNKNOWN, http(status), {"secure": True}, Hint.GATEWAY_REDIRECT)
            for status in (301, 302, 307, 308)
        ],
        (Code.INTERNAL, http(400), {"secure": False}, Hint.GATEWAY_ROUTE),
        (Code.INTERNAL, http(400), {"secure": True}, Hint.PASS_CLIENT_CERTIFICATE),
        (Code.UNAUTHENTICATED, http(401), {}, Hint.GATEWAY_ACCESS),
        (Code.PERMISSION_DENIED, http(403), {}, Hint.GATEWAY_ACCESS),
        (Code.UNIMPLEMENTED, http(404), {}, Hint.GATEWAY_ROUTE),
        (Code.UNKNOWN, http(413), {}, Hint.GATEWAY_REQUEST_SIZE),
        (Code.UNKNOWN, http(431), {}, Hint.GATEWAY_METADATA_SIZE),
        (Code.UNAVAILABLE, http(429), {}, Hint.GATEWAY_RATE_LIMIT),
        (Code.UNKNOWN, http(500), {}, Hint.GATEWAY_ERROR),
        (Code.UNKNOWN, http(520), {}, Hint.GATEWAY_ERROR),
        (Code.UNAVAILABLE, http(502), {}, Hint.GATEWAY_BACKEND),
        (Code.UNAVAILABLE, http(503), {}, Hint.GATEWAY_UNAVAILABLE),
        (Code.UNAVAILABLE, http(504), {}, Hint.GATEWAY_TIMEOUT),
        # Envoy.
        (Code.UNAVAILABLE, "upstream connect error or disconnect/r", {}, Hint.GATEWAY_BACKEND),
        (Code.UNAVAILABLE, "no healthy upstream", {}, Hint.GATEWAY_BACKEND),
        (Code.UNAVAILABLE, "upstream request timeout", {}, Hint.GATEWAY_TIMEOUT),
        (Code.DEADLINE_EXCEEDED, "upstream request timeout", {}, Hint.GATEWAY_TIMEOUT),
        (Code.PERMISSION_DENIED, "RBAC: access denied", {}, Hint.GATEWAY_RBAC),
        (Code.RESOURCE_EXHAUSTED, "local_rate_limited", {}, Hint.GATEWAY_RATE_LIMIT),
        (Code.UNAVAILABLE, "local_rate_limited", {}, Hint.GATEWAY_RATE_LIMIT),
        # Caddy: an unrouted path is an empty HTTP 200.
        (Code.UNKNOWN, "No status received", {}, Hint.NO_GRPC_STATUS),
        # TLS listeners without HTTP/2: nginx, HAProxy, stunnel.
        (
            Code.UNAVAILABLE,
            UNCONNECTED + "SSL_ERROR_SSL: TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
            {"secure": True},
            Hint.ENABLE_HTTP2,
        ),
        (
            Code.UNAVAILABLE,
            UNCONNECTED + "Cannot check peer: missing selected ALPN property.",
            {"secure": True},
            Hint.ENABLE_HTTP2,
        ),
        # nginx: unknown virtual host; metadata above its buffers.
        (
            Code.UNAVAILABLE,
            UNCONNECTED + "SSL_ERROR_SSL: TLSV1_UNRECOGNIZED_NAME",
            {"secure": True},
            Hint.UNKNOWN_VIRTUAL_HOST,
        ),
        (
            Code.UNAVAILABLE,
            "GOAWAY received; Error code: 11; Debug Text: ",
            {},
            Hint.GATEWAY_METADATA_SIZE,
        ),
        (
            Code.UNAVAILABLE,
            "Stream removed (GOAWAY received; Error code: 11; Debug Text: )",
            {},
            Hint.GATEWAY_METADATA_SIZE,
        ),
        (
            Code.UNAVAILABLE,
            "GOAWAY received; Error code: 11; Debug Text: too_many_pings",
            {},
            Hint.RECONNECT,
        ),
        (
            Code.RESOURCE_EXHAUSTED,
            "received metadata size exceeds hard limit",
            {},
            Hint.GATEWAY_METADATA_SIZE,
        ),
        # A gateway that strips the authorization header.
        (
            Code.UNAUTHENTICATED,
            "missing authorization in header",
            {"authorized": True},
            Hint.GATEWAY_STRIPS_AUTHORIZATION,
        ),
    ],
)
def test_responses_of_gateways_get_their_own_hint(
    code: grpc.StatusCode, details: str, changed: dict[str, Any], hint: Hint
) -> None:
    assert found_hint(code, details, **changed) is hint


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (Code.UNAVAILABLE, REFUSED),
        (Code.UNAVAILABLE, UNCONNECTED + "Socket closed"),
        (Code.UNAVAILABLE, "Socket closed"),
        (Code.UNKNOWN, "Stream removed"),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    ],
)
@pytest.mark.parametrize("secure", [False, True])
def test_no_hint_doubts_the_address_after_a_successful_response(
    code: grpc.StatusCode, details: str, secure: bool
) -> None:
    error = error_of(code, details, responded=True, secure=secure)
    assert hint_of(error) in {Hint.RECONNECT, Hint.SERVER_SLOW}


# --------------------------------------------------------------------------------- deadlines


@pytest.mark.parametrize(
    ("details", "elapsed", "timeout", "message"),
    [
        ("Deadline Exceeded", 10.0, 10.0, "no response within 10 s"),
        ("Deadline Exceeded", 0.1, 10.0, "no response within 10 s"),
        ("", 10.0, 10.0, "no response within 10 s"),
        ("context deadline exceeded", 10.0, 10.0, "no response within 10 s"),
        ("context deadline exceeded", 9.5, 10.0, "no response within 10 s"),
        (
            "context deadline exceeded",
            8.5,
            10.0,
            "DEADLINE_EXCEEDED after 8.5 s (context deadline exceeded)",
        ),
        (
            "context deadline exceeded",
            0.1,
            None,
            "DEADLINE_EXCEEDED after 0.1 s (context deadline exceeded)",
        ),
        ("Deadline Exceeded", 0.1, None, "no response"),
        (
            "an interceptor delayed the call beyond its deadline",
            11.0,
            10.0,
            "no response within 10 s (an interceptor delayed the call beyond its deadline)",
        ),
    ],
)
def test_deadline_of_the_server_is_distinguished_from_the_deadline_of_the_call(
    details: str, elapsed: float, timeout: float | None, message: str
) -> None:
    error = error_of(Code.DEADLINE_EXCEEDED, details, record=record_after(elapsed), timeout=timeout)
    assert error.message == f"GetImportState at {TARGET}: {message}"
    assert (hint_of(error) is Hint.SERVER_DEADLINE) == ("after" in message)


@pytest.mark.parametrize(("timeout", "limit"), [(-1.0, " of -1 s"), (0.0, " of 0 s"), (None, "")])
def test_call_that_was_not_sent_is_neither_transient_nor_may_have_run(
    timeout: float | None, limit: str
) -> None:
    error = error_of(Code.DEADLINE_EXCEEDED, record=None, timeout=timeout)
    assert error.message == (
        f"GetImportState at {TARGET}: not sent, the timeout{limit} has already expired"
    )
    assert (error.transient, error.may_have_run, error.record) == (False, False, None)


# --------------------------------------------------------------- connections, rate limits

BROKEN = [
    (Code.UNAVAILABLE, "Socket closed"),  # grpcio 1.80
    (Code.UNAVAILABLE, "Stream removed (Socket closed)"),  # grpcio 1.85
    (Code.UNAVAILABLE, "recvmsg:Connection reset by peer"),
    (Code.UNAVAILABLE, "Stream removed (recvmsg:Connection reset by peer (104))"),
    (Code.UNAVAILABLE, "sendmsg:Broken pipe"),
    (Code.UNAVAILABLE, "GOAWAY received; Error code: 0; Debug Text: bye"),
    (Code.UNAVAILABLE, "Stream removed (GOAWAY received; Error code: 2; Debug Text: bye)"),
    (Code.UNKNOWN, "Stream removed"),
    (Code.UNKNOWN, "Stream removed (Failed parsing HTTP/2 (Frame size 16777215 is larger))"),
]
NOT_BROKEN = [
    (Code.UNAVAILABLE, REFUSED),
    (Code.UNAVAILABLE, UNRESOLVED),
    (Code.UNAVAILABLE, UNCONNECTED + "Socket closed"),  # closed before it was established
    (Code.UNAVAILABLE, UNCONNECTED + "getsockopt(SO_ERROR): Connection reset by peer"),
    (Code.UNAVAILABLE, "connections to all backends failing; last error: Socket closed"),
    # The server reset this call alone, or closed the connection because of it.
    (Code.UNAVAILABLE, "Received RST_STREAM with error code 7"),
    (Code.UNAVAILABLE, "Stream removed (RST_STREAM (Received RST_STREAM with error code 7))"),
    (Code.UNAVAILABLE, "GOAWAY received; Error code: 11; Debug Text: "),
    (Code.UNAVAILABLE, "Stream removed (GOAWAY received; Error code: 11; Debug Text: )"),
    # A web server's page.
    (Code.UNKNOWN, "Stream removed (Data frame with END_STREAM flag received)"),
    (Code.UNKNOWN, "No status received"),
    (Code.UNAVAILABLE, http(503)),
    (Code.UNAVAILABLE, "some text that is not known"),
    (Code.INTERNAL, "Stream removed (RST_STREAM (Received RST_STREAM with error code 2))"),
    (Code.CANCELLED, "Stream removed (RST_STREAM (Received RST_STREAM with error code 8))"),
    (Code.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    (Code.RESOURCE_EXHAUSTED, "Socket closed"),
]


@pytest.mark.parametrize(("code", "details"), BROKEN)
def test_connection_that_broke_is_recognised(code: grpc.StatusCode, details: str) -> None:
    assert connection_broke(error_of(code, details))
    assert error_of(code, details).transient


@pytest.mark.parametrize(("code", "details"), NOT_BROKEN)
def test_other_failures_are_not_a_broken_connection(code: grpc.StatusCode, details: str) -> None:
    assert not connection_broke(error_of(code, details))


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (Code.UNKNOWN, "No status received", True),
        (Code.UNKNOWN, "Stream removed (Data frame with END_STREAM flag received)", True),
        (Code.INTERNAL, "No status received", False),
        (Code.UNKNOWN, "Stream removed", False),
        (Code.UNKNOWN, http(302), False),
    ],
)
def test_response_without_grpc_status_is_recognised(
    code: grpc.StatusCode, details: str, expected: bool
) -> None:
    assert lacks_grpc_status(error_of(code, details)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        *[
            (error_of(Code.UNAVAILABLE, http(status)), status in {408, 429, 502, 503, 504})
            for status in (301, 400, 404, 408, 429, 500, 502, 503, 504)
        ],
        (error_of(Code.RESOURCE_EXHAUSTED, "rate limit"), True),
        (error_of(Code.UNAVAILABLE, "no healthy upstream"), True),
        (error_of(Code.UNAVAILABLE, "upstream connect error or disconnect"), True),
        (error_of(Code.UNAVAILABLE, "upstream request timeout"), True),
        (error_of(Code.DEADLINE_EXCEEDED, "upstream request timeout"), True),
        (error_of(Code.UNAVAILABLE, "local_rate_limited"), True),
        (error_of(Code.UNKNOWN, "Milvus Proxy is not ready yet. please wait"), True),
        (error_of(Code.INTERNAL, EMPTY_REPLY), True),
        (error_of(Code.UNAVAILABLE, REFUSED), False),
        (error_of(Code.UNAVAILABLE, "Stream removed (Socket closed)"), False),
        (error_of(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"), False),
        (error_of(Code.CANCELLED, "the server cancelled the call"), False),
        (error_of(Code.UNKNOWN, "No status received"), False),
        (MilvusStatusError("", code=1), True),
        (MilvusStatusError("", code=65535), True),
    ],
)
def test_error_that_proves_a_server_or_gateway_is_recognised(
    error: MilvusImportError, expected: bool
) -> None:
    assert from_a_server(error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (error_of(Code.UNAVAILABLE, http(429)), True),
        (error_of(Code.UNAVAILABLE, http(503)), False),
        (error_of(Code.RESOURCE_EXHAUSTED, "too many requests"), True),
        (error_of(Code.RESOURCE_EXHAUSTED, TOO_LARGE), False),
        (error_of(Code.RESOURCE_EXHAUSTED, "local_rate_limited"), True),
        (error_of(Code.UNAVAILABLE, "local_rate_limited"), True),
        (error_of(Code.UNAVAILABLE, REFUSED), False),
        (MilvusStatusError("", code=8, hint=Hint.SERVER_RATE_LIMIT), True),
        (MilvusStatusError("", code=1, hint=Hint.SERVER_STARTING), False),
        (WaitTimeoutError(""), False),
    ],
)
def test_rate_limit_is_recognised(error: MilvusImportError, expected: bool) -> None:
    assert is_rate_limit(error) is expected


# ------------------------------------------------------------ replies that are not valid


@pytest.mark.parametrize(
    ("details", "responded", "hint", "transient"),
    [
        (EMPTY_REPLY, False, None, True),
        ("the reply could not be parsed", False, Hint.CHECK_IS_MILVUS, False),
        ("the reply could not be parsed", True, None, False),
    ],
)
@pytest.mark.parametrize("read", [True, False])
def test_invalid_reply_is_an_error_although_grpc_reported_ok(
    details: str, responded: bool, hint: Hint | None, transient: bool, read: bool
) -> None:
    error = bad_reply(details).make(CONTEXT._replace(responded=responded, read=read))
    assert type(error) is CallError
    assert (error.code, error.details, error.record) == (Code.INTERNAL, details, None)
    assert error.message == f"GetImportState at {TARGET}: {details}"
    if hint is None and not read:
        hint = Hint.REPEAT_WITH_KEY
    assert (hint_of(error), error.transient) == (hint, transient)
    assert error.may_have_run is not read  # the server processed the request


def test_hint_of_an_invalid_reply_is_kept_after_a_successful_response() -> None:
    error = bad_reply("x", Hint.INVALID_UTF8).make(CONTEXT._replace(responded=True))
    assert hint_of(error) is Hint.INVALID_UTF8


# ------------------------------------------------------- errors that are not of one call


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (MilvusImportError(""), False),
        (ArgumentError(""), False),
        (CallError(""), False),
        (DeadlineExceededError(""), True),
        (UnavailableError(""), True),
        (UnsupportedServerError("", code=Code.FAILED_PRECONDITION), False),
        (JobNotFoundError("", code=2100), False),
        (JobLimitError("", code=2100), True),
        (
            ImportFailedError(
                "",
                progress=ImportProgressData(
                    "", "7", "", ImportState.FAILED, 0, 0, 0, "", 0, [], "", "public"
                ),
            ),
            False,
        ),
        (WaitTimeoutError(""), True),
        (ClientClosedError(""), False),
    ],
)
def test_class_decides_transient_unless_it_is_given(
    error: MilvusImportError, transient: bool
) -> None:
    assert error.transient is transient


# ------------------------------------------------------------------------- untrusted texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("one  two\n\tthree ", "one two three"),
        ("\x1b[31mred\x00", " [31mred "),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 500 + "..."),
        ("x" * 8192 + "y", "x" * 500 + "..."),
        (" " * 8192 + "unseen", "..."),
    ],
)
def test_text_of_a_server_is_quoted_as_one_short_printable_line(text: str, expected: str) -> None:
    assert quote(text) == expected


def test_only_the_first_8_kb_of_a_text_are_searched() -> None:
    assert error_of(Code.UNKNOWN, " " * 8000 + "service not ready").transient
    late = error_of(Code.UNKNOWN, " " * 8192 + "service not ready")
    assert not late.transient
    assert late.details.endswith("service not ready")


# ------------------------------------------------------------------ writes that may have run


@pytest.mark.parametrize(
    ("code", "details", "changed", "hint"),
    [
        (Code.UNAVAILABLE, "Stream removed (Socket closed)", {}, Hint.REPEAT_WITH_KEY),
        (Code.UNAVAILABLE, "Socket closed", {"responded": True}, Hint.REPEAT_WITH_KEY),
        (Code.UNAVAILABLE, http(503), {}, Hint.REPEAT_WITH_KEY),
        (Code.UNAVAILABLE, "upstream request timeout", {}, Hint.REPEAT_WITH_KEY),
        (Code.UNKNOWN, "No status received", {}, Hint.REPEAT_WITH_KEY),
        (Code.UNKNOWN, "boom", {}, Hint.REPEAT_WITH_KEY),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {}, Hint.REPEAT_WITH_KEY),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {"responded": True}, Hint.REPEAT_WITH_KEY),
        # Milvus 2.3 looks for a missing collection until the deadline.
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {"method": "Import"}, Hint.CREATE_DEADLINE),
        # Nothing ran: what is wrong can be fixed, then the request sent again.
        (Code.UNAVAILABLE, REFUSED, {}, Hint.CHECK_ADDRESS),
        (Code.UNKNOWN, "Milvus Proxy is not ready yet", {}, Hint.SERVER_STARTING),
        (Code.UNIMPLEMENTED, http(404), {}, Hint.GATEWAY_ROUTE),
        (Code.DEADLINE_EXCEEDED, "", {"record": None}, Hint.ALLOW_MORE_TIME),
        (Code.INVALID_ARGUMENT, "bad", {}, None),
    ],
)
def test_hint_of_a_write_that_may_have_run_is_not_to_send_it_again(
    code: grpc.StatusCode, details: str, changed: dict[str, Any], hint: Hint | None
) -> None:
    write: dict[str, Any] = {"method": "ImportV2", "read": False} | changed
    error = error_of(code, details, **write)
    assert hint_of(error) is hint
    assert not (error.may_have_run and "Try again" in error.hint)


def test_hint_and_http_status_of_the_caller_are_kept() -> None:
    error = call_error(
        Code.UNAVAILABLE, "x", CONTEXT, RECORD, status=503, hint=Hint.CHECK_COLLECTION
    )
    assert (error.http_status, hint_of(error)) == (503, Hint.CHECK_COLLECTION)
    assert error.transient
