"""Live progress bars of import jobs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Self, TextIO

import grpc
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.measure import Measurement
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from .. import CallRecord, ImportJob, ImportProgressData, ImportState, MilvusImportError
from . import _output as text
from ._output import Lines, cause

STALLED_AFTER = 10.0
"""Seconds without a change after which a job is shown as stalled."""

_LONGEST_JOB = 86_400.0
"""Seconds; if a running job is older, one of the clocks is wrong."""
_SHORTEST_BAR, _LONGEST_BAR = 6, 30
_LONGEST_NAME = 25  # that of a job id on Zilliz Cloud
_COLORS = {ImportState.COMPLETED: "green", ImportState.FAILED: "red"}


class ProgressBars:
    """Progress bars of import jobs: one per job, and one per file if the service reports files.

    A context manager, and a function for ``on_progress``::

        with ProgressBars() as bars:
            await client.wait(job_id, on_progress=bars, on_retry=bars.on_retry)

    It draws while it is entered, and leaves the last state of each job on the screen. Other output
    of the program appears above the bars. If the console is not a terminal, it prints a line per
    change instead. It may be shared by many waits, in one thread or several.

    Args:
        console: The console to draw on; default: standard error.
        job_ids: Jobs to show before their first response, in this order.
    """

    def __init__(self, console: Console | None = None, *, job_ids: Iterable[str] = ()) -> None:
        if console is None:  # with FORCE_COLOR, rich treats a pipe as a terminal
            console = Console(stderr=True, force_terminal=_at_terminal(sys.stderr) and None)
        self._console = console
        self._shown: Bars | Lines
        if console.is_terminal and not console.is_dumb_terminal:
            self._shown = Bars(console, job_ids)
        else:
            self._shown = Lines(self._print, self._print, text.job_line)

    def __enter__(self) -> Self:
        """Start to draw."""
        if isinstance(self._shown, Bars):
            self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Draw the last state and stop."""
        if isinstance(self._shown, Bars):
            self._shown.stop()

    def __call__(self, progress: ImportProgressData | ImportJob) -> None:
        """Show a change; the function for ``on_progress``."""
        self._shown(progress)

    def on_retry(self, error: MilvusImportError, outage: float) -> None:
        """Show that a connection is lost; the function for ``on_retry``.

        It is shown until the next change, or the next response if ``on_finish`` is used too.
        """
        self._shown.on_retry(error, outage)

    def on_finish(self, record: CallRecord) -> None:
        """Show that the server responds again; the function for ``on_finish``."""
        self._shown.on_finish(record)

    def _print(self, line: str) -> None:
        line = _encodable(line, self._console)
        self._console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


