"""The JSON bodies of the REST APIs of Milvus and of Zilliz Cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from ._behavior import StatusError
from ._grpc_replies import COMPLETE_TIME, file_progresses
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
    """Return ``data`` of ``describe``."""
    files = file_progresses(job)
    data: dict[str, Any] = {
        **_row(job),
        "completeTime": COMPLETE_TIME if job.state == "Completed" else "",
        "importedRows": job.imported_rows,
        "totalRows": job.rows if job.is_started else 0,
        "fileSize": sum(file.file_size for file in files),
        "details": [
            _without_empty_reason(
                {
                    "fileName": file.file_name,
                    "fileSize": file.file_size,
                    "progress": file.progress,
                    "completeTime": file.complete_time,
                    "state": file.state,
                    "importedRows": file.imported_rows,
                    "totalRows": file.total_rows,
                    "reason": file.reason,
                }
            )
            for file in files
        ],
    }
    return data | ({"createTime": job.job.create_time} if with_create_time else {})


def list_data(jobs: list[JobSnapshot]) -> dict[str, Any]:
    """Return ``data`` of ``list``."""
    return {"records": [_row(job) for job in jobs]}


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


def _row(job: JobSnapshot) -> dict[str, Any]:
    return _without_empty_reason(
        {
            "jobId": job.job.job_id,
            "collectionName": job.job.collection_name,
            "state": job.state,
            "progress": job.progress,
            "reason": job.failed_reason,
        }
    )


def _without_empty_reason(data: dict[str, Any]) -> dict[str, Any]:
    if not data["reason"]:
        del data["reason"]
    return data


def _cloud_state(job: JobSnapshot) -> str:
    return "InProgress" if job.state in _WORKING else job.state
