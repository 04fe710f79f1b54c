"""What must come out of a reply, computed independently of the package's own mapping."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from milvus_import import (
    CallError,
    ImportJob,
    ImportState,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
)

DIGITS = frozenset("0123456789")
INTERNAL_STATES = (
    *("None", "Pending", "PreImporting", "Importing", "Failed", "Completed"),
    *("IndexBuilding", "Sorting", "Uncommitted", "Committing"),
)
PUBLIC_STATES = {0: "Pending", 1: "Failed", 6: "Completed", 7: "Failed"} | dict.fromkeys(
    (2, 5, 8), "Importing"
)


def is_job_id(text: str) -> bool:
    """Return whether it is a decimal int64 without a sign; leading zeros are accepted."""
    return 0 < len(text) <= 38 and set(text) <= DIGITS and int(text) < 2**63


def refusal(status: Any) -> type[MilvusImportError] | None:
    """Return the class of the error that a Status must end in, or None for success."""
    if not status.code and not status.error_code:
        return None
    text = f"{status.reason}\n{status.detail}".lower()
    of_imports = status.code in {0, 2100, 2101}
    keys = [part.partition("]")[0] for part in text.split("key not found[key=")[1:]]
    if of_imports and "import job does not exist" in text:
        return JobNotFoundError
    if any("/importtask/" in key for key in keys):  # Milvus 2.3
        return JobNotFoundError
    if of_imports and "number of jobs has reached the limit" in text:
        return JobLimitError
    if status.code in {0, 65535} and "import task queue max size" in text:  # Milvus 2.2 and 2.3
        return JobLimitError
    return MilvusStatusError


def failure(reply: Any, data: bytes | None = None) -> type[MilvusImportError] | None:
    """Return the class of the error that a whole reply must end in, or None for a result.

    ``data`` are the bytes of the reply, if they may hold what a message does not write again.
    """
    if error := refusal(reply.status):
        return error
    if not (reply.SerializeToString() if data is None else data):
        return CallError
    name = reply.DESCRIPTOR.name
    if name == "ImportResponse":
        return None if any(getattr(reply, f, None) for f in ("jobID", "tasks")) else CallError
    if name == "ListImportTasksResponse" and not all(task.id for task in reply.tasks):
        return UnsupportedServerError
    return None if _is_valid_list(reply) else CallError


def _is_valid_list(reply: Any) -> bool:
    """Return whether the columns are equally long and the ids are job ids; True for no list."""
    if "tasks" in _fields(reply):
        return all(task.id > 0 for task in reply.tasks)
    if "jobIDs" not in _fields(reply):
        return True
    columns = (reply.states, reply.reasons, reply.progresses, reply.collection_names)
    equal = all(len(column) == len(reply.jobIDs) for column in columns)
    return equal and all(map(is_job_id, reply.jobIDs))


def progress(reply: Any, job_id: str) -> dict[str, Any]:
    """Return the fields of ImportProgressData, details as dicts."""
    return _internal(reply, job_id) if "progress" in _fields(reply) else _public(reply, job_id)


def jobs(reply: Any) -> list[ImportJob]:
    """Return the jobs of a list that is valid; of a job listed twice, the last row counts."""
    if "tasks" in _fields(reply):
        names = ("job_id", "collection_name", "state", "progress", "reason")
        parts = [_public(task, str(task.id)) for task in reply.tasks]
        rows = [tuple(part[name] for name in names) for part in parts]
    else:
        states = [_internal_state(number) for number in reply.states]
        columns = (reply.jobIDs, reply.collection_names, states, reply.progresses, reply.reasons)
        by_id = {str(int(row[0])): row[1:] for row in zip(*columns, strict=True)}
        rows = [(job_id, *row) for job_id, row in by_id.items()]
    return [
        ImportJob(job_id, collection, ImportState(state), percent, reason)
        for job_id, collection, state, percent, reason in sorted(rows, key=lambda r: int(r[0]))
    ]


def _fields(message: Any) -> Any:
    return message.DESCRIPTOR.fields_by_name


def _internal_state(number: int) -> str:
    return INTERNAL_STATES[number] if 0 <= number < len(INTERNAL_STATES) else str(number)


_FIELDS = ["progress", "complete_time", "imported_rows", "total_rows", "reason"]


def _internal(reply: Any, job_id: str) -> dict[str, Any]:
    def fields(message: Any, *more: str) -> dict[str, Any]:
        return {name: getattr(message, name) for name in (*_FIELDS, *more)}

    tasks = reply.task_progresses
    return fields(reply, "collection_name", "create_time") | {
        "job_id": job_id,
        "state": _internal_state(reply.state),
        "file_size": sum(task.file_size for task in tasks),
        "details": [fields(task, "file_name", "file_size", "state") for task in tasks],
        "service": "internal",
    }


def _public(reply: Any, job_id: str) -> dict[str, Any]:
    infos: dict[str, str] = {info.key: info.value for info in reply.infos}
    percent = infos.get("progress_percent")
    reason = infos.get("failed_reason", "")
    state = PUBLIC_STATES.get(reply.state, str(reply.state))
    if (reply.state, reason, percent) == (1, "", "99"):
        state = "Uncommitted"
    if percent is None:
        percent = "100" if state == "Completed" else "0"
    digits = percent.removeprefix("-")
    is_number = 0 < len(digits) <= 19 and set(digits) <= DIGITS
    return dict.fromkeys(("total_rows", "file_size"), 0) | {
        "collection_name": infos.get("collection", ""),
        "job_id": job_id,
        "complete_time": "",
        "state": state,
        "progress": int(percent) if is_number else 0,
        "imported_rows": reply.row_count,
        "reason": reason,
        "details": [],
        "create_time": _time(reply.create_ts),
        "service": "public",
    }


def _time(seconds: int) -> str:
    if seconds == 0:
        return ""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:  # beyond the year 9999
        return ""
    return moment.isoformat().removesuffix("+00:00") + "Z"
