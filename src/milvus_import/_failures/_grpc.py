"""Map gRPC's status codes and texts to errors, hints and retry decisions.

The texts are those of ``_texts.py``; the hints are chosen in ``_call_hints.py``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import grpc

from .._errors import (
    AccessDeniedError,
    CallError,
    ClientClosedError,
    DeadlineExceededError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    hint_of,
)
from .._hints import Hint
from .._text import excerpt, quote
from ._call_hints import call_hint, hint_for_write
from ._context import CallContext, ReplyError
from ._http_status import TOO_MANY_REQUESTS, transient_http_status
from ._texts import (
    BACKEND,
    BROKEN_CONNECTION,
    CORRUPTED_STREAM,
    DEADLINE_TEXT,
    DEADLINE_TEXTS,
    EMPTY_REPLY,
    GATEWAY_RATE_LIMIT,
    MESSAGE_SIZE,
    METADATA_SIZE,
    NO_CONNECTION,
    NO_STATUS,
    NOT_READY,
    REJECTED_CALL,
    STREAM_REMOVED,
    UPSTREAM_TIMEOUT,
    http_status,
)

if TYPE_CHECKING:
    from .._errors import MilvusImportError
    from .._models import CallRecord

Code: Final = grpc.StatusCode

_CLASSES: Final[dict[grpc.StatusCode, type[CallError]]] = {
    Code.DEADLINE_EXCEEDED: DeadlineExceededError,
    Code.UNAVAILABLE: UnavailableError,
    Code.UNAUTHENTICATED: UnauthenticatedError,
    Code.PERMISSION_DENIED: AccessDeniedError,
    Code.UNIMPLEMENTED: UnsupportedServerError,
}
# Codes of requests that the server rejected or never received.
_NOT_EXECUTED: Final = frozenset(
    {
        Code.UNAUTHENTICATED,
        Code.PERMISSION_DENIED,
        Code.UNIMPLEMENTED,
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
    }
)
# The same by text, for codes that do not decide it. A text counts only with its code: a server
# may report its own failed connections as UNKNOWN.
_NOT_EXECUTED_TEXTS: Final = {
    Code.UNAVAILABLE: NO_CONNECTION,
    Code.FAILED_PRECONDITION: r"connect failed",
    Code.RESOURCE_EXHAUSTED: (
        r"CLIENT: Sent message larger|SERVER: Received message|grpc: received message larger"
    ),
    Code.UNKNOWN: rf"{NOT_READY}|cross cluster routing|node not match",
}
_TRANSIENT_TEXTS: Final = (
    rf"{NOT_READY}|{EMPTY_REPLY}|{STREAM_REMOVED}|{NO_STATUS}|{CORRUPTED_STREAM}"
    "|RST_STREAM|upstream"
)
# Errors that only a reachable server or gateway can cause.
_RESPONSE_STATUSES: Final = frozenset({408, 429, 502, 503, 504})
_RESPONSE_TEXTS: Final = (
    rf"{NOT_READY}|{EMPTY_REPLY}|{BACKEND}|{UPSTREAM_TIMEOUT}|{GATEWAY_RATE_LIMIT}"
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
    """Return the error of an RPC that did not end with OK. ``record`` is None if nothing was sent.

    ``status`` is the HTTP status and ``hint`` the hint, where the caller knows them.
    """
    text = excerpt(details)
    status = status or http_status(text)
    by_server = _ended_by_server(code, text, record, context.timeout)
    unsent = code is Code.DEADLINE_EXCEEDED and record is None
    may_have_run = not unsent and _may_have_run(code, text)
    if hint is None:
        hint = call_hint(code, text, context, unsent=unsent, by_server=by_server)
        if may_have_run and not context.read:
            hint = hint_for_write(hint)
    return _error_class(code, text)(
        _message(code, text, context, record, by_server=by_server),
        code=code,
        details=details,
        record=record,
        http_status=status,
        hint=hint,
        transient=not unsent and _is_transient(code, text, status),
        may_have_run=may_have_run,
        method=context.method,
        service=context.service,
        target=context.target,
    )


def _error_class(code: grpc.StatusCode, details: str) -> type[CallError]:
    # gRPC reports a connection that broke as UNAVAILABLE, UNKNOWN or INTERNAL, as its threads
    # happen to run.
    if code in {Code.UNKNOWN, Code.INTERNAL} and re.search(
        rf"{STREAM_REMOVED}|{CORRUPTED_STREAM}", details
    ):
        return CallError if re.search(REJECTED_CALL, details) else UnavailableError
    return _CLASSES.get(code, CallError)


def bad_reply(details: str, hint: Hint | None = None) -> ReplyError:
    """Return the ReplyError of a reply that is not valid although gRPC reported OK."""
    return ReplyError(lambda context: _bad_reply_error(details, context, hint))


def _bad_reply_error(details: str, context: CallContext, hint: Hint | None) -> CallError:
    if hint is None and details != EMPTY_REPLY and not context.responded:
        rest = context.service == "rest"
        hint = Hint.REST_CHECK_PORT if rest else Hint.CHECK_IS_MILVUS
    if not context.read:
        hint = hint_for_write(hint)
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


def closed_error(context: CallContext, when: str, *, may_have_run: bool) -> ClientClosedError:
    """Return the error of a call that the closing of its client ended."""
    return ClientClosedError(
        f"{context.method} at {context.target}: the client was closed {when}",
        may_have_run=may_have_run,
        method=context.method,
        service=context.service,
        target=context.target,
    )


def connection_broke(error: CallError) -> bool:
    """Return whether an established connection broke during the call."""
    if error.http_status is not None or error.code not in {Code.UNAVAILABLE, Code.UNKNOWN}:
        return False
    text = excerpt(error.details)
    return bool(re.search(BROKEN_CONNECTION, text)) and not re.search(
        f"{NO_CONNECTION}|{REJECTED_CALL}", text
    )


def lacks_grpc_status(error: CallError) -> bool:
    """Return whether the response had no gRPC status at all, as from an unrouted path."""
    return error.code is Code.UNKNOWN and bool(re.search(NO_STATUS, excerpt(error.details)))


def from_a_server(error: MilvusImportError) -> bool:
    """Return whether only a reachable server or gateway can have caused the error.

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
                or GATEWAY_RATE_LIMIT in excerpt(error.details)
            )
        )
    return hint_of(error) is Hint.SERVER_RATE_LIMIT


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
    if details and (by_server or details.lower() not in DEADLINE_TEXTS):
        text += f" ({quote(details)})"
    return text


def _ended_by_server(
    code: grpc.StatusCode, details: str, record: CallRecord | None, timeout: float | None
) -> bool:
    """Return whether the server's deadline expired, not the call's own."""
    if code is not Code.DEADLINE_EXCEEDED or record is None:
        return False
    return details.lower() != DEADLINE_TEXT and (timeout is None or record.elapsed < 0.9 * timeout)


def _is_transient(code: grpc.StatusCode, details: str, status: int | None) -> bool:
    if status is not None:
        return transient_http_status(status)
    if code is Code.RESOURCE_EXHAUSTED:
        return not re.search(MESSAGE_SIZE, details) and not re.search(METADATA_SIZE, details)
    if code in {Code.UNKNOWN, Code.INTERNAL}:
        return re.search(_TRANSIENT_TEXTS, details) is not None
    return code in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.ABORTED}


def _may_have_run(code: grpc.StatusCode, details: str) -> bool:
    pattern = _NOT_EXECUTED_TEXTS.get(code)
    return code not in _NOT_EXECUTED and (pattern is None or not re.search(pattern, details))
