"""What Milvus does with the requests for import jobs, independent of transport."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import grpc

from milvus_import_pb import common_pb2

from ._faults import JOB_LIMIT, SERVICES, Face, Fault, Received, first
from ._jobs import FakeFile, FakeJob, JobSnapshot
from ._store import JobStore

_DEFAULT_DATABASE: Final = "default"
_MAX_GROUPS: Final = 1024
_INT64: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DURATION: Final = re.compile(r"[+-]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_ONE_FILE: Final = {".json": "JSON", ".parquet": "Parquet", ".csv": "CSV"}
"""The formats of which a group has one file."""
_SUFFIXES: Final = {2100: ": importing data failed", 2101: ": importing data failed on server side"}
"""What Milvus appends to the text of an error with this code."""
_OLD_GROUP: Final = (
    "for JSON or parquet file, each task only accepts one file, not allowed to input multiple files"
)
_OLD_JOB_LIMIT: Final = (
    "import task queue max size is {}, currently there are {} tasks is pending. Not able to "
    "execute this request with 1 tasks"
)
_ERROR_CODES: Final = {100: 4, 200: 15, 1100: 5, 1101: 5}
"""Codes in the numbering of Milvus 2.2; others are 1."""

ReplyT = TypeVar("ReplyT")
Handler = Callable[[Received], Any]
"""Executes a request. Returns the reply message, for HTTP ``data`` of the response."""


class StatusError(Exception):
    """A Milvus Status that is not Success."""

    def __init__(self, code: int, text: str) -> None:
        reason, error_code = text + _SUFFIXES.get(code, ""), _ERROR_CODES.get(code, 1)
        super().__init__(reason)
        self.status = common_pb2.Status(code=code, error_code=error_code, reason=reason)
        self.status.detail = reason


class EndedError(Exception):
    """A gRPC status that ends a call; over REST Milvus sends an envelope for it."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(details)
        self.code, self.details = code, details


class NewImport(NamedTuple):
    """What a client requests when it creates a job."""

    collection_name: str
    db_name: str
    partition_name: str
    groups: Sequence[Sequence[str]]
    """None is empty."""
    options: Mapping[str, str]
    idempotency_key: str


