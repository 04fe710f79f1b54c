"""What HTTP statuses and the exceptions of aiohttp mean."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from typing import TYPE_CHECKING, Final

import grpc

from .._errors import EXCERPT, quote, set_hint, without_queries
from .._hints import Hint
from ._statuses import UPSTREAM_TIMEOUT, Row, call_error, http_code, meaning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._errors import CallError
    from .._models import CallRecord

Code: Final = grpc.StatusCode

COMPRESSED: Final = "the response is compressed"
_BROKE: Final = "the connection broke"
MISSING_ROUTE: Final = "404 page not found"
"""The body of a 404 of Milvus' own router."""


_MILVUS_HINTS: Final = {429: Hint.SERVER_RATE_LIMIT, 503: Hint.SERVER_STARTING}
# The pages of gateways, whose texts explain more than their statuses.
_PAGES: Final = (
    Row({400}, r"HTTPS server|sent to HTTPS port", Hint.USE_HTTPS),
    Row({400}, r"(?i)header or cookie too large|header.* too large", Hint.GATEWAY_METADATA_SIZE),
    Row({400}, r"(?i)SSL certificate", Hint.PASS_CLIENT_CERTIFICATE),
    Row({403}, r"RBAC: access denied", Hint.GATEWAY_RBAC),
    Row({407}, r"", Hint.REST_PROXY),
    Row({408, 504}, UPSTREAM_TIMEOUT, Hint.GATEWAY_TIMEOUT),
)
# Requests that ended without a response, where the table of gRPC has no hint or another one.
_TRANSPORT: Final = (
    Row(None, r"failed to connect through the proxy", Hint.REST_PROXY),
    Row(None, r"is not valid HTTP", Hint.CHECK_IS_MILVUS),
    Row(None, rf"^{COMPRESSED}", Hint.REST_COMPRESSED),
    Row(None, r"failed to connect: name resolution", Hint.CHECK_HOST_NAME),
    Row(None, r"failed to connect: No such file", Hint.CHECK_SOCKET_PATH),
    Row(None, r"failed to connect: Connection refused", Hint.REST_CHECK_ADDRESS),
)


def http_status_error(
    status: int, text: str, record: CallRecord | None, *, by_milvus: bool = False
) -> CallError:
    """Return the error of an HTTP response, chosen by its status.

    ``by_milvus``: Milvus sent it, not a gateway.
    """
    hint = meaning(_PAGES, status, text).hint
    error = call_error(http_code(status), text, record, http_status=status, hint=hint)
    if by_milvus:
        set_hint(error, _MILVUS_HINTS.get(status))
    if 300 <= status < 500 and status not in {408, 499}:
        error.may_have_run = False  # a redirect, or a request that was rejected
    return error


def transport_failure(error: Exception, *, proxy: str | None) -> tuple[grpc.StatusCode, str]:
    """Return the code and the details of a request that ended without an HTTP response.

    ``proxy`` names the proxy that was used and its variable, without a password. The details never
    quote the request.
    """
    import aiohttp  # noqa: PLC0415 - an extra, which is loaded by now

    through = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Code.UNAVAILABLE, f"failed to connect{through}: HTTP {error.status}"
    if any(isinstance(c, OSError) and c.errno in _NO_FILES for c in _causes(error)):
        return Code.UNAVAILABLE, f"failed to connect: {_reason(error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        # A failure of TLS is the server's, not the proxy's.
        tls = any(isinstance(cause, ssl.SSLError) for cause in _causes(error))
        return Code.UNAVAILABLE, f"failed to connect{'' if tls else through}: {_reason(error)}"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.http.HttpProcessingError):
        return Code.INTERNAL, f"the response is not valid HTTP/1.1: {_reason(error)}"
    broke = aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError
    if isinstance(error, broke):
        return Code.UNAVAILABLE, f"{_BROKE}{through}: {_reason(error)}"
    return Code.INTERNAL, f"the request failed ({type(error).__name__})"


def transport_error(code: grpc.StatusCode, details: str, record: CallRecord) -> CallError:
    """Return the error of a request that ended without an HTTP response."""
    return call_error(code, details, record, hint=meaning(_TRANSPORT, code, details).hint)


def response_text(status: int, reason: str, content_type: str, body: bytes) -> str:
    """Return an HTTP response as one line; an HTML page is reduced to its title."""
    text = without_queries(body[:EXCERPT].decode("utf-8", "replace"))
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


_NO_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})


def _reason(error: BaseException) -> str:
    """Return the operating system's or the TLS library's reason, which aiohttp may hide."""
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return f"name resolution failed: {cause.strerror}"
        if isinstance(cause, ssl.SSLError):
            return quote(cause.strerror or str(cause))
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        if isinstance(cause, ConnectionResetError):  # of asyncio
            return os.strerror(errno.ECONNRESET)
    innermost = next(_causes(error))
    return quote(str(innermost)) or type(innermost).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Return an exception and its causes, innermost first."""
    found: list[BaseException] = []
    while error is not None and len(found) < 10:
        found.append(error)
        inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
        error = inner or error.__cause__ or error.__context__
    return reversed(found)