class Bars(Progress):
    """The bars of jobs, each a task of rich, and of their files, fitted to the terminal."""

    def __init__(
        self,
        console: Console,
        job_ids: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Before Progress.__init__, which calls get_renderables.
        self._console, self._bar = console, _Bar(console)
        self._cells = (_Cell(console, 0), self._bar, *(_Cell(console, i) for i in range(1, 7)))
        self._jobs: dict[str, TaskID] = {}
        self._jobs_lock = threading.Lock()
        self._fault, self._lost_at = "", 0.0
        super().__init__(
            *self._cells,
            console=console,
            refresh_per_second=4,
            speed_estimate_period=15.0,
            get_time=clock,
            redirect_stdout=_at_terminal(sys.stdout),  # what goes to a file or a pipe stays there
            redirect_stderr=_at_terminal(sys.stderr),
        )
        for job_id in job_ids:
            self._job(job_id)

    def __call__(self, progress: ImportProgressData | ImportJob) -> None:
        """Record a change."""
        now, task_id = self.get_time(), self._job(progress.job_id)
        before = next(task.fields for task in self.tasks if task.id == task_id)
        full = progress if isinstance(progress, ImportProgressData) else None
        begin, first = before["begin"], before["progress"] is None
        if first and full:
            begin = now - _age(full)
        end = None
        if progress.done:  # the duration of a job that had ended before is known from the server
            end = begin + _took(full) if first and full else now
        self._fault = ""
        self.update(
            task_id,
            completed=full.imported_rows if full else 0,
            progress=progress,
            begin=begin,
            changed=now,
            end=end,
        )

    def on_retry(self, error: MilvusImportError, outage: float) -> None:
        """Record an outage that has lasted ``outage`` seconds."""
        self._fault, self._lost_at = cause(error), self.get_time() - outage

    def on_finish(self, record: CallRecord) -> None:
        """End the outage if the RPC succeeded."""
        if record.code is grpc.StatusCode.OK:
            self._fault = ""

    def stop(self) -> None:
        """Draw the last state, without an outage, and stop."""
        self._fault = ""
        super().stop()

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return a table of the rows that fit the terminal, and the notes below it."""
        # Two columns stay free: "^C" is echoed there, and must not begin a line of its own.
        width, room = max(self._console.width - 2, 1), self._console.height - 2
        jobs, notes = self.tasks, list[Text]()
        rows = [row for job in jobs for row in (self._job_row(job), *self._other_rows(job))]
        if len(rows) > room:
            jobs.sort(key=lambda job: job.fields["end"] is not None)
            rows = [self._job_row(job) for job in jobs]
        if len(rows) > room:
            notes.append(Text(f"... and {len(rows) - room + 1} more jobs", "dim"))
            del rows[room - 1 :]
        if fault := self._fault:
            lost = text.duration(self.get_time() - self._lost_at)
            note = _encodable(f"reconnecting for {lost}: {fault}", self._console)
            notes.append(Text(note, "yellow", no_wrap=True, overflow="ellipsis"))
        self._fit(rows, width)
        yield Constrain(Group(self.make_tasks_table(rows), *notes), width)

    def _fit(self, rows: list[Task], width: int) -> None:
        """Shorten the bar, then leave out the last columns, until the rows fit the width."""
        for shown in range(len(self._cells), 2, -1):
            self._bar.width, self.columns = _LONGEST_BAR, self._cells[:shown]
            unlimited = self._console.options.update(max_width=10_000)
            table = self.make_tasks_table(rows)
            excess = Measurement.get(self._console, unlimited, table).maximum - width
            self._bar.width = max(_LONGEST_BAR - max(excess, 0), _SHORTEST_BAR)
            if excess <= _LONGEST_BAR - _SHORTEST_BAR:
                break

    def _job(self, job_id: str) -> TaskID:
        with self._jobs_lock:
            if job_id not in self._jobs:
                self._jobs[job_id] = self.add_task(
                    job_id, total=None, progress=None, begin=self.get_time(), changed=0.0, end=None
                )
            return self._jobs[job_id]

    def _job_row(self, job: Task) -> Task:
        progress, begin, end = (job.fields[name] for name in ("progress", "begin", "end"))
        if progress is None:
            return _row(None, "dim", job.description, note="no response yet")
        running, full = end is None, isinstance(progress, ImportProgressData)
        speed = job.speed if running and not self._stalled(job) else None
        return _row(
            0.0 if progress.state is ImportState.FAILED else progress.fraction,
            _COLORS.get(progress.state, "cyan"),
            job.description,
            f"{progress.fraction:>4.0%}",
            text.state(progress.state),
            text.rows(progress, service=progress.service) if full else "",
            text.duration((self.get_time() if running else end) - begin),
            f"{speed:,.0f}/s" if speed and speed >= 1 else "",
            progress.service if full else "",
        )

    def _other_rows(self, job: Task) -> Iterator[Task]:
        """Yield the rows of a running job's files, and one if the job is stalled."""
        progress = job.fields["progress"]
        if progress is None or progress.done:
            return
        for file in progress.details if isinstance(progress, ImportProgressData) else ():
            failed = bool(file.reason) or file.state == "Failed"
            names = ", ".join(path.rpartition("/")[2] for path in file.paths) or file.file_name
            yield _row(
                0.0 if failed else file.fraction,
                "red" if failed else "blue",
                f"  {text.clean(names)}",
                f"{file.fraction:>4.0%}",
                text.clean(file.state),
                text.rows(file, service=progress.service),
                text.size(file.file_size),
            )
        if stalled := self._stalled(job):
            yield _row(None, "yellow", f"  no change for {text.duration(stalled)}")

    def _stalled(self, job: Task) -> float:
        """Return the seconds without a change; 0 if they are few."""
        seconds: float = self.get_time() - job.fields["changed"]
        return seconds if seconds >= STALLED_AFTER else 0.0


class _Cell(ProgressColumn):
    """A text of a row: the name is cut if there is no room for it."""

    def __init__(self, console: Console, index: int) -> None:
        super().__init__(Column(no_wrap=index > 0, max_width=None if index else _LONGEST_NAME))
        self._console, self._index = console, index

    def render(self, task: Task) -> Text:
        """Return the cell of a row, after a second blank if it is not the first."""
        fraction, style = task.fields["bar"]
        cell = "".join(task.fields["cells"][self._index : self._index + 1])
        cell = f" {cell}" if self._index and cell else cell
        style = style if fraction is None else ""
        return Text(_encodable(cell, self._console), style, no_wrap=True, overflow="ellipsis")


class _Bar(ProgressColumn):
    """A bar that is readable without colors, unlike rich's own."""

    def __init__(self, console: Console) -> None:
        super().__init__(Column(no_wrap=True))
        self.width = _LONGEST_BAR
        options = console.options
        self._done, self._half, self._rest = (
            "##." if options.ascii_only or options.legacy_windows else "━╸─"
        )

    def render(self, task: Task) -> Text:
        """Return the bar of a row, or the note in its place."""
        fraction, style = task.fields["bar"]
        if fraction is None:
            return Text(f" {task.description}"[: self.width + 1], style)
        full, halves = divmod(int(fraction * self.width * 2), 2)
        rest = self._rest * (self.width - full - halves)
        return Text.assemble(" ", (self._done * full + self._half * halves, style), (rest, "dim"))


def _row(fraction: float | None, style: str, *cells: str, note: str = "") -> Task:
    """Return a row of cells around a bar, or around a note if it has no fraction."""
    fields = {"bar": (fraction, style), "cells": cells}
    return Task(TaskID(0), note, None, 0, time.monotonic, fields=fields)


def _at_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _encodable(line: str, console: Console) -> str:
    """Return a text with escapes for the characters that the console cannot show."""
    return line.encode(console.encoding, "backslashreplace").decode(console.encoding)


def _age(progress: ImportProgressData) -> float:
    """Return the seconds since the job was created; 0 if unknown, or if a clock is wrong."""
    if progress.created_at is None:
        return 0.0
    age = (datetime.now(UTC) - progress.created_at).total_seconds()
    return age if 0 < age < _LONGEST_JOB else 0.0


def _took(progress: ImportProgressData) -> float:
    """Return the seconds that the server reports for a job; 0 if unknown."""
    if progress.created_at and progress.completed_at:
        return (progress.completed_at - progress.created_at).total_seconds()
    return 0.0
