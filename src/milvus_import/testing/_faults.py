"""Faults that a test can inject, most of them by name, and the calls that a server receives."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import grpc

from milvus_import_pb import common_pb2
from milvus_import_pb.milvus_grpc import MilvusServiceStub
from milvus_import_pb.proxy_grpc import ProxyStub

Code = grpc.StatusCode

HOST: Final = "127.0.0.1"
_FOREVER: Final = 3600.0
"""Seconds; longer than any test waits."""
_NGINX: Final = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body><h1>{0}</h1></body>\r\n</html>\r\n"
)


@dataclass(slots=True, frozen=True)
class HttpResponse:
    """An HTTP response in place of, or wrapped around, the response of a REST call."""

    status: int | None = None
    """The HTTP status; None keeps the status of the normal response."""
    body: bytes | None = None
    """The body; None keeps the body of the normal response."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers. Without ``Content-Type`` it is ``application/json; charset=utf-8``."""
    size: int = 0
    """Pad the body with spaces to this many bytes. The padding is generated while it is sent."""
    gzip: bool = False
    """Compress the body, whatever ``Accept-Encoding`` the client sent."""
    close: Literal["never", "before", "within"] = "never"
    """Close the connection before the response, or in the middle of its body."""


@dataclass(slots=True, frozen=True)
class Fault:
    """What happens to a call instead of its normal response.

    On a REST call, ``code`` and ``status`` become the envelope and the HTTP status that a Milvus
    sends for them, and ``reply`` becomes the body. ``http`` applies to REST calls only.
    """

    code: grpc.StatusCode | None = None
    """End the RPC with this status code ..."""
    details: str = ""
    """... and these details."""
    status: common_pb2.Status | None = None
    """Reply OK with this Milvus Status."""
    reply: bytes | None = None
    """Reply OK with these bytes, valid or not."""
    delay: float = 0.0
    """Wait this many seconds first. If nothing else is set, the normal response follows."""
    http: HttpResponse | None = None
    """Send this HTTP response. Milvus' own timeout (408) does not apply: a gateway sends it."""


def _status(code: int, error_code: int, reason: str, *, retriable: bool = False) -> Fault:
    status = common_pb2.Status(code=code, error_code=error_code, retriable=retriable)
    status.reason = status.detail = reason
    return Fault(status=status)


def _http(status: int, body: bytes, *headers: tuple[str, str]) -> Fault:
    return Fault(http=HttpResponse(status, body, headers))


def _gateway(status: int, phrase: str) -> Fault:
    page = _NGINX.format(f"{status} {phrase}").encode()
    return _http(status, page, ("Content-Type", "text/html"))


