"""What a failed RPC means: gRPC's status codes and texts as errors, hints and retry decisions.

The texts are those of grpcio 1.80 to 1.85, of grpc-go servers, and of nginx, HAProxy, Envoy and
Caddy. A text that is not listed here is never retried.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import grpc

from .._errors import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)
from .._hints import Hint
from .._text import excerpt, quote
from ._context import CallContext, ReplyError
from ._http_status import TOO_MANY_REQUESTS, http_hint, transient_http_status

if TYPE_CHECKING:
    from .._errors import MilvusImportError
    from .._models import CallRecord

Code: Final = grpc.StatusCode

NOT_READY: Final = r"(?i)proxy is not ready|service not ready"
EMPTY_REPLY: Final = "the reply is empty; the coordinator may be away"
_HTTP_STATUS: Final = r"Received http2 header with status: ([0-9]{3})"
_NO_STATUS: Final = r"No status received"
_STREAM_REMOVED: Final = r"^Stream removed"
_CORRUPTED_STREAM: Final = r"Failed parsing HTTP/2|overflows local window"
_NO_CONNECTION: Final = (
    r"(?i)failed to connect|connections to all backends failing|name resolution|DNS resolution"
    r"|errors resolving|empty address list"
)
_BROKEN_CONNECTION: Final = (
    r"^Stream removed|[Ss]ocket closed|Connection reset|Broken pipe|recvmsg:|sendmsg:|GOAWAY"
    r"|^the connection broke"
)
_MESSAGE_SIZE: Final = r"message larger than|Received message larger|Sent message larger"
_METADATA_SIZE: Final = r"(?i)ENHANCE_YOUR_CALM|error code: 11\b|metadata size exceeds|header list"
_BACKEND: Final = r"upstream connect error|no healthy upstream"
DEADLINE_TEXT: Final = "deadline exceeded"
_DEADLINE_TEXTS: Final = frozenset({DEADLINE_TEXT, "context deadline exceeded"})

_CLASSES: Final[dict[grpc.StatusCode, type[CallError]]] = {
    Code.DEADLINE_EXCEEDED: DeadlineExceededError,
    Code.UNAVAILABLE: UnavailableError,
    Code.UNAUTHENTICATED: UnauthenticatedError,
    Code.PERMISSION_DENIED: AccessDeniedError,
    Code.UNIMPLEMENTED: UnsupportedServerError,
}
# The server rejected the request, or never received it.
_NOT_EXECUTED: Final = frozenset(
    {
        Code.UNAUTHENTICATED,
        Code.PERMISSION_DENIED,
        Code.UNIMPLEMENTED,
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
    }
)
# The same for codes that may mean either, by their text. The text counts only with its code: a
# server may quote its own failed connections in an UNKNOWN.
_NOT_EXECUTED_TEXTS: Final = {
    Code.UNAVAILABLE: _NO_CONNECTION,
    Code.FAILED_PRECONDITION: r"connect failed",
    Code.RESOURCE_EXHAUSTED: (
        r"CLIENT: Sent message larger|SERVER: Received message|grpc: received message larger"
    ),
    Code.UNKNOWN: rf"cross cluster routing|node not match|{NOT_READY}".replace("(?i)", ""),
}
_TRANSIENT_TEXTS: Final = (
    rf"(?i){EMPTY_REPLY}|proxy is not ready|service not ready|^Stream removed|No status received"
    rf"|RST_STREAM|{_CORRUPTED_STREAM}|upstream"
)
# Errors that only a server or a gateway that is there can cause.
_RESPONSE_STATUSES: Final = frozenset({408, 429, 502, 503, 504})
_RESPONSE_TEXTS: Final = rf"(?i){EMPTY_REPLY}|proxy is not ready|service not ready|{_BACKEND}"

# The first pattern that matches decides. An entry is (code or None for any, pattern, hint).
_HINTS: Final[tuple[tuple[grpc.StatusCode | None, str, Hint], ...]] = (
    (Code.UNAVAILABLE, r"WRONG_VERSION_NUMBER", Hint.USE_HTTP),
    (Code.UNAVAILABLE, r"CERTIFICATE_VERIFY_FAILED", Hint.TRUST_CA),
    (
        Code.UNAVAILABLE,
        r"Hostname Verification Check failed|Peer name .* is not in peer certificate",
        Hint.EXPECT_SERVER_NAME,
    ),
    (Code.UNAVAILABLE, r"NO_APPLICATION_PROTOCOL|missing selected ALPN", Hint.ENABLE_HTTP2),
    (Code.UNAVAILABLE, r"UNRECOGNIZED_NAME", Hint.UNKNOWN_VIRTUAL_HOST),
    (Code.UNAVAILABLE, r"http1\.x", Hint.USE_HTTPS_HTTP1),
    (Code.UNAVAILABLE, r"failed to connect.*Failed parsing HTTP/2", Hint.USE_HTTPS_NOT_GRPC),
    (None, _BACKEND, Hint.GATEWAY_BACKEND),
    (None, r"upstream request timeout", Hint.GATEWAY_TIMEOUT),
    (None, r"local_rate_limited", Hint.GATEWAY_RATE_LIMIT),
    (None, r"^RBAC: access denied", Hint.GATEWAY_RBAC),
    (Code.UNAVAILABLE, _METADATA_SIZE, Hint.GATEWAY_METADATA_SIZE),
    (Code.RESOURCE_EXHAUSTED, _METADATA_SIZE, Hint.GATEWAY_METADATA_SIZE),
    (Code.UNAVAILABLE, _CORRUPTED_STREAM, Hint.CORRUPTED_STREAM),
    (Code.UNKNOWN, _CORRUPTED_STREAM, Hint.CORRUPTED_STREAM),
    (Code.INTERNAL, _CORRUPTED_STREAM, Hint.CORRUPTED_STREAM),
    (Code.UNAUTHENTICATED, r"missing authorization", Hint.PASS_TOKEN),
    (Code.UNAUTHENTICATED, r"invalid token format", Hint.PASS_PLAIN_TOKEN),
    (Code.UNAUTHENTICATED, r"auth check failure", Hint.CHECK_CREDENTIALS),
    (Code.PERMISSION_DENIED, r"", Hint.GRANT_PRIVILEGE),
    (
        Code.RESOURCE_EXHAUSTED,
        r"SERVER: Received message larger|grpc: received message larger",
        Hint.REQUEST_TOO_LARGE,
    ),
    (Code.RESOURCE_EXHAUSTED, r"Received message larger than max", Hint.RAISE_MAX_RECEIVE),
    (Code.RESOURCE_EXHAUSTED, r"Sent message larger than max", Hint.RAISE_MAX_SEND),
    (Code.RESOURCE_EXHAUSTED, r"", Hint.SERVER_RATE_LIMIT),
    (Code.UNKNOWN, r"cross cluster routing|node not match", Hint.DROP_ROUTING_METADATA),
    (Code.UNKNOWN, NOT_READY, Hint.SERVER_STARTING),
    (Code.INTERNAL, r"(?i)invalid UTF-8", Hint.INVALID_UTF8),
    (Code.UNKNOWN, _STREAM_REMOVED, Hint.BROKEN_OR_NOT_GRPC),
    (Code.UNKNOWN, _NO_STATUS, Hint.NO_GRPC_STATUS),
)
# What gRPC tried last: an address, or a name that it could not resolve.
_TRIED: Final = (
    r"(?:last error: \w+: ipv[46]:|errors resolving |resolution failed for )(\S+:([0-9]+)): "
)


def call_error(
    code: grpc.StatusCode,
    details: str,
    context: CallContext,
    record: CallRecord | None,
    *,
    status: int | None = None,
    hint: Hint | None = None,
) -> CallError:
    """Return the error of an RPC that did not end with OK. No ``record``: nothing was sent.

    ``status`` is the HTTP status and ``hint`` the hint, where the caller knows them.
    """
    text = excerpt(details)
    status = status or http_status(text)
    by_server = _ended_by_server(code, text, record, context.timeout)
    unsent = code is Code.DEADLINE_EXCEEDED and record is None
    return _CLASSES.get(code, CallError)(
        _message(code, text, context, record, by_server=by_server),
        code=code,
        details=details,
        record=record,
        http_status=status,
        hint=hint or _hint(code, text, context, unsent=unsent, by_server=by_server),
        transient=not unsent and _is_transient(code, text, status),
        may_have_run=not unsent and _may_have_run(code, text),
        method=context.method,
        service=context.service,
        target=context.target,
    )


def bad_reply(details: str, hint: Hint | None = None) -> ReplyError:
    """Return what to raise for a reply that is not valid although gRPC reported OK."""
    return ReplyError(lambda context: _bad_reply_error(details, context, hint))


def _bad_reply_error(details: str, context: CallContext, hint: Hint | None) -> CallError:
    if hint is None and details != EMPTY_REPLY and not context.answered:
        rest = context.service == "rest"
        hint = Hint.REST_CHECK_PORT if rest else Hint.CHECK_IS_MILVUS
    return CallError(
        f"{context.method} at {context.target}: {details}",
        code=Code.INTERNAL,
        details=details,
        hint=hint,
        transient=details == EMPTY_REPLY,
        may_have_run=not context.read,
        method=context.method,
        service=context.service,
        target=context.target,
    )


def http_status(details: str) -> int | None:
    """Return the HTTP status of a response that is not gRPC's, or None."""
    found = re.search(_HTTP_STATUS, details)
    return int(found[1]) if found else None


