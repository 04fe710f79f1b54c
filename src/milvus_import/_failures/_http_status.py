"""Map the HTTP status of a gateway or a web server to a gRPC code and a hint."""

from __future__ import annotations

from typing import Final

import grpc

from .._hints import Hint

TOO_MANY_REQUESTS: Final = 429
_HINTS: Final = {
    301: Hint.GATEWAY_REDIRECT,
    302: Hint.GATEWAY_REDIRECT,
    307: Hint.GATEWAY_REDIRECT,
    308: Hint.GATEWAY_REDIRECT,
    401: Hint.GATEWAY_ACCESS,
    403: Hint.GATEWAY_ACCESS,
    413: Hint.GATEWAY_REQUEST_SIZE,
    TOO_MANY_REQUESTS: Hint.GATEWAY_RATE_LIMIT,
    431: Hint.GATEWAY_METADATA_SIZE,
    502: Hint.GATEWAY_BACKEND,
    503: Hint.GATEWAY_UNAVAILABLE,
    504: Hint.GATEWAY_TIMEOUT,
}


# As gRPC maps them (doc/http-grpc-status-mapping.md), and 408 as a deadline.
_CODES: Final = {
    400: grpc.StatusCode.INTERNAL,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    TOO_MANY_REQUESTS: grpc.StatusCode.UNAVAILABLE,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}


def http_code(status: int) -> grpc.StatusCode:
    """Return the gRPC status code that an HTTP status is mapped to."""
    if 200 <= status < 300:
        return grpc.StatusCode.OK
    return _CODES.get(status, grpc.StatusCode.UNKNOWN)


def transient_http_status(status: int) -> bool:
    """Return whether an HTTP status is temporary: 408, 429 and 5xx except 501 and 505."""
    return status in {408, TOO_MANY_REQUESTS} or (500 <= status <= 599 and status not in {501, 505})


def http_hint(status: int, *, secure: bool) -> Hint:
    """Return the hint for the HTTP status of a gateway or a web server."""
    if status == 400 and secure:
        return Hint.PASS_CLIENT_CERTIFICATE
    if 300 <= status < 400 and not secure:
        return Hint.GATEWAY_HTTPS
    default = Hint.GATEWAY_ERROR if transient_http_status(status) else Hint.GATEWAY_ROUTE
    return _HINTS.get(status, default)
