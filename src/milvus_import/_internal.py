"""The internal service, ``milvus.proto.proxy.Proxy`` on port 19529 (Milvus 2.4+)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from milvus_import_pb import common_pb2, internal_pb2

from ._call import Rpc
from ._models import (
    GetImportProgressResponse,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
)
from ._status import EMPTY_REPLY, bad_reply

if TYPE_CHECKING:
    from ._request import ImportJobRequest

JobRow = tuple[str, int, int, str]
"""One job of a list, undecoded: collection name, state number, progress, reason."""

STATES: Final[dict[int, ImportState]] = {
    number: ImportState(name) for name, number in internal_pb2.ImportJobState.items()
}


def _progress_request(question: tuple[str, str]) -> internal_pb2.GetImportProgressRequest:
    job_id, db_name = question
    return internal_pb2.GetImportProgressRequest(db_name=db_name, jobID=job_id)


def _progress(
    reply: internal_pb2.GetImportProgressResponse, question: tuple[str, str], target: str
) -> GetImportProgressResponse:
    if not (reply.state or reply.ByteSize()):
        raise bad_reply(EMPTY_REPLY, method=GET_IMPORT_PROGRESS.name, target=target)
    return GetImportProgressResponse(0, reply.status.reason, decode_progress(reply, question[0]))


def _list_request(question: tuple[str, str]) -> internal_pb2.ListImportsRequest:
    collection_name, db_name = question
    return internal_pb2.ListImportsRequest(db_name=db_name, collection_name=collection_name)


def _rows(
    reply: internal_pb2.ListImportsResponse, question: tuple[str, str], target: str
) -> dict[str, JobRow]:
    """The list by job id, undecoded and in the server's random order."""
    del question
    if not (reply.jobIDs or reply.ByteSize()):
        raise bad_reply(EMPTY_REPLY, method=LIST_ROWS.name, target=target)
    columns = (reply.collection_names, reply.states, reply.progresses, reply.reasons)
    if any(len(column) != len(reply.jobIDs) for column in columns):
        what = "the reply's columns differ in length"
        raise bad_reply(what, method=LIST_ROWS.name, target=target)
    return dict(zip(reply.jobIDs, zip(*columns, strict=True), strict=True))


def _jobs(
    reply: internal_pb2.ListImportsResponse, question: tuple[str, str], target: str
) -> list[ImportJob]:
    rows = _rows(reply, question, target)
    return [decode_job(job_id, rows[job_id]) for job_id in sorted(rows, key=_numeric)]


def _import_request(order: ImportJobRequest) -> internal_pb2.ImportRequest:
    return internal_pb2.ImportRequest(
        db_name=order.db_name,
        collection_name=order.collection_name,
        partition_name=order.partition_name,
        files=[internal_pb2.ImportFile(paths=paths) for paths in order.groups],
        options=[common_pb2.KeyValuePair(key=k, value=v) for k, v in order.options],
    )


def _job_id(reply: internal_pb2.ImportResponse, order: ImportJobRequest, target: str) -> str:
    del order
    if not reply.jobID:
        raise bad_reply(EMPTY_REPLY, method=IMPORT_V2.name, target=target)
    return reply.jobID


def decode_progress(
    reply: internal_pb2.GetImportProgressResponse, job_id: str
) -> ImportProgressData:
    """Map the reply onto the dataclasses; values stay raw."""
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


def decode_job(job_id: str, row: JobRow) -> ImportJob:
    """One line of the list."""
    collection_name, state, progress, reason = row
    return ImportJob(job_id, collection_name, state_of(state), progress, reason)


def state_of(number: int) -> ImportState:
    """A state by its number; a newer server's number is kept."""
    return STATES.get(number) or ImportState(str(number))


def _numeric(job_id: str) -> tuple[int, str]:
    """Sorts ids as numbers without trusting them to be any."""
    return len(job_id), job_id


GET_IMPORT_PROGRESS: Final = Rpc(
    "internal",
    "milvus.proto.proxy.Proxy/GetImportProgress",
    lambda connection: connection.proxy.GetImportProgress,
    _progress_request,
    _progress,
)
LIST_IMPORTS: Final = Rpc(
    "internal",
    "milvus.proto.proxy.Proxy/ListImports",
    lambda connection: connection.proxy.ListImports,
    _list_request,
    _jobs,
)
LIST_ROWS: Final = Rpc(
    "internal",
    "milvus.proto.proxy.Proxy/ListImports",
    lambda connection: connection.proxy.ListImports,
    _list_request,
    _rows,
)
IMPORT_V2: Final = Rpc(
    "internal",
    "milvus.proto.proxy.Proxy/ImportV2",
    lambda connection: connection.proxy.ImportV2,
    _import_request,
    _job_id,
)
