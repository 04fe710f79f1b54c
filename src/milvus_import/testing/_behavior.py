"""What Milvus does with the requests for import jobs, independent of transport."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ._jobs import FakeFile, FakeJob, JobSnapshot
from ._store import JobStore

_DEFAULT_DATABASE: Final = "default"
_MAX_GROUPS: Final = 1024
_INT64: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DURATION: Final = re.compile(r"[+-]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_ONE_FILE: Final = {".json": "JSON", ".parquet": "Parquet", ".csv": "CSV"}
"""The formats of which a group has one file."""
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

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class DeniedError(Exception):
    """The user lacks a privilege; the text is that of Milvus."""


@dataclass(slots=True, frozen=True)
class NewImport:
    """What a client requests when it creates a job."""

    collection_name: str
    db_name: str
    partition_name: str
    groups: Sequence[Sequence[str]]
    options: Mapping[str, str]
    idempotency_key: str


class MilvusBehavior:
    """The requests. Each raises StatusError where Milvus returns a Status that is not Success."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._by_key: dict[str, str] = {}

    # Users.

    def is_user(self, token: str) -> bool:
        """Return whether these are the credentials of a user."""
        return token == self._store.token or token in self._store.users

    def may_import(self, token: str | None, collection_name: str, db_name: str) -> bool:
        """Return whether a user may import into a collection; None: without authorization."""
        granted, name = self._store.users.get(token or ""), database(db_name)
        path = collection_name if name == _DEFAULT_DATABASE else f"{name}.{collection_name}"
        return granted is None or path in granted

    def require_import(self, token: str | None, collection_name: str, db_name: str) -> None:
        """Raise DeniedError unless the user may import into the collection."""
        if not self.may_import(token, collection_name, db_name):
            self.require_admin(token, "PrivilegeImport", db_name)

    def require_admin(self, token: str | None, privilege: str, db_name: str) -> None:
        """Raise DeniedError unless the user is an administrator."""
        if token is not None and self._store.users.get(token) is not None:
            user, where = token.partition(":")[0], f"in the `{database(db_name)}` database"
            raise DeniedError(f"{privilege}: permission deny to {user} {where}")

    # Reads.

    def find(self, job_id: str) -> JobSnapshot:
        """Return a job of any database by its id, and count the reply."""
        job = self._store.jobs.get(job_id)
        if job is not None and job_id.isdecimal():
            return job.at(self._store.clock())
        if self._store.version == "2.3":
            raise StatusError(1000, f"key not found[key=by-dev/meta/importtask/{job_id}]")
        fault = int64_fault(job_id)
        if fault and self._store.is_at_least("2.6"):
            raise StatusError(1100, f"parse job id failed: {fault}: invalid parameter")
        if fault:
            raise _import_error(f"parse job id failed, err=%w{fault}")
        raise self._server_error(f"import job does not exist, jobID={job_id}")

    def list_jobs(self, collection_name: str, db_name: str) -> list[JobSnapshot]:
        """Return the jobs of a collection of a database, or all jobs of all databases, shuffled.

        ``db_name`` is ignored without ``collection_name``, as Milvus does.
        """
        jobs = [job for job in self._store.jobs.values() if job.job_id.isdecimal()]
        if collection_name:
            self.check_collection(collection_name, db_name)
            jobs = [job for job in jobs if is_of(job, collection_name, db_name)]
        self._store.random.shuffle(jobs)
        now = self._store.clock()
        return [job.at(now) for job in jobs]

    # Writes.

    def create(self, new: NewImport) -> FakeJob:
        """Check a request as Milvus does, and create the job."""
        self.check_collection(new.collection_name, new.db_name, creating=True)
        self._check_partition(new)
        groups = [group for group in new.groups if group]
        if not groups:
            raise StatusError(1100, "import request is empty: invalid parameter")
        if self._store.version != "2.3":
            self._check_files(groups, new.options)
        elif any(len(group) > 1 and set(map(_suffix, group)) != {".npy"} for group in groups):
            raise StatusError(65535, _ONE_PER_GROUP)
        self.check_limit()
        key = new.idempotency_key if self._store.idempotency_keys else ""
        known = self._store.jobs.get(self._by_key.get(key, ""))
        if known is not None:
            return known
        job = self.add(new, self._store.free_id())
        if key:
            self._by_key[key] = job.job_id
        return job

    def add(self, new: NewImport, job_id: str) -> FakeJob:
        """Add the job that a request creates."""
        store, groups = self._store, [group for group in new.groups if group]
        missing = [
            (group, path) for group in groups for path in group if path in store.missing_files
        ]
        reason, fails_at = store.fail_imports or "", None if store.fail_imports is None else 100
        if missing:
            reason, fails_at = self._missing_file(*missing[0]), 10
        is_two_phase = store.version == "3.0" and new.options.get("auto_commit") == "false"
        return store.add_job(
            job_id=job_id,
            collection_name=new.collection_name,
            db_name=new.db_name,
            files=[FakeFile(name=" ".join(group)) for group in groups],
            seconds=store.import_seconds,
            auto_commit=not is_two_phase,
            fails_at=fails_at,
            reason=reason,
        )

    def _missing_file(self, group: Sequence[str], path: str) -> str:
        """Return why a job fails whose file does not exist."""
        cause, suffix = f"key not found[key={path}]", _suffix(path)
        is_old = not self._store.is_at_least("2.6")
        gap = "  " if is_old else " "
        if suffix == ".npy":
            cause = f"failed to read the file '{path}', error: {cause}: importing data failed"
        elif suffix in {".json", ".csv"}:
            read = f"read {suffix[1:]} file failed, path={path}"
            cause = f"{read}, err={cause}: importing data failed" if is_old else f"{read}: {cause}"
        paths = gap.join(f'paths:"{name}"' for name in group)
        return f"error: {cause}, file: id:{self._store.free_id()}{gap}{paths}"

    def commit(self, job_id: str) -> None:
        """Commit a job. Idempotent: later commits change nothing."""
        job, now = self._existing(job_id), self._store.clock()
        state = job.peek(now).state
        if state in {"Committing", "Completed"}:
            return
        if state != "Uncommitted":
            raise _import_error(f"job {job_id} is in state {state}, expected Uncommitted")
        _check_two_phase(job)
        job.commit(now, self._store.commit_seconds)

    def abort(self, job_id: str) -> None:
        """Abort a job. Idempotent, and without effect on a job that has failed."""
        job = self._existing(job_id)
        state = job.peek(self._store.clock()).state
        if state in {"Committing", "Completed"}:
            raise _import_error(
                f"job {job_id} is in terminal/committed state {state}, abort not allowed"
            )
        if state != "Failed":
            _check_two_phase(job)
            job.abort()

    def _existing(self, job_id: str) -> FakeJob:
        """Return a job to commit or to abort."""
        fault = int64_fault(job_id)
        if fault:
            detail = f"invalid parameter[expected=int64 jobId][actual={job_id}]"
            raise StatusError(1100, f"{fault}: {detail}")
        if job_id not in self._store.jobs:
            raise self._server_error(f"job {job_id} not found")
        return self._store.jobs[job_id]

    # Checks.

    def check_collection(self, name: str, db_name: str, *, creating: bool = False) -> None:
        """Raise StatusError for a database or a collection that does not exist."""
        db, databases = database(db_name), self._store.databases
        if databases is not None and db not in {*databases, _DEFAULT_DATABASE}:
            raise StatusError(800, f"database not found[database={db}]")
        if creating and not name:
            raise StatusError(100, "collection not found[collection=0]")
        if self._store.collections is None or name in self._store.collections:
            return
        reason = f"collection not found[database={db}][collection={name}]"
        if self._store.version != "2.3":
            raise StatusError(100, reason)
        if creating:  # a real server retries for up to 52 s first
            raise StatusError(65535, f"attempt #9: rpc error: code = Unknown desc = {reason}")
        raise StatusError(100, f"failed to find collection ID from its name: '{name}'")

    def _check_partition(self, new: NewImport) -> None:
        if new.options.get("backup") == "true" and not new.partition_name:
            if self._store.is_at_least("2.6"):
                raise StatusError(1101, "partition not specified: missing parameter")
            raise StatusError(1100, "partition not specified: invalid parameter")
        known = self._store.partitions
        if known is None or new.partition_name in {"", "_default"}:
            return
        if new.partition_name not in known.get(new.collection_name, ()):
            raise StatusError(200, f"partition not found[partition={new.partition_name}]")

    def _check_files(self, groups: Sequence[Sequence[str]], options: Mapping[str, str]) -> None:
        if len(groups) > _MAX_GROUPS:
            raise _import_error(
                f"The max number of import files should not exceed {_MAX_GROUPS}, but got "
                f"{len(groups)}"
            )
        if "true" not in {options.get("backup"), options.get("l0_import")}:
            for group in groups:
                _check_group(group)
        timeout = options.get("timeout")
        if timeout is not None and (fault := _duration_fault(timeout)):
            separator = ": " if self._store.is_at_least("2.6") else ", err="
            raise _import_error(f"parse timeout failed{separator}{fault}")

    def check_limit(self) -> None:
        """Raise StatusError if there are ``max_jobs`` unfinished jobs."""
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
        prefix = "failed to broadcast import: failed to validate import request: "
        raise self._server_error(f"{prefix if self._store.is_at_least('2.6') else ''}{_JOB_LIMIT}")

    def _server_error(self, text: str) -> StatusError:
        """Return the Status of a request that is well-formed and fails; from 2.6 on 2101."""
        if self._store.is_at_least("2.6"):
            return StatusError(2101, f"{text}: importing data failed on server side")
        return _import_error(text)


