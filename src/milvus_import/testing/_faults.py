"""Faults a test can ask for by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc

from milvus_import_pb import common_pb2

Code = grpc.StatusCode


@dataclass(slots=True, frozen=True)
class Fault:
    """What happens to a call instead of an answer."""

    code: grpc.StatusCode | None = None
    """End the RPC with this status ..."""
    details: str = ""
    """... and this text."""
    status: common_pb2.Status | None = None
    """Answer OK with this Milvus Status."""
    reply: bytes | None = None
    """Answer OK with these bytes, whatever they mean."""
    delay: float = 0.0
    """Wait so many seconds first; with nothing else set, then answer as usual."""


def _status(code: int, error_code: int, reason: str, *, retriable: bool = False) -> Fault:
    return Fault(
        status=common_pb2.Status(
            code=code, error_code=error_code, reason=reason, detail=reason, retriable=retriable
        )
    )


FAULTS: Final = {
    "aborted": Fault(Code.ABORTED, "the call was aborted"),
    "cancelled": Fault(Code.CANCELLED, "the server cancelled the call"),
    "coordinator-away": _status(2, 1, "node not found[node=1]: service unavailable"),
    "cross-cluster": Fault(Code.UNKNOWN, "cross cluster routing[expectCluster=a][actualCluster=b]"),
    "deadline": Fault(Code.DEADLINE_EXCEEDED, "context deadline exceeded"),
    "denied": Fault(
        Code.PERMISSION_DENIED, "PrivilegeImport: permission deny to bob in the `default` database"
    ),
    "empty": Fault(reply=b""),
    "garbage": Fault(reply=b"\xff\xff\xff\xff"),
    "hang": Fault(delay=3600.0),
    "job-limit": _status(
        2100,
        1,
        "The number of jobs has reached the limit, please try again later.: importing data failed",
    ),
    "legacy": Fault(status=common_pb2.Status(error_code=1, reason="old server says no")),
    "no-collection": _status(100, 4, "collection not found[collection=nosuch]"),
    "not-ready": _status(1, 56, "service not ready[proxy=1]: Initializing", retriable=True),
    "proxy-not-ready": Fault(Code.UNKNOWN, "Milvus Proxy is not ready yet. please wait"),
    "rate-limit": _status(8, 49, "rate limit exceeded[rate=12.5]", retriable=True),
    "too-large": Fault(
        Code.RESOURCE_EXHAUSTED,
        "CLIENT: Received message larger than max (70000000 vs. 67108864)",
    ),
    "unavailable": Fault(Code.UNAVAILABLE, "the server is going away"),
    "unimplemented": Fault(Code.UNIMPLEMENTED, "unknown service milvus.proto.proxy.Proxy"),
}
"""The faults of a real Milvus and of the network before it."""
