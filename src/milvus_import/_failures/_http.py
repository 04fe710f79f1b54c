"""Map httpx2's exceptions and HTTP statuses to errors and hints."""

from __future__ import annotations

import os
import re
import socket
import ssl
from typing import TYPE_CHECKING, Final, cast

import grpc

from .._hints import Hint
from .._text import EXCERPT, quote
from ._context import CallContext, ReplyError
from ._grpc import call_error
from ._http_status import http_code, http_hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._errors import CallError
    from .._models import CallRecord

Code: Final = grpc.StatusCode

CONNECTION_BROKE: Final = "the connection broke"
COMPRESSED: Final = "the response is compressed"
NO_HTTP: Final = "the response is not valid HTTP/1.1"
MISSING_ROUTE: Final = "404 page not found"
"""The body of a 404 of Milvus' own router."""
_MAX_CAUSES: Final = 10
_TLS_ALERT: Final = r"ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE|ALERT_BAD_CERTIFICATE"

# The first pattern that matches decides.
_HINTS: Final[tuple[tuple[str, Hint], ...]] = (
    (r"through the proxy", Hint.REST_PROXY),
    (rf"^{COMPRESSED}", Hint.REST_COMPRESSED),
    (r"complete message body", Hint.RECONNECT),
    (r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE", Hint.USE_HTTP),
    (r"Hostname mismatch|IP address mismatch", Hint.EXPECT_SERVER_NAME),
    (r"CERTIFICATE_VERIFY_FAILED.*has expired", Hint.RENEW_CERTIFICATE),
    (r"CERTIFICATE_VERIFY_FAILED", Hint.TRUST_CA),
    (_TLS_ALERT, Hint.PASS_CLIENT_CERTIFICATE),
    (r"failed to connect: name resolution", Hint.CHECK_HOST_NAME),
    (r"failed to connect: No such file", Hint.CHECK_SOCKET_PATH),
    (r"failed to connect: Connection refused", Hint.REST_CHECK_ADDRESS),
)
_MILVUS_HINTS: Final = {429: Hint.SERVER_RATE_LIMIT, 503: Hint.SERVER_STARTING}


def failure(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Return the code and the details of a request that ended without an HTTP response."""
    import httpx2  # noqa: PLC0415 - an extra, which is loaded by now

    if isinstance(error, httpx2.ProxyError):
        return Code.UNAVAILABLE, f"failed to connect through the proxy: {quote(str(error))}"
    if isinstance(error, httpx2.ConnectError):
        return Code.UNAVAILABLE, f"failed to connect: {_reason(error)}"
    if isinstance(error, httpx2.NetworkError):
        return Code.UNAVAILABLE, f"{CONNECTION_BROKE}: {_reason(error)}"
    if isinstance(error, httpx2.RemoteProtocolError):
        text = quote(str(error))
        if re.search(r"(?i)disconnected|closed connection", text):
            return Code.UNAVAILABLE, f"{CONNECTION_BROKE}: {text}"
        return Code.INTERNAL, f"{NO_HTTP}: {text}"
    # Its text may quote the request.
    return Code.INTERNAL, f"the request failed ({type(error).__name__})"


def transport_error(
    code: grpc.StatusCode, details: str, context: CallContext, record: CallRecord
) -> CallError:
    """Return the error of a request that ended without an HTTP response."""
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, details)), None)
    if hint is None and details.startswith(NO_HTTP):
        hint = Hint.REST_CHECK_PORT
    if hint is None and code is Code.UNAVAILABLE:
        hint = _unavailable_hint(context)
    if hint is None and code is Code.DEADLINE_EXCEEDED:
        hint = _deadline_hint(context)
    return call_error(code, details, context, record, hint=hint)


def status_error(
    status: int,
    text: str,
    context: CallContext,
    record: CallRecord,
    *,
    by_milvus: bool = False,
) -> CallError:
    """Return the error of an HTTP response, chosen by its status.

    ``by_milvus``: Milvus sent it, not a gateway.
    """
    hint: Hint | None
    if by_milvus:
        hint = _MILVUS_HINTS.get(status)
    elif status == 400 and "HTTPS server" in text:
        hint = Hint.USE_HTTPS
    else:
        hint = http_hint(status, secure=context.secure)
    if hint is Hint.GATEWAY_ROUTE:
        hint = Hint.REST_ROUTE
    error = call_error(http_code(status), text, context, record, status=status, hint=hint)
    if 300 <= status < 500 and status not in {408, 499}:
        error.may_have_run = False  # a redirect, or a request that was rejected
    return error


def response_text(status: int, reason: str, content_type: str, body: bytes) -> str:
    """Return an HTTP response as one line; an HTML page is reduced to its title."""
    text = body[:EXCERPT].decode("utf-8", "replace")
    title = re.search(r"(?is)<title>(.*?)</title>", text)
    if title:
        text = title[1].strip().removeprefix(str(status))
    elif "html" in content_type or text.lstrip()[:1] == "<":
        text = ""
    line = f"HTTP {status} {reason}".rstrip()
    return f"{line}: {quote(text)}" if text.strip() else line


def is_missing_route(status: int, body: bytes) -> bool:
    """Return whether Milvus' own router responded that it has no such path."""
    return status == 404 and body.strip() == MISSING_ROUTE.encode()


def missing_route(text: str, record: CallRecord, hint: Hint) -> ReplyError:
    """Return the ReplyError of a path that this version of Milvus does not have."""
    return ReplyError(
        lambda context: call_error(Code.UNIMPLEMENTED, text, context, record, status=404, hint=hint)
    )


def _unavailable_hint(context: CallContext) -> Hint:
    if context.responded:
        return Hint.RECONNECT
    # A server that requires a client certificate may reset the connection without a reason.
    return Hint.RESTARTING_OR_CERTIFICATE if context.secure else Hint.REST_CHECK_PORT


def _deadline_hint(context: CallContext) -> Hint:
    return Hint.SERVER_SLOW if context.responded else Hint.REST_CHECK_REACHABLE


def _reason(error: BaseException) -> str:
    """Return the operating system's or the TLS library's reason, which httpx2 may hide."""
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return f"name resolution failed: {cause.strerror}"
        if isinstance(cause, ssl.SSLError):
            return quote(str(cause))
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
    return quote(str(error)) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Return the causes of an exception, innermost first in a group."""
    for _ in range(_MAX_CAUSES):
        if error is None:
            return
        if isinstance(error, BaseExceptionGroup):
            for member in cast("BaseExceptionGroup[BaseException]", error).exceptions:
                yield from _causes(member)
        yield error
        error = error.__cause__ or error.__context__