def database(db_name: str) -> str:
    """Return the name of a database; "" is the default one."""
    return db_name or _DEFAULT_DATABASE


def is_of(job: FakeJob, collection_name: str, db_name: str) -> bool:
    """Return whether a job is of a collection of a database."""
    return job.collection_name == collection_name and database(job.db_name) == database(db_name)


def int64_fault(text: str) -> str:
    """Return why Go's ParseInt rejects a text, or ""."""
    quoted = f'strconv.ParseInt: parsing "{text}"'
    if not _INT64.fullmatch(text):
        return f"{quoted}: invalid syntax"
    if not -(2**63) <= int(text[:30]) < 2**63:
        return f"{quoted}: value out of range"
    return ""


def _import_error(text: str) -> StatusError:
    return StatusError(2100, f"{text}: importing data failed")


def _check_two_phase(job: FakeJob) -> None:
    if job.auto_commit:
        raise _import_error(f"job {job.job_id} is auto-commit, manual commit/abort not allowed")


def _check_group(group: Sequence[str]) -> None:
    """Raise StatusError unless the files of a group are an import of one format."""
    suffix = _suffix(group[0])
    for path in group:
        if _suffix(path) != suffix:
            raise _import_error(f"inconsistency in file types, ({group[0]}) vs ({path})")
    if suffix in _ONE_FILE and len(group) > 1:
        raise _import_error(f"for {_ONE_FILE[suffix]} import, accepts only one file")
    if suffix not in {*_ONE_FILE, ".npy"}:
        raise _import_error(f"unexpected file type, files=[{' '.join(group)}]")


def _suffix(path: str) -> str:
    """Return the suffix as Go does: from the last dot of the last part."""
    _, dot, suffix = path.rpartition("/")[2].rpartition(".")
    return dot + suffix if dot else ""


def _duration_fault(text: str) -> str:
    """Return why Go's ParseDuration rejects a text, or ""."""
    if _DURATION.fullmatch(text):
        return ""
    if _NUMBER.fullmatch(text):
        return f'time: missing unit in duration "{text}"'
    return f'time: invalid duration "{text}"'
