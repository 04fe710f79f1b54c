"""Import jobs that advance: by hand, by a script, or with a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

# What a 2.4+ server sends for a job's state on the public service: everything else is Failed.
_PUBLIC_STATES = {
    "Pending": common_pb2.ImportPending,
    "Importing": common_pb2.ImportStarted,
    "Completed": common_pb2.ImportCompleted,
}
_WRITTEN = 90  # from here on Milvus 2.3 may say ImportPersisted

# The share of the whole job that each state ends at, as Milvus' import engine weighs them.
_PHASES = ((10, "Pending"), (70, "Importing"), (80, "Sorting"), (100, "IndexBuilding"))


class ManualClock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        """The time, in seconds."""

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds."""
        self.now += seconds


@dataclass(slots=True)
class FakeFile:
    """One file group of a job. Its progress follows the job's."""

    name: str = "a.parquet"
    """Without the brackets; several files of a group with blanks between."""
    size: int = 1_000_000
    rows: int = 1_000
    reason: str = ""
    """Set it, and the group is Failed."""


@dataclass(slots=True)
class FakeJob:
    """One import job of a FakeMilvus. Set ``state``, ``progress``, ... at any time.

    With ``script`` each answer takes the next entry, and stays at the last. With ``seconds`` the
    state and the progress follow the server's clock.
    """

    job_id: str = ""
    collection_name: str = "books"
    db_name: str = ""
    state: str = "Pending"
    """A name of Milvus' ImportJobState, or any number as text."""
    progress: int = 0
    reason: str = ""
    files: list[FakeFile] = field(default_factory=lambda: [FakeFile()])
    script: Sequence[tuple[str, int]] = ()
    """(state, progress) of each answer in turn."""
    seconds: float | None = None
    """How long the job takes on the server's clock."""
    auto_commit: bool = True
    """False: a job by the clock stops at Uncommitted."""
    fails_at: int | None = None
    """The percentage at which a job by the clock fails, with ``reason``."""
    create_time: str = "2026-01-02T03:04:05Z"
    create_ts: int = 1_767_323_045
    started: float = 0.0
    """When, on the server's clock."""
    answered: int = 0
    """How many answers were given about it."""

    @property
    def rows(self) -> int:
        """The rows of all files."""
        return sum(file.rows for file in self.files)

    def at(self, now: float) -> Self:
        """The job as it is at this moment of the clock and of its script; counts the answer."""
        self.answered += 1
        if self.script:
            state, progress = self.script[min(self.answered, len(self.script)) - 1]
            return replace(self, state=state, progress=progress)
        if self.seconds is None:
            return self
        done = (now - self.started) / self.seconds if self.seconds > 0 else 1.0
        state, progress = self._by_clock(min(int(done * 100), 100))
        reason = self.reason or ("simulated failure" if state == "Failed" else "")
        return replace(self, state=state, progress=progress, reason=reason)

    def _by_clock(self, percent: int) -> tuple[str, int]:
        if self.fails_at is not None and percent >= self.fails_at:
            return "Failed", 0
        if percent >= 100:
            if self.auto_commit:
                return "Completed", 100
            return "Uncommitted", 99
        return next(state for end, state in _PHASES if percent < end), percent

    @property
    def imported_rows(self) -> int:
        """Rows written so far: all of them from 70 percent on."""
        if self.state in {"Pending", "Failed"}:
            return 0
        return self.rows * min(max(self.progress - 10, 0), 60) // 60

    def internal_reply(self) -> internal_pb2.GetImportProgressResponse:
        """What the internal service says of it."""
        known = self.state not in {"Pending", "Failed"}
        return internal_pb2.GetImportProgressResponse(
            status=common_pb2.Status(),
            state=state_number(self.state),
            reason=self.reason if self.state == "Failed" else "",
            progress=self.progress,
            collection_name=self.collection_name,
            complete_time="2026-01-02T03:14:05Z" if self.state == "Completed" else "",
            task_progresses=[self._task(file) for file in self.files] if known else [],
            imported_rows=self.imported_rows,
            total_rows=self.rows if known else 0,
            create_time=self.create_time,
        )

    def _task(self, file: FakeFile) -> internal_pb2.ImportTaskProgress:
        percent = min(max(self.progress - 10, 0) * 100 // 60, 100)
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

    def public_reply(self) -> milvus_pb2.GetImportStateResponse:
        """What the public service of Milvus 2.4+ says of it."""
        waits = self.state in {"Uncommitted", "Committing"}
        number = _PUBLIC_STATES.get(
            "Importing"
            if self.state in {"PreImporting", "Sorting", "IndexBuilding"}
            else self.state,
            common_pb2.ImportFailed,
        )
        return milvus_pb2.GetImportStateResponse(
            status=common_pb2.Status(),
            state=number,
            row_count=self.imported_rows,
            infos=[
                _pair("failed_reason", self.reason if self.state == "Failed" else ""),
                _pair("progress_percent", "99" if waits else str(self.progress)),
            ],
            create_ts=self.create_ts,
        )

    def old_public_reply(self) -> milvus_pb2.GetImportStateResponse:
        """What Milvus 2.3 says of it: with its id, and more infos."""
        number = _PUBLIC_STATES.get(self.state, common_pb2.ImportStarted)
        if self.state == "Failed":
            number = common_pb2.ImportFailed
        elif self.state == "IndexBuilding" and self.progress >= _WRITTEN:
            number = common_pb2.ImportPersisted
        infos = [
            _pair("files", ",".join(file.name for file in self.files)),
            _pair("collection", self.collection_name),
            _pair("partition", "_default"),
            _pair("failed_reason", self.reason if self.state == "Failed" else ""),
        ]
        if self.progress or self.state == "Failed":
            infos.append(_pair("progress_percent", str(self.progress)))
        written = number in {common_pb2.ImportPersisted, common_pb2.ImportCompleted}
        if written:
            infos.append(_pair("persist_cost", "0.65"))
        return milvus_pb2.GetImportStateResponse(
            status=common_pb2.Status(),
            state=number,
            row_count=self.imported_rows if written else 0,
            infos=infos,
            id=int(self.job_id),
            create_ts=self.create_ts,
        )


def state_number(name: str) -> int:
    """The number of a state; a number as text stands for itself."""
    if name.isdecimal():
        return int(name)
    if name not in internal_pb2.ImportJobState.keys():  # noqa: SIM118 - no dict, it has no `in`
        known = ", ".join(internal_pb2.ImportJobState.keys())
        raise ValueError(f"unknown state {name!r}; there are {known}, and numbers as text")
    return internal_pb2.ImportJobState.Value(name)


def _pair(key: str, value: str) -> common_pb2.KeyValuePair:
    return common_pb2.KeyValuePair(key=key, value=value)
