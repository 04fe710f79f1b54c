"""The public gRPC service, ``milvus.proto.milvus.MilvusService`` on port 19530.

Its GetImportState has fewer states, and Milvus 2.4+ reports all others as Failed. A job that waits
for its commit is detected here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc

from milvus_import_pb import common_pb2, milvus_pb2
from milvus_import_pb.milvus_grpc import MilvusServiceStub

from .._connection._base import Method
from .._errors import UnsupportedServerError
from .._failures._statuses import EMPTY_REPLY, reply_error
from .._hints import Hint
from .._models import ImportProgressData, ImportState
from ._operations import CREATE_JOB, GET_PROGRESS, LIST_JOBS, Operation
from ._replies import (
    MAX_LISTED_JOBS,
    JobList,
    grpc_method,
    listed_rows,
    parse,
    read_snapshot,
)
from ._requests import validate_create_size, validate_job_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._requests import CreateParams, JobParams, ListParams

_STATES: Final[dict[int, ImportState]] = {
    common_pb2.ImportPending: ImportState.PENDING,
    common_pb2.ImportFailed: ImportState.FAILED,
    common_pb2.ImportStarted: ImportState.IMPORTING,
    common_pb2.ImportPersisted: ImportState.IMPORTING,  # 2.3: written, not yet final
    common_pb2.ImportCompleted: ImportState.COMPLETED,
    common_pb2.ImportFailedAndCleaned: ImportState.FAILED,
    common_pb2.ImportFlushed: ImportState.IMPORTING,
}
_COMMIT_PERCENT: Final = "99"
_PERCENT: Final = r"-?[0-9]{1,19}"  # an int64


def decode_progress(reply: milvus_pb2.GetImportStateResponse, job_id: str) -> ImportProgressData:
    """Map the reply onto the dataclasses; fields that this service does not report stay empty."""
    infos = {info.key: info.value for info in reply.infos}
    state = _state(reply.state, infos)
    return ImportProgressData(
        infos.get("collection", ""),
        job_id,
        "",
        state,
        _percent(infos.get("progress_percent"), state),
        reply.row_count,
        0,
        infos.get("failed_reason", ""),
        0,
        [],
        _rfc3339(reply.create_ts),
        "public",
    )


def _state(number: int, infos: Mapping[str, str]) -> ImportState:
    """Return the state. 2.4+ reports a wait for commit as Failed at 99 % without a reason."""
    if (
        number == common_pb2.ImportFailed
        and not infos.get("failed_reason")
        and infos.get("progress_percent") == _COMMIT_PERCENT
    ):
        return ImportState.UNCOMMITTED
    return _STATES.get(number) or ImportState(str(number))


def _percent(text: str | None, state: ImportState) -> int:
    if text is None:
        return 100 if state is ImportState.COMPLETED else 0
    return int(text) if re.fullmatch(_PERCENT, text) else 0


def _rfc3339(seconds: int) -> str:
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""


def _progress_request(params: JobParams) -> milvus_pb2.GetImportStateRequest:
    """Build a request with the job id alone, which identifies the job in every database."""
    return milvus_pb2.GetImportStateRequest(task=int(params.job_id))


def _list_request(params: ListParams) -> milvus_pb2.ListImportTasksRequest:
    return milvus_pb2.ListImportTasksRequest(
        collection_name=params.collection_name, db_name=params.db_name
    )


def _job_list(reply: Any, _: ListParams) -> JobList:
    """Return the jobs by id, which only Milvus 2.2 and 2.3 send."""
    message = parse(milvus_pb2.ListImportTasksResponse, reply, max_entries=MAX_LISTED_JOBS)
    if any(not task.id for task in message.tasks):
        text, code = "the listed tasks have no ids", grpc.StatusCode.FAILED_PRECONDITION
        raise UnsupportedServerError(text, code=code, details=text, hint=Hint.REST_FOR_JOB_LIST)
    jobs = [decode_progress(task, str(task.id)) for task in message.tasks]
    rows = {
        job.job_id: (job.collection_name, str(job.state), job.progress, job.reason) for job in jobs
    }
    return listed_rows(rows, validate_job_id)


def _create_request(params: CreateParams) -> milvus_pb2.ImportRequest:
    request = milvus_pb2.ImportRequest(
        collection_name=params.collection_name,
        partition_name=params.partition_name,
        files=params.groups[0],
        options=[common_pb2.KeyValuePair(key=k, value=v) for k, v in params.options],
        db_name=params.db_name,
    )
    validate_create_size(request.ByteSize())
    return request


def _job_id(reply: Any, _: CreateParams) -> str:
    message = parse(milvus_pb2.ImportResponse, reply)
    if not message.tasks:
        raise reply_error(EMPTY_REPLY)
    return str(message.tasks[0])


_snapshot = partial(read_snapshot, milvus_pb2.GetImportStateResponse, decode_progress)
_method = partial(grpc_method, "public", MilvusServiceStub)
METHODS: Final[dict[Operation[Any, Any], Method[Any, Any]]] = {
    GET_PROGRESS: _method("GetImportState", _progress_request, _snapshot),
    LIST_JOBS: _method("ListImportTasks", _list_request, _job_list),
    CREATE_JOB: _method("Import", _create_request, _job_id, is_read=False),
}
