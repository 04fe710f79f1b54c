"""The stub of milvus.proto.proxy.Proxy.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milvus_import_pb import internal_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc.aio
    from google.protobuf.message import Message


class ProxyStub:
    """The methods of milvus.proto.proxy.Proxy on one channel."""

    SERVICE: Final = "milvus.proto.proxy.Proxy"
    METHODS: Final[Mapping[str, tuple[type[Message], type[Message]]]] = {
        "GetImportProgress": (
            internal_pb2.GetImportProgressRequest,
            internal_pb2.GetImportProgressResponse,
        ),
        "ListImports": (
            internal_pb2.ListImportsRequest,
            internal_pb2.ListImportsResponse,
        ),
        "ImportV2": (
            internal_pb2.ImportRequest,
            internal_pb2.ImportResponse,
        ),
    }

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Make every method a callable attribute."""
        self.GetImportProgress: grpc.aio.UnaryUnaryMultiCallable[
            internal_pb2.GetImportProgressRequest,
            internal_pb2.GetImportProgressResponse,
        ] = channel.unary_unary(
            "/milvus.proto.proxy.Proxy/GetImportProgress",
            request_serializer=internal_pb2.GetImportProgressRequest.SerializeToString,
            response_deserializer=internal_pb2.GetImportProgressResponse.FromString,
        )
        self.ListImports: grpc.aio.UnaryUnaryMultiCallable[
            internal_pb2.ListImportsRequest,
            internal_pb2.ListImportsResponse,
        ] = channel.unary_unary(
            "/milvus.proto.proxy.Proxy/ListImports",
            request_serializer=internal_pb2.ListImportsRequest.SerializeToString,
            response_deserializer=internal_pb2.ListImportsResponse.FromString,
        )
        self.ImportV2: grpc.aio.UnaryUnaryMultiCallable[
            internal_pb2.ImportRequest,
            internal_pb2.ImportResponse,
        ] = channel.unary_unary(
            "/milvus.proto.proxy.Proxy/ImportV2",
            request_serializer=internal_pb2.ImportRequest.SerializeToString,
            response_deserializer=internal_pb2.ImportResponse.FromString,
        )