def connection_broke(error: CallError) -> bool:
    """Return whether an established connection broke during the call."""
    if error.http_status is not None or error.code not in {Code.UNAVAILABLE, Code.UNKNOWN}:
        return False
    text = excerpt(error.details)
    return bool(re.search(_BROKEN_CONNECTION, text)) and not re.search(_NO_CONNECTION, text)


def lacks_grpc_status(error: CallError) -> bool:
    """Return whether the response had no gRPC status at all, as from an unrouted path."""
    return error.code is Code.UNKNOWN and bool(re.search(_NO_STATUS, excerpt(error.details)))


def from_a_server(error: MilvusImportError) -> bool:
    """Return whether only a server or a gateway that is there can have caused the error.

    All other errors may also come from a wrong address.
    """
    if not isinstance(error, CallError):
        return True
    if error.http_status is not None:
        return error.http_status in _RESPONSE_STATUSES
    if error.code is Code.RESOURCE_EXHAUSTED:
        return True
    return re.search(_RESPONSE_TEXTS, excerpt(error.details)) is not None


def is_rate_limit(error: MilvusImportError) -> bool:
    """Return whether the server or a gateway limits the request rate."""
    if isinstance(error, CallError):
        return error.http_status == TOO_MANY_REQUESTS or (
            error.transient
            and (
                error.code is Code.RESOURCE_EXHAUSTED
                or "local_rate_limited" in excerpt(error.details)
            )
        )
    return getattr(error, "_hint", None) == Hint.SERVER_RATE_LIMIT


