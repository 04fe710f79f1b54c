"""The jobs and the settings of a simulated Milvus, its calls, and the faults for them."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final, Literal, get_args

from ._faults import FAULTS, MESSAGES, METHODS, Fault, Metadata, Received
from ._jobs import FakeFile, FakeJob, state_number

Version = Literal["2.3", "2.4", "2.5", "2.6", "3.0"]

_JOB_ID: Final = re.compile(r"[0-9]{1,19}|job-[0-9A-Za-z]{21}", re.ASCII)
_FIRST_JOB_ID: Final = 450_000_000_000_000_001


@dataclass(slots=True)
class RestBehavior:
    """How the REST API behaves, where Milvus' versions and settings differ.

    None: as the simulated version does.
    """

    success_code: int = 0
    """``code`` of a success: 0, or 200 as Milvus 2.4.0 to 2.4.5 sent."""
    standard_status: bool = False
    """Send errors with HTTP 400, 403, 429 and 500 instead of 200."""
    numbers_as_text: bool = False
    """Send progress, rows and sizes as JSON strings."""
    describe: bool | None = None
    """Whether ``describe`` exists; ``get_progress`` always does. None: from 2.5 on."""
    create_time: bool | None = None
    """Whether jobs have ``createTime``. None: from 2.6 on."""
    two_phase: bool | None = None
    """Whether ``commit`` and ``abort`` exist. None: in 3.0."""
    trace_id: bool | None = None
    """Whether responses have ``X-Milvus-Trace-Id``. None: in 3.0."""
    request_timeout: float = 30.0
    """Seconds until the server ends a request that has no ``Request-Timeout`` header."""


@dataclass(slots=True)
class ZillizBehavior:
    """How the simulated Zilliz Cloud behaves."""

    clusters: Collection[str] | None = None
    """The values of ``clusterId`` and ``projectId`` that exist; None accepts every one."""
    requests_per_second: int | None = None
    """The number of requests per key, endpoint and second from which HTTP 429 is sent. Zilliz
    Cloud allows 20. None: no limit."""
    numbers_as_text: bool = False
    """Send progress, rows and sizes as JSON strings."""
    imported_rows: bool = False
    """Whether jobs and their files have ``importedRows`` and ``totalRows``."""


@dataclass(slots=True)
class _Injection:
    fault: Fault
    times: float
    method: str | None
    job_id: str | None

    def matches(self, received: Received, *, is_unimplemented: bool) -> bool:
        """Return whether the fault is for this call.

        Calls that the server does not implement take only the faults of their method.
        """
        if self.fault.http is not None and received.service not in {"rest", "cloud"}:
            return False
        if self.job_id not in {None, received.job_id}:
            return False
        return self.method == received.method or (self.method is None and not is_unimplemented)


@dataclass(kw_only=True, eq=False, repr=False)
class JobStore:
    """The jobs and the settings of a simulated Milvus."""

    version: Version = "2.6"
    """The Milvus version. "2.3" has no GetImportProgress on its internal port, no REST API for
    imports, and an older GetImportState with more fields. "2.4" has no ``describe`` in its REST
    API. "3.0" has two-phase imports: only there ``create_import`` follows ``auto_commit``."""
    token: str | None = None
    """Required by the public service and by REST, such as "root:Milvus"; None requires no
    credentials. For the simulated Zilliz Cloud it is the API key; None accepts every key."""
    clock: Callable[[], float] = time.monotonic
    """Seconds for jobs with ``seconds``; a ManualClock is advanced by the test."""
    max_received: int = 10_000
    """How many calls ``received`` and ``unimplemented`` keep."""
    users: Mapping[str, Collection[str] | None] = field(default_factory=dict[str, Any])
    """Users in addition to the administrator ``token``, as "name:password", with the collections
    into which they may import, such as {"bob:secret": {"books", "shop.films"}}: "films" of the
    database "shop". None is an administrator."""
    collections: Collection[str] | None = None
    """Names of the collections that exist, in every database; None accepts every name."""
    partitions: Mapping[str, Collection[str]] | None = None
    """Names of the partitions by collection; None accepts every name. "_default" exists in each
    collection."""
    databases: Collection[str] | None = None
    """Names of the databases that exist; None accepts every name."""
    missing_files: Collection[str] = ()
    """Paths that do not exist. Jobs that ``create_import`` creates with them fail."""
    import_seconds: float | None = 1.0
    """``seconds`` of the jobs that ``create_import`` creates; 0 completes them immediately."""
    fail_imports: str | None = None
    """If set, jobs that ``create_import`` creates fail after ``import_seconds``, with this
    reason."""
    commit_seconds: float = 0.0
    """How long a committed job stays in the state Committing."""
    max_jobs: int | None = None
    """The number of unfinished jobs from which ``create_import`` returns the job limit."""
    idempotency_keys: bool = False
    """Whether ``create_import`` returns the existing job for a known idempotency key, as Milvus
    2.6.24 and 3.0.2 do. The simulated 2.6.19 and 3.0.0-beta ignore the key."""
    rest: RestBehavior = field(default_factory=RestBehavior)
    """How the REST API behaves where Milvus' versions and settings differ."""
    cloud: ZillizBehavior = field(default_factory=ZillizBehavior)
    """How the simulated Zilliz Cloud behaves."""
    random: Random = field(default_factory=Random)
    """Shuffles job lists. Assign ``random.Random(seed)`` for a repeatable order."""
    metadata: Metadata = ()
    """The metadata that the gRPC services send before each reply."""
    trailing_metadata: Metadata = ()
    """The metadata that the gRPC services send after each reply."""
    choose_fault: Callable[[Received], Fault | None] | None = None
    """A function that returns the fault for a call, or None. Injected faults come first."""
    jobs: dict[str, FakeJob] = field(default_factory=dict[str, FakeJob], init=False)
    """The jobs by id. After ``del server.jobs[job_id]`` the job no longer exists."""
    ids_by_key: dict[str | bool, str] = field(default_factory=dict[str | bool, str], init=False)
    """The ids of the newest jobs by idempotency key."""
    received: list[Received] = field(default_factory=list[Received], init=False)
    """The calls that arrived, in order; beyond ``max_received`` the oldest are dropped."""
    unimplemented: list[Received] = field(default_factory=list[Received], init=False)
    """Calls of another port's service, or of a method that this version does not have. They ended
    with UNIMPLEMENTED, or for REST with 404."""

    def __post_init__(self) -> None:
        if self.max_received < 1:
            raise ValueError(f"max_received must be at least 1, got {self.max_received}")
        self._injections: list[_Injection] = []
        self._free_ids = map(str, count(_FIRST_JOB_ID))

    def __setattr__(self, name: str, value: object) -> None:
        """Raise ValueError for a version that is not simulated."""
        if name == "version" and value not in get_args(Version):
            known = ", ".join(map(repr, get_args(Version)))
            raise ValueError(f"version must be one of {known}, got {value!r}")
        super().__setattr__(name, value)

    def rest_has(self, name: str, since: Version) -> bool:
        """Return a switch of ``rest``, or whether the simulated version has it."""
        value: bool | None = getattr(self.rest, name)
        return self.is_at_least(since) if value is None else value

    def is_at_least(self, version: Version) -> bool:
        """Return whether the simulated version is this one or newer."""
        order = get_args(Version)
        return order.index(self.version) >= order.index(version)

    def add_job(self, job: FakeJob | None = None, **fields: Any) -> FakeJob:
        """Add a job, or create one: ``add_job(collection_name="books", seconds=600)``.

        ``fields`` are those of FakeJob. Without ``job_id`` the job gets the next free id. Raises
        ValueError for an id that exists, and for an id or a state that no Milvus reports.
        """
        if not isinstance(job, FakeJob | None) or (job is not None and fields):
            hint = "Pass the collection as collection_name=, the id as job_id=."
            raise TypeError(f"add_job takes a FakeJob or its fields, not both, got {job!r}. {hint}")
        job = job or FakeJob(**fields)
        job.job_id = job.job_id or self.free_id()
        is_id, is_number = _JOB_ID.fullmatch(job.job_id), job.job_id.isdecimal()
        if not is_id or (is_number and int(job.job_id) >= 2**63):
            rule = "an integer of at most 2**63-1, or 'job-' and 21 letters or digits"
            raise ValueError(f"job_id must be {rule}, got {job.job_id!r}")
        if job.job_id in self.jobs:
            hint = "Delete the other job from `jobs` first."
            raise ValueError(f"job_id must be new, got {job.job_id!r}. {hint}")
        for file in job.files:
            if not isinstance(file, FakeFile):
                raise TypeError(f"files must contain FakeFile objects, got {file!r}")
        for state in (job.state, *(state for state, _ in job.script)):
            state_number(state)
        job.attach(lambda: self.clock())  # noqa: PLW0108 - the clock may be replaced later
        self.jobs[job.job_id] = job
        return job

    def inject(
        self,
        fault: Fault | str,
        *,
        times: int | None = 1,
        method: str | None = None,
        job_id: str | None = None,
    ) -> None:
        """Let the next calls end in a fault: a Fault, or the name of one in FAULTS.

        ``times``: how many calls; None is all calls from now on.
        ``method``: only calls of this method, such as "GetImportProgress" or, for REST, "describe".
        ``job_id``: only calls for this job.

        Faults for the same calls apply one after the other. HTTP faults apply to REST calls only.
        """
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, or None for all calls, got {times}")
        if method is not None and method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if isinstance(fault, str) and fault not in FAULTS:
            raise ValueError(f"fault must be one of {', '.join(FAULTS)}, got {fault!r}")
        fault = FAULTS[fault] if isinstance(fault, str) else fault
        if not isinstance(fault, Fault):
            raise TypeError(f"fault must be a Fault or a name in FAULTS, got {fault!r}")
        if fault.http is not None and method in MESSAGES:
            raise ValueError(f"method must be a REST method for an HTTP fault, got {method!r}")
        self._injections.append(_Injection(fault, times or math.inf, method, job_id))

    def clear_faults(self) -> None:
        """Remove every injected fault."""
        self._injections.clear()

    def receive(self, received: Received, *, is_unimplemented: bool) -> Fault:
        """Record a call, drop the oldest beyond the limit, and return the fault for it.

        Calls for a job that hangs do so too.
        """
        calls = self.unimplemented if is_unimplemented else self.received
        calls.append(received)
        del calls[: -self.max_received]
        for injection in self._injections:
            if injection.matches(received, is_unimplemented=is_unimplemented):
                injection.times -= 1
                if injection.times <= 0:
                    self._injections.remove(injection)
                return injection.fault
        job = self.jobs.get(received.job_id)
        fault = FAULTS["hang"] if job is not None and job.hangs else Fault()
        if self.choose_fault is not None and not is_unimplemented:
            return self.choose_fault(received) or fault
        return fault

    def free_id(self) -> str:
        """Return the next free job id of a Milvus."""
        return next(job_id for job_id in self._free_ids if job_id not in self.jobs)
