"""The state of the followed jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from .._errors import JobNotFoundError, MilvusImportError
from .._models import ImportJob, ImportProgressData, ImportState, Service
from .._options import Until, has_reached
from .._services._replies import Snapshot
from .._services._rows import JobRow, decode_job
from ._options import last_progress


class JobTracker:
    """The last state of each job, and the changes that have not been returned yet."""

    def __init__(self, job_ids: Iterable[str], until: Until | None) -> None:
        self.jobs: dict[str, ImportJob | None] = dict.fromkeys(job_ids)
        """The last state of each job; None before the first."""
        self.pending: dict[str, Any] = dict.fromkeys(self.jobs)
        """The jobs still followed, in the caller's order."""
        self.changes: deque[ImportJob] = deque()
        self.failed: dict[str, MilvusImportError] = {}
        """The errors of jobs that cannot be followed any more."""
        self.snapshots: dict[str, Snapshot] = {}
        """The last full progress of each job that was polled separately."""
        self._listed_ends: dict[str, ImportJob] = {}
        """The end of each job that a list has reported, until it is fetched in full."""
        self._rows: dict[str, JobRow] = {}
        self._missing: set[str] = set()
        self._until: Until | None = until

    def ended(self, state: ImportState) -> bool:
        """Return whether a job in this state is not followed any further."""
        return state.done or (self._until is not None and has_reached(state, self._until))

    def row_changed(self, job_id: str, row: JobRow) -> ImportJob | None:
        """Return the job of a row of the list if it differs from the last one, else None."""
        if self._rows.get(job_id) == row:
            return None
        self._rows[job_id] = row
        return decode_job(job_id, row)

    def last_state(self, job_id: str) -> ImportJob | None:
        """Return the last state of a job from any response; None before the first."""
        return self._listed_ends.get(job_id) or self.jobs.get(job_id)

    def record_listed_end(self, job: ImportJob) -> None:
        """Record that a list reports the end of a job, which is then fetched in full.

        Until it is, its row counts as changed in each list.
        """
        self._listed_ends[job.job_id] = job
        self._rows.pop(job.job_id, None)

    def record_found(self, job_id: str) -> None:
        """Record a response that contains the job, changed or not."""
        self._missing.discard(job_id)

    def update(self, job: ImportJob) -> None:
        """Record the state of a job."""
        if job == self.jobs.get(job.job_id):
            return
        self.jobs[job.job_id] = job
        # A copy: the caller may change the object that it receives. dataclasses.replace would
        # add 10 % to the processor time of a watch of 5,000 jobs.
        self.changes.append(
            ImportJob(job.job_id, job.collection_name, job.state, job.progress, job.reason)
        )
        if self.ended(job.state):
            self.pending.pop(job.job_id, None)

    def record_missing(self, job_id: str, error: JobNotFoundError) -> None:
        """Record that the server has no such job; a known job must be missing twice."""
        if self.last_state(job_id) is not None and job_id not in self._missing:
            self._missing.add(job_id)
            return
        error.progress = self._last_progress(job_id, error.service or "internal")
        self.record_error(job_id, error)

    def record_error(self, job_id: str, error: MilvusImportError) -> None:
        """Record an error that ends the following of one job."""
        error.job_id = job_id
        self.failed[job_id] = error
        self.pending.pop(job_id, None)

    def _last_progress(self, job_id: str, service: Service) -> ImportProgressData | None:
        """Return the last progress seen; if it was a row of a list, without the details."""
        snapshot, job = self.snapshots.get(job_id), self.last_state(job_id)
        if snapshot is not None or job is None:
            return last_progress(snapshot)
        return ImportProgressData(
            collection_name=job.collection_name,
            job_id=job_id,
            complete_time="",
            state=job.state,
            progress=job.progress,
            imported_rows=0,
            total_rows=0,
            reason=job.reason,
            file_size=0,
            details=[],
            create_time="",
            service=service,
        )