def _message(
    code: grpc.StatusCode,
    details: str,
    context: CallContext,
    record: CallRecord | None,
    *,
    by_server: bool,
) -> str:
    call = f"{context.method} at {context.target}"
    limit = "" if context.timeout is None else f" of {context.timeout:g} s"
    if code is Code.DEADLINE_EXCEEDED and record is None:
        return f"{call}: not sent, the timeout{limit} has already expired"
    if by_server and record is not None:
        text = f"{call}: {code.name} after {record.elapsed:.3g} s"
    elif code is Code.DEADLINE_EXCEEDED:
        within = "" if context.timeout is None else f" within {context.timeout:g} s"
        text = f"{call}: no response{within}"
    else:
        text = f"{call}: {code.name}"
    if details and (by_server or details.lower() not in _DEADLINE_TEXTS):
        text += f" ({quote(details)})"
    return text


def _ended_by_server(
    code: grpc.StatusCode, details: str, record: CallRecord | None, timeout: float | None
) -> bool:
    """Return whether a deadline is not the call's own, which gRPC reports with its own text."""
    if code is not Code.DEADLINE_EXCEEDED or record is None:
        return False
    return details.lower() != DEADLINE_TEXT and (timeout is None or record.elapsed < 0.9 * timeout)


def _is_transient(code: grpc.StatusCode, details: str, status: int | None) -> bool:
    if status is not None:
        return transient_http_status(status)
    if code is Code.RESOURCE_EXHAUSTED:
        return not re.search(_MESSAGE_SIZE, details) and not re.search(_METADATA_SIZE, details)
    if code in {Code.UNKNOWN, Code.INTERNAL}:
        return re.search(_TRANSIENT_TEXTS, details) is not None
    return code in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.ABORTED}


