"""A public service that counts what is in flight: every job is Importing until it is released."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from milvus_import.testing._server import settled
from milvus_import_pb import common_pb2, milvus_pb2

_METHOD = "/milvus.proto.milvus.MilvusService/GetImportState"


class CountingServer(grpc.GenericRpcHandler):
    """``async with CountingServer() as server``; each answer takes ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        self.uri = ""
        self.most = 0
        """The most calls that were in flight at once."""
        self.asked: dict[int, list[float]] = {}
        """When each job was asked for, on the loop's clock."""
        self.released = False
        """Whether the jobs are Completed."""
        self._delay = delay
        self._in_flight = 0
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
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
            self._answer,
            request_deserializer=milvus_pb2.GetImportStateRequest.FromString,
            response_serializer=milvus_pb2.GetImportStateResponse.SerializeToString,
        )

    async def _answer(
        self, request: milvus_pb2.GetImportStateRequest, context: object
    ) -> milvus_pb2.GetImportStateResponse:
        self._in_flight += 1
        self.most = max(self.most, self._in_flight)
        self.asked.setdefault(request.task, []).append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(self._delay)
        finally:
            self._in_flight -= 1
        return milvus_pb2.GetImportStateResponse(
            status=common_pb2.Status(),
            state=common_pb2.ImportCompleted if self.released else common_pb2.ImportStarted,
        )