CROSS_CLUSTER: Final = "cross cluster routing[expectedCluster=by-dev][actualCluster={}]"
_DENIED: Final = "PrivilegeImport: permission deny to bob in the `default` database"
_NOT_READY: Final = "service unavailable: internal: Milvus Proxy is not ready yet. please wait"
_TOO_LARGE: Final = "CLIENT: Received message larger than max (70000000 vs. 67108864)"
JOB_LIMIT: Final = (
    "failed to broadcast import: failed to validate import request: The number of jobs has reached "
    "the limit, please try again later. If your request is set to only import a single file, "
    "please consider importing multiple files in one request for better efficiency."
)
FAULTS: Final = {
    "aborted": Fault(Code.ABORTED, "the call was aborted"),
    "cancelled": Fault(Code.CANCELLED, "the server cancelled the call"),
    "coordinator-unavailable": _status(2, 1, "node not found[node=1]: service unavailable"),
    "cross-cluster": Fault(Code.UNKNOWN, CROSS_CLUSTER.format("b")),
    "deadline": Fault(Code.DEADLINE_EXCEEDED, "context deadline exceeded"),
    "denied": Fault(Code.PERMISSION_DENIED, _DENIED),
    "empty": Fault(reply=b""),
    "garbage": Fault(reply=b"\xff\xff\xff\xff"),
    "hang": Fault(delay=_FOREVER),
    "http-408": _http(408, b'{"code":10001,"message":"request timeout"}'),
    "http-429": _gateway(429, "Too Many Requests"),
    "http-500": _http(500, b'{"code":500}'),
    "http-502-html": _gateway(502, "Bad Gateway"),
    "http-503-html": _gateway(503, "Service Temporarily Unavailable"),
    "http-504-html": _gateway(504, "Gateway Time-out"),
    "http-close": Fault(http=HttpResponse(close="before")),
    "http-empty-200": _http(200, b""),
    "http-gzip": Fault(http=HttpResponse(gzip=True)),
    "http-hang": Fault(delay=_FOREVER, http=HttpResponse()),
    "http-html-200": _gateway(200, "Welcome"),
    "http-huge": Fault(http=HttpResponse(size=2**27)),
    "http-redirect": _http(307, b"", ("Location", "https://milvus.elsewhere.example/")),
    "http-truncated": Fault(http=HttpResponse(close="within")),
    "job-limit": _status(2101, 1, f"{JOB_LIMIT}: importing data failed on server side"),
    "legacy": Fault(status=common_pb2.Status(error_code=1, reason="old server says no")),
    "no-collection": _status(100, 4, "collection not found[collection=nosuch]"),
    "not-ready": _status(1, 56, "state code: Abnormal: service not ready", retriable=True),
    "proxy-not-ready": Fault(Code.UNKNOWN, _NOT_READY),
    "rate-limit": _status(8, 49, "rate limit exceeded[rate=12.5]", retriable=True),
    "too-large": Fault(Code.RESOURCE_EXHAUSTED, _TOO_LARGE),
    "unavailable": Fault(Code.UNAVAILABLE, "the server is going away"),
    "unimplemented": Fault(Code.UNIMPLEMENTED, "unknown service milvus.proto.proxy.Proxy"),
}
"""Faults of a Milvus, and of gateways and networks in front of it, by name."""

Face = Literal["internal", "public", "rest", "cloud"]
Metadata = tuple[tuple[str, str | bytes], ...]
Tls = tuple[bytes, bytes, bytes | None]
"""Key and certificate, and the authorities of the certificates that clients need, all PEM."""

SERVICES: dict[str, Face] = {ProxyStub.SERVICE: "internal", MilvusServiceStub.SERVICE: "public"}
MESSAGES: Final = {**ProxyStub.METHODS, **MilvusServiceStub.METHODS}
"""The request and the reply type of each RPC; no name is in both services."""
REST_METHODS: Final = ("create", "describe", "get_progress", "list", "commit", "abort")
METHODS: Final = (*MESSAGES, *REST_METHODS)


@dataclass(slots=True)
class Received:
    """One call as the server received it."""

    service: Face
    """The service that the client called: "internal", "public", "rest" or "cloud"."""
    method: str
    """"GetImportProgress"; for REST the last part of the path, "describe"."""
    request: Any = field(repr=False)
    """The request message; for REST the parsed JSON body, or the bytes if they are not JSON."""
    metadata: Metadata = field(repr=False)
    """The metadata; for REST the headers, with names in lower case."""
    time_remaining: float | None
    """Seconds to the client's deadline when the call arrived, for REST ``Request-Timeout``; None
    without one."""
    reset: bool = False
    """Whether the client ended the call before the response, which crashes Milvus 2.3."""
    arrived: float = field(default_factory=time.monotonic)
    """When it arrived, on ``time.monotonic``."""

    def values(self, key: str) -> list[str | bytes]:
        """Return the values of one metadata key or header."""
        return [value for name, value in self.metadata if name == key.lower()]

    @property
    def job_id(self) -> str:
        """The id of the job that the call is about, or ""."""
        request: object = self.request
        if isinstance(request, dict):
            return str(cast("dict[str, Any]", request).get("jobId", ""))
        return str(getattr(request, "jobID", "") or getattr(request, "task", ""))


def first(received: Received, key: str) -> str:
    """Return the first value of a metadata key or header as text, or ""."""
    return next(map(str, received.values(key)), "")