def _may_have_run(code: grpc.StatusCode, details: str) -> bool:
    pattern = _NOT_EXECUTED_TEXTS.get(code)
    return code not in _NOT_EXECUTED and (pattern is None or not re.search(pattern, details))


def _hint(
    code: grpc.StatusCode, details: str, context: CallContext, *, unsent: bool, by_server: bool
) -> Hint | None:
    if unsent:
        return Hint.ALLOW_MORE_TIME
    status = http_status(details)
    if status is not None:
        return http_hint(status, secure=context.secure)
    hint = next(
        (
            hint
            for only, pattern, hint in _HINTS
            if only in {None, code} and re.search(pattern, details)
        ),
        None,
    )
    if hint is Hint.PASS_TOKEN and context.authorized:
        return Hint.GATEWAY_STRIPS_AUTHORIZATION
    if hint is Hint.BROKEN_OR_NOT_GRPC and context.answered:
        return Hint.RECONNECT
    if hint is not None:
        return hint
    if code is Code.DEADLINE_EXCEEDED:
        return Hint.SERVER_GAVE_UP if by_server else _deadline_hint(context)
    return _unavailable_hint(details, context) if code is Code.UNAVAILABLE else None


def _deadline_hint(context: CallContext) -> Hint:
    if context.method == "Import":
        return Hint.CREATE_DEADLINE
    if context.answered:
        return Hint.SERVER_SLOW
    return Hint.CHECK_REACHABLE_HTTPS if context.secure else Hint.CHECK_REACHABLE_HTTP


def _unavailable_hint(details: str, context: CallContext) -> Hint:
    tried = re.search(_TRIED, details)
    if tried and not re.search(rf":{tried[2]}(,|$)", context.target):
        return Hint.UNSET_PROXY
    if context.answered:
        return Hint.RECONNECT
    if re.search(r"resol(ution|ving)|Domain name not found", details):
        return Hint.CHECK_HOST_NAME
    if "No such file" in details:
        return Hint.CHECK_SOCKET_PATH
    if "Connection refused" in details:
        # localhost also resolves to ::1; gRPC reports only the address that it tried last.
        only_address = tried is None or (
            unquote(tried[1]) in context.target and "," not in context.target
        )
        if only_address:
            return Hint.CHECK_ADDRESS
        return Hint.REFUSED_OR_TLS if context.secure else Hint.REFUSED_OR_HTTPS
    if "failed to connect" not in details:
        return Hint.RECONNECT
    return Hint.RESTARTING_OR_CERTIFICATE if context.secure else Hint.RESTARTING_OR_HTTPS
