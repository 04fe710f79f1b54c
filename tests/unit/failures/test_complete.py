"""An error is completed with its call, and gets the hint that fits the call and its client."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
import pytest

from milvus_import import (
    ArgumentError,
    CallError,
    CallRecord,
    ClientClosedError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnauthenticatedError,
    UnsupportedServerError,
)
from milvus_import._errors import hint_of
from milvus_import._failures import complete, is_final, is_unauthenticated
from milvus_import._failures._grpc import call_error, connection_broke, reply_error
from milvus_import._failures._http import http_status_error
from milvus_import._failures._milvus import ReturnedStatus, status_error
from milvus_import._hints import Hint

Code = grpc.StatusCode
TARGET = "127.0.0.1:19530"
CALL: dict[str, Any] = {
    "method": "GetImportState",
    "service": "public",
    "target": TARGET,
    "secure": False,
    "is_read": True,
    "timeout": 10.0,
    "responded": False,
    "authorized": False,
}
WRITE = {"method": "ImportV2", "is_read": False, "creates": True}
COMMIT = {"method": "commit", "service": "rest", "is_read": False}
REST = {"service": "rest"}
ALL_FAILED = "failed to connect to all addresses; last error: "
UNCONNECTED = f"{ALL_FAILED}UNKNOWN: ipv4:{TARGET}: "
REFUSED = UNCONNECTED + "Failed to connect to remote host: Connection refused"
IPV6_REFUSED = (
    f"{ALL_FAILED}UNKNOWN: ipv6:%5B::1%5D:19530: Failed to connect to remote host: "
    "Connection refused"
)
UNRESOLVED = (
    "errors resolving milvus.example:19530: [field:hostname lookup error:address lookup failed "
    "for milvus.example:19530: Domain name not found]"
)
METADATA = "Stream removed (GOAWAY received; Error code: 11; Debug Text: )"
STARTING = "find no available mixcoord, check mixcoord state"

_ErrorT = TypeVar("_ErrorT", bound=MilvusImportError)


def record_after(elapsed: float = 0.1) -> CallRecord:
    return CallRecord("public", "a.B/C", Code.UNKNOWN, "", (), (), elapsed)


def completed(error: _ErrorT, **changed: Any) -> _ErrorT:
    complete(error, **(CALL | changed))
    return error


def failed(code: grpc.StatusCode, details: str = "", **changed: Any) -> CallError:
    return completed(call_error(code, details, record_after()), **changed)


def http(status: int) -> str:
    return f"Received http2 header with status: {status}"


def status(code: int, reason: str = "", **changed: Any) -> MilvusStatusError:
    returned = ReturnedStatus(code, 0, reason, "", retriable=False)
    return completed(status_error(returned), **changed)


# --------------------------------------------------------------------------------- the call


def test_call_is_set_and_the_message_names_it() -> None:
    error = failed(Code.PERMISSION_DENIED, "PrivilegeImport:\npermission deny", job_id="7")
    assert error.message == (
        f"GetImportState at {TARGET}: PERMISSION_DENIED (PrivilegeImport: permission deny)"
    )
    assert error.args == (error.message,)
    assert str(error) == f"{error.message}. {Hint.GRANT_PRIVILEGE.python}"
    assert (error.method, error.service) == ("GetImportState", "public")
    assert (error.target, error.job_id) == (TARGET, "7")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (call_error(Code.CANCELLED, ""), "CANCELLED"),
        (reply_error("the reply has no job id"), "the reply has no job id"),
        (ClientClosedError("the client was closed during the call"), "the client was closed"),
        (
            UnsupportedServerError("the internal service has no such method"),
            "the internal service has no such method",
        ),
        (
            status_error(ReturnedStatus(100, 0, "not\nfound", "", retriable=False)),
            "Milvus returned the status code 100: not found",
        ),
    ],
)
def test_second_completion_changes_nothing(error: MilvusImportError, message: str) -> None:
    first = completed(error, job_id="7").to_dict()
    assert str(first["message"]).startswith(f"GetImportState at {TARGET}: {message}")
    assert completed(error, method="Other", target="other:1", responded=True).to_dict() == first


def test_error_of_an_argument_is_left_as_it_is() -> None:
    error = completed(ArgumentError("job_id must be a decimal integer"))
    assert (str(error), error.target) == ("job_id must be a decimal integer", None)


# --------------------------------------------------------------------------------- deadlines


@pytest.mark.parametrize(
    ("details", "elapsed", "timeout", "message"),
    [
        ("Deadline Exceeded", 10.0, 10.0, "no response within 10 s"),
        ("Deadline Exceeded", 0.1, 10.0, "no response within 10 s"),
        ("Deadline Exceeded", 0.1, None, "no response"),
        ("", 10.0, 10.0, "no response within 10 s"),
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
        (
            "an interceptor delayed the call beyond its deadline",
            2.0,
            10.0,
            "no response within 10 s (an interceptor delayed the call beyond its deadline)",
        ),
    ],
)
def test_deadline_of_the_server_is_distinguished_from_the_deadline_of_the_call(
    details: str, elapsed: float, timeout: float | None, message: str
) -> None:
    error = call_error(Code.DEADLINE_EXCEEDED, details, record_after(elapsed))
    assert completed(error, timeout=timeout).message == f"GetImportState at {TARGET}: {message}"
    assert (hint_of(error) is Hint.SERVER_DEADLINE) == ("after" in message)


@pytest.mark.parametrize(("timeout", "limit"), [(-1.0, " of -1 s"), (0.0, " of 0 s"), (None, "")])
def test_call_that_was_not_sent_says_so(timeout: float | None, limit: str) -> None:
    error = completed(call_error(Code.DEADLINE_EXCEEDED, ""), timeout=timeout)
    assert error.message.endswith(f": not sent, the timeout{limit} has already expired")


# ------------------------------------------------------------------------------------- hints


@pytest.mark.parametrize(
    ("code", "details", "changed", "hint"),
    [
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
        (Code.UNAVAILABLE, IPV6_REFUSED, {"target": "[::1]:19530"}, Hint.CHECK_ADDRESS),
        (Code.UNAVAILABLE, IPV6_REFUSED, {"target": "localhost:19530"}, Hint.REFUSED_OR_HTTPS),
        (Code.UNAVAILABLE, REFUSED, {"target": "milvus:443"}, Hint.UNSET_PROXY),
        (
            Code.UNAVAILABLE,
            ALL_FAILED + "UNKNOWN: ipv4:127.0.0.1:3128: HTTP proxy returned response code 403",
            {},
            Hint.UNSET_PROXY,
        ),
        (Code.UNAVAILABLE, UNRESOLVED, {"target": "proxy:3128"}, Hint.UNSET_PROXY),
        (Code.UNAVAILABLE, UNRESOLVED, {"target": "milvus.example:19530"}, Hint.CHECK_HOST_NAME),
        (
            Code.UNAVAILABLE,
            "DNS resolution failed for x.db:19530",
            {"target": "x.db:19530"},
            Hint.MILVUS_LITE,
        ),
        (
            Code.UNAVAILABLE,
            ALL_FAILED + "FAILED_PRECONDITION: unix:/x: connect failed: No such file or directory",
            {"target": "unix:/x"},
            Hint.CHECK_SOCKET_PATH,
        ),
        (Code.UNAVAILABLE, UNCONNECTED + "Socket closed", {}, Hint.RESTARTING_OR_HTTPS),
        (
            Code.UNAVAILABLE,
            UNCONNECTED + "recvmsg:Connection reset by peer",
            {"secure": True},
            Hint.RESTARTING_OR_CERTIFICATE,
        ),
        (Code.UNAVAILABLE, "Socket closed", {}, Hint.RECONNECT),
        # After a successful response the address is right.
        (Code.UNAVAILABLE, REFUSED, {"responded": True}, Hint.RECONNECT),
        (Code.UNAVAILABLE, REFUSED, {"responded": True, "secure": True}, Hint.RECONNECT),
        (Code.UNKNOWN, "Stream removed", {}, Hint.BROKEN_OR_NOT_GRPC),
        (Code.UNKNOWN, "Stream removed", {"responded": True}, Hint.RECONNECT),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {"responded": True}, Hint.SERVER_SLOW),
        # Deadlines.
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {}, Hint.CHECK_REACHABLE_HTTP),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {"secure": True}, Hint.CHECK_REACHABLE_HTTPS),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", {"method": "Import"}, Hint.CREATE_DEADLINE),
        (Code.DEADLINE_EXCEEDED, "deadline exceeded", REST, Hint.REST_CHECK_REACHABLE),
        # HTTP statuses whose meaning depends on TLS or on the service.
        (Code.UNKNOWN, http(301), {}, Hint.GATEWAY_HTTPS),
        (Code.UNKNOWN, http(301), {"secure": True}, Hint.GATEWAY_REDIRECT),
        (Code.INTERNAL, http(400), {}, Hint.GATEWAY_ROUTE),
        (Code.INTERNAL, http(400), {"secure": True}, Hint.PASS_CLIENT_CERTIFICATE),
        (Code.INTERNAL, http(400), {"metadata_bytes": 40_000}, Hint.GATEWAY_METADATA_SIZE),
        (Code.UNIMPLEMENTED, http(404), {}, Hint.GATEWAY_ROUTE),
        (Code.UNIMPLEMENTED, http(404), REST, Hint.REST_ROUTE),
        # Credentials.
        (Code.UNAUTHENTICATED, "missing authorization in header", {}, Hint.PASS_TOKEN),
        (
            Code.UNAUTHENTICATED,
            "missing authorization in header",
            {"authorized": True},
            Hint.GATEWAY_STRIPS_AUTHORIZATION,
        ),
        (Code.UNAUTHENTICATED, "auth check failure", {}, Hint.CHECK_CREDENTIALS),
        (
            Code.UNAUTHENTICATED,
            "auth check failure",
            {"authorized": True, "quoted_token": True},
            Hint.UNQUOTE_CREDENTIALS,
        ),
        (Code.UNAUTHENTICATED, "code 1800: user hasn't authenticated", REST, Hint.PASS_TOKEN),
        (
            Code.UNAUTHENTICATED,
            "code 1800: user hasn't authenticated",
            REST | {"authorized": True},
            Hint.CHECK_OR_FORWARD_CREDENTIALS,
        ),
        (
            Code.UNAUTHENTICATED,
            "code 1800: user hasn't authenticated",
            REST | {"authorized": True, "quoted_token": True},
            Hint.UNQUOTE_CREDENTIALS,
        ),
        (Code.PERMISSION_DENIED, "PrivilegeImport: permission deny", REST, Hint.GRANT_PRIVILEGE),
        (
            Code.PERMISSION_DENIED,
            "PrivilegeGetImportProgress: permission deny to bob",
            REST,
            Hint.REST_NEEDS_ADMIN,
        ),
        (
            Code.PERMISSION_DENIED,
            "PrivilegeListImport: permission deny to bob",
            REST,
            Hint.REST_NEEDS_ADMIN,
        ),
        (
            Code.PERMISSION_DENIED,
            "PrivilegeGetImportProgress: permission deny to bob",
            {},
            Hint.GRANT_PRIVILEGE,
        ),
        # Connections of REST.
        (Code.UNAVAILABLE, "the connection broke: Broken pipe", REST, Hint.REST_CHECK_PORT),
        (
            Code.UNAVAILABLE,
            "failed to connect: Connection reset by peer",
            REST | {"secure": True},
            Hint.RESTARTING_OR_CERTIFICATE,
        ),
        (
            Code.UNAVAILABLE,
            "the connection broke: Broken pipe",
            REST | {"responded": True},
            Hint.RECONNECT,
        ),
    ],
)
def test_call_and_client_decide_the_hint(
    code: grpc.StatusCode, details: str, changed: dict[str, Any], hint: Hint
) -> None:
    assert hint_of(failed(code, details, **changed)) is hint


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({}, Hint.CHECK_IS_MILVUS),
        (REST, Hint.REST_CHECK_PORT),
        ({"responded": True}, None),
    ],
)
def test_invalid_reply_puts_the_address_in_doubt_before_a_good_one(
    changed: dict[str, Any], hint: Hint | None
) -> None:
    error = completed(reply_error("the reply could not be parsed"), **changed)
    assert hint_of(error) is hint
    assert not error.may_have_run  # a read


@pytest.mark.parametrize(
    ("metadata_bytes", "transient", "hint"),
    [(0, True, Hint.RECONNECT), (40_000, False, Hint.GATEWAY_METADATA_SIZE)],
)
def test_connection_that_metadata_ended_is_transient_only_if_it_was_that_of_another_call(
    metadata_bytes: int, transient: bool, hint: Hint
) -> None:
    error = failed(Code.UNAVAILABLE, METADATA, metadata_bytes=metadata_bytes)
    assert (error.transient, hint_of(error)) == (transient, hint)
    assert connection_broke(error) is transient


@pytest.mark.parametrize("routed", [False, True])
def test_routing_metadata_is_named_only_if_it_was_sent(routed: bool) -> None:
    hint = Hint.DROP_ROUTING_METADATA if routed else Hint.SERVER_STARTING
    text = "node not match[expectedNodeID=99][actualNodeID=1]"
    for error in (
        failed(Code.UNKNOWN, text, routed=routed),
        status(65535, text, routed=routed),
    ):
        assert (error.transient, hint_of(error)) == (not routed, hint)


# ------------------------------------------------------------------ writes that may have run


@pytest.mark.parametrize(
    ("code", "details", "changed", "hint"),
    [
        (Code.UNAVAILABLE, "Stream removed (Socket closed)", WRITE, Hint.REPEAT_WITH_KEY),
        (Code.UNAVAILABLE, "Socket closed", WRITE | {"responded": True}, Hint.REPEAT_WITH_KEY),
        (Code.UNAVAILABLE, http(503), WRITE, Hint.REPEAT_WITH_KEY),
        (Code.UNAVAILABLE, "upstream request timeout", WRITE, Hint.REPEAT_WITH_KEY),
        (Code.UNKNOWN, "No status received", WRITE, Hint.REPEAT_WITH_KEY),
        (Code.UNKNOWN, "boom", WRITE, Hint.REPEAT_WITH_KEY),
        (Code.UNKNOWN, STARTING, WRITE, Hint.REPEAT_WITH_KEY),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", WRITE, Hint.REPEAT_WITH_KEY),
        (Code.INTERNAL, "the response is compressed", WRITE | REST, Hint.REPEAT_WITH_KEY),
        (Code.UNAVAILABLE, "the connection broke: x", COMMIT, Hint.REST_REPEAT),
        # Milvus 2.3 looks for a missing collection until the deadline.
        (
            Code.DEADLINE_EXCEEDED,
            "Deadline Exceeded",
            WRITE | {"method": "Import"},
            Hint.CREATE_DEADLINE,
        ),
        # Nothing ran: what is wrong can be fixed, then the request sent again.
        (Code.UNAVAILABLE, REFUSED, WRITE, Hint.CHECK_ADDRESS),
        (Code.UNAVAILABLE, "failed to connect: Connection reset", COMMIT, Hint.REST_CHECK_PORT),
        (Code.UNKNOWN, "Milvus Proxy is not ready yet", WRITE, Hint.SERVER_STARTING),
        (Code.UNIMPLEMENTED, http(404), WRITE, Hint.GATEWAY_ROUTE),
        (Code.INVALID_ARGUMENT, "bad", WRITE, None),
    ],
)
def test_hint_of_a_write_that_may_have_run_is_not_to_send_it_again(
    code: grpc.StatusCode, details: str, changed: dict[str, Any], hint: Hint | None
) -> None:
    error = failed(code, details, **changed)
    assert hint_of(error) is hint
    assert not (error.may_have_run and "Try again" in error.hint)


def test_status_of_a_write_that_may_have_run_does_not_advise_to_try_again() -> None:
    assert hint_of(status(65535, STARTING, **WRITE)) is Hint.REPEAT_WITH_KEY
    assert hint_of(status(1, STARTING, **WRITE)) is Hint.SERVER_STARTING  # nothing ran
    assert hint_of(status(65535, "something new", **WRITE)) is None
    assert hint_of(completed(reply_error("no job id"), **WRITE, **REST)) is Hint.REPEAT_WITH_KEY
    assert completed(reply_error("no job id"), **WRITE).may_have_run


# --------------------------------------------------------------------------- what is final


@pytest.mark.parametrize(
    ("error", "final"),
    [
        *[
            (status(code, "some text"), True)
            for code in (100, 800, 1100, 1101, 1199, 1400, 1401, 1801, 1802)
        ],
        *[
            (status(code, "some text"), False)
            for code in (1, 2, 4, 8, 9, 12, 200, 1099, 1200, 1800, 1807, 2100, 2101, 65535)
        ],
        (status(2100, "import job does not exist, jobID=7"), True),
        (JobNotFoundError(""), True),
        (failed(Code.PERMISSION_DENIED, "x"), True),
        (http_status_error(403, "HTTP 403", record_after()), True),
        (http_status_error(401, "HTTP 401", record_after()), False),
        (http_status_error(404, "HTTP 404", record_after()), False),
        (failed(Code.UNAUTHENTICATED, "x"), False),
        (failed(Code.UNKNOWN, "boom"), False),
        (ClientClosedError(""), False),
    ],
)
def test_errors_that_no_later_request_changes_are_final(
    error: MilvusImportError, final: bool
) -> None:
    assert is_final(error) is final


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (failed(Code.UNAUTHENTICATED, "x"), True),
        (UnauthenticatedError("", code=Code.UNAUTHENTICATED), True),
        (http_status_error(401, "HTTP 401", record_after()), True),
        (status(1800, "user hasn't authenticated"), True),
        (status(1400), False),
        (failed(Code.PERMISSION_DENIED, "x"), False),
        (ClientClosedError(""), False),
    ],
)
def test_rejected_credentials_are_recognised(error: MilvusImportError, expected: bool) -> None:
    assert is_unauthenticated(error) is expected
