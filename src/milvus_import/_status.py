"""What a failure means: gRPC's codes and Milvus' Status turned into errors that say what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import grpc

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
_NEVER_SENT: Final = re.compile(
    r"failed to connect|connections to all backends failing|name resolution|DNS resolution"
    r"|WRONG_VERSION_NUMBER|CERTIFICATE_VERIFY_FAILED|Hostname Verification|empty address list",
    re.IGNORECASE,
)

# Where gRPC's words are recognised, ours are put beside them. First match wins.
_TLS_FAULTS: Final = (
    (r"WRONG_VERSION_NUMBER", "the server answers without TLS: write http://, or drop tls="),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "the server's certificate is not signed by a trusted CA: pass tls=TLSConfig(ca=...)",
    ),
    (
        r"Hostname Verification Check failed",
        "the server's certificate names another host: use that, or TLSConfig(server_name=...)",
    ),
)
_NOT_GRPC: Final = (
    r"Failed parsing HTTP/2|http1\.x|Trying to connect an http1",
    "an HTTP server answers there, not gRPC: check the port (Milvus: 19530, internal 19529)",
)
_MENDS: Final[dict[grpc.StatusCode, tuple[tuple[str, str], ...]]] = {
    Code.UNAVAILABLE: (
        *_TLS_FAULTS,
        _NOT_GRPC,
        (
            r"Connection refused",
            "nothing listens there: check host and port (19530, internal 19529)",
        ),
        (r"(DNS|name) resolution|Domain name not found", "the host name is not known: check it"),
    ),
    Code.UNAUTHENTICATED: (
        (r"missing authorization", "pass token='user:password', or user= and password="),
        (
            r"invalid token format",
            "pass the plain token as token=, without 'Bearer'; it is encoded here",
        ),
        (r"auth check failure", "check the user and the password, or the API key"),
    ),
    Code.PERMISSION_DENIED: (
        (r"", "grant the user a role with that privilege, or use another user"),
    ),
    Code.RESOURCE_EXHAUSTED: (
        (
            r"[Rr]eceived message larger than max",
            "the reply is above max_receive_bytes: raise it on the client",
        ),
        (
            r"([Ss]ent|send) message larger than max",
            "the request is above max_send_bytes: raise it on the client",
        ),
    ),
    Code.UNKNOWN: (
        (
            r"cross cluster routing|node not match",
            "drop the metadata keys 'cluster' and 'serverid': they name another server",
        ),
    ),
}
EMPTY_REPLY: Final = "the reply is empty; the coordinator may be away"
_NOT_READY: Final = re.compile(r"proxy is not ready|service not ready", re.IGNORECASE)
_PERMANENT: Final = re.compile("|".join(p for p, _ in (*_TLS_FAULTS, _NOT_GRPC)))

# Milvus' codes: not ready, unavailable, request limit, rate limit, resource short.
_TRANSIENT_CODES: Final = frozenset({1, 2, 4, 8, 12})
# The same in the old number space, looked at only where the new code is absent.
_TRANSIENT_OLD_CODES: Final = frozenset({49, 56})
_IMPORT_REFUSED: Final = frozenset({0, 2100, 2101})
_LONGEST_QUOTE: Final = 500

_STATUS_MENDS: Final = (
    (
        r"collection not found|CollectionNotExists|failed to find collection",
        "check the collection's name and db_name",
    ),
    (r"database not found", "check db_name"),
    (r"partition not found", "check partition_name"),
)


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
    """The error for an RPC that did not end in OK: what was tried, what came back, what to do."""
    what = f"{method} at {target}"
    if code is Code.DEADLINE_EXCEEDED:
        text = f"{what}: no answer" + ("" if timeout is None else f" within {timeout:g} s")
    else:
        text = f"{what}: {code.name}"
    if details and details.lower() not in {"deadline exceeded", "context deadline exceeded"}:
        text += f" ({quote(details)})"
    return _CLASSES.get(code, CallError)(
        f"{text}. {mend}" if (mend := _mend(code, details, secure=secure)) else text,
        code=code,
        details=details,
        record=record,
        may_have_run=code not in _DID_NOT_RUN and not _NEVER_SENT.search(details),
    )


def _mend(code: grpc.StatusCode, details: str, *, secure: bool) -> str:
    for pattern, advice in _MENDS.get(code, ()):
        if re.search(pattern, details):
            return _sentence(advice)
    if code is Code.UNAVAILABLE:
        return _sentence(
            "if the server answers without TLS, write http://"
            if secure
            else "the server may be restarting; if it expects TLS, write https://"
        )
    if code is Code.DEADLINE_EXCEEDED:
        return "Check that the address is reachable and speaks gRPC" + (
            ", and with TLS" if secure else " without TLS"
        )
    return ""


def unsupported(answers: dict[Service, str], target: str) -> UnsupportedServerError:
    """Every service that was asked said UNIMPLEMENTED; ``answers`` holds their words."""
    said = "; ".join(f"{service} service: {quote(text)}" for service, text in answers.items())
    if len(answers) == 2 and "unknown method" in answers["internal"]:
        mend = "this is the internal port of Milvus 2.3, which has no such call: use port 19530"
    elif len(answers) == 2:
        mend = "is this Milvus? Its proxy listens on 19530 (public) and 19529 (internal, 2.4+)"
    elif "internal" in answers:
        mend = "the internal service is on port 19529 of Milvus 2.4+: use that, or service='auto'"
    else:
        mend = "the public service is on port 19530: use that, or service='auto'"
    details = " / ".join(answers.values())
    return UnsupportedServerError(
        f"{target} does not know the method ({said}). {_sentence(mend)}",
        code=Code.UNIMPLEMENTED,
        details=details,
    )


def bad_reply(details: str, *, method: str, target: str) -> CallError:
    """gRPC said OK, but the reply makes no sense."""
    return CallError(
        f"{method} at {target}: {details}", code=Code.INTERNAL, details=details, may_have_run=True
    )


def raise_for_status(status: Status, method: str, target: str, service: Service) -> None:
    """Raise RefusedError, or its subclass, unless the Status says success."""
    if status.code == 0 and status.error_code == 0:
        return
    error_class = _refusal_class(status)
    code = f"code {status.code}" if status.code else f"error_code {status.error_code}"
    reason = quote(status.reason or status.detail or "no reason given")
    text = f"{method} at {target} was refused: {reason} ({code})"
    if mend := _status_mend(error_class, f"{status.reason}\n{status.detail}"):
        text += f". {_sentence(mend)}"
    raise error_class(
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


def _status_mend(error_class: type[RefusedError], text: str) -> str:
    if error_class is JobNotFoundError:
        return "check the job id and the server; a server forgets an ended job after some hours"
    if error_class is JobLimitError:
        return "try again when some of the server's jobs have ended"
    return next((mend for pattern, mend in _STATUS_MENDS if re.search(pattern, text)), "")


def is_transient(error: MilvusImportError) -> bool:
    """Whether a poll that ended so may well succeed later: a restart, an overload, an upgrade."""
    if isinstance(error, RefusedError):
        return (
            error.code in _TRANSIENT_CODES
            if error.code
            else error.error_code in _TRANSIENT_OLD_CODES
        )
    if isinstance(error, UnsupportedServerError):
        return error.code is Code.UNIMPLEMENTED
    if isinstance(error, (DeadlineExceededError, UnavailableError)):
        return not _PERMANENT.search(error.details)
    if isinstance(error, CallError):
        return (
            error.code is Code.CANCELLED
            or error.details == EMPTY_REPLY
            or _NOT_READY.search(error.details) is not None
        )
    return False


def quote(text: str) -> str:
    """Somebody else's words, on one line and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "..."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
