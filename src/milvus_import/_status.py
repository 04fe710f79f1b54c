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

# Where gRPC's words are recognised, ours are put beside them. First match wins.
# gRPC's words are those of grpcio 1.66 to 1.85, which differ.
_TLS_FAULTS: Final = (
    (r"WRONG_VERSION_NUMBER", "the server answers without TLS: write http://, or drop tls="),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "the server's certificate has no trusted CA, or has expired: pass tls=TLSConfig(ca=...)",
    ),
    (
        r"Hostname Verification Check failed|Peer name .* is not in peer certificate",
        "the server's certificate names another host: use that, or TLSConfig(server_name=...)",
    ),
)
_NOT_GRPC: Final = (
    (
        r"Failed parsing HTTP/2|http1\.x",
        "an HTTP server answers there, not gRPC: check the port; if it expects TLS, write https://",
    ),
    (
        r"missing selected ALPN",
        "a server with TLS answers there, but not gRPC: check the port",
    ),
)
_SPOILT: Final = r"Failed parsing HTTP/2|overflows local window"
_SPOILT_MEND: Final = (
    _SPOILT,
    "something between here and the server spoils the connection: check it, and try again",
)
_REFUSED: Final = "nothing listens there: check host and port (19530, internal 19529)"
_PROXY: Final = (
    "a proxy variable (grpc_proxy, https_proxy, http_proxy) sends this call to another address: "
    "unset it, or pass channel_options=[('grpc.enable_http_proxy', 0)]"
)
_MENDS: Final[dict[grpc.StatusCode, tuple[tuple[str, str], ...]]] = {
    Code.UNAVAILABLE: (*_TLS_FAULTS, *_NOT_GRPC),
    Code.UNAUTHENTICATED: (
        (r"missing authorization", "pass token='user:password', or user= and password="),
        (
            r"invalid token format",
            "pass the plain token as token=, without 'Bearer'; it is encoded here",
        ),
        (
            r"auth check failure",
            "check the user and the password, or the API key; token= takes them without 'Bearer'",
        ),
    ),
    Code.PERMISSION_DENIED: (
        (r"", "grant the user a role with that privilege, or use another user"),
    ),
    Code.RESOURCE_EXHAUSTED: (
        (
            r"SERVER: Received message larger|grpc: received message larger",
            "the request is larger than the server takes: name fewer files at once",
        ),
        (
            r"Received message larger than max",
            "the reply is above max_receive_bytes: raise it on the client",
        ),
        (
            r"CLIENT: Sent message larger than max",
            "the request is above max_send_bytes: raise it on the client",
        ),
    ),
    Code.UNKNOWN: (
        (
            r"cross cluster routing|node not match",
            "drop the metadata keys 'cluster' and 'serverid': they name another server",
        ),
        (r"[Pp]roxy is not ready", "the server is starting: try again in a moment"),
        _SPOILT_MEND,
    ),
    Code.INTERNAL: (
        _SPOILT_MEND,
        (r"could not be parsed", "is this Milvus? Check the address, and what is in between"),
    ),
}
# What gRPC tried last: an address, or a name that it could not resolve.
_TRIED: Final = (
    r"(?:last error: \w+: ipv[46]:|errors resolving |resolution failed for )(\S+:([0-9]+)): "
)
EMPTY_REPLY: Final = "the reply is empty; the coordinator may be away"
_NOT_READY: Final = r"proxy is not ready|service not ready"
_TRANSIENT: Final = frozenset(
    {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNIMPLEMENTED}
)
# A broken connection, or a server that is starting, in the words of codes that may mean anything.
_PASSING: Final = (
    rf"(?i)^Stream removed|No status received|RST_STREAM|{_SPOILT}|{EMPTY_REPLY}|{_NOT_READY}"
)

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
_STARTING: Final = "the server is starting, or a part of it is away: try again in a moment"
_TOO_OFTEN: Final = "the server limits how often it is asked: poll less often, or try again later"
_CODE_MENDS: Final = {
    1: _STARTING,
    2: _STARTING,
    4: _TOO_OFTEN,
    8: _TOO_OFTEN,
    12: "the server is short of memory or disk: try again later",
}
_OLD_CODE_MENDS: Final = {49: _TOO_OFTEN, 56: _STARTING}


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
    if unsent:
        text = f"{what}: not sent, nothing is left of the timeout"
        text += "" if timeout is None else f" of {timeout:g} s"
    elif code is Code.DEADLINE_EXCEEDED:
        text = f"{what}: no answer" + ("" if timeout is None else f" within {timeout:g} s")
    else:
        text = f"{what}: {code.name}"
    if details and details.lower() not in {"deadline exceeded", "context deadline exceeded"}:
        text += f" ({quote(details)})"
    mend = "Allow more time" if unsent else _mend(code, details, target, secure=secure)
    return _CLASSES.get(code, CallError)(
        f"{text}. {mend}" if mend else text,
        code=code,
        details=details,
        record=record,
        may_have_run=not unsent and _may_have_run(code, details),
    )


