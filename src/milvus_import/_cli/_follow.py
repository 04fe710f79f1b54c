"""Following jobs for the command line, and what each ended in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import grpc

from .._client import ImportClient
from .._errors import (
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    WaitTimeoutError,
)
from .._models import CallRecord, ImportJob, ImportProgressData
from .._options import CallOptions
from .._watch import Until, has_reached, import_failed
from .._watch_many import CONCURRENT_POLLS
from ._view import Progress, View

OK, FAILED, USAGE, UNREACHABLE, NOT_FOUND, RAN_OUT, CLOSED_PIPE, INTERRUPTED = (
    0, 1, 2, 3, 4, 5, 141, 130,
)  # fmt: skip


@dataclass
class Following:
    """What to follow, how, and what came of it."""

    client: ImportClient
    view: View
    until: Until = "completed"
    timeout: float | None = None
    interval: float = 2.0
    last: dict[str, Progress] = field(default_factory=dict[str, Progress])
    """The last state of each job."""
    errors: dict[str, MilvusImportError] = field(default_factory=dict[str, MilvusImportError])
    """What each job that has not completed ended in."""

    async def jobs(self, job_ids: Sequence[str]) -> None:
        """Follow jobs to their ends. Few are asked one by one, which tells their files too."""
        if len(job_ids) > CONCURRENT_POLLS:
            await self._listed(job_ids)
            return
        async with anyio.create_task_group() as group:
            for job_id in job_ids:
                group.start_soon(self._one, job_id)

    async def _one(self, job_id: str) -> None:
        watch = self.client.watch(
            job_id,
            timeout=self.timeout,
            interval=self.interval,
            on_fault=self.view.fault,
            call=self._call(),
        )
        try:
            async for progress in watch:
                self._seen(progress)
                if has_reached(progress.state, self.until):
                    return
                if progress.done:
                    self.errors[job_id] = import_failed(progress)
        except MilvusImportError as error:
            self.errors[job_id] = error

    async def _listed(self, job_ids: Sequence[str]) -> None:
        outcomes = await self.client.wait_all(
            job_ids,
            timeout=self.timeout,
            until=self.until,
            interval=self.interval,
            on_progress=self._seen,
            on_fault=self.view.fault,
            call=self._call(),
        )
        for job_id, outcome in outcomes.items():
            if isinstance(outcome, ImportProgressData):
                self.last[job_id] = outcome
            else:
                self.errors[job_id] = outcome

    def _seen(self, progress: ImportProgressData | ImportJob) -> None:
        self.last[progress.job_id] = progress
        self.view.change(progress)

    def _call(self) -> CallOptions:
        return {"on_finish": self._finished}

    def _finished(self, record: CallRecord) -> None:
        if record.code is grpc.StatusCode.OK:
            self.view.answer()

    @property
    def exit_code(self) -> int:
        """The worst of the jobs: out of reach, failed, not found, not ended."""
        codes = {exit_code(error) for error in self.errors.values()}
        order = (UNREACHABLE, FAILED, NOT_FOUND, RAN_OUT)
        return next((code for code in order if code in codes), OK)


def exit_code(error: MilvusImportError) -> int:
    """The exit code of an error."""
    if isinstance(error, ImportFailedError):
        return FAILED
    if isinstance(error, JobNotFoundError):
        return NOT_FOUND
    if isinstance(error, WaitTimeoutError):
        return RAN_OUT
    return UNREACHABLE
