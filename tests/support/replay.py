"""A server that replies to any method with given bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from milvus_import.testing._server import settled
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


@dataclass
class Replay(grpc.GenericRpcHandler):
    """Replies from a table by method path, or from a function of path and request.

    The response to a method that is not in the table is grpc-go's: unknown method or service.
    """

    replies: Table
    received: list[Received] = field(default_factory=list[Received])
    port: int = 0
    compression: grpc.Compression | None = None

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)],
            compression=self.compression,
        )
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._server.stop(None)
        await settled()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call; without serializers the messages stay bytes."""
        path = str(handler_call_details.method)

        async def respond(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            metadata = tuple((k, v) for k, v in context.invocation_metadata() or ())
            self.received.append(Received(path, request, metadata))
            code, details, reply = self._look_up(path, request)
            if code is not grpc.StatusCode.OK or reply is None:
                await context.abort(code, details)
            return reply

        return cast("Any", grpc.unary_unary_rpc_method_handler(respond))

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
