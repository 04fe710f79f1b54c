"""What the calls return: plain dataclasses with the field names of Milvus' Go SDK, in snake_case.

Values stay as the server sent them; what can be derived from them is a property.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    import grpc

Service = Literal["internal", "public", "rest"]
"""Which service answered: ``milvus.proto.proxy.Proxy`` or ``milvus.proto.milvus.MilvusService``."""

_FILE_BOUNDARY = r"(?i)(?<=\.npy) |(?<=\.csv) |(?<=\.json) |(?<=\.parquet) "


class ImportState(StrEnum):
    """Where an import job stands; the names are Milvus' ``ImportJobState``.

    A state of a newer server that has no name here is kept as its number: ``ImportState("11")``.
    """

    NONE = "None"
    PENDING = "Pending"
    PRE_IMPORTING = "PreImporting"
    IMPORTING = "Importing"
    FAILED = "Failed"
    COMPLETED = "Completed"
    INDEX_BUILDING = "IndexBuilding"
    SORTING = "Sorting"
    UNCOMMITTED = "Uncommitted"
    COMMITTING = "Committing"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown

    @property
    def done(self) -> bool:
        """Whether a job in this state has ended."""
        return self == "Completed" or self == "Failed"  # noqa: PLR1714 - two compares, no set


@dataclass(slots=True)
class ImportJob:
    """One line of a job list."""

    job_id: str
    collection_name: str
    state: ImportState
    progress: int
    """Percent, raw."""
    reason: str
    """Why the job failed, or ""."""

    @property
    def done(self) -> bool:
        """Whether the job has ended, completed or failed."""
        return self.state.done

    @property
    def fraction(self) -> float:
        """``progress`` as 0.0 to 1.0, clamped."""
        return _fraction(self.progress)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values under the names used elsewhere: ``jobId``, ``collectionName``, ..."""
        return {
            "jobId": self.job_id,
            "collectionName": self.collection_name,
            "state": str(self.state),
            "progress": self.progress,
            "reason": self.reason,
        }


@dataclass(slots=True)
class ImportProgressDetail:
    """One file group of a job; only the internal service sends these."""

    file_name: str
    """The group's files as the server prints them: ``[a.parquet]``, ``[id.npy v.npy]``."""
    file_size: int
    """Bytes of the group's files."""
    progress: int
    """Percent, 0 to 100."""
    complete_time: str
    """RFC 3339 in the server's zone; "" until complete."""
    state: str
    """Pending, InProgress, Failed, Completed or Retry."""
    imported_rows: int
    total_rows: int
    reason: str = ""
    """Why the group failed, or ""."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The group's files one by one, read out of ``file_name``.

        The server joins them with blanks, so a name is taken to end at its suffix
        (.npy, .csv, .json, .parquet); where there is none, at the blank.
        """
        inner = self.file_name.removeprefix("[").removesuffix("]")
        parts = re.split(_FILE_BOUNDARY, inner)
        if len(parts) == 1 and not inner.lower().endswith((".npy", ".csv", ".json", ".parquet")):
            parts = inner.split()
        return tuple(parts)

    @property
    def fraction(self) -> float:
        """``progress`` as 0.0 to 1.0, clamped."""
        return _fraction(self.progress)

    def to_dict(self) -> dict[str, Any]:
        """The Go struct's JSON names in its order, then ``reason``."""
        return {
            "fileName": self.file_name,
            "fileSize": self.file_size,
            "progress": self.progress,
            "completeTime": self.complete_time,
            "state": self.state,
            "importedRows": self.imported_rows,
            "totalRows": self.total_rows,
            "reason": self.reason,
        }


@dataclass(slots=True)
class ImportProgressData:
    """The progress of one import job at one moment."""

    collection_name: str
    """"" where a 2.4+ server answered on the public service."""
    job_id: str
    complete_time: str
    """RFC 3339 in the server's zone; "" until complete, and always on the public service."""
    state: ImportState
    progress: int
    """Percent. Raw: not monotone, 0 when failed, from a broken server even negative."""
    imported_rows: int
    total_rows: int
    """0 until the import has started, and always on the public service."""
    reason: str
    """Why the job failed, or ""."""
    file_size: int
    """Bytes of all files; 0 on the public service."""
    details: list[ImportProgressDetail]
    """One entry per file group; empty before Importing and on the public service."""
    create_time: str
    """RFC 3339; "" when not told."""
    service: Service
    """Which service answered."""

    @property
    def done(self) -> bool:
        """Whether the job has ended, completed or failed."""
        return self.state.done

    @property
    def detailed(self) -> bool:
        """Whether total rows, sizes and files are reported; "public" does not report them."""
        return self.service != "public"

    @property
    def fraction(self) -> float:
        """``progress`` as 0.0 to 1.0, clamped."""
        return _fraction(self.progress)

    @property
    def created_at(self) -> datetime | None:
        """``create_time`` as an aware datetime, or None."""
        return _moment(self.create_time)

    @property
    def completed_at(self) -> datetime | None:
        """``complete_time`` as an aware datetime, or None."""
        return _moment(self.complete_time)

    @property
    def job(self) -> ImportJob:
        """The part of it that a job list tells too."""
        return ImportJob(self.job_id, self.collection_name, self.state, self.progress, self.reason)

    def to_dict(self) -> dict[str, Any]:
        """The Go struct's JSON names in its order, then ``createTime`` and ``service``."""
        return {
            "collectionName": self.collection_name,
            "jobId": self.job_id,
            "completeTime": self.complete_time,
            "state": str(self.state),
            "progress": self.progress,
            "importedRows": self.imported_rows,
            "totalRows": self.total_rows,
            "reason": self.reason,
            "fileSize": self.file_size,
            "details": [detail.to_dict() for detail in self.details],
            "createTime": self.create_time,
            "service": self.service,
        }


@dataclass(slots=True)
class GetImportProgressResponse:
    """The answer to ``get_import_progress``."""

    status: int
    """Always 0: a refusal is raised as RefusedError."""
    message: str
    """The server's word beside the 0, usually ""."""
    data: ImportProgressData

    @property
    def service(self) -> Service:
        """Which service answered."""
        return self.data.service

    def to_dict(self) -> dict[str, Any]:
        """``status``, ``message``, ``data`` as JSON-ready values."""
        return {"status": self.status, "message": self.message, "data": self.data.to_dict()}


@dataclass(slots=True)
class CallRecord:
    """What happened in one RPC; handed to ``on_finish`` and kept by ``CallError.record``."""

    service: Service
    method: str
    """The method's full name: ``milvus.proto.proxy.Proxy/GetImportProgress``."""
    code: grpc.StatusCode
    details: str
    initial_metadata: tuple[tuple[str, str | bytes], ...] = field(repr=False)
    """What the server sent ahead of its reply."""
    trailing_metadata: tuple[tuple[str, str | bytes], ...] = field(repr=False)
    """What the server sent behind its reply."""
    elapsed: float
    """Seconds from sending to the end."""


def _fraction(percent: int) -> float:
    return min(max(percent, 0), 100) / 100


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
