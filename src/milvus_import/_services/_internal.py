"""The internal service, ``milvus.proto.proxy.Proxy`` on port 19529 (Milvus 2.4+)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from milvus_import_pb import common_pb2, internal_pb2
from milvus_import_pb.proxy_grpc import ProxyStub

from .._connection._method import Method
from .._failures._grpc import bad_reply
from .._failures._milvus import check_status
from .._failures._texts import EMPTY_REPLY
from .._models import (
    GetImportProgressResponse,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
)
from ._replies import (
    MAX_LISTED_JOBS,
    MAX_PROGRESS_BYTES,
    Snapshot,
    parse,
    parse_any_status,
    take_snapshot,
)
from ._rows import JobRow, decode_jobs, pick_rows, state_of

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
        state_of(reply.state),
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


def _progress(reply: Any, params: JobParams) -> GetImportProgressResponse:
    message = parse_any_status(internal_pb2.GetImportProgressResponse, reply, MAX_PROGRESS_BYTES)
    reason = check_status(message.status)
    return GetImportProgressResponse(0, reason, decode_progress(message, params.job_id))


def _snapshot(reply: Any, params: JobParams) -> Snapshot:
    return take_snapshot(
        internal_pb2.GetImportProgressResponse,
        reply,
        params.previous,
        params.job_id,
        decode_progress,
    )


def _list_request(params: ListParams) -> internal_pb2.ListImportsRequest:
    return internal_pb2.ListImportsRequest(
        db_name=params.db_name, collection_name=params.collection_name
    )


def _rows(reply: Any, params: ListParams) -> dict[str, JobRow]:
    message = parse(internal_pb2.ListImportsResponse, reply, max_entries=MAX_LISTED_JOBS)
    if len(message.jobIDs) > MAX_LISTED_JOBS:
        raise bad_reply(f"the reply lists more than {MAX_LISTED_JOBS:,} jobs")
    columns = (message.collection_names, message.states, message.progresses, message.reasons)
    if any(len(column) != len(message.jobIDs) for column in columns):
        raise bad_reply("the reply's columns differ in length")
    return pick_rows(message.jobIDs, columns, params.wanted)


def _jobs(reply: Any, params: ListParams) -> list[ImportJob]:
    return decode_jobs(_rows(reply, params))


def _create_request(params: CreateParams) -> internal_pb2.ImportRequest:
    return internal_pb2.ImportRequest(
        db_name=params.db_name,
        collection_name=params.collection_name,
        partition_name=params.partition_name,
        files=[internal_pb2.ImportFile(paths=paths) for paths in params.groups],
        options=[common_pb2.KeyValuePair(key=k, value=v) for k, v in params.options],
    )


def _job_id(reply: Any, _: CreateParams) -> str:
    message = parse(internal_pb2.ImportResponse, reply)
    if not message.jobID:
        raise bad_reply(EMPTY_REPLY)
    return message.jobID


GET_IMPORT_PROGRESS: Final = Method(
    "internal", ProxyStub, "GetImportProgress", _progress_request, _progress
)
WATCH_PROGRESS: Final = Method(
    "internal", ProxyStub, "GetImportProgress", _progress_request, _snapshot
)
LIST_IMPORTS: Final = Method("internal", ProxyStub, "ListImports", _list_request, _jobs)
WATCH_LIST: Final = Method("internal", ProxyStub, "ListImports", _list_request, _rows)
IMPORT_V2: Final = Method("internal", ProxyStub, "ImportV2", _create_request, _job_id, read=False)
