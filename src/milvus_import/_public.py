"""The public service, ``milvus.proto.milvus.MilvusService`` on port 19530.

Its GetImportState is coarser, and on 2.4+ it calls every state it has no word for Failed: a job
that waits for its commit is told apart here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import grpc

from milvus_import_pb import common_pb2, milvus_pb2

from ._call import Rpc
from ._errors import UnsupportedServerError
from ._models import GetImportProgressResponse, ImportJob, ImportProgressData, ImportState
from ._status import EMPTY_REPLY, bad_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._request import ImportJobRequest

STATES: Final[dict[int, ImportState]] = {
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


def _progress_request(question: tuple[str, str]) -> milvus_pb2.GetImportStateRequest:
    """The job id alone finds the job, in whichever database."""
    return milvus_pb2.GetImportStateRequest(task=int(question[0]))


def _progress(
    reply: milvus_pb2.GetImportStateResponse, question: tuple[str, str], target: str
) -> GetImportProgressResponse:
    if not (reply.state or reply.ByteSize()):
        raise bad_reply(EMPTY_REPLY, method=GET_IMPORT_STATE.name, target=target)
    return GetImportProgressResponse(0, reply.status.reason, decode_progress(reply, question[0]))


def _list_request(question: tuple[str, str]) -> milvus_pb2.ListImportTasksRequest:
    collection_name, db_name = question
    return milvus_pb2.ListImportTasksRequest(collection_name=collection_name, db_name=db_name)


def _jobs(
    reply: milvus_pb2.ListImportTasksResponse, question: tuple[str, str], target: str
) -> list[ImportJob]:
    """The jobs by id. Only Milvus 2.2 and 2.3 name them."""
    del question
    if not (reply.tasks or reply.ByteSize()):
        raise bad_reply(EMPTY_REPLY, method=LIST_IMPORT_TASKS.name, target=target)
    if any(not task.id for task in reply.tasks):
        raise UnsupportedServerError(
            f"{LIST_IMPORT_TASKS.name} at {target}: Milvus 2.4+ lists jobs without their ids on "
            "this port. Use the internal port 19529, or ask for known job ids",
            code=grpc.StatusCode.FAILED_PRECONDITION,
            details="the listed tasks have no ids",
        )
    jobs = sorted(reply.tasks, key=lambda task: task.id)
    return [decode_progress(task, str(task.id)).job for task in jobs]


def _import_request(order: ImportJobRequest) -> milvus_pb2.ImportRequest:
    if len(order.groups) != 1:
        raise ValueError(
            f"files has {len(order.groups)} groups, but the public service takes one a job: start "
            "a job for each, join the .npy files of one in a list, [[...]], or use port 19529"
        )
    return milvus_pb2.ImportRequest(
        collection_name=order.collection_name,
        partition_name=order.partition_name,
        files=order.groups[0],
        options=[common_pb2.KeyValuePair(key=k, value=v) for k, v in order.options],
        db_name=order.db_name,
    )


def _job_id(reply: milvus_pb2.ImportResponse, order: ImportJobRequest, target: str) -> str:
    del order
    if not reply.tasks:
        raise bad_reply(EMPTY_REPLY, method=IMPORT.name, target=target)
    return str(reply.tasks[0])


def decode_progress(reply: milvus_pb2.GetImportStateResponse, job_id: str) -> ImportProgressData:
    """Map the reply onto the same dataclass; what this service does not tell stays empty."""
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
    """2.4+ sends Failed, at 99 and without a reason, for a job that waits for its commit."""
    if (
        number == common_pb2.ImportFailed
        and not infos.get("failed_reason")
        and infos.get("progress_percent") == _COMMIT_PERCENT
    ):
        return ImportState.UNCOMMITTED
    return STATES.get(number) or ImportState(str(number))


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


GET_IMPORT_STATE: Final = Rpc(
    "public",
    "milvus.proto.milvus.MilvusService/GetImportState",
    lambda connection: connection.milvus.GetImportState,
    _progress_request,
    _progress,
)
LIST_IMPORT_TASKS: Final = Rpc(
    "public",
    "milvus.proto.milvus.MilvusService/ListImportTasks",
    lambda connection: connection.milvus.ListImportTasks,
    _list_request,
    _jobs,
)
IMPORT: Final = Rpc(
    "public",
    "milvus.proto.milvus.MilvusService/Import",
    lambda connection: connection.milvus.Import,
    _import_request,
    _job_id,
)
