"""The results of the methods: dataclasses with the field names of Milvus' Go SDK, in snake_case.

Values are as the server sent them; what can be derived from them is a property.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from ._errors import EXCERPT

if TYPE_CHECKING:
    import grpc

Service = Literal["internal", "public", "rest", "cloud"]
"""The service that responded: ``milvus.proto.proxy.Proxy`` (internal),
``milvus.proto.milvus.MilvusService`` (public), the REST API, or Zilliz Cloud."""

_FILE_BOUNDARY = r"(?i)(?<=\.npy) |(?<=\.csv) |(?<=\.json) |(?<=\.parquet) "
_SHOWN_ENTRIES = 3
"""Entries of a list that a repr shows."""


class ImportState(StrEnum):
    """The state of an import job; the names are those of Milvus' ``ImportJobState``.

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

    # By value, as later Pythons do: 3.11.2, of Debian 12, looks up the name, which is unknown.
    def __reduce_ex__(self, protocol: object) -> tuple[type[Self], tuple[str]]:
        return type(self), (str(self),)

    @property
    def done(self) -> bool:
        """Whether a job in this state has ended."""
        return self == "Completed" or self == "Failed"  # noqa: PLR1714 - two compares, no set


class _Record:
    """A dataclass with a short repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show the fields, with long texts and lists truncated."""
        shown = [
            f"{f.name}={_cut(getattr(self, f.name))}" for f in fields(cast("Any", self)) if f.repr
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


class _Result(_Record):
    """A result of a method, which can be converted to JSON."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values under the names of the Go structs: ``jobId``, ``state``, ..."""
        return {_camel(f.name): _plain(getattr(self, f.name)) for f in fields(cast("Any", self))}


class _Progressing(_Result):
    """A result with ``progress`` in percent."""

    __slots__ = ()

    progress: int

    @property
    def fraction(self) -> float:
        """``progress`` as 0.0 to 1.0, clamped."""
        return min(max(self.progress, 0), 100) / 100


class _Stateful(_Progressing):
    """A job in a state."""

    __slots__ = ()

    state: ImportState

    @property
    def done(self) -> bool:
        """Whether the job has ended, completed or failed."""
        return self.state.done


@dataclass(slots=True, repr=False)
class ImportJob(_Stateful):
    """One job of a job list."""

    job_id: str
    collection_name: str
    state: ImportState
    progress: int
    """Percent, as the server sent it."""
    reason: str
    """Why the job failed, or ""."""


@dataclass(slots=True, repr=False)
class ImportProgressDetail(_Progressing):
    """One file group of a job; the internal service and REST report these."""

    file_name: str
    """The group's files as the server prints them: ``[a.parquet]``, ``[id.npy v.npy]``."""
    file_size: int
    """Bytes of the group's files."""
    progress: int
    """Percent, 0 to 100."""
    complete_time: str
    """RFC 3339 in the server's time zone; "" until complete."""
    state: str
    """Pending, InProgress, Failed, Completed or Retry."""
    imported_rows: int
    total_rows: int
    reason: str = ""
    """Why the group failed, or ""."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of the group, read from ``file_name``.

        The server joins them with spaces. A name ends at its suffix (.npy, .csv, .json,
        .parquet), or at the next space if it has none of these.
        """
        inner = self.file_name.removeprefix("[").removesuffix("]")
        parts = re.split(_FILE_BOUNDARY, inner)
        if len(parts) == 1 and not inner.lower().endswith((".npy", ".csv", ".json", ".parquet")):
            parts = inner.split()
        return tuple(parts)


@dataclass(slots=True, repr=False)
class ImportProgressData(_Stateful):
    """The progress of one import job at one moment."""

    collection_name: str
    """The collection; "" from the public service of Milvus 2.4+."""
    job_id: str
    complete_time: str
    """RFC 3339 in the server's time zone; "" until complete, and on the public service."""
    state: ImportState
    progress: int
    """Percent, as the server sent it: not monotone, 0 when failed."""
    imported_rows: int
    total_rows: int
    """0 until the import has started, and on the public service."""
    reason: str
    """Why the job failed, or ""."""
    file_size: int
    """Bytes of all files; 0 on the public service."""
    details: list[ImportProgressDetail]
    """One entry per file group; empty before Importing and on the public service."""
    create_time: str
    """RFC 3339; "" if it is not reported."""
    service: Service
    """The service that responded."""

    @property
    def detailed(self) -> bool:
        """Whether total rows, sizes and files are reported; "public" does not report them."""
        return self.service != "public"

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
        """The fields that a job list also has."""
        return ImportJob(self.job_id, self.collection_name, self.state, self.progress, self.reason)


@dataclass(slots=True, repr=False)
class GetImportProgressResponse(_Result):
    """The response of ``get_import_progress``."""

    status: int
    """Always 0: another status is raised as MilvusStatusError."""
    message: str
    """The message of the status, usually ""."""
    data: ImportProgressData

    @property
    def service(self) -> Service:
        """The service that responded."""
        return self.data.service


@dataclass(slots=True, repr=False)
class CallRecord(_Record):
    """What happened in one RPC: the argument of ``on_finish``, and ``CallError.record``."""

    service: Service
    method: str
    """``milvus.proto.proxy.Proxy/GetImportProgress``; for REST the path."""
    code: grpc.StatusCode
    details: str
    initial_metadata: tuple[tuple[str, str | bytes], ...] = field(repr=False)
    """Metadata that the server sent before its reply; for REST the headers without cookies."""
    trailing_metadata: tuple[tuple[str, str | bytes], ...] = field(repr=False)
    """Metadata that the server sent after its reply."""
    elapsed: float
    """Seconds from the start of the RPC to its end."""


def _cut(value: object) -> str:
    if isinstance(value, str) and len(value) > EXCERPT:
        return f"{value[:EXCERPT]!r}..."
    if isinstance(value, list):
        entries = cast("list[object]", value)
        more = len(entries) - _SHOWN_ENTRIES
        shown = ", ".join([repr(entry) for entry in entries[:_SHOWN_ENTRIES]])
        return f"[{shown}, ... {more:,} more]" if more > 0 else f"[{shown}]"
    return repr(value)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)


def _plain(value: object) -> object:
    if isinstance(value, _Result):
        return value.to_dict()
    if isinstance(value, list):
        return [_plain(entry) for entry in cast("list[object]", value)]
    return str(value) if isinstance(value, ImportState) else value


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
