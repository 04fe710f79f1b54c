"""A public service that counts its calls, and hangs for chosen jobs."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from milvus_import.testing._server import settled
from milvus_import_pb import common_pb2, milvus_pb2

_METHOD = "/milvus.proto.milvus.MilvusService/GetImportState"
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    # grpc.aio cancels calls beyond these; calls that hang count.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)


class CountingServer(grpc.GenericRpcHandler):
    """``async with CountingServer() as server``; each response takes ``delay`` seconds.

    Every job is Importing until ``released`` is set.
    """

    def __init__(self, delay: float) -> None:
        self.uri = ""
        self.most = 0
        """The largest number of calls in flight, without those that hang."""
        self.polls: dict[int, list[float]] = {}
        """When each job was polled, on the event loop's clock."""
        self.released = False
        """Whether the jobs are Completed."""
        self.hanging: set[int] = set()
        """Jobs whose calls never end."""
        self._delay = delay
        self._in_flight = 0
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        self.uri = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        await self._server.stop(None)
        await settled()

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        if handler_call_details.method != _METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._respond,
            request_deserializer=milvus_pb2.GetImportStateRequest.FromString,
            response_serializer=milvus_pb2.GetImportStateResponse.SerializeToString,
        )

    async def _respond(
        self, request: milvus_pb2.GetImportStateRequest, context: object
    ) -> milvus_pb2.GetImportStateResponse:
        self.polls.setdefault(request.task, []).append(asyncio.get_running_loop().time())
        if request.task in self.hanging:
            await asyncio.Event().wait()
        self._in_flight += 1
        self.most = max(self.most, self._in_flight)
        try:
            await asyncio.sleep(self._delay)
        finally:
            self._in_flight -= 1
        return milvus_pb2.GetImportStateResponse(
            status=common_pb2.Status(),
            state=common_pb2.ImportCompleted if self.released else common_pb2.ImportStarted,
        )
