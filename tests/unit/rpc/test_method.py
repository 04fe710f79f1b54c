"""The methods of the gRPC services: their names, messages, and whether they are reads."""

from __future__ import annotations

import pytest

from milvus_import._connection._method import Method
from milvus_import._services import _internal, _public
from milvus_import_pb import internal_pb2, milvus_pb2

PROXY = "milvus.proto.proxy.Proxy"
MILVUS = "milvus.proto.milvus.MilvusService"


@pytest.mark.parametrize(
    ("method", "path", "request_type", "reply_type", "read"),
    [
        (
            _internal.GET_IMPORT_PROGRESS,
            f"{PROXY}/GetImportProgress",
            internal_pb2.GetImportProgressRequest,
            internal_pb2.GetImportProgressResponse,
            True,
        ),
        (
            _internal.WATCH_PROGRESS,
            f"{PROXY}/GetImportProgress",
            internal_pb2.GetImportProgressRequest,
            internal_pb2.GetImportProgressResponse,
            True,
        ),
        (
            _internal.LIST_IMPORTS,
            f"{PROXY}/ListImports",
            internal_pb2.ListImportsRequest,
            internal_pb2.ListImportsResponse,
            True,
        ),
        (
            _internal.WATCH_LIST,
            f"{PROXY}/ListImports",
            internal_pb2.ListImportsRequest,
            internal_pb2.ListImportsResponse,
            True,
        ),
        (
            _internal.IMPORT_V2,
            f"{PROXY}/ImportV2",
            internal_pb2.ImportRequest,
            internal_pb2.ImportResponse,
            False,
        ),
        (
            _public.GET_IMPORT_STATE,
            f"{MILVUS}/GetImportState",
            milvus_pb2.GetImportStateRequest,
            milvus_pb2.GetImportStateResponse,
            True,
        ),
        (
            _public.WATCH_STATE,
            f"{MILVUS}/GetImportState",
            milvus_pb2.GetImportStateRequest,
            milvus_pb2.GetImportStateResponse,
            True,
        ),
        (
            _public.LIST_IMPORT_TASKS,
            f"{MILVUS}/ListImportTasks",
            milvus_pb2.ListImportTasksRequest,
            milvus_pb2.ListImportTasksResponse,
            True,
        ),
        (
            _public.IMPORT,
            f"{MILVUS}/Import",
            milvus_pb2.ImportRequest,
            milvus_pb2.ImportResponse,
            False,
        ),
    ],
)
def test_method_has_the_path_and_the_messages_of_its_service(
    method: Method[object, object], path: str, request_type: type, reply_type: type, read: bool
) -> None:
    assert method.path == path
    assert method.name == path.rpartition("/")[2]
    assert method.service == ("internal" if path.startswith(PROXY) else "public")
    assert method.request_type is request_type
    assert method.reply_type is reply_type
    assert method.read is read  # only reads are retried, and fall back without a gRPC status
