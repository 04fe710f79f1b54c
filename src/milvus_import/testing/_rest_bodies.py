"""The JSON bodies of the REST APIs of Milvus and of Zilliz Cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from google.protobuf.message import Message

from ._behavior import StatusError
from ._grpc_replies import progress_reply
from ._jobs import JobSnapshot

_FORMAT: Final = "can only accept json format request"
_NUMBERS: Final = {"progress", "importedRows", "totalRows", "fileSize"}
_GO_NAMES: Final = {"jobId": "JobID", "collectionName": "CollectionName", "files": "Files"}
_WORKING: Final = {"PreImporting", "Importing", "Sorting", "IndexBuilding"}
"""The states that Zilliz Cloud reports as InProgress."""

Members = Mapping[str, Callable[[object], bool]]


def is_text(value: object) -> bool:
    """Return whether a member is a string."""
    return isinstance(value, str)


def is_integer(value: object) -> bool:
    """Return whether a member is an integer."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_groups(value: object) -> bool:
    """Return whether a member is an array of arrays of strings, where an inner one may be null."""
    return isinstance(value, list) and all(
        group is None
        or (isinstance(group, list) and all(map(is_text, cast("list[object]", group))))
        for group in cast("list[object]", value)
    )


def is_options(value: object) -> bool:
    """Return whether a member is an object of strings and nulls."""
    return isinstance(value, dict) and all(
        item is None or isinstance(item, str) for item in cast("dict[str, object]", value).values()
    )


def decode(body: bytes, name: str, members: Members, required: tuple[str, ...]) -> dict[str, Any]:
    """Return a request body; raise StatusError where Milvus does. ``name`` is its type in Go."""
    if not body.strip():
        reason = f"{_FORMAT}, the request body should be nil, however {{}} is valid"
        raise StatusError(1801, reason)
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    values = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if values is not value or any(
        values.get(member) is not None and not is_valid(values[member])
        for member, is_valid in members.items()
    ):
        raise StatusError(1801, f"{_FORMAT}, error: the body is not a valid {name}")
    missing = [
        _GO_NAMES[member]
        for member in required
        if values.get(member) is None or values[member] == ""
    ]
    if missing:
        faults = [
            f"Key: '{name}.{go_name}' Error:Field validation for '{go_name}' failed on the "
            "'required' tag"
            for go_name in missing
        ]
        raise StatusError(1802, "missing required parameters, error: " + "\n".join(faults))
    return values


def job_data(job: JobSnapshot, *, with_create_time: bool) -> dict[str, Any]:
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


def list_data(jobs: list[JobSnapshot]) -> dict[str, Any]:
    """Return ``data`` of ``list``: a part of what ``describe`` returns."""
    names = {"jobId", "collectionName", "state", "progress", "reason"}
    rows = [job_data(job, with_create_time=False) for job in jobs]
    return {"records": [{name: row[name] for name in names & row.keys()} for row in rows]}


def cloud_job_data(job: JobSnapshot, *, with_rows: bool) -> dict[str, Any]:
    """Return ``data`` of ``describe`` on Zilliz Cloud: no rows by default, and nulls for times."""
    data = job_data(job, with_create_time=False)
    for part in (data, *data["details"]):
        part["completeTime"] = part["completeTime"] or None
        if not with_rows:
            del part["importedRows"], part["totalRows"]
    name = ",".join(file.name for file in job.job.files)
    return data | {"fileName": name, "state": _cloud_state(job)}


def cloud_list_data(jobs: list[JobSnapshot], page: int, size: int) -> dict[str, Any]:
    """Return ``data`` of ``list`` on Zilliz Cloud: one page of records, without progress."""
    return {
        "count": len(jobs),
        "currentPage": page,
        "pageSize": size,
        "records": [
            {
                "collectionName": job.job.collection_name,
                "jobId": job.job.job_id,
                "state": _cloud_state(job),
            }
            for job in jobs[(page - 1) * size : page * size]
        ],
    }


def with_numbers_as_text(data: dict[str, Any]) -> dict[str, Any]:
    """Return data with progress, rows and sizes as strings, in its lists too."""
    return {
        name: [with_numbers_as_text(item) for item in value]
        if isinstance(value, list)
        else str(value)
        if name in _NUMBERS
        else value
        for name, value in cast("dict[str, int | str | list[dict[str, Any]] | None]", data).items()
    }


def _members(message: Message) -> dict[str, Any]:
    """Return the fields of a message without its lists; an empty reason is left out."""
    data = {
        field.json_name: getattr(message, field.name)
        for field in message.DESCRIPTOR.fields
        if field.type != field.TYPE_MESSAGE
    }
    return data if data["reason"] else {name: data[name] for name in data if name != "reason"}


def _cloud_state(job: JobSnapshot) -> str:
    return "InProgress" if job.state in _WORKING else job.state
