"""The JSON bodies of Milvus' REST API, read and written as its Go program does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ._jobs import JobSnapshot
from ._messages import COMPLETE_TIME, file_progresses

_FORMAT: Final = "can only accept json format request"
_GO_TYPES: Final[Mapping[type[Any], str]] = {
    str: "string",
    list: "[][]string",
    dict: "map[string]string",
}
_NUMBERS: Final = {"progress", "importedRows", "totalRows", "fileSize"}


class RestError(Exception):
    """A request that the REST API rejects before it is executed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(slots=True, frozen=True)
class Schema:
    """The members of a request body. Others are ignored."""

    name: str
    members: Mapping[str, type[Any]]
    required: Mapping[str, str] = field(default_factory=dict[str, str])
    """The names of the required members, with their names in Go."""


def decode(body: bytes, schema: Schema) -> dict[str, Any]:
    """Return a request body; raise RestError where Milvus does."""
    if not body.strip():
        raise RestError(1801, f"{_FORMAT}, the request body should be nil, however {{}} is valid")
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RestError(1801, f"{_FORMAT}, error: {error}") from None
    if not isinstance(value, dict):
        raise _wrong_type(value, f"value of type {schema.name}")
    values = cast("dict[str, Any]", value)
    for name, kind in schema.members.items():
        _check_type(values.get(name), kind, f"struct field {schema.name}.{name}")
    missing = [
        f"Key: '{schema.name}.{go_name}' Error:Field validation for '{go_name}' failed on the "
        "'required' tag"
        for name, go_name in schema.required.items()
        if values.get(name) is None or values[name] == ""
    ]
    if missing:
        raise RestError(1802, "missing required parameters, error: " + "\n".join(missing))
    return values


def _check_type(value: object, kind: type[Any], where: str) -> None:
    if value is None:
        return
    if not isinstance(value, kind):
        raise _wrong_type(value, f"{where} of type {_GO_TYPES[kind]}")
    if isinstance(value, dict):
        for item in cast("dict[str, object]", value).values():
            _check_type(item, str, where)
    if isinstance(value, list):
        for group in cast("list[object]", value):
            if not isinstance(group, list | None):
                raise _wrong_type(group, f"{where} of type []string")
            for path in cast("list[object]", group or []):
                _check_type(path, str, where)


def _wrong_type(value: object, where: str) -> RestError:
    names: dict[type[Any], str] = {
        bool: "bool",
        int: "number",
        float: "number",
        str: "string",
        list: "array",
    }
    name = names.get(type(value), "object")
    return RestError(1801, f"{_FORMAT}, error: json: cannot unmarshal {name} into Go {where}")


def job_data(job: JobSnapshot, *, with_create_time: bool, numbers_as_text: bool) -> dict[str, Any]:
    """Return ``data`` of ``describe``."""
    files = file_progresses(job)
    data: dict[str, Any] = {
        "jobId": job.job.job_id,
        "collectionName": job.job.collection_name,
        "completeTime": COMPLETE_TIME if job.state == "Completed" else "",
        "state": job.state,
        "progress": job.progress,
        "importedRows": job.imported_rows,
        "totalRows": job.rows if job.is_started else 0,
        "fileSize": sum(file.file_size for file in files),
        "reason": job.failed_reason,
        "details": [
            _clean(
                {
                    "fileName": file.file_name,
                    "fileSize": file.file_size,
                    "progress": file.progress,
                    "completeTime": file.complete_time,
                    "state": file.state,
                    "importedRows": file.imported_rows,
                    "totalRows": file.total_rows,
                    "reason": file.reason,
                },
                numbers_as_text=numbers_as_text,
            )
            for file in files
        ],
    }
    if with_create_time:
        data["createTime"] = job.job.create_time
    return _clean(data, numbers_as_text=numbers_as_text)


def list_data(jobs: list[JobSnapshot], *, numbers_as_text: bool) -> dict[str, Any]:
    """Return ``data`` of ``list``."""
    return {
        "records": [
            _clean(
                {
                    "jobId": job.job.job_id,
                    "collectionName": job.job.collection_name,
                    "state": job.state,
                    "progress": job.progress,
                    "reason": job.failed_reason,
                },
                numbers_as_text=numbers_as_text,
            )
            for job in jobs
        ]
    }


def _clean(data: dict[str, Any], *, numbers_as_text: bool) -> dict[str, Any]:
    """Leave out an empty reason, and convert numbers to text if requested."""
    if not data["reason"]:
        del data["reason"]
    if numbers_as_text:
        data.update({name: str(data[name]) for name in _NUMBERS & data.keys()})
    return data
