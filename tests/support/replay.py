"""A server that replies to any method with given bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from servers import GrpcServer

from milvus_import_pb.milvus_grpc import MilvusServiceStub
from milvus_import_pb.proxy_grpc import ProxyStub

METHODS = {
    f"/{stub.SERVICE}/{name}": kinds
    for stub in (ProxyStub, MilvusServiceStub)
    for name, kinds in stub.METHODS.items()
}
"""The request and the reply class of every method, by its path."""

PROXY = f"/{ProxyStub.SERVICE}/"
PUBLIC = f"/{MilvusServiceStub.SERVICE}/"


class Reply(NamedTuple):
    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    reply: bytes | None = None


Table = Mapping[str, Reply] | Callable[[str, bytes], Reply]


@dataclass(slots=True)
class Received:
    method: str
    request: bytes
    metadata: tuple[tuple[str, str | bytes], ...]

    def values(self, key: str) -> list[str | bytes]:
        return [value for name, value in self.metadata if name == key]

    def message(self) -> Any:
        """Return the request, parsed."""
        return METHODS[self.method][0].FromString(self.request)


def ok(reply: Message | bytes) -> Reply:
    return Reply(reply=reply if isinstance(reply, bytes) else reply.SerializeToString())


class Replay(GrpcServer):
    """Replies from a table by method path, or from a function of path and request.

    The response to a method that is not in the table is grpc-go's: unknown method or service.
    """

    def __init__(self, replies: Table, *, compression: grpc.Compression | None = None) -> None:
        super().__init__(compression=compression)
        self.replies = replies
        self.received: list[Received] = []

    async def respond(self, path: str, request: bytes, context: Any) -> bytes:
        """Return the reply to one call, or end it."""
        metadata = tuple((k, v) for k, v in context.invocation_metadata() or ())
        self.received.append(Received(path, request, metadata))
        code, details, reply = self._look_up(path, request)
        if code is not grpc.StatusCode.OK or reply is None:
            await context.abort(code, details)
        assert reply is not None
        return reply

    def _look_up(self, path: str, request: bytes) -> Reply:
        if callable(self.replies):
            return self.replies(path, request)
        if path in self.replies:
            return self.replies[path]
        service, _, method = path[1:].rpartition("/")
        known = any(other.startswith(f"/{service}/") for other in self.replies)
        text = (
            f"unknown method {method} for service {service}"
            if known
            else f"unknown service {service}"
        )
        return Reply(grpc.StatusCode.UNIMPLEMENTED, text)
