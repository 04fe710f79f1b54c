"""Following jobs for the command line, and what each ended in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import anyio
import grpc

from .._client import ImportClient
from .._errors import ImportFailedError, JobNotFoundError, MilvusImportError, WaitTimeoutError
from .._models import CallRecord, ImportProgressData
from .._options import CallOptions
from .._watch import ImportWatch, Until, has_reached, import_failed
from .._watch_many import CONCURRENT_POLLS
from . import _text
from ._text import Progress
from ._view import REFRESH, View

_ENDINGS: dict[type[MilvusImportError], str] = {
    ImportFailedError: "failed",
    JobNotFoundError: "not found",
    WaitTimeoutError: "not ended in time",
}


@dataclass
class Following:
    """What to follow, how, and what came of it."""

    client: ImportClient
    view: View
    job_ids: Sequence[str]
    until: Until = "completed"
    timeout: float | None = None
    interval: float = 2.0
    last: dict[str, Progress] = field(default_factory=dict[str, Progress])
    """The last state of each job that was seen."""
    errors: dict[str, MilvusImportError] = field(default_factory=dict[str, MilvusImportError])
    """What each job that has not completed ended in."""

    async def run(self) -> None:
        """Follow the jobs to their ends. Few are asked one by one, which tells their files too."""
        watches: dict[str, ImportWatch] = {}
        if len(self.job_ids) <= CONCURRENT_POLLS:
            watches = {job_id: self._watch(job_id) for job_id in self.job_ids}
        with self.view:
            try:
                async with anyio.create_task_group() as animation:
                    animation.start_soon(self._animate)
                    async with anyio.create_task_group() as group:
                        for job_id, watch in watches.items():
                            group.start_soon(self._one, job_id, watch)
                        if not watches:
                            await self._listed()
                    animation.cancel_scope.cancel()
            except ExceptionGroup as failed:  # the output broke, or a bug: as it is, not in a group
                raise _only(failed) from None
        self.last = {i: self.last[i] for i in self.job_ids if i in self.last}
        self.errors = {i: self.errors[i] for i in self.job_ids if i in self.errors}

    async def _animate(self) -> None:
        while True:
            self.view.refresh()
            await anyio.sleep(REFRESH)

    def _watch(self, job_id: str) -> ImportWatch:
        return self.client.watch(
            job_id,
            timeout=self.timeout,
            interval=self.interval,
            on_fault=self.view.fault,
            call=self._call(),
        )

    async def _one(self, job_id: str, watch: ImportWatch) -> None:
        try:
            async for progress in watch:
                self._seen(progress)
                if has_reached(progress.state, self.until):
                    return
                if progress.done:
                    self.errors[job_id] = import_failed(progress)
        except MilvusImportError as error:
            self.errors[job_id] = error

    async def _listed(self) -> None:
        outcomes = await self.client.wait_all(
            self.job_ids,
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

    def _seen(self, progress: Progress) -> None:
        self.last[progress.job_id] = progress
        self.view.change(progress)

    def _call(self) -> CallOptions:
        return {"on_finish": self._finished}

    def _finished(self, record: CallRecord) -> None:
        if record.code is grpc.StatusCode.OK:
            self.view.answer()

    def summary(self) -> str:
        """``2 jobs completed, 2,000 rows; 1 failed``."""
        good = [p for p in self.last.values() if p.job_id not in self.errors]
        rows = sum(p.imported_rows for p in good if isinstance(p, ImportProgressData))
        word = "completed" if self.until == "completed" else "completed or waiting for commit"
        parts: list[str] = []
        if good:
            jobs = f"{len(good)} {'job' if len(good) == 1 else 'jobs'} {word}"
            parts.append(f"{jobs}, {_text.rows(rows, 0)}" if rows else jobs)
        words = [_ENDINGS.get(type(error), "lost sight of") for error in self.errors.values()]
        parts += [f"{words.count(word)} {word}" for word in dict.fromkeys(words)]
        return "; ".join(parts)


def _only(error: Exception) -> Exception:
    if not isinstance(error, ExceptionGroup):
        return error
    return _only(cast("ExceptionGroup[Exception]", error).exceptions[0])
