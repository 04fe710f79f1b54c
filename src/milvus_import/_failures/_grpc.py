"""What the statuses of gRPC mean: the table of their codes and texts.

The texts are those of grpcio 1.76 to 1.85, of grpc-go servers, and of nginx, HAProxy, Envoy and
Caddy. An UNKNOWN or INTERNAL whose text is not listed is not transient.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import grpc

from .._errors import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    MilvusImportError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)
from .._hints import Hint
from .._text import excerpt
from ._http_status import http_hint, transient_http_status
from ._table import Row, meaning, retry_after

if TYPE_CHECKING:
    from .._models import CallRecord

Code: Final = grpc.StatusCode

EMPTY_REPLY: Final = "the reply is empty; the coordinator may be unavailable"
DEADLINE_TEXT: Final = "deadline exceeded"
NO_ROOM_FOR_METADATA: Final = (
    r"(?i)ENHANCE_YOUR_CALM|error code: 11\b(?!.*too_many_pings)|metadata size exceeds|header list"
)
NODE_NOT_MATCH: Final = "node not match"
NOT_READY: Final = r"(?i)proxy is not ready|service not ready"
"""A server that is starting and has not executed the request."""
UNAVAILABLE_PART: Final = (
    r"(?i)find no available \w*coord|is not ready|service not ready|is not serving|not healthy"
    r"|empty grpc client"
    r"|rpc error: code = (Unavailable|DeadlineExceeded|Canceled)"
    r"|node not (match|found)"
    r"|etcdserver: (request timed out|leader changed|no leader|too many requests)"
)
"""A coordinator or the store of a server is unavailable."""
# The last of the alerts: HAProxy checks the certificate after the handshake, for the client.
_CERTIFICATE_WANTED: Final = (
    r"ALERT_(\w*CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)"
    r"|failed to connect.{0,999}TSI_DATA_CORRUPTED"
)
_NO_CONNECTION: Final = (
    r"(?i)failed to connect|connections to all backends failing|name resolution|DNS resolution"
    r"|errors resolving|empty address list"
)
_NO_STATUS: Final = (
    r"No status received|Data frame with END_STREAM flag|http2 header with status: 2[0-9]{2}\b"
)
# RFC 9113, 6.8: a stream above the last id of a GOAWAY was not processed. If the socket was closed
# as well, the text may be about a stream that was.
_NOT_PROCESSED: Final = r"^(?!.*[Ss]ocket closed)Stream removed \(GOAWAY received; Error code: 0\b"
_CORRUPTED: Final = r"Failed parsing HTTP/2|overflows local window"
_BROKEN: Final = (
    r"^Stream removed|[Ss]ocket closed|Connection reset|Broken pipe|recvmsg:|sendmsg:|GOAWAY"
    r"|^the connection broke"  # REST
)
_HTTP_STATUS: Final = r"Received http2 header with status: ([0-9]{3})"

_DOWN: Final = frozenset({Code.UNAVAILABLE})
_UNKNOWN: Final = frozenset({Code.UNKNOWN, Code.INTERNAL})
# gRPC reports a broken connection with any of these, depending on the timing of its threads.
_LOST: Final = _DOWN | _UNKNOWN
_DENIED: Final = frozenset({Code.PERMISSION_DENIED})
_LOGIN: Final = frozenset({Code.UNAUTHENTICATED})
_EXHAUSTED: Final = frozenset({Code.RESOURCE_EXHAUSTED})

# Columns: codes, text, hint, transient, may_have_run.
_ROWS: Final = (
    # TLS, before the request was sent.
    Row(_DOWN, r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE", Hint.USE_HTTP, None, False),
    Row(_DOWN, r"CERTIFICATE_VERIFY_FAILED.*expired", Hint.RENEW_CERTIFICATE, None, False),
    Row(_DOWN, r"Hostname Verification Check", Hint.EXPECT_SERVER_NAME, None, False),
    Row(_DOWN, r"Peer name .* is not in peer", Hint.EXPECT_SERVER_NAME, None, False),
    Row(_DOWN, r"(Hostname|IP address) mismatch", Hint.EXPECT_SERVER_NAME, None, False),
    Row(_DOWN, r"CERTIFICATE_VERIFY_FAILED", Hint.TRUST_CA, None, False),
    Row(_DOWN, r"NO_APPLICATION_PROTOCOL|missing selected ALPN", Hint.ENABLE_HTTP2, None, False),
    Row(_DOWN, r"UNRECOGNIZED_NAME", Hint.UNKNOWN_VIRTUAL_HOST, None, False),
    Row(_DOWN, _CERTIFICATE_WANTED, Hint.PASS_CLIENT_CERTIFICATE, None, False, broke=False),
    # The address. A hint that depends on the client is chosen in _complete.py.
    Row(_DOWN, r"failed to connect.{0,999}(Frame size 4740180 |http1\.x)", Hint.USE_HTTPS_HTTP1),
    Row(_DOWN, r"failed to connect.{0,999}Failed parsing HTTP/2", Hint.USE_HTTPS_NOT_GRPC),
    Row(_DOWN, r"Too many open files", Hint.OPEN_FILES, None, False, broke=False),
    Row(_DOWN, _NO_CONNECTION, None, None, False, broke=False),
    Row({Code.FAILED_PRECONDITION}, r"connect failed", None, None, False),
    # A gateway responded.
    Row(None, r"upstream connect error", Hint.GATEWAY_BACKEND, True, responded=True),
    Row(None, r"no healthy upstream", Hint.GATEWAY_BACKEND, True, responded=True),
    Row(None, r"upstream request timeout", Hint.GATEWAY_TIMEOUT, True, responded=True),
    Row(None, r"stream timeout", Hint.GATEWAY_TIMEOUT, True, responded=True),
    Row(_UNKNOWN, r"upstream", None, True),
    Row(None, r"local_rate_limited", Hint.GATEWAY_RATE_LIMIT, responded=True, limited=True),
    Row(None, r"http2 header with status: 0\b", Hint.GATEWAY_GRPC_PASS),
    # 4740180 is "HTT" read as the length of a frame: the response came after frames of HTTP/2.
    Row(_LOST, r"http1\.x|Frame size 4740180 ", Hint.USE_HTTPS_HTTP1),
    # The response has no status, or the server reset this call alone. Some versions of grpcio
    # begin these texts with "Stream removed" too.
    Row(_UNKNOWN, _NO_STATUS, Hint.NO_GRPC_STATUS, True, None, CallError, broke=False),
    Row(_UNKNOWN, r"RST_STREAM", Hint.RECONNECT, True, None, CallError, broke=False),
    Row(_DOWN, r"RST_STREAM|END_STREAM", Hint.RECONNECT, broke=False),
    # The connection broke.
    Row(_EXHAUSTED, NO_ROOM_FOR_METADATA, Hint.GATEWAY_METADATA_SIZE, False),
    Row(_LOST, NO_ROOM_FOR_METADATA, Hint.GATEWAY_METADATA_SIZE, broke=True),
    Row(_DOWN, r"GOAWAY received; Error code: 2\b", Hint.GATEWAY_CLOSED, broke=True),
    Row(_LOST, _NOT_PROCESSED, Hint.RECONNECT, None, False),
    Row(_LOST, _CORRUPTED, Hint.CORRUPTED_STREAM, True, None, UnavailableError),
    Row(
        _UNKNOWN,
        r"^Stream removed",
        Hint.BROKEN_OR_NOT_GRPC,
        True,
        None,
        UnavailableError,
        broke=True,
    ),
    Row(_DOWN, _BROKEN, broke=True),
    # Milvus, or the server library of grpc-go.
    Row(_LOST, NOT_READY, None, True, False, responded=True),
    Row(_LOST, NODE_NOT_MATCH, None, True, False, responded=True),
    Row(_LOST, UNAVAILABLE_PART, Hint.SERVER_STARTING, True, responded=True),
    Row(_UNKNOWN, r"cross cluster routing", Hint.DROP_ROUTING_METADATA, None, False),
    Row({Code.INTERNAL}, re.escape(EMPTY_REPLY), None, True, responded=True),
    Row({Code.INTERNAL}, r"(?i)invalid UTF-8", Hint.INVALID_UTF8),
    Row({Code.INTERNAL}, r"error unmarshalling request", None, None, False),
    Row({Code.UNKNOWN}, r"^$", Hint.GATEWAY_NO_TEXT),
    Row({Code.DEADLINE_EXCEEDED}, r"interceptor", Hint.INTERCEPTOR_SLOW),
    Row(_LOGIN, r"^code 21119\b", Hint.CLOUD_API_KEY),
    Row(_LOGIN, r"missing authorization", Hint.PASS_TOKEN),
    Row(_LOGIN, r"invalid token format", Hint.PASS_PLAIN_TOKEN),
    Row(_LOGIN, r"auth check failure", Hint.CHECK_CREDENTIALS),
    Row(_LOGIN, r"hasn't authenticated|^code 1800\b", Hint.CHECK_OR_FORWARD_CREDENTIALS),
    Row(_LOGIN, r"", Hint.GATEWAY_ACCESS, None, False, UnauthenticatedError),
    Row(_DENIED, r"(?i)privilege|permission|^code 140[01]\b", Hint.GRANT_PRIVILEGE),
    Row(_DENIED, r"", Hint.GATEWAY_RBAC, None, False, AccessDeniedError),
    Row(_EXHAUSTED, r"SERVER: Received message larger", Hint.REQUEST_TOO_LARGE, False, False),
    Row(_EXHAUSTED, r"grpc: received message larger", Hint.REQUEST_TOO_LARGE, False, False),
    Row(_EXHAUSTED, r"Received message larger than max", Hint.RAISE_MAX_RECEIVE, False),
    Row(_EXHAUSTED, r"Sent message larger than max", Hint.RAISE_MAX_SEND, False, False),
    Row(_EXHAUSTED, r"", Hint.SERVER_RATE_LIMIT, True, responded=True, limited=True),
    # Every other text.
    Row(_DOWN, r"", None, True, None, UnavailableError),
    Row({Code.DEADLINE_EXCEEDED}, r"", None, True, None, DeadlineExceededError),
    Row({Code.CANCELLED, Code.ABORTED}, r"", None, True),
    Row({Code.UNIMPLEMENTED}, r"", None, None, False, UnsupportedServerError),
    Row({Code.INVALID_ARGUMENT, Code.NOT_FOUND}, r"", None, None, False),
)


def call_error(
    code: grpc.StatusCode,
    details: str,
    record: CallRecord | None = None,
    *,
    http_status: int | None = None,
    hint: Hint | None = None,
) -> CallError:
    """Return the error of an RPC that did not end with OK; ``complete`` sets its message.

    ``record`` is None if nothing was sent. ``http_status`` and ``hint`` override those of the
    table.
    """
    text = excerpt(details)
    row = meaning(_ROWS, code, text)
    status = http_status or _http_status(text)
    unsent = code is Code.DEADLINE_EXCEEDED and record is None
    by_gateway = status is not None and not re.match("code [0-9]", text)  # else Milvus' envelope
    transient = transient_http_status(status) if status and by_gateway else bool(row.transient)
    if status and by_gateway and hint is None:
        hint = http_hint(status, secure=True)
    kind = row.kind if row.kind is not None and issubclass(row.kind, CallError) else CallError
    return kind(
        code=code,
        details=details,
        record=record,
        http_status=status,
        hint=hint or (Hint.ALLOW_MORE_TIME if unsent else row.hint),
        transient=transient and not unsent,
        may_have_run=row.may_have_run is not False and not unsent,
        rate_limited=status == 429 or (transient and bool(row.limited)),
        retry_after=retry_after(record),
    )


def reply_error(
    details: str,
    hint: Hint | None = None,
    *,
    record: CallRecord | None = None,
    http_status: int | None = None,
) -> CallError:
    """Return the error of a reply that is not valid although gRPC, or HTTP, reported success."""
    empty = details == EMPTY_REPLY
    return CallError(
        details,
        code=Code.INTERNAL,
        details=details,
        record=record,
        http_status=http_status,
        hint=hint or (None if empty else Hint.CHECK_IS_MILVUS),
        transient=empty,
        may_have_run=True,
    )


def connection_broke(error: CallError) -> bool:
    """Return whether an established connection broke during the call, so that a read is retried.

    The error must be complete: a connection that the metadata of this call broke is not retried.
    """
    return (
        error.http_status is None
        and error.transient
        and error.code in {Code.UNAVAILABLE, Code.UNKNOWN}
        and _row(error).broke is True
    )


def lacks_grpc_status(error: CallError) -> bool:
    """Return whether the response had no gRPC status at all, as from an unrouted path."""
    return error.code is Code.UNKNOWN and _row(error).hint is Hint.NO_GRPC_STATUS


def is_response(error: MilvusImportError) -> bool:
    """Return whether only a reachable server or gateway can have caused the error.

    All other errors may also come from a wrong address.
    """
    if not isinstance(error, CallError):
        return True
    if error.http_status is not None:
        return error.http_status in {408, 429, 502, 503, 504}
    return error.code is Code.RESOURCE_EXHAUSTED or _row(error).responded is True


def _row(error: CallError) -> Row:
    return meaning(_ROWS, error.code, excerpt(error.details))


def _http_status(details: str) -> int | None:
    """Return the HTTP status of a response that is not gRPC's, or None."""
    found = re.search(_HTTP_STATUS, details)
    return int(found[1]) if found else None
