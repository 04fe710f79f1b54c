"""What must come out of a reply, worked out apart from the package's own mapping."""

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
    "None",
    "Pending",
    "PreImporting",
    "Importing",
    "Failed",
    "Completed",
    "IndexBuilding",
    "Sorting",
    "Uncommitted",
    "Committing",
)
PUBLIC_STATES = {
    0: "Pending",
    1: "Failed",
    2: "Importing",
    5: "Importing",
    6: "Completed",
    7: "Failed",
    8: "Importing",
}


def is_job_id(text: str) -> bool:
    return 0 < len(text) <= 19 and set(text) <= DIGITS and int(text) < 2**63


def refusal(status: Any) -> type[MilvusImportError] | None:
    """The class of the error that a Status must end in, or None for success."""
    if not status.code and not status.error_code:
        return None
    text = f"{status.reason}\n{status.detail}".lower()
    of_imports = status.code in {0, 2100, 2101}
    if (of_imports and "import job does not exist" in text) or (
        "key not found" in text and "/importtask/" in text
    ):
        return JobNotFoundError
    if of_imports and "number of jobs has reached the limit" in text:
        return JobLimitError
    return MilvusStatusError


def failure(reply: Any) -> type[MilvusImportError] | None:
    """The class of the error that a whole reply must end in, or None for an answer."""
    if error := refusal(reply.status):
        return error
    if not reply.SerializeToString():
        return CallError
    name = reply.DESCRIPTOR.name
    if name == "ImportResponse":
        return None if any(getattr(reply, f, None) for f in ("jobID", "tasks")) else CallError
    if name == "ListImportTasksResponse" and not all(task.id for task in reply.tasks):
        return UnsupportedServerError
    if name == "ListImportsResponse":
        columns = (reply.states, reply.reasons, reply.progresses, reply.collection_names)
        return CallError if any(len(c) != len(reply.jobIDs) for c in columns) else None
    return None


def progress(reply: Any, job_id: str) -> dict[str, Any]:
    """The fields of ImportProgressData, details as dicts."""
    return _internal(reply, job_id) if "progress" in _fields(reply) else _public(reply, job_id)


def jobs(reply: Any) -> list[ImportJob]:
    if "tasks" in _fields(reply):
        names = ("job_id", "collection_name", "state", "progress", "reason")
        parts = [_public(task, str(task.id)) for task in reply.tasks]
        rows = [tuple(part[name] for name in names) for part in parts]
    else:
        states = [_internal_state(number) for number in reply.states]
        columns = (reply.jobIDs, reply.collection_names, states, reply.progresses, reply.reasons)
        rows = list(zip(*columns, strict=True))
    return [
        ImportJob(job_id, collection, ImportState(state), percent, reason)
        for job_id, collection, state, percent, reason in sorted(rows, key=_by_number)
    ]


def _by_number(row: tuple[str, ...]) -> tuple[int, str]:
    """Sorts job ids as numbers, and what is no number by its text."""
    return (int(row[0]) if is_job_id(row[0]) else 0, row[0])


def _fields(message: Any) -> Any:
    return message.DESCRIPTOR.fields_by_name


def _internal_state(number: int) -> str:
    return INTERNAL_STATES[number] if 0 <= number < len(INTERNAL_STATES) else str(number)


def _internal(reply: Any, job_id: str) -> dict[str, Any]:
    tasks = reply.task_progresses
    same = "file_name file_size progress complete_time state imported_rows total_rows reason"
    return {
        "collection_name": reply.collection_name,
        "job_id": job_id,
        "complete_time": reply.complete_time,
        "state": _internal_state(reply.state),
        "progress": reply.progress,
        "imported_rows": reply.imported_rows,
        "total_rows": reply.total_rows,
        "reason": reply.reason,
        "file_size": sum(task.file_size for task in tasks),
        "details": [{name: getattr(task, name) for name in same.split()} for task in tasks],
        "create_time": reply.create_time,
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
    return {
        "collection_name": infos.get("collection", ""),
        "job_id": job_id,
        "complete_time": "",
        "state": state,
        "progress": int(percent) if is_number else 0,
        "imported_rows": reply.row_count,
        "total_rows": 0,
        "reason": reason,
        "file_size": 0,
        "details": [],
        "create_time": _time(reply.create_ts),
        "service": "public",
    }


def _time(seconds: int) -> str:
    if seconds == 0:
        return ""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:  # no year of four digits
        return ""
    return moment.isoformat().removesuffix("+00:00") + "Z"
