"""Live progress bars of import jobs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import grpc
from rich.console import Console, Group, RenderableType
from rich.live import Live

from .._errors import MilvusImportError
from .._models import CallRecord, ImportJob, ImportProgressData
from . import _text
from ._lines import LineWriter, cause
from ._rows import JobRows, Row, layout

_REFRESHES_PER_SECOND = 4


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
            terminal = None if sys.stderr.isatty() else False
            console = Console(stderr=True, force_terminal=terminal)
        self._console = console
        self._shown: Bars | LineWriter
        self._live: Live | None = None
        if not console.is_terminal or console.is_dumb_terminal:
            self._shown = LineWriter(self._print, self._print)
        else:
            self._shown = bars = Bars(console, job_ids)
            self._live = Live(
                get_renderable=bars.draw,
                console=console,
                refresh_per_second=_REFRESHES_PER_SECOND,
            )

    def __enter__(self) -> Self:
        """Start to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Draw the last state and stop."""
        if isinstance(self._shown, Bars):
            self._shown.end_outage()
        if self._live is not None:
            self._live.stop()

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

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


class Bars:
    """The state of the bars. The callbacks update it; rich's refresh thread draws it."""

    def __init__(
        self,
        console: Console,
        job_ids: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._jobs = {job_id: JobRows(job_id, clock) for job_id in job_ids}
        self._fault = ""
        self._lost_at = 0.0
        self._lock = threading.Lock()

    def __call__(self, progress: ImportProgressData | ImportJob) -> None:
        """Record a change."""
        with self._lock:
            self._fault = ""
            job_id = progress.job_id
            if job_id not in self._jobs:
                self._jobs[job_id] = JobRows(job_id, self._clock)
            self._jobs[job_id].update(progress)

    def on_retry(self, error: MilvusImportError, outage: float) -> None:
        """Record an outage that has lasted ``outage`` seconds."""
        with self._lock:
            self._fault = cause(error)
            self._lost_at = self._clock() - outage

    def on_finish(self, record: CallRecord) -> None:
        """End the outage if the RPC succeeded."""
        if record.code is grpc.StatusCode.OK:
            self.end_outage()

    def end_outage(self) -> None:
        """Stop showing the outage."""
        with self._lock:
            self._fault = ""

    def draw(self) -> RenderableType:
        """Return the bars in their current state."""
        with self._lock:
            rows = self._rows(room=self._console.height - 2)
            if self._fault:
                lost = _text.duration(self._clock() - self._lost_at)
                rows.append(Row(f"reconnecting for {lost}: {self._fault}", style="yellow"))
        options = self._console.options
        ascii_only = options.ascii_only or options.legacy_windows
        return Group(*layout(rows, self._console.width, ascii_only=ascii_only))

    def _rows(self, room: int) -> list[Row]:
        """Return at most ``room`` rows: running jobs first, files last."""
        jobs = self._jobs.values()
        rows = [row for job in jobs for row in job.rows()]
        if len(rows) > room:
            rows = [job.rows()[0] for job in sorted(jobs, key=lambda job: job.ended)]
        if len(rows) > room:
            rows[room - 1 :] = [Row(f"... and {len(rows) - room + 1} more jobs", style="dim")]
        return rows
