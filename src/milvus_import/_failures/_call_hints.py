"""The hint of a failed RPC, chosen by its status code, its text and the context of the call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import grpc

from .._hints import Hint
from ._http_status import http_hint
from ._texts import (
    BACKEND,
    CORRUPTED_STREAM,
    GATEWAY_RATE_LIMIT,
    HTTP1_RESPONSE,
    METADATA_SIZE,
    NO_STATUS,
    NOT_READY,
    STREAM_REMOVED,
    UPSTREAM_TIMEOUT,
    http_status,
)

if TYPE_CHECKING:
    from ._context import CallContext

Code: Final = grpc.StatusCode

# The first pattern that matches decides. An entry is (code or None for any, pattern, hint).
_HINTS: Final[tuple[tuple[grpc.StatusCode | None, str, Hint], ...]] = (
    (Code.UNAVAILABLE, r"WRONG_VERSION_NUMBER", Hint.USE_HTTP),
    (Code.UNAVAILABLE, r"CERTIFICATE_VERIFY_FAILED.*has expired", Hint.RENEW_CERTIFICATE),
    (Code.UNAVAILABLE, r"CERTIFICATE_VERIFY_FAILED", Hint.TRUST_CA),
    (
        Code.UNAVAILABLE,
        r"Hostname Verification Check failed|Peer name .* is not in peer certificate",
        Hint.EXPECT_SERVER_NAME,
    ),
    (Code.UNAVAILABLE, r"NO_APPLICATION_PROTOCOL|missing selected ALPN", Hint.ENABLE_HTTP2),
    (Code.UNAVAILABLE, r"UNRECOGNIZED_NAME", Hint.UNKNOWN_VIRTUAL_HOST),
    # HAProxy checks the certificate after the handshake, from the client's view.
    (Code.UNAVAILABLE, r"failed to connect.*TSI_DATA_CORRUPTED", Hint.PASS_CLIENT_CERTIFICATE),
    (Code.UNAVAILABLE, HTTP1_RESPONSE, Hint.USE_HTTPS_HTTP1),
    (Code.UNKNOWN, HTTP1_RESPONSE, Hint.USE_HTTPS_HTTP1),
    (Code.UNAVAILABLE, r"failed to connect.*Failed parsing HTTP/2", Hint.USE_HTTPS_NOT_GRPC),
    (None, BACKEND, Hint.GATEWAY_BACKEND),
    (None, UPSTREAM_TIMEOUT, Hint.GATEWAY_TIMEOUT),
    (None, GATEWAY_RATE_LIMIT, Hint.GATEWAY_RATE_LIMIT),
    (None, r"^RBAC: access denied", Hint.GATEWAY_RBAC),
    (Code.UNAVAILABLE, METADATA_SIZE, Hint.GATEWAY_METADATA_SIZE),
    (Code.RESOURCE_EXHAUSTED, METADATA_SIZE, Hint.GATEWAY_METADATA_SIZE),
    (Code.UNAVAILABLE, r"GOAWAY received; Error code: 2\b", Hint.GATEWAY_CLOSED),
    (Code.UNAVAILABLE, CORRUPTED_STREAM, Hint.CORRUPTED_STREAM),
    (Code.UNKNOWN, CORRUPTED_STREAM, Hint.CORRUPTED_STREAM),
    (Code.INTERNAL, CORRUPTED_STREAM, Hint.CORRUPTED_STREAM),
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
    (Code.INTERNAL, r"RST_STREAM", Hint.RECONNECT),
    (Code.UNKNOWN, NO_STATUS, Hint.NO_GRPC_STATUS),
    (Code.UNKNOWN, STREAM_REMOVED, Hint.BROKEN_OR_NOT_GRPC),
    (Code.UNKNOWN, r"^$", Hint.GATEWAY_NO_TEXT),
)
_NO_CONNECTION_HINTS: Final = (
    (r"resol(ution|ving)|Domain name not found", Hint.CHECK_HOST_NAME),
    (r"No such file", Hint.CHECK_SOCKET_PATH),
)
_TRY_AGAIN: Final = frozenset(
    {
        Hint.RECONNECT,
        Hint.BROKEN_OR_NOT_GRPC,
        Hint.CORRUPTED_STREAM,
        Hint.SERVER_SLOW,
        Hint.SERVER_DEADLINE,
        Hint.SERVER_RATE_LIMIT,
        Hint.NO_GRPC_STATUS,
        Hint.GATEWAY_RATE_LIMIT,
        Hint.GATEWAY_UNAVAILABLE,
        Hint.GATEWAY_BACKEND,
        Hint.GATEWAY_CLOSED,
        Hint.GATEWAY_TIMEOUT,
        Hint.GATEWAY_ERROR,
        Hint.CHECK_REACHABLE_HTTP,
        Hint.CHECK_REACHABLE_HTTPS,
    }
)
# What gRPC tried last: an address, or a name that it could not resolve.
_TRIED: Final = (
    r"(?:last error: \w+: ipv[46]:|errors resolving |resolution failed for )(\S+:([0-9]+)): "
)


def call_hint(
    code: grpc.StatusCode, details: str, context: CallContext, *, unsent: bool, by_server: bool
) -> Hint | None:
    """Return the hint of an RPC that did not end with OK, or None."""
    if unsent:
        return Hint.ALLOW_MORE_TIME
    status = http_status(details)
    if status is not None:
        return http_hint(status, secure=context.secure)
    for only, pattern, hint in _HINTS:
        if only in {None, code} and re.search(pattern, details):
            return _with_context(hint, context)
    if code is Code.DEADLINE_EXCEEDED:
        return Hint.SERVER_DEADLINE if by_server else _deadline_hint(context)
    return _unavailable_hint(details, context) if code is Code.UNAVAILABLE else None


def hint_for_write(hint: Hint | None) -> Hint:
    """Return the hint of a write that may have run: check first, instead of trying again."""
    return Hint.REPEAT_WITH_KEY if hint is None or hint in _TRY_AGAIN else hint


def _with_context(hint: Hint, context: CallContext) -> Hint:
    """Return the hint, or a more likely one in the context of this call."""
    if hint is Hint.PASS_TOKEN and context.authorized:
        return Hint.GATEWAY_STRIPS_AUTHORIZATION
    if hint is Hint.BROKEN_OR_NOT_GRPC and context.responded:
        return Hint.RECONNECT
    return hint


def _deadline_hint(context: CallContext) -> Hint:
    if context.method == "Import":
        return Hint.CREATE_DEADLINE
    if context.responded:
        return Hint.SERVER_SLOW
    return Hint.CHECK_REACHABLE_HTTPS if context.secure else Hint.CHECK_REACHABLE_HTTP


def _unavailable_hint(details: str, context: CallContext) -> Hint:
    tried = re.search(_TRIED, details)
    if tried and not re.search(rf":{tried[2]}(,|$)", context.target):
        return Hint.UNSET_PROXY
    if context.responded:
        return Hint.RECONNECT
    for pattern, hint in _NO_CONNECTION_HINTS:
        if re.search(pattern, details):
            return hint
    if "Connection refused" in details:
        return _refused_hint(tried[1] if tried else "", context)
    if "failed to connect" not in details:
        return Hint.RECONNECT
    return Hint.RESTARTING_OR_CERTIFICATE if context.secure else Hint.RESTARTING_OR_HTTPS


def _refused_hint(tried: str, context: CallContext) -> Hint:
    """Return the hint. gRPC reports only the last address, and localhost also resolves to ::1."""
    # Not urllib.parse.unquote, whose import takes 2 % of the time of this package's.
    address = tried.replace("%5B", "[").replace("%5D", "]")
    if address in context.target and "," not in context.target:
        return Hint.CHECK_ADDRESS
    return Hint.REFUSED_OR_TLS if context.secure else Hint.REFUSED_OR_HTTPS
