"""Import jobs whose progress is set by the test, by a script, or by a clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from milvus_import_pb import internal_pb2

# Each state with the percentage at which it ends, as Milvus' import engine weighs them.
_PHASES: Final = ((10, "Pending"), (70, "Importing"), (80, "Sorting"), (100, "IndexBuilding"))
# What Milvus reports as progress in states where it does not depend on the work done.
_PROGRESS: Final = {"Failed": 0, "Uncommitted": 99, "Committing": 99, "Completed": 100}


class ManualClock:
    """A clock that changes only when the test advances it."""

    now: float = 0.0
    """The time, in seconds."""

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock by this many seconds."""
        self.now += seconds


@dataclass(slots=True)
class FakeFile:
    """One file group of a job. Its progress follows the progress of the job."""

    name: str = "a.parquet"
    """Without the brackets. Several files of a group are separated by blanks."""
    size: int = 1_000_000
    """Bytes."""
    rows: int = 1_000
    reason: str = ""
    """If set, the state of the group is Failed."""


@dataclass
class FakeJob:
    """One import job of a FakeMilvus. Every attribute may be assigned at any time.

    With ``script``, each reply takes the next entry; the last entry repeats. With ``seconds``,
    state and progress follow the server's clock. Assigning ``state`` or ``progress`` stops both,
    and the job stays as assigned. In that case ``state`` also sets the progress that Milvus reports
    in it.
    """

    job_id: str = ""
    collection_name: str = "books"
    db_name: str = ""
    """"" is the database "default"."""
    state: str = "Pending"
    """A name of Milvus' ImportJobState, or any number as text."""
    progress: int = 0
    """Percent."""
    reason: str = ""
    """Why the job failed. Replies contain it only while the job is Failed."""
    files: list[FakeFile] = field(default_factory=lambda: [FakeFile()])
    script: Sequence[tuple[str, int]] = ()
    """One (state, progress) per reply."""
    seconds: float | None = None
    """Duration of the job on the server's clock."""
    auto_commit: bool = True
    """False: a job with ``seconds`` stops at Uncommitted until it is committed."""
    fails_at: int | None = None
    """The percentage at which a job with ``seconds`` fails, with ``reason``."""
    create_time: str = "2026-01-02T03:04:05Z"
    create_ts: int = 1_767_323_045
    hangs: bool = False
    """Calls for this job get no response; calls for other jobs do."""
    started: float = 0.0
    """Start time on the server's clock."""
    reply_count: int = 0
    """Number of replies that contained the job."""
    committed: tuple[float, float] | None = field(default=None, init=False, repr=False)
    """When it was committed on the server's clock, and the seconds until it is Completed."""
    _clock: Callable[[], float] | None = field(default=None, init=False, repr=False, compare=False)

    def __setattr__(self, name: str, value: object) -> None:
        """Stop the script and the clock if the state or the progress is assigned."""
        if name in {"state", "progress"} and self.stop() and name == "state":
            self.__dict__["progress"] = _PROGRESS.get(str(value), self.progress)
        super().__setattr__(name, value)

    def stop(self) -> bool:
        """Keep the values of this moment; return whether a script or a clock determined them."""
        is_driven = bool(self.script) or self.seconds is not None or self.committed is not None
        if self._clock is None or not is_driven:
            return False
        state, progress, reason = self._values()
        self.script, self.seconds, self.committed = (), None, None
        self.__dict__.update(state=state, progress=progress, reason=reason)
        return True

    def attach(self, clock: Callable[[], float]) -> None:
        """Start the job on the clock of a server."""
        self._clock, self.started = clock, clock()

    def peek(self) -> JobSnapshot:
        """Return the job as of this moment, without counting a reply."""
        state, progress, reason = self._values()
        is_started, rows = state not in {"Pending", "Failed"}, sum(file.rows for file in self.files)
        imported_rows = rows * min(max(progress - 10, 0), 60) // 60 if is_started else 0
        reason = reason if state == "Failed" else ""
        return JobSnapshot(self, state, progress, reason, is_started, rows, imported_rows)

    def count_reply(self) -> JobSnapshot:
        """Return the job as of this moment for a reply, and count the reply."""
        self.reply_count += 1
        return self.peek()

    def _values(self) -> tuple[str, int, str]:
        """Return state, progress and reason as of this moment."""
        now = self.started if self._clock is None else self._clock()
        if self.committed is not None:
            since, seconds = self.committed
            state = "Completed" if now - since >= seconds else "Committing"
            return state, _PROGRESS[state], ""
        if self.script:
            return *self.script[: max(self.reply_count, 1)][-1], self.reason
        if self.seconds is None:
            return self.state, self.progress, self.reason
        done = (now - self.started) / self.seconds if self.seconds > 0 else 1.0
        percent = min(int(done * 100), 100)
        if self.fails_at is not None and percent >= self.fails_at:
            return "Failed", 0, self.reason or "simulated failure"
        done_as = "Completed" if self.auto_commit else "Uncommitted"
        state = next((state for end, state in _PHASES if percent < end), done_as)
        return state, _PROGRESS.get(state, percent), self.reason


class JobSnapshot(NamedTuple):
    """A job with its state at one moment."""

    job: FakeJob
    state: str
    progress: int
    reason: str
    """Why the job failed, or ""."""
    is_started: bool
    """Whether Milvus reports files and total rows: from Importing on, and not if Failed."""
    rows: int
    """The rows of all files."""
    imported_rows: int
    """Rows written so far: all of them from 70 percent on."""

    @property
    def file_names(self) -> str:
        """The names of all files."""
        return ",".join(file.name for file in self.job.files)


def state_number(name: str) -> int:
    """Return the number of a state; a number as text is returned as that number."""
    states = internal_pb2.ImportJobState
    if not name.isdecimal() and name not in states.keys():  # noqa: SIM118 - no dict, it has no `in`
        known = ", ".join(states.keys())
        raise ValueError(f"state must be one of {known}, or a number as text, got {name!r}")
    return int(name) if name.isdecimal() else states.Value(name)
