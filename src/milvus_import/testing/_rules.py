"""What Milvus does with the requests for import jobs, independent of transport."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from ._jobs import ABORTED, FakeFile, FakeJob, JobSnapshot
from ._store import JobStore, Version

_DEFAULT_DATABASE: Final = "default"
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
    options: Mapping[str, str]
    idempotency_key: str


class Rules:
    """The requests. Each raises StatusError where Milvus returns a Status that is not Success."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._by_key: dict[str, str] = {}

    def is_at_least(self, version: Version) -> bool:
        """Return whether the simulated version is this one or newer."""
        order = get_args(Version)
        return order.index(self._store.version) >= order.index(version)

    def find(self, job_id: str) -> JobSnapshot:
        """Return a job of any database by its id, and count the reply."""
        return self._existing(job_id).at(self._store.clock())

    def _existing(self, job_id: str) -> FakeJob:
        job = self._store.jobs.get(job_id)
        if job is not None:
            return job
        if self._store.version == "2.3":
            raise StatusError(1000, f"key not found[key=by-dev/meta/importtask/{job_id}]")
        fault = int64_fault(job_id)
        if fault:
            raise StatusError(2100, f"parse job id failed, err=%w{fault}: importing data failed")
        raise self._import_error(f"import job does not exist, jobID={job_id}")

    def list_jobs(self, collection_name: str, db_name: str) -> list[JobSnapshot]:
        """Return the jobs of a collection of a database, or all jobs of all databases, shuffled.

        ``db_name`` is ignored without ``collection_name``, as Milvus does.
        """
        jobs = list(self._store.jobs.values())
        if collection_name:
            self._check_collection(collection_name, db_name)
            jobs = [
                job
                for job in jobs
                if job.collection_name == collection_name
                and database(job.db_name) == database(db_name)
            ]
        self._store.random.shuffle(jobs)
        now = self._store.clock()
        return [job.at(now) for job in jobs]

    def create(self, new: NewImport) -> FakeJob:
        """Create a job."""
        if not any(new.groups):
            reason = "import request is empty: invalid parameter"
            raise StatusError(1100, reason, error_code=5)
        self._check_collection(new.collection_name, new.db_name, creating=True)
        if self._store.version == "2.3" and any(map(_is_mixed, new.groups)):
            raise StatusError(65535, _ONE_PER_GROUP)
        self._check_limit()
        key = new.idempotency_key if self.is_at_least("2.6") else ""
        if key and self._by_key.get(key) in self._store.jobs:
            return self._store.jobs[self._by_key[key]]
        job = self._create(new)
        if key:
            self._by_key[key] = job.job_id
        return job

    def _create(self, new: NewImport) -> FakeJob:
        commits = self._store.version != "3.0" or new.options.get("auto_commit") != "false"
        return self._store.add_job(
            collection_name=new.collection_name,
            db_name=new.db_name,
            files=[FakeFile(name=" ".join(group)) for group in new.groups],
            seconds=self._store.import_seconds,
            auto_commit=commits,
            fails_at=None if self._store.fail_imports is None else 100,
            reason=self._store.fail_imports or "",
        )

    def commit(self, job_id: str) -> None:
        """Commit a job. Idempotent: later commits change nothing."""
        job, now = self._existing(job_id), self._store.clock()
        state = job.peek(now).state
        if job.auto_commit:
            raise self._import_error(f"job {job_id} has auto_commit=true, commit not allowed")
        if state in {"Committing", "Completed"}:
            return
        if state != "Uncommitted":
            raise self._import_error(f"job {job_id} is in state {state}, commit not allowed")
        job.commit(now, self._store.commit_seconds)

    def abort(self, job_id: str) -> None:
        """Abort a job. Idempotent: later aborts change nothing."""
        job = self._existing(job_id)
        snapshot = job.peek(self._store.clock())
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
        name, known = database(db_name), self._store.databases
        if known is not None and name not in {*known, _DEFAULT_DATABASE}:
            raise StatusError(800, f"database not found[database={name}]")

    def _check_collection(self, name: str, db_name: str, *, creating: bool = False) -> None:
        self.check_database(db_name)
        if self._store.collections is None or name in self._store.collections:
            return
        where = f"[database={database(db_name)}][collection={name}]"
        if self._store.version != "2.3":
            raise StatusError(100, f"collection not found{where}", error_code=4)
        if creating:  # a real server retries for up to 52 s first
            reason = f"attempt #9: rpc error: code = Unknown desc = collection not found{where}"
            raise StatusError(65535, reason)
        reason = f"failed to find collection ID from its name: '{name}'"
        raise StatusError(100, reason, error_code=4)

    def _check_limit(self) -> None:
        if self._store.max_jobs is None:
            return
        now = self._store.clock()
        unfinished = sum(not job.peek(now).ended for job in self._store.jobs.values())
        if unfinished < self._store.max_jobs:
            return
        if self._store.version == "2.3":
            raise StatusError(
                65535,
                f"import task queue max size is {self._store.max_jobs}, currently there are "
                f"{unfinished} tasks is pending. Not able to execute this request with 1 tasks",
            )
        raise self._import_error(_JOB_LIMIT)

    def _import_error(self, text: str) -> StatusError:
        """Return the Status of a failed import request; Milvus 3.0 uses another code."""
        code = 2101 if self.is_at_least("3.0") else 2100
        return StatusError(code, f"{text}: importing data failed")


def database(db_name: str) -> str:
    """Return the name of a database; "" is the default one."""
    return db_name or _DEFAULT_DATABASE


def int64_fault(text: str) -> str:
    """Return why Go's ParseInt rejects a text, or ""."""
    quoted = f'strconv.ParseInt: parsing "{text}"'
    if not _INT64.fullmatch(text):
        return f"{quoted}: invalid syntax"
    if not -(2**63) <= int(text[:30]) < 2**63:
        return f"{quoted}: value out of range"
    return ""


def _is_mixed(group: Sequence[str]) -> bool:
    """Return whether a file group has several files that are not all .npy columns."""
    return len(group) > 1 and not all(path.endswith(".npy") for path in group)