def _may_have_run(code: grpc.StatusCode, details: str) -> bool:
    words = _NOT_ACTED_ON.get(code)
    return code not in _DID_NOT_RUN and (words is None or not re.search(words, details))


def _mend(code: grpc.StatusCode, details: str, target: str, *, secure: bool) -> str:
    for pattern, advice in _MENDS.get(code, ()):
        if re.search(pattern, details):
            return _sentence(advice)
    if code is Code.UNAVAILABLE:
        return _sentence(_unavailable_mend(details, target, secure=secure))
    if code is Code.DEADLINE_EXCEEDED:
        return (
            "Check that the address is reachable and speaks gRPC "
            f"{'with' if secure else 'without'} TLS; if the server is only slow, allow more time"
        )
    return ""


def _unavailable_mend(details: str, target: str, *, secure: bool) -> str:
    tried = re.search(_TRIED, details)
    if tried and not re.search(rf":{tried[2]}(,|$)", target):
        return _PROXY
    if re.search(r"resol(ution|ving)|Domain name not found", details):
        return "the host name cannot be resolved: check it"
    if "No such file" in details:
        return "there is no such socket: check the path"
    if "Connection refused" in details:
        from urllib.parse import unquote  # noqa: PLC0415 - importing the package need not pay for it

        alone = tried is None or (unquote(tried[1]) in target and "," not in target)
        return _REFUSED if alone else f"{_REFUSED}. {_hidden(secure=secure)}"
    if "failed to connect" not in details:
        return "the connection broke, or the server is going away; it may be restarting: try again"
    return "the server may be restarting; " + (
        "if it wants a client certificate, pass tls=TLSConfig(cert=..., key=...); "
        "if it answers without TLS, write http://"
        if secure
        else "if it expects TLS, write https://"
    )


def _hidden(*, secure: bool) -> str:
    """What a refused address may hide. gRPC tells of one only, and localhost has [::1] too."""
    return "That is one address of several and hides the others' faults (name one to see it): " + (
        "if the server answers without TLS, write http://; if its certificate is not trusted, "
        "TLSConfig(ca=...); if it names another host, TLSConfig(server_name=...); "
        "if it wants the client's, TLSConfig(cert=..., key=...)"
        if secure
        else "if it expects TLS, write https://"
    )


def unsupported(
    answers: dict[Service, str], target: str, record: CallRecord | None = None
) -> UnsupportedServerError:
    """Every service that was asked said UNIMPLEMENTED; ``answers`` holds their words."""
    said = "; ".join(f"{service} service: {quote(text)}" for service, text in answers.items())
    if "unknown method" in answers.get("internal", ""):
        mend = "this is the internal port of Milvus 2.3, which has no such call: use port 19530"
    elif len(answers) == 2:
        mend = "is this Milvus? Its proxy listens on 19530 (public) and 19529 (internal, 2.4+)"
    elif "internal" in answers:
        mend = "the internal service is on port 19529 of Milvus 2.4+: use that, or service='auto'"
    else:
        mend = "the public service is on port 19530: use that, or service='auto'"
    what = "this call" if record is None else record.method.rpartition("/")[2]
    return UnsupportedServerError(
        f"{what} at {target}: UNIMPLEMENTED ({said}). {_sentence(mend)}",
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
    if mend := _status_mend(error_class, status):
        text += f". {_sentence(mend)}"
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


def _status_mend(error_class: type[RefusedError], status: Status) -> str:
    if error_class is JobNotFoundError:
        return "check the job id and the server; a server forgets an ended job after some hours"
    if error_class is JobLimitError:
        return "try again when some of the server's jobs have ended"
    if status.code in _CODE_MENDS:
        return _CODE_MENDS[status.code]
    if not status.code and status.error_code in _OLD_CODE_MENDS:
        return _OLD_CODE_MENDS[status.error_code]
    text = f"{status.reason}\n{status.detail}"
    return next((mend for pattern, mend in _STATUS_MENDS if re.search(pattern, text)), "")


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


def quote(text: str) -> str:
    """Somebody else's words, on one line and not too long."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "..."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