class Service(ABC, Generic[ReplyT]):
    """What a server does with each call, and with the requests for import jobs.

    The requests raise StatusError where Milvus returns a Status that is not Success.
    """

    def __init__(self, store: JobStore, face: Face) -> None:
        self._store = store
        self.face: Face = face

    # Calls.

    @abstractmethod
    def authenticate(self, received: Received) -> None:
        """Raise EndedError or StatusError for a call that is not executed."""

    @abstractmethod
    def reply(self, received: Received, content: Any) -> ReplyT:
        """Return the reply of what the handler returned, of a Milvus Status, or of bytes."""

    async def respond(self, received: Received, handler: Handler | str, fault: Fault) -> ReplyT:
        """Return the reply to a call. A text in place of the handler: there is no such method."""
        own = received.time_remaining or self._store.rest.request_timeout
        is_own = self.face == "rest" and fault.http is None  # gRPC leaves it to the client
        try:
            async with asyncio.timeout(own if is_own else None):
                await asyncio.sleep(fault.delay)
        except TimeoutError:
            fault = Fault(grpc.StatusCode.DEADLINE_EXCEEDED)
        except asyncio.CancelledError:
            received.reset = True
            raise
        return self.outcome(received, handler, fault)

    def outcome(self, received: Received, handler: Handler | str, fault: Fault) -> ReplyT:
        """Return the reply to a call after the delay of its fault, or raise EndedError."""
        if fault.code is not None:
            raise EndedError(fault.code, fault.details)
        fixed = fault.status if fault.reply is None else fault.reply
        if fixed is not None:
            return self.reply(received, fixed)
        is_grpc = self.face in SERVICES.values()  # grpc-go looks for the method first
        try:
            if not (is_grpc and isinstance(handler, str)):
                self.authenticate(received)
            if isinstance(handler, str):
                raise EndedError(grpc.StatusCode.UNIMPLEMENTED, handler)
            return self.reply(received, handler(received))
        except StatusError as error:
            if error.status.code != 2101 and self._store.is_at_least("2.6"):
                error.status.extra_info["is_input_error"] = "true"
            return self.reply(received, error.status)

    # Users.

    def token(self, received: Received) -> str | None:
        """Return the credentials of a call; None if they cannot be decoded."""
        return first(received, "authorization").removeprefix("Bearer ")

    def is_user(self, token: str) -> bool:
        """Return whether these are the credentials of a user."""
        return token == self._store.token or token in self._store.users

    def _granted(self, received: Received) -> Collection[str] | None:
        """Return the collections into which a user may import; None is every collection."""
        is_secured = self._store.token is not None
        return self._store.users.get(self.token(received) or "") if is_secured else None

    def may_import(self, received: Received, collection_name: str, db_name: str) -> bool:
        """Return whether a user may import into a collection."""
        granted, name = self._granted(received), database(db_name)
        path = collection_name if name == _DEFAULT_DATABASE else f"{name}.{collection_name}"
        return granted is None or path in granted

    def require_import(self, received: Received, collection_name: str, db_name: str) -> None:
        """Raise EndedError unless the user may import into the collection."""
        if not self.may_import(received, collection_name, db_name):
            self.require_admin(received, "PrivilegeImport", db_name)

    def require_admin(self, received: Received, privilege: str, db_name: str) -> None:
        """Raise EndedError unless the user is an administrator."""
        if self._granted(received) is not None:
            user, where = str(self.token(received)).partition(":")[0], database(db_name)
            text = f"{privilege}: permission deny to {user} in the `{where}` database"
            raise EndedError(grpc.StatusCode.PERMISSION_DENIED, text)

    # Reads.

    def find(self, job_id: str) -> JobSnapshot:
        """Return a job of any database by its id, and count the reply."""
        job = self._store.jobs.get(job_id)
        if job is not None and job_id.isdecimal():
            return job.count_reply()
        if self._store.version == "2.3":
            raise StatusError(1000, f"key not found[key=by-dev/meta/importtask/{job_id}]")
        fault = int64_fault(job_id)
        if fault and self._store.is_at_least("2.6"):
            raise StatusError(1100, f"parse job id failed: {fault}: invalid parameter")
        if fault:
            raise StatusError(2100, f"parse job id failed, err=%w{fault}")
        raise StatusError(self._failed, f"import job does not exist, jobID={job_id}")

    def list_jobs(self, collection_name: str, db_name: str) -> list[JobSnapshot]:
        """Return the jobs of a collection of a database, or all jobs of all databases, shuffled.

        ``db_name`` is ignored without ``collection_name``, as Milvus does.
        """
        jobs = [job for job in self._store.jobs.values() if job.job_id.isdecimal()]
        if collection_name:
            self.check_collection(collection_name, db_name)
            jobs = [job for job in jobs if is_of(job, collection_name, db_name)]
        self._store.random.shuffle(jobs)
        return [job.count_reply() for job in jobs]

    # Writes.

    def create(self, new: NewImport) -> str:
        """Check a request as Milvus does, create the job, and return its id."""
        self.check_collection(new.collection_name, new.db_name, creating=True)
        self._check_partition(new)
        groups = new.groups
        if not groups:
            raise StatusError(1100, "import request is empty: invalid parameter")
        if self._store.version != "2.3":
            self._check_files(groups, new.options)
        elif any(len(group) > 1 and set(map(_suffix, group)) != {".npy"} for group in groups):
            raise StatusError(65535, _OLD_GROUP)
        self.check_limit()
        key = self._store.idempotency_keys and new.idempotency_key
        if not key or self._store.ids_by_key.get(key) not in self._store.jobs:
            self._store.ids_by_key[key] = self.add(new, self._store.free_id())
        return self._store.ids_by_key[key]

    def add(self, new: NewImport, job_id: str) -> str:
        """Add the job that a request creates, and return its id."""
        store, files = self._store, [FakeFile(" ".join(group)) for group in new.groups]
        job = FakeJob(job_id, new.collection_name, new.db_name, files=files)
        job.seconds, job.reason = store.import_seconds, store.fail_imports or ""
        job.fails_at = None if store.fail_imports is None else 100
        job.auto_commit = store.version != "3.0" or new.options.get("auto_commit") != "false"
        paths = [(group, path) for group in new.groups for path in group]
        missing = [each for each in paths if each[1] in store.missing_files]
        if missing:
            job.reason, job.fails_at = self._missing_file(*missing[0]), 10
        return store.add_job(job).job_id

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
        job, state = self._existing(job_id)
        if state in {"Committing", "Completed"}:
            return
        if state != "Uncommitted":
            raise StatusError(2100, f"job {job_id} is in state {state}, expected Uncommitted")
        _check_two_phase(job)
        job.committed = self._store.clock(), self._store.commit_seconds

    def abort(self, job_id: str) -> None:
        """Abort a job. Idempotent, and without effect on a job that has failed."""
        job, state = self._existing(job_id)
        if state in {"Committing", "Completed"}:
            where = f"in terminal/committed state {state}"
            raise StatusError(2100, f"job {job_id} is {where}, abort not allowed")
        if state != "Failed":
            _check_two_phase(job)
            job.state, job.progress, job.reason = "Failed", 0, "aborted by user"

    def _existing(self, job_id: str) -> tuple[FakeJob, str]:
        """Return a job to commit or to abort, and its state."""
        fault = int64_fault(job_id)
        if fault:
            detail = f"invalid parameter[expected=int64 jobId][actual={job_id}]"
            raise StatusError(1100, f"{fault}: {detail}")
        if job_id not in self._store.jobs:
            raise StatusError(self._failed, f"job {job_id} not found")
        job = self._store.jobs[job_id]
        return job, job.peek().state

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
        code, reason = 100, f"collection not found[database={db}][collection={name}]"
        if creating and self._store.version == "2.3":  # a real server retries for up to 52 s first
            code, reason = 65535, f"attempt #9: rpc error: code = Unknown desc = {reason}"
        elif self._store.version == "2.3":
            reason = f"failed to find collection ID from its name: '{name}'"
        raise StatusError(code, reason)

    def _check_partition(self, new: NewImport) -> None:
        if new.options.get("backup") == "true" and not new.partition_name:
            code, name = (1101, "missing") if self._store.is_at_least("2.6") else (1100, "invalid")
            raise StatusError(code, f"partition not specified: {name} parameter")
        known = self._store.partitions
        names = {"", "_default", *(known or {}).get(new.collection_name, ())}
        if known is not None and new.partition_name not in names:
            raise StatusError(200, f"partition not found[partition={new.partition_name}]")

    def _check_files(self, groups: Sequence[Sequence[str]], options: Mapping[str, str]) -> None:
        if len(groups) > _MAX_GROUPS:
            limit = f"The max number of import files should not exceed {_MAX_GROUPS}"
            raise StatusError(2100, f"{limit}, but got {len(groups)}")
        if "true" not in {options.get("backup"), options.get("l0_import")}:
            for group in groups:
                _check_group(group)
        fault = _duration_fault(options.get("timeout", "0"))
        if fault:
            separator = ": " if self._store.is_at_least("2.6") else ", err="
            raise StatusError(2100, f"parse timeout failed{separator}{fault}")

    def check_limit(self) -> None:
        """Raise StatusError if there are ``max_jobs`` unfinished jobs."""
        limit = self._store.max_jobs
        states = [job.peek().state for job in self._store.jobs.values()]
        unfinished = sum(state not in {"Completed", "Failed"} for state in states)
        if limit is None or unfinished < limit:
            return
        if self._store.version == "2.3":
            raise StatusError(65535, _OLD_JOB_LIMIT.format(limit, unfinished))
        text = JOB_LIMIT if self._store.is_at_least("2.6") else JOB_LIMIT.rpartition(": ")[2]
        raise StatusError(self._failed, text)

    @property
    def _failed(self) -> int:
        """The code of a request that is well-formed and fails."""
        return 2101 if self._store.is_at_least("2.6") else 2100


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
    return "" if -(2**63) <= int(text[:30]) < 2**63 else f"{quoted}: value out of range"


