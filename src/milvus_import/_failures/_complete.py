"""Complete the error of a call: its message, and what depends on the call and its client."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import grpc

from .._errors import (
    ArgumentError,
    CallError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    excerpt,
    hint_of,
    quote,
    set_hint,
)
from .._hints import Hint
from ._statuses import (
    DEADLINE_TEXT,
    FINAL_CODES,
    NO_ROOM_FOR_METADATA,
    NODE_NOT_MATCH,
    UNAUTHENTICATED_CODE,
    Row,
    http_hint,
    meaning,
    status_text,
)

if TYPE_CHECKING:
    from .._models import Service
    from .._options import CallSettings

Code: Final = grpc.StatusCode

_LARGE_METADATA: Final = 4000
"""Bytes of metadata that some gateways do not accept by default."""
_VERY_LARGE_METADATA: Final = 8000
"""Bytes from which they are the cause if a gateway reports only an internal error, as HAProxy."""
_SMALL_METADATA: Final = 2000
"""Bytes of metadata that every gateway accepts, unless its buffers are very small."""
_DEADLINE_TEXTS: Final = frozenset({"", DEADLINE_TEXT, "context deadline exceeded"})
_ADMIN_PRIVILEGES: Final = r"PrivilegeGetImportProgress|PrivilegeListImport\b"
# What gRPC tried last: an address, or a name that it could not resolve.
_TRIED: Final = (
    r"(?:last error: \w+: ipv[46]:|(errors resolving |resolution failed for ))(\S+:(\w+)): "
)
_TRY_AGAIN: Final = frozenset(
    {
        *(Hint.RECONNECT, Hint.BROKEN_OR_NOT_GRPC, Hint.CORRUPTED_STREAM, Hint.NO_GRPC_STATUS),
        *(Hint.SERVER_SLOW, Hint.SERVER_DEADLINE, Hint.SERVER_RATE_LIMIT, Hint.SERVER_STARTING),
        *(Hint.SERVER_RESOURCES, Hint.GATEWAY_RATE_LIMIT, Hint.GATEWAY_UNAVAILABLE),
        *(Hint.GATEWAY_BACKEND, Hint.GATEWAY_CLOSED, Hint.GATEWAY_TIMEOUT, Hint.GATEWAY_ERROR),
        *(Hint.CHECK_REACHABLE_HTTP, Hint.CHECK_REACHABLE_HTTPS),
    }
)
"""Hints that do not suit a write that may have run."""
_CONNECTION_ROWS: Final = (
    Row(None, r"resol(ution|ving)|Domain name not found", Hint.CHECK_HOST_NAME),
    Row(None, r"No such file", Hint.CHECK_SOCKET_PATH),
    Row(None, r"Connection refused", Hint.CHECK_ADDRESS),
    Row(None, r"failed to connect", Hint.RESTARTING_OR_HTTPS),
)
_REST_HINTS: Final = {
    Hint.CHECK_IS_MILVUS: Hint.REST_CHECK_PORT,
    Hint.GATEWAY_ROUTE: Hint.REST_ROUTE,
}
_CLOUD_HINTS: Final = {
    **dict.fromkeys(
        (
            *(Hint.REST_CHECK_ADDRESS, Hint.REST_CHECK_PORT, Hint.REST_CHECK_REACHABLE),
            *(Hint.REST_ROUTE, Hint.REST_NEEDS_2_4, Hint.RESTARTING_OR_CERTIFICATE),
            *(Hint.CHECK_HOST_NAME, Hint.REST_NEEDS_ADMIN),
        ),
        Hint.CLOUD_ADDRESS,
    ),
    **dict.fromkeys(
        (Hint.PASS_TOKEN, Hint.CHECK_CREDENTIALS, Hint.CHECK_OR_FORWARD_CREDENTIALS),
        Hint.CLOUD_API_KEY,
    ),
    **dict.fromkeys((Hint.JOB_FILE_PATH, Hint.JOB_BUCKET_KEYS), Hint.CLOUD_FILES),
    Hint.REPEAT_WITH_KEY: Hint.CLOUD_REPEAT,
    Hint.CREATE_DEADLINE: Hint.CLOUD_REPEAT,
}
_CLOUD_TARGET: Final = r"(^|[./])cloud\.zilliz\.com(\.cn)?(:[0-9]+)?$"
_HTTP: Final = frozenset({"rest", "cloud"})
"""The services over HTTP."""


def complete(
    error: object,
    method: str,
    service: Service,
    target: str,
    settings: CallSettings,
    *,
    is_read: bool = True,
    job_id: str | None = None,
    responded: bool = False,
    quoted_token: bool = False,
) -> None:
    """Set the message, the call and the hint of an error. A second time changes nothing.

    ``responded``: the client has had a successful response, so the address is right.
    An exception of an interceptor and an ArgumentError stay as they are.
    """
    if not isinstance(error, MilvusImportError) or isinstance(error, ArgumentError):
        return
    if error.target is not None:
        return
    error.method, error.service, error.target, error.job_id = method, service, target, job_id
    hint, sent = hint_of(error), dict(settings.metadata or ())
    # Errors of calls have no message yet, those of replies do.
    if is_read and error.message and isinstance(error, CallError | MilvusStatusError):
        error.may_have_run = False
    if isinstance(error, CallError):
        hint = _hint(error, settings, responded=responded)
        if hint is Hint.CHECK_HOST_NAME and re.search(r"\.db(:[0-9]+)?$", target):
            hint = Hint.MILVUS_LITE
        if error.code is Code.UNAUTHENTICATED:
            authorized = "authorization" in sent
            hint = _credentials_hint(hint, authorized=authorized, quoted=quoted_token)
        size = sum(len(key) + len(value) for key, value in settings.metadata or ())
        hint = _apply_metadata_size(error, hint, size)
    if sent.keys() & {"cluster", "serverid"} and re.search(NODE_NOT_MATCH, _text(error)):
        error.transient, hint = False, Hint.DROP_ROUTING_METADATA
    if error.may_have_run and not is_read:
        # Check first, instead of trying again.
        is_call = isinstance(error, CallError)
        if hint in _TRY_AGAIN or (is_call and (hint is None or service in _HTTP)):
            repeatable = method in {"commit", "abort"}
            hint = Hint.REST_REPEAT if repeatable else Hint.REPEAT_WITH_KEY
    set_hint(error, cloud_hint(hint, service, target, responded=responded))
    message = error.message or _message(error, settings.timeout)
    error.message = f"{method} at {target}: {message}"
    error.args = (error.message,)


def cloud_hint(
    hint: Hint | None, service: Service, target: str, *, responded: bool = False
) -> Hint | None:
    """Return the hint for Zilliz Cloud, or for its address with another service."""
    if service != "cloud":
        return Hint.SWITCH_TO_CLOUD if re.search(_CLOUD_TARGET, target) else hint
    if hint is None and not responded and not re.search(_CLOUD_TARGET, target):
        return Hint.CLOUD_ADDRESS
    return None if hint is None else _CLOUD_HINTS.get(hint, hint)


def is_final(error: MilvusImportError) -> bool:
    """Return whether no later request for a known job can succeed."""
    if isinstance(error, CallError):
        too_large = error.code is Code.RESOURCE_EXHAUSTED
        if too_large or hint_of(error) is Hint.GATEWAY_METADATA_SIZE:
            return not error.transient
        return error.code is Code.PERMISSION_DENIED or error.http_status == 403
    return isinstance(error, JobNotFoundError) or (
        isinstance(error, MilvusStatusError) and error.code in FINAL_CODES
    )


def is_unauthenticated(error: MilvusImportError) -> bool:
    """Return whether the credentials were rejected, or could not be verified yet."""
    if isinstance(error, CallError):
        return error.code is Code.UNAUTHENTICATED or error.http_status == 401
    return isinstance(error, MilvusStatusError) and error.code == UNAUTHENTICATED_CODE


def _apply_metadata_size(error: CallError, hint: Hint | None, size: int) -> Hint | None:
    """Return the hint. Only large metadata of the call itself is a permanent error."""
    if error.http_status == 400 and size > _LARGE_METADATA:
        return Hint.GATEWAY_METADATA_SIZE
    if hint is Hint.GATEWAY_CLOSED and size > _VERY_LARGE_METADATA:
        error.transient = False
        return Hint.GATEWAY_METADATA_SIZE
    if error.transient and re.search(NO_ROOM_FOR_METADATA, excerpt(error.details)):
        # The connection ended with all its calls: the metadata of another one may be too large.
        error.transient = size <= _LARGE_METADATA
        return Hint.RECONNECT if size <= _SMALL_METADATA else Hint.GATEWAY_METADATA_SIZE
    return hint


def _text(error: MilvusImportError) -> str:
    if isinstance(error, MilvusStatusError):
        return status_text(error.reason, error.detail)
    return excerpt(error.details) if isinstance(error, CallError) else ""


# ----------------------------------------------------------------------------- the message


def _message(error: MilvusImportError, timeout: float | None) -> str:
    if not isinstance(error, CallError):
        return ""
    code, details = error.code, excerpt(error.details)
    if code is not Code.DEADLINE_EXCEEDED:
        return f"{code.name} ({quote(details)})" if details else code.name
    limit = "" if timeout is None else f"{timeout:g} s"
    if error.record is None:
        return f"not sent, the timeout{limit and f' of {limit}'} has already expired"
    if _ended_by_server(error, timeout):
        text = f"{code.name} after {error.record.elapsed:.3g} s"
        return f"{text} ({quote(details)})" if details else text
    text = f"no response{limit and f' within {limit}'}"
    return text if details.lower() in _DEADLINE_TEXTS else f"{text} ({quote(details)})"


def _ended_by_server(error: CallError, timeout: float | None) -> bool:
    """Return whether a deadline of the server expired, not that of the call."""
    details, record = excerpt(error.details).lower(), error.record
    if record is None or details == DEADLINE_TEXT or "interceptor" in details:
        return False
    return timeout is None or record.elapsed < 0.9 * timeout


# -------------------------------------------------------------------------------- the hint


def _hint(error: CallError, settings: CallSettings, *, responded: bool) -> Hint | None:
    """Return the hint, or a more likely one for this call and its client."""
    hint, status, rest = hint_of(error), error.http_status, error.service in _HTTP
    if hint is None and error.code is Code.DEADLINE_EXCEEDED:
        return _deadline_hint(error, settings, responded=responded)
    if hint is None and error.code is Code.UNAVAILABLE and status is None:
        return _connection_hint(error, secure=settings.secure, responded=responded)
    if status is not None and hint is http_hint(status, secure=True):
        hint = http_hint(status, secure=settings.secure)
    page = hint is Hint.REST_ROUTE
    if error.code is Code.INTERNAL and responded and (page or hint is Hint.CHECK_IS_MILVUS):
        # After a successful response, that of another server is an outage: a maintenance page.
        error.transient = error.transient or page
        return Hint.GATEWAY_ERROR if page else None
    if hint is Hint.BROKEN_OR_NOT_GRPC and responded:
        return Hint.RECONNECT
    if rest and hint is Hint.GRANT_PRIVILEGE and re.search(_ADMIN_PRIVILEGES, error.details):
        return Hint.REST_NEEDS_ADMIN
    return _REST_HINTS.get(hint, hint) if rest and hint is not None else hint


def _credentials_hint(hint: Hint | None, *, authorized: bool, quoted: bool) -> Hint | None:
    if hint is Hint.PASS_TOKEN and authorized:
        return Hint.GATEWAY_STRIPS_AUTHORIZATION
    if hint is Hint.CHECK_OR_FORWARD_CREDENTIALS and not authorized:
        return Hint.PASS_TOKEN
    checked = hint in {Hint.CHECK_CREDENTIALS, Hint.CHECK_OR_FORWARD_CREDENTIALS}
    return Hint.UNQUOTE_CREDENTIALS if checked and quoted else hint


def _deadline_hint(error: CallError, settings: CallSettings, *, responded: bool) -> Hint:
    rest = error.service in _HTTP
    if not rest and _ended_by_server(error, settings.timeout):
        return Hint.SERVER_DEADLINE
    if error.method == "Import":
        return Hint.CREATE_DEADLINE
    if responded:
        return Hint.SERVER_SLOW
    if rest:
        return Hint.REST_CHECK_REACHABLE
    return Hint.CHECK_REACHABLE_HTTPS if settings.secure else Hint.CHECK_REACHABLE_HTTP


def _connection_hint(error: CallError, *, secure: bool, responded: bool) -> Hint:
    details, target = excerpt(error.details), error.target or ""
    tried = re.search(_TRIED, details)
    if tried:
        # Names are compared as they are; addresses may be those of any name, so only the ports.
        own = re.escape(tried[2]) if tried[1] else f":{tried[3]}"
        if not re.search(f"{own}(,|$)", target):
            return Hint.UNSET_PROXY
    if responded:
        return Hint.RECONNECT
    if error.service in _HTTP:
        # A server that requires a client certificate may reset the connection without a reason.
        other = Hint.RESTARTING_OR_CERTIFICATE if secure else Hint.REST_CHECK_PORT
        return Hint.REST_PROXY if "through the proxy" in details else other
    hint = meaning(_CONNECTION_ROWS, None, details).hint
    if hint is Hint.CHECK_ADDRESS:
        # gRPC reports only the last address, and localhost also resolves to ::1. Not
        # urllib.parse.unquote, whose import takes 2 % of the time of this package's.
        address = tried[2].replace("%5B", "[").replace("%5D", "]") if tried else ""
        if address not in target or "," in target:
            return Hint.REFUSED_OR_TLS if secure else Hint.REFUSED_OR_HTTPS
    if hint is Hint.RESTARTING_OR_HTTPS and secure:
        return Hint.RESTARTING_OR_CERTIFICATE
    return hint or Hint.RECONNECT
