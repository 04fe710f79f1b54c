"""The internal service, ``milvus.proto.proxy.Proxy`` on port 19529 (Milvus 2.4+)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from milvus_import_pb import common_pb2, internal_pb2
from milvus_import_pb.proxy_grpc import ProxyStub

from .._connection._base import Method
from .._failures._statuses import EMPTY_REPLY, reply_error
from .._models import ImportProgressData, ImportProgressDetail
from ._operations import CREATE_JOB, CREATE_JOB_OF_GROUPS, GET_PROGRESS, LIST_JOBS, Operation
from ._replies import (
    MAX_LISTED_JOBS,
    STATES,
    JobList,
    grpc_method,
    listed,
    parse,
    read_snapshot,
    state_of,
)
from ._requests import validate_create_size, validate_job_id

if TYPE_CHECKING:
    from ._requests import CreateParams, JobParams, ListParams


def decode_progress(
    reply: internal_pb2.GetImportProgressResponse, job_id: str
) -> ImportProgressData:
    """Map the reply onto the dataclasses without changing its values."""
    details = [
        ImportProgressDetail(
            task.file_name,
            task.file_size,
            task.progress,
            task.complete_time,
            task.state,
            task.imported_rows,
            task.total_rows,
            task.reason,
        )
        for task in reply.task_progresses
    ]
    return ImportProgressData(
        reply.collection_name,
        job_id,
        reply.complete_time,
        STATES.get(reply.state) or state_of(reply.state),
        reply.progress,
        reply.imported_rows,
        reply.total_rows,
        reply.reason,
        sum([detail.file_size for detail in details]),
        details,
        reply.create_time,
        "internal",
    )


def _progress_request(params: JobParams) -> internal_pb2.GetImportProgressRequest:
    return internal_pb2.GetImportProgressRequest(db_name=params.db_name, jobID=params.job_id)


def _list_request(params: ListParams) -> internal_pb2.ListImportsRequest:
    return internal_pb2.ListImportsRequest(
        db_name=params.db_name, collection_name=params.collection_name
    )


def _job_list(reply: Any, _: ListParams) -> JobList:
    message = parse(internal_pb2.ListImportsResponse, reply, max_entries=MAX_LISTED_JOBS)
    columns = (message.collection_names, message.states, message.progresses, message.reasons)
    return listed(message.jobIDs, columns, validate_job_id)


def _create_request(params: CreateParams) -> internal_pb2.ImportRequest:
    request = internal_pb2.ImportRequest(
        db_name=params.db_name,
        collection_name=params.collection_name,
        partition_name=params.partition_name,
        files=[internal_pb2.ImportFile(paths=paths) for paths in params.groups],
        options=[common_pb2.KeyValuePair(key=k, value=v) for k, v in params.options],
    )
    validate_create_size(request.ByteSize())
    return request


def _job_id(reply: Any, _: CreateParams) -> str:
    message = parse(internal_pb2.ImportResponse, reply)
    if not message.jobID:
        raise reply_error(EMPTY_REPLY)
    return message.jobID


_snapshot = partial(read_snapshot, internal_pb2.GetImportProgressResponse, decode_progress)
_method = partial(grpc_method, "internal", ProxyStub)
_IMPORT_V2: Final = _method("ImportV2", _create_request, _job_id, is_read=False)
METHODS: Final[dict[Operation[Any, Any], Method[Any, Any]]] = {
    GET_PROGRESS: _method("GetImportProgress", _progress_request, _snapshot),
    LIST_JOBS: _method("ListImports", _list_request, _job_list),
    CREATE_JOB: _IMPORT_V2,
    CREATE_JOB_OF_GROUPS: _IMPORT_V2,
}
