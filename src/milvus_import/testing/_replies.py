"""The messages and JSON bodies in which the services report a job, and the bodies of requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from google.protobuf.message import Message

from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

from ._behavior import StatusError
from ._jobs import FakeFile, JobSnapshot, state_number

_WORKING: Final = ("PreImporting", "Importing", "Sorting", "IndexBuilding")
"""The states that Zilliz Cloud reports as InProgress."""
# The states of GetImportState on Milvus 2.4+. Every other state is reported as ImportFailed.
_OUTER: Final = {"Pending": common_pb2.ImportPending, "Completed": common_pb2.ImportCompleted}
_PUBLIC_STATES: Final = _OUTER | dict.fromkeys(_WORKING, common_pb2.ImportStarted)
_WRITTEN: Final = (common_pb2.ImportPersisted, common_pb2.ImportCompleted)
_FORMAT: Final = "can only accept json format request"
_REQUIRED: Final = "Key: '{0}.{1}' Error:Field validation for '{1}' failed on the 'required' tag"
_GO_NAMES: Final = {"jobId": "JobID", "collectionName": "CollectionName", "files": "Files"}
_SHAPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("jobId", "collectionName", "dbName", "partitionName"), (str,)),
    **dict.fromkeys(("clusterId", "projectId", "regionId", "objectUrl", "volumeName"), (str,)),
    **dict.fromkeys(("accessKey", "secretKey", "token"), (str,)),
    **dict.fromkeys(("pageSize", "currentPage"), (int,)),
    **dict.fromkeys(("files", "objectUrls", "dataPaths"), (list, list, str)),
    "options": (dict, str),
}
"""The types of the members of requests, from the outside in."""


# Messages.


def progress_reply(job: JobSnapshot) -> internal_pb2.GetImportProgressResponse:
    """Return the reply of GetImportProgress."""
    percent = min(max(job.progress - 10, 0) * 100 // 60, 100)
    files = job.job.files if job.is_started else []
    return internal_pb2.GetImportProgressResponse(
        status=common_pb2.Status(),
        state=state_number(job.state),
        reason=job.reason,
        progress=job.progress,
        collection_name=job.job.collection_name,
        complete_time="2026-01-02T03:14:05Z" if job.state == "Completed" else "",
        task_progresses=[_file_progress(file, percent) for file in files],
        imported_rows=job.imported_rows,
        total_rows=job.rows if job.is_started else 0,
        create_time=job.job.create_time,
    )


def _file_progress(file: FakeFile, percent: int) -> internal_pb2.ImportTaskProgress:
    state = "Completed" if percent == 100 else "InProgress" if percent else "Pending"
    return internal_pb2.ImportTaskProgress(
        file_name=f"[{file.name}]",
        file_size=file.size,
        reason=file.reason,
        progress=percent,
        complete_time="2026-01-02T03:13:05Z" if percent == 100 else "",
        state="Failed" if file.reason else state,
        imported_rows=file.rows * percent // 100,
        total_rows=file.rows,
    )


def state_reply(job: JobSnapshot, *, is_old: bool, in_list: bool = False) -> Any:
    """Return the reply of GetImportState or an entry of ListImportTasks.

    ``is_old``: that of Milvus 2.3, with the id, with more infos, and the same in a list.
    """
    is_failed = job.state == "Failed" or not is_old
    other = common_pb2.ImportFailed if is_failed else common_pb2.ImportStarted
    state = _PUBLIC_STATES.get(job.state, other)
    percent = 99 if job.state in {"Uncommitted", "Committing"} else job.progress
    infos = {"failed_reason": job.reason, "progress_percent": str(percent)}
    if is_old:
        if job.state == "IndexBuilding" and job.progress >= 90:
            state = common_pb2.ImportPersisted
        names = {"files": job.file_names, "collection": job.job.collection_name}
        infos = names | {"partition": "_default"} | infos
        if not job.progress and job.state != "Failed":
            del infos["progress_percent"]
        if state in _WRITTEN:
            infos["persist_cost"] = "0.65"
    has_rows = state in _WRITTEN if is_old else not in_list
    return milvus_pb2.GetImportStateResponse(
        status=common_pb2.Status(),
        state=state,
        row_count=job.imported_rows if has_rows else 0,
        infos=[common_pb2.KeyValuePair(key=key, value=value) for key, value in infos.items()],
        id=int(job.job.job_id) if is_old else 0,
        create_ts=job.job.create_ts if is_old or not in_list else 0,
    )


# Bodies of JSON.


def _fits(value: Any, kind: Any, *inner: Any) -> bool:
    """Return whether a member has the types; null may be at each place, as in Go."""
    if value is None or type(value) is not kind:
        return value is None
    items = value.values() if kind is dict else value
    return not inner or all(_fits(item, *inner) for item in items)


def decode(body: object, name: str, *required: str) -> dict[str, Any]:
    """Return a request body; raise StatusError where Milvus does.

    ``body``: parsed, or the bytes if they are not JSON. ``name`` is its type in Go.
    """
    if isinstance(body, bytes) and not body.strip():
        reason = f"{_FORMAT}, the request body should be nil, however {{}} is valid"
        raise StatusError(1801, reason)
    values = cast("dict[str, Any]", body) if isinstance(body, dict) else None
    if values is None or not all(_fits(values.get(key), *_SHAPES[key]) for key in _SHAPES):
        raise StatusError(1801, f"{_FORMAT}, error: the body is not a valid {name}")
    missing = [_GO_NAMES[key] for key in required if values.get(key) in (None, "")]
    if missing:
        faults = "\n".join(_REQUIRED.format(name, go_name) for go_name in missing)
        raise StatusError(1802, f"missing required parameters, error: {faults}")
    return values


def job_data(job: JobSnapshot, *, with_create_time: bool = False) -> dict[str, Any]:
    """Return ``data`` of ``describe``: the fields of GetImportProgress, and the total size."""
    reply = progress_reply(job)
    data = _members(reply) | {
        "jobId": job.job.job_id,
        "state": job.state,
        "fileSize": sum(file.file_size for file in reply.task_progresses),
        "details": [_members(file) for file in reply.task_progresses],
    }
    if not with_create_time:
        del data["createTime"]
    return data


def cloud_job_data(job: JobSnapshot, *, with_rows: bool) -> dict[str, Any]:
    """Return ``data`` of ``describe`` on Zilliz Cloud: no rows by default, and nulls for times."""
    data = job_data(job)
    for part in (data, *data["details"]):
        part["completeTime"] = part["completeTime"] or None
        if not with_rows:
            del part["importedRows"], part["totalRows"]
    state = "InProgress" if job.state in _WORKING else job.state
    return data | {"fileName": job.file_names, "state": state}


def records(rows: Iterable[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Return ``records`` of ``list``: a part of what ``describe`` returns."""
    return [{name: row[name] for name in names if name in row} for row in rows]


def _members(message: Message) -> dict[str, Any]:
    """Return the fields of a message without its lists; an empty reason is left out."""
    fields = [field for field in message.DESCRIPTOR.fields if field.type != field.TYPE_MESSAGE]
    data = {field.json_name: getattr(message, field.name) for field in fields}
    return data if data["reason"] else {name: data[name] for name in data if name != "reason"}
