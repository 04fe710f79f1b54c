"""What a failure means: gRPC's codes and Milvus' Status turned into errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import grpc

from ._advice import NO_STATUS, SPOILT, for_call, for_http_answer, for_refusal, sentence
from ._errors import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)

if TYPE_CHECKING:
    from milvus_import_pb.common_pb2 import Status

    from ._models import CallRecord, Service

Code: Final = grpc.StatusCode

_CLASSES: Final[dict[grpc.StatusCode, type[CallError]]] = {
    Code.DEADLINE_EXCEEDED: DeadlineExceededError,
    Code.UNAVAILABLE: UnavailableError,
    Code.UNAUTHENTICATED: UnauthenticatedError,
    Code.PERMISSION_DENIED: AccessDeniedError,
    Code.UNIMPLEMENTED: UnsupportedServerError,
}

# The server read the request and did not act on it, or never saw it.
_DID_NOT_RUN: Final = frozenset(
    {
        Code.UNAUTHENTICATED,
        Code.PERMISSION_DENIED,
        Code.UNIMPLEMENTED,
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
    }
)
# The same, by the words of those codes that may mean either. The words count only with their
# code: a server may quote its own failed connections in an UNKNOWN.
_NO_CONNECTION: Final = (
    r"(?i)failed to connect|connections to all backends failing|name resolution|DNS resolution"
    r"|errors resolving|empty address list"
)
_NOT_ACTED_ON: Final = {
    Code.UNAVAILABLE: _NO_CONNECTION,
    Code.FAILED_PRECONDITION: r"connect failed",
    Code.RESOURCE_EXHAUSTED: (
        r"CLIENT: Sent message larger|SERVER: Received message|grpc: received message larger"
    ),
    Code.UNKNOWN: r"cross cluster routing|node not match|[Pp]roxy is not ready",
}

EMPTY_REPLY: Final = "the reply is empty; the coordinator may be away"
_NOT_READY: Final = r"proxy is not ready|service not ready"
_TRANSIENT: Final = frozenset(
    {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNIMPLEMENTED}
)
# A server that is starting, or a broken connection, in the words of codes that may mean anything.
_STARTING: Final = rf"(?i){EMPTY_REPLY}|{_NOT_READY}"
_PASSING: Final = rf"{_STARTING}|^{NO_STATUS}|No status received|RST_STREAM|{SPOILT}"

# Milvus' codes: not ready, unavailable, request limit, rate limit, resource short.
_TRANSIENT_CODES: Final = frozenset({1, 2, 4, 8, 12})
# The same in the old number space, looked at only where the new code is absent.
_TRANSIENT_OLD_CODES: Final = frozenset({49, 56})
_IMPORT_REFUSED: Final = frozenset({0, 2100, 2101})
_OWN_DEADLINE: Final = "deadline exceeded"
_DEADLINE_WORDS: Final = frozenset({_OWN_DEADLINE, "context deadline exceeded"})
_LONGEST_QUOTE: Final = 500


def call_error(
    code: grpc.StatusCode,
    details: str,
    *,
    method: str,
    target: str,
    secure: bool,
    record: CallRecord | None = None,
    timeout: float | None = None,
) -> CallError:
    """The error for an RPC that did not end in OK: what was tried, what came back, what to do.

    A deadline without a ``record`` was over before anything was sent.
    """
    what = f"{method} at {target}"
    unsent = code is Code.DEADLINE_EXCEEDED and record is None
    own_end = _ended_by_server(code, details, record, timeout)
    if unsent:
        text = f"{what}: not sent, nothing is left of the timeout"
        text += "" if timeout is None else f" of {timeout:g} s"
    elif own_end and record is not None:
        text = f"{what}: {code.name} after {record.elapsed:.3g} s"
    elif code is Code.DEADLINE_EXCEEDED:
        text = f"{what}: no answer" + ("" if timeout is None else f" within {timeout:g} s")
    else:
        text = f"{what}: {code.name}"
    if details and (own_end or details.lower() not in _DEADLINE_WORDS):
        text += f" ({quote(details)})"
    if unsent:
        mend = "allow more time"
    elif own_end:
        mend = "the server gave up before the call's timeout, overloaded perhaps: try again"
    else:
        mend = for_call(code, details, target, secure=secure)
    return _CLASSES.get(code, CallError)(
        f"{text}. {sentence(mend)}" if mend else text,
        code=code,
        details=details,
        record=record,
        may_have_run=not unsent and _may_have_run(code, details),
    )


def _ended_by_server(
    code: grpc.StatusCode, details: str, record: CallRecord | None, timeout: float | None
) -> bool:
    """Whether a deadline is not the call's own, which gRPC tells in words of its own."""
    if code is not Code.DEADLINE_EXCEEDED or record is None:
        return False
    return details.lower() != _OWN_DEADLINE and (timeout is None or record.elapsed < 0.9 * timeout)