def _check_two_phase(job: FakeJob) -> None:
    if job.auto_commit:
        raise StatusError(2100, f"job {job.job_id} is auto-commit, manual commit/abort not allowed")


def _check_group(group: Sequence[str]) -> None:
    """Raise StatusError unless the files of a group are an import of one format."""
    suffix = _suffix(group[0])
    for path in group:
        if _suffix(path) != suffix:
            raise StatusError(2100, f"inconsistency in file types, ({group[0]}) vs ({path})")
    if suffix in _ONE_FILE and len(group) > 1:
        raise StatusError(2100, f"for {_ONE_FILE[suffix]} import, accepts only one file")
    if suffix not in {*_ONE_FILE, ".npy"}:
        raise StatusError(2100, f"unexpected file type, files=[{' '.join(group)}]")


def _suffix(path: str) -> str:
    """Return the suffix as Go does: from the last dot of the last part."""
    _, dot, suffix = path.rpartition("/")[2].rpartition(".")
    return dot + suffix if dot else ""


def _duration_fault(text: str) -> str:
    """Return why Go's ParseDuration rejects a text, or ""."""
    if _DURATION.fullmatch(text):
        return ""
    fault = "missing unit in" if _NUMBER.fullmatch(text) else "invalid"
    return f'time: {fault} duration "{text}"'
