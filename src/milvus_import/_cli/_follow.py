"""Follow jobs, and record how each ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from .._client import ImportClient
from .._errors import (
    ArgumentError,
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    WaitTimeoutError,
)
from .._models import ImportProgressData, ImportState
from .._options import WatchOptions
from .._watch._polls import CONCURRENT_POLLS
from . import _text
from ._exit import print_message
from ._settings import FollowSettings
from ._text import Progress
from ._views import View

_ENDINGS: dict[type[MilvusImportError], str] = {
    ImportFailedError: "failed",
    JobNotFoundError: "not found",
    WaitTimeoutError: "timed out",
}


@dataclass
class JobFollower:
    """Follows jobs and records how each ended."""

    client: ImportClient
    view: View
    job_ids: Sequence[str]
    settings: FollowSettings
    last: dict[str, Progress] = field(default_factory=dict[str, Progress])
    """The last state of each job that was seen."""
    errors: dict[str, MilvusImportError] = field(default_factory=dict[str, MilvusImportError])
    """The error of each job that has not completed."""
    _warned: bool = False

    async def run(self, timeout: float | None) -> None:
        """Follow the jobs until they have ended, for at most ``timeout`` seconds.

        Up to 64 jobs are watched individually, which shows their files too.
        """
        with self.view:
            if len(self.job_ids) <= CONCURRENT_POLLS:
                await self._follow_each(timeout)
            else:
                await self._follow_all(timeout)
        self.last = {i: self.last[i] for i in self.job_ids if i in self.last}
        self.errors = {i: self.errors[i] for i in self.job_ids if i in self.errors}

    def summary(self) -> str:
        """Return ``2 jobs completed, 2,000 rows; 1 failed``."""
        succeeded = [p for p in self.last.values() if p.job_id not in self.errors]
        known = [p for p in succeeded if isinstance(p, ImportProgressData)]
        rows = sum(p.imported_rows for p in known)
        completed = self.settings.until == "completed"
        parts: list[str] = []
        if succeeded:
            parts.append(
                f"{_text.count(len(succeeded), 'job')} "
                f"{'completed' if completed else 'completed or waiting for commit'}"
            )
            if rows or (completed and known):
                parts[0] += f", {_text.count(rows, 'row')}"
        endings = [
            _ENDINGS.get(type(error), "could not be followed") for error in self.errors.values()
        ]
        parts += [f"{endings.count(ending)} {ending}" for ending in dict.fromkeys(endings)]
        return "; ".join(parts)

    def _options(self, timeout: float | None) -> WatchOptions:
        return {
            "timeout": timeout,
            "interval": self.settings.interval,
            "max_outage": self.settings.max_outage,
            "on_retry": self.view.on_retry,
            "on_finish": self.view.on_finish,
        }

    async def _follow_each(self, timeout: float | None) -> None:
        try:
            async with anyio.create_task_group() as group:
                for job_id in self.job_ids:
                    group.start_soon(self._follow_one, job_id, timeout)
        except ExceptionGroup as failed:
            # Wrong usage, a closed output, or a bug: raise it without the group.
            raise failed.exceptions[0] from None

    async def _follow_one(self, job_id: str, timeout: float | None) -> None:
        try:
            await self.client.wait(
                job_id,
                until=self.settings.until,
                on_progress=self._changed,
                **self._options(timeout),
            )
        except ArgumentError:
            raise
        except MilvusImportError as error:
            self.errors[job_id] = error

    async def _follow_all(self, timeout: float | None) -> None:
        outcomes = await self.client.wait_all(
            self.job_ids,
            until=self.settings.until,
            on_progress=self._changed,
            **self._options(timeout),
        )
        for job_id, outcome in outcomes.items():
            if isinstance(outcome, ImportProgressData):
                self.last[job_id] = outcome
            else:
                self.errors[job_id] = outcome

    def _changed(self, progress: Progress) -> None:
        self.last[progress.job_id] = progress
        self.view(progress)
        waits = progress.state is ImportState.UNCOMMITTED
        if waits and self.settings.until == "completed" and not self._warned:
            self._warned = True
            job_id = progress.job_id
            print_message(
                f"import job {job_id} waits for its commit: run "
                f"milvus-import commit {job_id} --service rest"
            )
