"""The stub of milvus.proto.milvus.MilvusService.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milvus_import_pb import common_pb2, milvus_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc.aio
    from google.protobuf.message import Message


class MilvusServiceStub:
    """The methods of milvus.proto.milvus.MilvusService on one channel."""

    SERVICE: Final = "milvus.proto.milvus.MilvusService"
    METHODS: Final[Mapping[str, tuple[type[Message], type[Message]]]] = {
        "Import": (
            milvus_pb2.ImportRequest,
            milvus_pb2.ImportResponse,
        ),
        "GetImportState": (
            milvus_pb2.GetImportStateRequest,
            milvus_pb2.GetImportStateResponse,
        ),
        "ListImportTasks": (
            milvus_pb2.ListImportTasksRequest,
            milvus_pb2.ListImportTasksResponse,
        ),
        "CreateCollection": (
            milvus_pb2.CreateCollectionRequest,
            common_pb2.Status,
        ),
        "GetCollectionStatistics": (
            milvus_pb2.GetCollectionStatisticsRequest,
            milvus_pb2.GetCollectionStatisticsResponse,
        ),
    }

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Make every method a callable attribute."""
        self.Import: grpc.aio.UnaryUnaryMultiCallable[
            milvus_pb2.ImportRequest,
            milvus_pb2.ImportResponse,
        ] = channel.unary_unary(
            "/milvus.proto.milvus.MilvusService/Import",
            request_serializer=milvus_pb2.ImportRequest.SerializeToString,
            response_deserializer=milvus_pb2.ImportResponse.FromString,
        )
        self.GetImportState: grpc.aio.UnaryUnaryMultiCallable[
            milvus_pb2.GetImportStateRequest,
            milvus_pb2.GetImportStateResponse,
        ] = channel.unary_unary(
            "/milvus.proto.milvus.MilvusService/GetImportState",
            request_serializer=milvus_pb2.GetImportStateRequest.SerializeToString,
            response_deserializer=milvus_pb2.GetImportStateResponse.FromString,
        )
        self.ListImportTasks: grpc.aio.UnaryUnaryMultiCallable[
            milvus_pb2.ListImportTasksRequest,
            milvus_pb2.ListImportTasksResponse,
        ] = channel.unary_unary(
            "/milvus.proto.milvus.MilvusService/ListImportTasks",
            request_serializer=milvus_pb2.ListImportTasksRequest.SerializeToString,
            response_deserializer=milvus_pb2.ListImportTasksResponse.FromString,
        )
        self.CreateCollection: grpc.aio.UnaryUnaryMultiCallable[
            milvus_pb2.CreateCollectionRequest,
            common_pb2.Status,
        ] = channel.unary_unary(
            "/milvus.proto.milvus.MilvusService/CreateCollection",
            request_serializer=milvus_pb2.CreateCollectionRequest.SerializeToString,
            response_deserializer=common_pb2.Status.FromString,
        )
        self.GetCollectionStatistics: grpc.aio.UnaryUnaryMultiCallable[
            milvus_pb2.GetCollectionStatisticsRequest,
            milvus_pb2.GetCollectionStatisticsResponse,
        ] = channel.unary_unary(
            "/milvus.proto.milvus.MilvusService/GetCollectionStatistics",
            request_serializer=milvus_pb2.GetCollectionStatisticsRequest.SerializeToString,
            response_deserializer=milvus_pb2.GetCollectionStatisticsResponse.FromString,
        )
