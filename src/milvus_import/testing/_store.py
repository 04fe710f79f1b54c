"""The jobs of a simulated Milvus and the rules for them, independent of transport."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from milvus_import._request import check_job_id

from ._jobs import ABORTED, FakeFile, FakeJob, JobSnapshot, state_number

Version = Literal["2.3", "2.4", "2.5", "2.6", "3.0"]

DEFAULT_DATABASE: Final = "default"
_FIRST_JOB_ID: Final = 450_000_000_000_000_001
_INT64: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_ONE_PER_GROUP: Final = (
    "for JSON or parquet file, each task only accepts one file, not allowed to input multiple files"
)
_JOB_LIMIT: Final = (
    "The number of jobs has reached the limit, please try again later. If your request is set to "
    "only import a single file, please consider importing multiple files in one request for better "
    "efficiency."
)


class StatusError(Exception):
    """A Milvus Status that is not Success."""

    def __init__(self, code: int, reason: str, *, error_code: int = 1) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.error_code = error_code
        """The same in the numbering of Milvus 2.2."""


@dataclass(slots=True, frozen=True)
class NewImport:
    """What a client requests when it creates a job."""

    collection_name: str
    db_name: str
    groups: Sequence[Sequence[str]]
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    idempotency_key: str = ""


class JobStore:
    """The jobs and the settings of a simulated Milvus. FakeMilvus documents the constructor."""

    def __init__(self, *, version: Version, token: str | None, clock: Callable[[], float]) -> None:
        self.version = version
        self.token = token
        self.clock = clock
        self.jobs: dict[str, FakeJob] = {}
        """The jobs by id. After ``del server.jobs[job_id]`` the job no longer exists."""
        self.collections: set[str] | None = None
        """Names of the collections that exist, in every database; None accepts every name."""
        self.databases: set[str] | None = None
        """Names of the databases that exist; None accepts every name."""
        self.import_seconds: float | None = 1.0
        """``seconds`` of the jobs that ``create_import`` creates; 0 completes them immediately."""
        self.fail_imports: str | None = None
        """If set, jobs that ``create_import`` creates fail after ``import_seconds``, with this
        reason."""
        self.commit_seconds = 0.0
        """How long a committed job stays in the state Committing."""
        self.max_jobs: int | None = None
        """The number of unfinished jobs from which ``create_import`` returns the job limit."""
        self.random = random.Random()  # noqa: S311 - the order of a list, no secret
        """Shuffles job lists. Assign ``random.Random(seed)`` for a repeatable order."""
        self._next_id = _FIRST_JOB_ID
        self._by_key: dict[str, str] = {}

    @property
    def version(self) -> Version:
        """The Milvus version that is simulated."""
        return self._version

    @version.setter
    def version(self, version: Version) -> None:
        if version not in get_args(Version):
            known = ", ".join(map(repr, get_args(Version)))
            raise ValueError(f"version must be one of {known}, got {version!r}")
        self._version: Version = version

    def is_at_least(self, version: Version) -> bool:
        """Return whether the simulated version is this one or newer."""
        order = get_args(Version)
        return order.index(self.version) >= order.index(version)

    def add_job(self, job: FakeJob | None = None, **fields: Any) -> FakeJob:
        """Add a job, or create one: ``add_job(collection_name="books", seconds=600)``.

        ``fields`` are those of FakeJob. Without ``job_id`` the job gets the next free id. Raises
        ValueError for an id that exists, and for an id or a state that no Milvus reports.
        """
        if job is not None and fields:
            raise TypeError("add_job takes a FakeJob or its fields, not both")
        job = job or FakeJob(**fields)
        if not job.job_id:
            job.job_id = self._free_id()
        check_job_id(job.job_id)
        if job.job_id in self.jobs:
            raise ValueError(
                f"job_id must be new, got {job.job_id!r}. Delete the other job from `jobs` first."
            )
        for file in job.files:
            if not isinstance(file, FakeFile):
                raise TypeError(f"files must contain FakeFile objects, got {file!r}")
        for state in (job.state, *(state for state, _ in job.script)):
            state_number(state)
        job.attach(self.clock_now)
        self.jobs[job.job_id] = job
        return job

    def clock_now(self) -> float:
        """Return the time on the current clock, which may be replaced later."""
        return self.clock()

    def _free_id(self) -> str:
        while str(self._next_id) in self.jobs:
            self._next_id += 1
        self._next_id += 1
        return str(self._next_id - 1)

    # Rules. Each raises StatusError where Milvus returns another Status.

    def find(self, job_id: str) -> JobSnapshot:
        """Return a job by its id, in whichever database, and count the reply."""
        return self._existing(job_id).at(self.clock())

    def _existing(self, job_id: str) -> FakeJob:
        job = self.jobs.get(job_id)
        if job is not None:
            return job
        if self.version == "2.3":
            raise StatusError(1000, f"key not found[key=by-dev/meta/importtask/{job_id}]")
        fault = int64_fault(job_id)
        if fault:
            raise StatusError(2100, f"parse job id failed, err=%w{fault}: importing data failed")
        raise self._import_error(f"import job does not exist, jobID={job_id}")

    def list_jobs(self, collection_name: str, db_name: str) -> list[JobSnapshot]:
        """Return the jobs of a collection of a database, or all jobs of all databases, shuffled.

        ``db_name`` is ignored without ``collection_name``, as Milvus does.
        """
        jobs = list(self.jobs.values())
        if collection_name:
            self._check_collection(collection_name, db_name)
            jobs = [
                job
                for job in jobs
                if job.collection_name == collection_name
                and database(job.db_name) == database(db_name)
            ]
        self.random.shuffle(jobs)
        now = self.clock()
        return [job.at(now) for job in jobs]

    def create(self, new: NewImport) -> FakeJob:
        """Create a job."""
        if not any(new.groups):
            reason = "import request is empty: invalid parameter"
            raise StatusError(1100, reason, error_code=5)
        self._check_collection(new.collection_name, new.db_name, creating=True)
        if self.version == "2.3" and any(map(_is_mixed, new.groups)):
            raise StatusError(65535, _ONE_PER_GROUP)
        self._check_limit()
        key = new.idempotency_key if self.is_at_least("2.6") else ""
        if key and self._by_key.get(key) in self.jobs:
            return self.jobs[self._by_key[key]]
        job = self._create(new)
        if key:
            self._by_key[key] = job.job_id
        return job

    def _create(self, new: NewImport) -> FakeJob:
        commits = self.version != "3.0" or new.options.get("auto_commit") != "false"
        return self.add_job(
            collection_name=new.collection_name,
            db_name=new.db_name,
            files=[FakeFile(name=" ".join(group)) for group in new.groups],
            seconds=self.import_seconds,
            auto_commit=commits,
            fails_at=None if self.fail_imports is None else 100,
            reason=self.fail_imports or "",
        )

    def commit(self, job_id: str) -> None:
        """Commit a job. Committed once is enough: later commits change nothing."""
        job, now = self._existing(job_id), self.clock()
        state = job.peek(now).state
        if job.auto_commit:
            raise self._import_error(f"job {job_id} has auto_commit=true, commit not allowed")
        if state in {"Committing", "Completed"}:
            return
        if state != "Uncommitted":
            raise self._import_error(f"job {job_id} is in state {state}, commit not allowed")
        job.commit(now, self.commit_seconds)

    def abort(self, job_id: str) -> None:
        """Abort a job. An aborted job stays aborted: later aborts change nothing."""
        job = self._existing(job_id)
        snapshot = job.peek(self.clock())
        if job.auto_commit:
            raise self._import_error(f"job {job_id} has auto_commit=true, abort not allowed")
        if snapshot.state == "Failed" and snapshot.reason == ABORTED:
            return
        if snapshot.ended or snapshot.state == "Committing":
            raise self._import_error(
                f"job {job_id} is in terminal/committed state {snapshot.state}, abort not allowed"
            )
        job.abort()

    def check_database(self, db_name: str) -> None:
        """Raise StatusError for a database that does not exist."""
        name = database(db_name)
        if self.databases is not None and name not in self.databases | {DEFAULT_DATABASE}:
            raise StatusError(800, f"database not found[database={name}]")

    def _check_collection(self, name: str, db_name: str, *, creating: bool = False) -> None:
        self.check_database(db_name)
        if self.collections is None or name in self.collections:
            return
        where = f"[database={database(db_name)}][collection={name}]"
        if self.version != "2.3":
            raise StatusError(100, f"collection not found{where}", error_code=4)
        if creating:  # a real one retries for up to 52 s first
            reason = f"attempt #9: rpc error: code = Unknown desc = collection not found{where}"
            raise StatusError(65535, reason)
        reason = f"failed to find collection ID from its name: '{name}'"
        raise StatusError(100, reason, error_code=4)

    def _check_limit(self) -> None:
        if self.max_jobs is None:
            return
        now = self.clock()
        unfinished = sum(not job.peek(now).ended for job in self.jobs.values())
        if unfinished < self.max_jobs:
            return
        if self.version == "2.3":
            raise StatusError(
                65535,
                f"import task queue max size is {self.max_jobs}, currently there are {unfinished} "
                "tasks is pending. Not able to execute this request with 1 tasks",
            )
        raise self._import_error(_JOB_LIMIT)

    def _import_error(self, text: str) -> StatusError:
        """Return the Status of a failed import request; newest servers use another code."""
        code = 2101 if self.is_at_least("3.0") else 2100
        return StatusError(code, f"{text}: importing data failed")


def database(db_name: str) -> str:
    """Return the name of a database; "" is the default one."""
    return db_name or DEFAULT_DATABASE


def int64_fault(text: str) -> str:
    """Return why Go's ParseInt does not take a text, or ""."""
    quoted = f'strconv.ParseInt: parsing "{text}"'
    if not _INT64.fullmatch(text):
        return f"{quoted}: invalid syntax"
    if not -(2**63) <= int(text[:30]) < 2**63:
        return f"{quoted}: value out of range"
    return ""


def _is_mixed(group: Sequence[str]) -> bool:
    """Return whether a file group has several files that are not all .npy columns."""
    return len(group) > 1 and not all(path.endswith(".npy") for path in group)
