"""The REST API for imports, ``/v2/vectordb/jobs/import/`` on port 19530 (Milvus 2.4+)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._connection._http import HttpMethod
from .._errors import ArgumentError
from .._failures._grpc import bad_reply
from .._hints import Hint
from .._models import (
    GetImportProgressResponse,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
)
from .._text import shorten
from ._replies import MAX_ENTRIES, MAX_LISTED_JOBS, MAX_PROGRESS_BYTES, Snapshot
from ._requests import validate_job_id
from ._rest_replies import Json, identifier, number, objects, read_data, text
from ._rows import JobRow, decode_jobs, pick_rows, state_of

if TYPE_CHECKING:
    from .._connection._http import HttpReply
    from ._requests import CreateParams, JobParams, ListParams


def decode_progress(data: Json, job_id: str) -> ImportProgressData:
    """Map the reply onto the dataclasses. Raises ReplyError for wrong types."""
    details = [_decode_detail(entry) for entry in objects(data, "details", MAX_ENTRIES)]
    size = sum([detail.file_size for detail in details])
    return ImportProgressData(
        text(data, "collectionName"),
        job_id,
        text(data, "completeTime"),
        state_of(_state(data)),
        number(data, "progress"),
        number(data, "importedRows"),
        number(data, "totalRows"),
        text(data, "reason"),
        number(data, "fileSize") or size,
        details,
        text(data, "createTime"),
        "rest",
    )


def _decode_detail(entry: Json) -> ImportProgressDetail:
    return ImportProgressDetail(
        text(entry, "fileName"),
        number(entry, "fileSize"),
        number(entry, "progress"),
        text(entry, "completeTime"),
        text(entry, "state"),
        number(entry, "importedRows"),
        number(entry, "totalRows"),
        text(entry, "reason"),
    )


def _state(data: Json) -> str:
    state = text(data, "state")
    if not state:
        raise bad_reply("the reply has no state")
    return state


def _job_request(params: JobParams) -> Json:
    """Build a request with the job id alone: the server reads the database from the header."""
    return {"jobId": params.job_id}


def _parse_progress(reply: HttpReply, job_id: str) -> Json:
    if len(reply.body) > MAX_PROGRESS_BYTES:
        size = f"{len(reply.body):,} bytes is larger than {MAX_PROGRESS_BYTES:,}"
        raise bad_reply(f"the reply of {size}", Hint.REPLY_OVER_LIMIT)
    data = read_data(reply, missing=Hint.REST_NEEDS_2_4, denied=Hint.REST_NEEDS_ADMIN)
    echo = identifier(data, "jobId")
    if echo and echo != job_id:
        raise bad_reply(f"the reply is about another job, {shorten(echo)}")
    return data


def _progress(reply: HttpReply, params: JobParams) -> GetImportProgressResponse:
    data = _parse_progress(reply, params.job_id)
    return GetImportProgressResponse(0, "", decode_progress(data, params.job_id))


def _snapshot(reply: HttpReply, params: JobParams) -> Snapshot:
    previous = params.previous
    if previous is not None and previous.reply == reply.body and reply.status == 200:
        return previous
    data = _parse_progress(reply, params.job_id)
    if previous is not None and previous.message == data:
        return previous
    decode_progress(data, params.job_id)  # raises ReplyError now rather than later
    return Snapshot(reply.body, data, partial(decode_progress, data, params.job_id))


def _list_request(params: ListParams) -> Json:
    return _without_empty(collectionName=params.collection_name, dbName=params.db_name)


def _rows(reply: HttpReply, params: ListParams) -> dict[str, JobRow]:
    data = read_data(reply, missing=Hint.REST_NEEDS_2_4, entries=MAX_LISTED_JOBS)
    if "records" not in data:
        raise bad_reply("the reply has no list of jobs")
    records = objects(data, "records", MAX_LISTED_JOBS)
    columns = (
        [text(record, "collectionName") for record in records],
        [_state(record) for record in records],
        [number(record, "progress") for record in records],
        [text(record, "reason") for record in records],
    )
    return pick_rows([identifier(record, "jobId") for record in records], columns, params.wanted)


def _jobs(reply: HttpReply, params: ListParams) -> list[ImportJob]:
    return decode_jobs(_rows(reply, params))


def _create_request(params: CreateParams) -> Json:
    return {
        "collectionName": params.collection_name,
        "files": params.groups,
        **_without_empty(
            dbName=params.db_name,
            partitionName=params.partition_name,
            options=dict(params.options),
        ),
    }


def _job_id(reply: HttpReply, _: CreateParams) -> str:
    job_id = identifier(read_data(reply, missing=Hint.REST_NEEDS_2_4), "jobId")
    try:
        return validate_job_id(job_id)
    except ArgumentError:
        fault = f"the job id {shorten(job_id)}, which is not valid" if job_id else "no job id"
        raise bad_reply(f"the reply has {fault}") from None


def _no_result(reply: HttpReply, _: JobParams) -> None:
    read_data(reply, missing=Hint.REST_NEEDS_3_0)


def _without_empty(**members: object) -> Json:
    return {name: value for name, value in members.items() if value}


# Milvus 2.4.0 to 2.4.13 call `describe` by its older name.
DESCRIBE: Final = HttpMethod("describe", _job_request, _progress, older_name="get_progress")
WATCH_DESCRIBE: Final = HttpMethod("describe", _job_request, _snapshot, older_name="get_progress")
LIST: Final = HttpMethod("list", _list_request, _jobs)
WATCH_LIST: Final = HttpMethod("list", _list_request, _rows)
CREATE: Final = HttpMethod("create", _create_request, _job_id, read=False)
COMMIT: Final = HttpMethod("commit", _job_request, _no_result, read=False)
ABORT: Final = HttpMethod("abort", _job_request, _no_result, read=False)

METHODS: Final[dict[str, HttpMethod[Any, Any]]] = {
    "get_import_progress": DESCRIBE,
    "watch": WATCH_DESCRIBE,
    "list_imports": LIST,
    "watch_all": WATCH_LIST,
    "create_import": CREATE,
    "create_import with several file groups": CREATE,
    "commit_import": COMMIT,
    "abort_import": ABORT,
}
"""The method of each operation; a table of its own, so that gRPC clients do not load it."""
