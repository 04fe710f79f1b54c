"""What HTTP statuses of gateways and web servers mean."""

from __future__ import annotations

from typing import Final, NamedTuple

import grpc

from .._hints import Hint

Code: Final = grpc.StatusCode


class _Status(NamedTuple):
    code: grpc.StatusCode
    hint: Hint | None = None


# The codes are those of gRPC (doc/http-grpc-status-mapping.md), and 408 is a deadline.
_STATUSES: Final = {
    301: _Status(Code.UNKNOWN, Hint.GATEWAY_REDIRECT),
    302: _Status(Code.UNKNOWN, Hint.GATEWAY_REDIRECT),
    307: _Status(Code.UNKNOWN, Hint.GATEWAY_REDIRECT),
    308: _Status(Code.UNKNOWN, Hint.GATEWAY_REDIRECT),
    400: _Status(Code.INTERNAL),
    401: _Status(Code.UNAUTHENTICATED, Hint.GATEWAY_ACCESS),
    403: _Status(Code.PERMISSION_DENIED, Hint.GATEWAY_ACCESS),
    404: _Status(Code.UNIMPLEMENTED),
    408: _Status(Code.DEADLINE_EXCEEDED),
    413: _Status(Code.UNKNOWN, Hint.GATEWAY_REQUEST_SIZE),
    429: _Status(Code.UNAVAILABLE, Hint.GATEWAY_RATE_LIMIT),
    431: _Status(Code.UNKNOWN, Hint.GATEWAY_METADATA_SIZE),
    502: _Status(Code.UNAVAILABLE, Hint.GATEWAY_BACKEND),
    503: _Status(Code.UNAVAILABLE, Hint.GATEWAY_UNAVAILABLE),
    504: _Status(Code.UNAVAILABLE, Hint.GATEWAY_TIMEOUT),
}


def http_code(status: int) -> grpc.StatusCode:
    """Return the gRPC status code that an HTTP status is mapped to."""
    if 200 <= status < 300:
        return Code.OK
    return _STATUSES[status].code if status in _STATUSES else Code.UNKNOWN


def transient_http_status(status: int) -> bool:
    """Return whether an HTTP status is temporary: 408, 429 and 5xx except 501 and 505.

    So is one of success, with which a gateway responds in place of Milvus.
    """
    server_error = 500 <= status <= 599 and status not in {501, 505}
    return status in {408, 429} or server_error or 200 <= status < 300


def http_hint(status: int, *, secure: bool) -> Hint:
    """Return the hint for the HTTP status of a gateway or a web server."""
    if 200 <= status < 300:
        return Hint.NO_GRPC_STATUS
    if status == 400 and secure:
        return Hint.PASS_CLIENT_CERTIFICATE
    if 300 <= status < 400 and not secure:
        return Hint.GATEWAY_HTTPS
    default = Hint.GATEWAY_ERROR if transient_http_status(status) else Hint.GATEWAY_ROUTE
    return (_STATUSES[status].hint if status in _STATUSES else None) or default
