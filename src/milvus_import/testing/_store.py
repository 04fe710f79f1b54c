"""The jobs and the settings of a simulated Milvus."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any, Final, Literal, get_args

from ._calls import Metadata
from ._jobs import FakeFile, FakeJob, state_number

Version = Literal["2.3", "2.4", "2.5", "2.6", "3.0"]

_JOB_ID: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_FIRST_JOB_ID: Final = 450_000_000_000_000_001


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
        self.commit_seconds: float = 0.0
        """How long a committed job stays in the state Committing."""
        self.max_jobs: int | None = None
        """The number of unfinished jobs from which ``create_import`` returns the job limit."""
        self.random: random.Random = random.Random()  # noqa: S311 - the order of a list, no secret
        """Shuffles job lists. Assign ``random.Random(seed)`` for a repeatable order."""
        self.metadata: Metadata = ()
        """The metadata that the gRPC services send before each reply."""
        self.trailing_metadata: Metadata = ()
        """The metadata that the gRPC services send after each reply."""
        self._next_id = _FIRST_JOB_ID

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
        if not _JOB_ID.fullmatch(job.job_id) or int(job.job_id) >= 2**63:
            raise ValueError(
                f"job_id must be a decimal integer of at most 2**63-1, got {job.job_id!r}"
            )
        if job.job_id in self.jobs:
            raise ValueError(
                f"job_id must be new, got {job.job_id!r}. Delete the other job from `jobs` first."
            )
        for file in job.files:
            if not isinstance(file, FakeFile):
                raise TypeError(f"files must contain FakeFile objects, got {file!r}")
        for state in (job.state, *(state for state, _ in job.script)):
            state_number(state)
        job.attach(self._now)
        self.jobs[job.job_id] = job
        return job

    def _now(self) -> float:
        """Return the time on the current clock, which may be replaced later."""
        return self.clock()

    def _free_id(self) -> str:
        while str(self._next_id) in self.jobs:
            self._next_id += 1
        self._next_id += 1
        return str(self._next_id - 1)