def _may_have_run(code: grpc.StatusCode, details: str) -> bool:
    words = _NOT_ACTED_ON.get(code)
    return code not in _DID_NOT_RUN and (words is None or not re.search(words, details))


def unsupported(
    answers: dict[Service, str], target: str, record: CallRecord | None = None
) -> UnsupportedServerError:
    """Every service that was asked said UNIMPLEMENTED; ``answers`` holds their words."""
    said = "; ".join(f"{service} service: {quote(text)}" for service, text in answers.items())
    by_http = [for_http_answer(text) for text in answers.values()]
    if all(by_http):
        mend = by_http[0]
    elif "unknown method" in answers.get("internal", ""):
        mend = "this is the internal port of Milvus 2.3, which has no such call: use port 19530"
    elif len(answers) == 2:
        mend = "is this Milvus? Its proxy listens on 19530 (public) and 19529 (internal, 2.4+)"
    elif "internal" in answers:
        mend = "the internal service is on port 19529 of Milvus 2.4+: use that, or service='auto'"
    else:
        mend = "the public service is on port 19530: use that, or service='auto'"
    what = "this call" if record is None else record.method.rpartition("/")[2]
    return UnsupportedServerError(
        f"{what} at {target}: UNIMPLEMENTED ({said}). {sentence(mend)}",
        code=Code.UNIMPLEMENTED,
        details=" / ".join(answers.values()),
        record=record,
    )


def bad_reply(details: str, *, method: str, target: str) -> CallError:
    """gRPC said OK, but the reply makes no sense."""
    return CallError(
        f"{method} at {target}: {details}", code=Code.INTERNAL, details=details, may_have_run=True
    )


def refusal(status: Status, method: str, target: str, service: Service) -> RefusedError:
    """The error for a Status that is not 0: RefusedError or its subclass."""
    error_class = _refusal_class(status)
    code = f"code {status.code}" if status.code else f"error_code {status.error_code}"
    reason = quote(status.reason or status.detail or "no reason given")
    text = f"{method} at {target} was refused: {reason} ({code})"
    if mend := for_refusal(error_class, status):
        text += f". {sentence(mend)}"
    return error_class(
        text,
        code=status.code,
        error_code=status.error_code,
        reason=status.reason,
        detail=status.detail,
        retriable=status.retriable,
        service=service,
    )


def _refusal_class(status: Status) -> type[RefusedError]:
    text = f"{status.reason}\n{status.detail}".lower()
    if status.code in _IMPORT_REFUSED and "import job does not exist" in text:
        return JobNotFoundError
    if "key not found" in text and "/importtask/" in text:  # Milvus 2.3
        return JobNotFoundError
    if status.code in _IMPORT_REFUSED and "number of jobs has reached the limit" in text:
        return JobLimitError
    return RefusedError


def is_transient(error: MilvusImportError) -> bool:
    """Whether a poll that ended so may well succeed later: a restart, an overload, an upgrade."""
    if isinstance(error, RefusedError):
        if re.search(_NOT_READY, f"{error.reason}\n{error.detail}", re.IGNORECASE):
            return True
        if error.code:
            return error.code in _TRANSIENT_CODES
        return error.error_code in _TRANSIENT_OLD_CODES
    if isinstance(error, CallError):
        vague = error.code in {Code.UNKNOWN, Code.INTERNAL}
        return error.code in _TRANSIENT or (vague and bool(re.search(_PASSING, error.details)))
    return False


def told_by_milvus(error: MilvusImportError) -> bool:
    """Whether these are words of a Milvus. All else may also come from a wrong address."""
    if isinstance(error, CallError):
        return re.search(_STARTING, error.details) is not None
    return isinstance(error, RefusedError)


def quote(text: str) -> str:
    """Somebody else's words, on one line and not too long."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "..."
