"""An error is completed with its call, and gets the hint that fits the call and its client."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
import pytest
from hint_keys import hint_key
from tables import rows

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
from milvus_import._failures import complete, is_final, is_unauthenticated
from milvus_import._failures._http import http_status_error
from milvus_import._failures._statuses import (
    call_error,
    connection_broke,
    reply_error,
    status_error,
)
from milvus_import._hints import Hint
from milvus_import._options import CallSettings, client_settings, merge

Code = grpc.StatusCode
TARGET = "127.0.0.1:19530"
CALL: dict[str, Any] = {"method": "GetImportState", "service": "public", "target": TARGET}
WRITE: dict[str, Any] = {"method": "ImportV2", "is_read": False}
COMMIT: dict[str, Any] = {"method": "commit", "service": "rest", "is_read": False}
REST: dict[str, Any] = {"service": "rest"}
METADATA = "Stream removed (GOAWAY received; Error code: 11; Debug Text: )"
STARTING = "find no available mixcoord, check mixcoord state"

_ErrorT = TypeVar("_ErrorT", bound=MilvusImportError)


def record_after(elapsed: float = 0.1) -> CallRecord:
    return CallRecord("public", "a.B/C", Code.UNKNOWN, "", (), (), elapsed)


def completed(
    error: _ErrorT,
    *,
    secure: bool = False,
    timeout: float | None = 10.0,
    authorized: bool = False,
    routed: bool = False,
    metadata_bytes: int = 0,
    **changed: Any,
) -> _ErrorT:
    fixed = {"authorization": "abc" if authorized else None}
    settings = client_settings(CallSettings(secure=secure), fixed, {"rpc_timeout": timeout})
    metadata = {"serverid": "99"} if routed else {"x": "y" * metadata_bytes}
    complete(error, settings=merge(settings, {"metadata": metadata}), **(CALL | changed))
    return error


def failed(code: grpc.StatusCode, details: str = "", **changed: Any) -> CallError:
    return completed(call_error(code, details, record_after()), **changed)


def changed_call(words: str) -> dict[str, Any]:
    """Return the facts that a row of the table names."""
    changed: dict[str, Any] = {}
    for word in words.split():
        name, given, value = word.partition("=")
        facts: dict[str, dict[str, Any]] = {"write": WRITE, "commit": COMMIT, "rest": REST}
        found: Any = int(value) if value.isdecimal() else value if given else True
        changed |= facts.get(name, {name: found})
    return changed


def status(code: int, reason: str = "", **changed: Any) -> MilvusStatusError:
    return completed(status_error(code, 0, reason), **changed)


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
        (UnsupportedServerError("the internal service has no such method"),
         "the internal service has no such method"),
        (status_error(100, 0, "not\nfound"),
         "Milvus returned the status code 100: not found"),
    ],
)  # fmt: skip
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
        ("context deadline exceeded", 8.5, 10.0,
         "DEADLINE_EXCEEDED after 8.5 s (context deadline exceeded)"),
        ("context deadline exceeded", 0.1, None,
         "DEADLINE_EXCEEDED after 0.1 s (context deadline exceeded)"),
        ("an interceptor delayed the call beyond its deadline", 2.0, 10.0,
         "no response within 10 s (an interceptor delayed the call beyond its deadline)"),
    ],
)  # fmt: skip
def test_deadline_of_the_server_is_distinguished_from_the_deadline_of_the_call(
    details: str, elapsed: float, timeout: float | None, message: str
) -> None:
    error = call_error(Code.DEADLINE_EXCEEDED, details, record_after(elapsed))
    assert completed(error, timeout=timeout).message == f"GetImportState at {TARGET}: {message}"
    assert (hint_key(error) == "SERVER_DEADLINE") == ("after" in message)


@pytest.mark.parametrize(("timeout", "limit"), [(-1.0, " of -1 s"), (0.0, " of 0 s"), (None, "")])
def test_call_that_was_not_sent_says_so(timeout: float | None, limit: str) -> None:
    error = completed(call_error(Code.DEADLINE_EXCEEDED, ""), timeout=timeout)
    assert error.message.endswith(f": not sent, the timeout{limit} has already expired")


# ------------------------------------------------------------------------------------- hints


@pytest.mark.parametrize("row", rows("hints_of_calls"))
def test_call_and_client_decide_the_hint(row: list[str]) -> None:
    code, words, hint, details = row
    error = failed(grpc.StatusCode[code], details, **changed_call(words))
    assert hint_key(error) == (hint or None)
    if "write" in words or "commit" in words:  # it is not sent again
        assert not (error.may_have_run and "Try again" in error.hint)


@pytest.mark.parametrize(
    ("words", "hint"),
    [("", "CHECK_IS_MILVUS"), ("rest", "REST_CHECK_PORT"), ("responded", None)],
)
def test_invalid_reply_puts_the_address_in_doubt_before_a_good_one(
    words: str, hint: str | None
) -> None:
    error = completed(reply_error("the reply could not be parsed"), **changed_call(words))
    assert (hint_key(error), error.may_have_run) == (hint, False)  # a read


@pytest.mark.parametrize(
    ("metadata_bytes", "transient", "hint"),
    [(0, True, "RECONNECT"), (40_000, False, "GATEWAY_METADATA_SIZE")],
)
def test_connection_that_metadata_ended_is_transient_only_if_it_was_that_of_another_call(
    metadata_bytes: int, transient: bool, hint: str
) -> None:
    error = failed(Code.UNAVAILABLE, METADATA, metadata_bytes=metadata_bytes)
    assert (error.transient, hint_key(error)) == (transient, hint)
    assert connection_broke(error) is transient


@pytest.mark.parametrize("routed", [False, True])
def test_routing_metadata_is_named_only_if_it_was_sent(routed: bool) -> None:
    hint = "DROP_ROUTING_METADATA" if routed else "SERVER_STARTING"
    text = "node not match[expectedNodeID=99][actualNodeID=1]"
    for error in (failed(Code.UNKNOWN, text, routed=routed), status(65535, text, routed=routed)):
        assert (error.transient, hint_key(error)) == (not routed, hint)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (status(65535, STARTING, **WRITE), "REPEAT_WITH_KEY"),
        (status(1, STARTING, **WRITE), "SERVER_STARTING"),  # nothing ran
        (status(65535, "something new", **WRITE), None),
        (completed(reply_error("no job id"), **WRITE, **REST), "REPEAT_WITH_KEY"),
    ],
)
def test_write_that_may_have_run_does_not_advise_to_try_again(
    error: MilvusImportError, hint: str | None
) -> None:
    assert hint_key(error) == hint
    assert error.may_have_run == (hint != "SERVER_STARTING")


# --------------------------------------------------------------------------- what is final


FINAL = (100, 800, 1100, 1101, 1199, 1400, 1401, 1801, 1802)
NOT_FINAL = (1, 2, 4, 8, 9, 12, 200, 1099, 1200, 1800, 1807, 2100, 2101, 65535)


@pytest.mark.parametrize("code", FINAL + NOT_FINAL)
def test_status_that_no_later_request_changes_is_final(code: int) -> None:
    assert is_final(status(code, "some text")) is (code in FINAL)


@pytest.mark.parametrize(
    ("error", "final", "unauthenticated"),
    [
        (status(2100, "import job does not exist, jobID=7"), True, False),
        (JobNotFoundError(""), True, False),
        (failed(Code.PERMISSION_DENIED, "x"), True, False),
        (http_status_error(403, "HTTP 403", record_after()), True, False),
        (http_status_error(401, "HTTP 401", record_after()), False, True),
        (http_status_error(404, "HTTP 404", record_after()), False, False),
        (failed(Code.UNAUTHENTICATED, "x"), False, True),
        (UnauthenticatedError("", code=Code.UNAUTHENTICATED), False, True),
        (status(1800, "user hasn't authenticated"), False, True),
        (status(1400), True, False),
        (failed(Code.UNKNOWN, "boom"), False, False),
        (ClientClosedError(""), False, False),
    ],
)
def test_errors_that_are_final_and_rejected_credentials_are_recognised(
    error: MilvusImportError, final: bool, unauthenticated: bool
) -> None:
    assert (is_final(error), is_unauthenticated(error)) == (final, unauthenticated)
