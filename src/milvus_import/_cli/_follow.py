"""Follow jobs, print how each ends, and return the exit code."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from typing import Any

import anyio
from rich.console import Console

from .. import (
    ArgumentError,
    ImportProgressData,
    ImportState,
    MilvusImportError,
    WaitTimeoutError,
)
from .._errors import quote
from ._bars import ProgressBars
from ._output import Lines, Progress, count, job_line, print_message, write
from ._run import ENDINGS, OTHER_ENDING, Session, exit_code

_MOST_WATCHED = 64
"""The number of jobs that are watched individually, which shows their files too."""


async def follow(session: Session, *, quiet: bool = False, err: bool = False) -> int:
    """Follow the jobs of a session, print how they ended, and return the exit code."""
    follower = _JobFollower(session, quiet=quiet, err=err)
    with follower.view if isinstance(follower.view, ProgressBars) else nullcontext():
        await follower.run()
    last = {job_id: follower.last[job_id] for job_id in session.followed if job_id in follower.last}
    if session.as_json and quiet:
        for progress in last.values():
            write(json.dumps(progress.to_dict()))
    elif last and not session.as_json:
        write(follower.summary(), err=err)
    return exit_code(follower.errors.values())


class _JobFollower:
    def __init__(self, session: Session, *, quiet: bool, err: bool) -> None:
        self.last: dict[str, Progress] = {}
        """The last state of each job that was seen."""
        self.errors: dict[str, MilvusImportError] = {}
        """The error of each job that has not completed."""
        self.view: ProgressBars | Lines
        self._session = session
        self._until = session.options["until"]
        self._individually = len(session.followed) <= _MOST_WATCHED
        self._failed: set[str] = set()
        self._warned = False
        console = Console(stderr=err)
        # Not console.is_terminal: FORCE_COLOR makes that true of a pipe.
        at_terminal = console.file.isatty() and not console.is_dumb_terminal
        if quiet:
            self.view = Lines(lambda _: None, lambda _: None, job_line)
        elif at_terminal and not session.as_json:
            self.view = ProgressBars(console, job_ids=session.followed)
        else:
            self.view = Lines(
                lambda line: write(line, err=err),
                lambda line: write(line, err=True),
                (lambda job: json.dumps(job.to_dict())) if session.as_json else job_line,
            )

    async def run(self) -> None:
        """Follow the jobs until they have ended or the time has expired."""
        if not self._individually:
            outcomes = await self._session.client.wait_all(
                self._session.followed, on_progress=self._changed, **self._options()
            )
            for job_id, outcome in outcomes.items():
                self._ended(job_id, outcome)
            return
        try:
            async with anyio.create_task_group() as group:
                for job_id in self._session.followed:
                    group.start_soon(self._wait, job_id)
        except ExceptionGroup as failed:
            # Wrong usage, a closed output, or a bug: raise it without the group.
            raise failed.exceptions[0] from None

    def summary(self) -> str:
        """Return ``2 jobs completed, 2,000 rows; 1 failed``."""
        succeeded = [job for job in self.last.values() if job.job_id not in self.errors]
        known = [
            job
            for job in succeeded
            if isinstance(job, ImportProgressData) and (job.service != "cloud" or job.imported_rows)
        ]  # Zilliz Cloud may report no rows
        rows = sum(job.imported_rows for job in known)
        completed = self._until == "completed"
        parts: list[str] = []
        if succeeded:
            ending = "completed" if completed else "completed or waiting for commit"
            parts.append(f"{count(len(succeeded), 'job')} {ending}")
            if rows or (completed and known):
                parts[0] += f", {count(rows, 'row')}"
        endings = [ENDINGS.get(type(e), OTHER_ENDING)[1] for e in self.errors.values()]
        for _, ending in (*ENDINGS.values(), OTHER_ENDING):
            if ending in endings:
                parts.append(f"{endings.count(ending)} {ending}")
        return "; ".join(parts)

    def _options(self) -> dict[str, Any]:
        options = self._session.options
        return {
            "until": self._until,
            "timeout": self._session.time_left(),
            "interval": options["interval"],
            "max_outage": options["max_outage"],
            "on_retry": self.view.on_retry,
            "on_finish": self.view.on_finish,
        }

    async def _wait(self, job_id: str) -> None:
        try:
            await self._session.client.wait(job_id, on_progress=self._changed, **self._options())
        except ArgumentError:
            raise
        except MilvusImportError as error:
            self._ended(job_id, error)

    def _ended(self, job_id: str, outcome: ImportProgressData | MilvusImportError) -> None:
        if isinstance(outcome, ImportProgressData):
            self.last[job_id] = outcome
            return
        self.errors[job_id] = outcome
        if isinstance(outcome, WaitTimeoutError):  # it names the time that was left for the wait
            limit = f"after {self._session.timeout:g} s"
            outcome.message = re.sub(r"after [\d.e+-]+ s", limit, outcome.message, count=1)
        if job_id not in self._failed:
            self._session.errors.print(outcome)

    def _changed(self, progress: Progress) -> None:
        job_id = progress.job_id
        self.last[job_id] = progress
        self.view(progress)
        if progress.state is ImportState.FAILED and not self._individually:
            # Its outcome, with a hint, is known only when all jobs have ended.
            self._failed.add(job_id)
            reason = quote(progress.reason) or "no reason given"
            self._session.errors.print(MilvusImportError(f"import job {job_id} failed: {reason}"))
        waits = progress.state is ImportState.UNCOMMITTED
        if waits and self._until == "completed" and not self._warned:
            self._warned = True
            print_message(
                f"import job {job_id} waits for its commit: run "
                f"milvus-import commit {job_id} --service rest"
            )
