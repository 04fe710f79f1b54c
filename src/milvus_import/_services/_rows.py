"""The rows of a list of jobs, selected and decoded on demand."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, Final

from milvus_import_pb import internal_pb2

from .._errors import ArgumentError
from .._failures._grpc import bad_reply
from .._models import ImportJob, ImportState
from .._text import shorten
from ._requests import validate_job_id

JobRow = tuple[str, int | str, int, str]
"""One job of a list: collection name, state by number or name, progress, reason."""

STATES: Final[dict[int, ImportState]] = {
    number: ImportState(name) for name, number in internal_pb2.ImportJobState.items()
}


def pick_rows(
    job_ids: Sequence[str], columns: tuple[Sequence[Any], ...], wanted: Container[str] | None
) -> dict[str, JobRow]:
    """Return the rows of the wanted jobs, or of all jobs, in the server's order.

    ``columns`` are collection names, states, progresses and reasons. Raises ReplyError if all
    are wanted and one has an id that is not valid.
    """
    if wanted is None:
        ids = [validate_listed_id(job_id) for job_id in job_ids]
        return dict(zip(ids, zip(*columns, strict=True), strict=True))
    names, states, progresses, reasons = columns
    return {
        job_id: (names[index], states[index], progresses[index], reasons[index])
        for index, job_id in enumerate(job_ids)
        if job_id in wanted
    }


def decode_jobs(rows: dict[str, JobRow]) -> list[ImportJob]:
    """Return all rows as dataclasses, sorted by id."""
    return [decode_job(job_id, rows[job_id]) for job_id in sorted_ids(rows)]


def decode_job(job_id: str, row: JobRow) -> ImportJob:
    """Return one row as a dataclass."""
    collection_name, state, progress, reason = row
    return ImportJob(job_id, collection_name, state_of(state), progress, reason)


def state_of(state: int | str) -> ImportState:
    """Return a state by its number or name; an unknown one is kept as text."""
    known = STATES.get(state) if isinstance(state, int) else None
    return known or ImportState(str(state))


def sorted_ids(job_ids: Iterable[str]) -> list[str]:
    """Return decimal ids, sorted as numbers."""
    return sorted(job_ids, key=lambda job_id: (len(job_id), job_id))


def validate_listed_id(job_id: str) -> str:
    """Return the id of a listed job. Raises ReplyError if it is not valid."""
    try:
        return validate_job_id(job_id)
    except (ArgumentError, TypeError):
        text = f"the reply lists the job id {shorten(job_id)}, which is not valid"
        raise bad_reply(text) from None
