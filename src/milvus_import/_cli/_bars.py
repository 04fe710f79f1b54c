"""Live progress bars of import jobs; a line per change without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from typing import NamedTuple, Self, TextIO

import grpc
from rich.cells import cell_len, set_cell_size
from rich.console import Console, OverflowMethod
from rich.live import Live
from rich.text import Text

from .. import (
    CallError,
    CallRecord,
    ImportJob,
    ImportProgressData,
    ImportState,
    MilvusImportError,
)
from . import _output as text

STALLED_AFTER = 10.0
"""Seconds without a change after which a job is shown as stalled."""

_LONGEST_JOB = 86_400.0
"""Seconds; if a running job is older, one of the clocks is wrong."""
_RATE_PERIOD = 15.0
_SHORTEST_BAR, _LONGEST_BAR, _LONGEST_NAME = 6, 30, 25  # a job id on Zilliz Cloud has 25
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
        self._console = console = console or make_console(err=True)
        # Threads share the dict, whose operations are atomic; a job is replaced, never changed.
        self._jobs = dict.fromkeys(job_ids, _Job(console.get_time()))
        self._fault: MilvusImportError | None = None
        self._lost_at = 0.0
        options = console.options
        ascii_only = options.ascii_only or options.legacy_windows
        self._done, self._half, self._rest = "##." if ascii_only else "━╸─"
        self._overflow: OverflowMethod = "crop" if ascii_only else "ellipsis"
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            # Output to a file or a pipe stays there.
            out, err = _at_terminal(sys.stdout), _at_terminal(sys.stderr)
            self._live = Live(self, console=console, redirect_stdout=out, redirect_stderr=err)

    def __enter__(self) -> Self:
        """Start to draw."""
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Draw the last state, without an outage, and stop."""
        if self._live:
            self._fault = None
            self._live.stop()

    def __call__(self, progress: ImportProgressData | ImportJob) -> None:
        """Show a change; the function for ``on_progress``."""
        self._end_outage()
        now = self._console.get_time()
        before = self._jobs.get(progress.job_id, _Job(now))
        self._jobs[progress.job_id] = before.updated(progress, now)
        line = self._line(progress)
        if not self._live and (before.progress is None or line != self._line(before.progress)):
            self._print(line)

    def on_retry(self, error: MilvusImportError, outage: float) -> None:
        """Show that a connection is lost; the function for ``on_retry``.

        It is shown until the next change, or the next response if ``on_finish`` is used too.
        """
        cause = text.cause(error)
        if not self._live and (self._fault is None or cause != text.cause(self._fault)):
            self._print(f"reconnecting: {cause}", note=True)
        self._fault, self._lost_at = error, self._console.get_time() - outage

    def on_finish(self, record: CallRecord) -> None:
        """Show that the server responds again; the function for ``on_finish``."""
        # Lines stay: for them, a response that may itself be the fault ends no outage.
        of_connection = isinstance(self._fault, CallError) and self._fault.record
        if record.code is grpc.StatusCode.OK and (self._live or of_connection):
            self._end_outage()

    def __rich__(self) -> Text:
        """Return the picture: the rows that fit the terminal, and the notes below them."""
        # Two columns stay free: "^C" is echoed there, and must not begin a line of its own.
        width, room = max(self._console.width - 2, 1), max(self._console.height - 2, 1)
        now, jobs, notes = self._console.get_time(), list(self._jobs.items()), list[Text]()
        rows = [row for job in jobs for row in _rows(*job, now)]
        if len(rows) > room:
            jobs.sort(key=lambda job: job[1].end is not None)
            rows = [next(_rows(*job, now)) for job in jobs]
        if len(rows) > room:
            notes.append(Text(f"... and {len(rows) - room + 1} more jobs", "dim"))
            del rows[room - 1 :]
        if fault := self._fault:
            lost = text.duration(now - self._lost_at)
            note = self._encodable(f"reconnecting for {lost}: {text.cause(fault)}")
            notes.append(Text(note, "yellow"))
        lines = [*self._draw(rows, width), *notes]
        for line in lines:
            line.truncate(width, overflow=self._overflow)
        return Text("\n").join(lines)

    def _draw(self, rows: list[_Row], width: int) -> Iterator[Text]:
        """Yield the rows: to fit them, shorten the bars, then leave out columns, then cut names."""
        names = [self._encodable(row.name) for row in rows]
        cells = [[self._encodable(f" {c}" if c else "") for c in row.cells] for row in rows]
        widths = [1 + max(map(cell_len, column)) for column in zip_longest(*cells, fillvalue="")]
        longest = min(max(map(cell_len, names), default=0), _LONGEST_NAME)
        while len(widths) > 1 and longest + 2 + _SHORTEST_BAR + sum(widths) > width:
            widths.pop()
        bar = max(min(width - longest - 2 - sum(widths), _LONGEST_BAR), _SHORTEST_BAR)
        longest = max(min(longest, width - 2 - bar - sum(widths)), 1)
        for row, name, texts in zip(rows, names, cells, strict=True):
            line = Text(name, row.style if row.fraction is None else "")
            line.truncate(longest, overflow=self._overflow, pad=True)
            if row.fraction is None:
                line.append(f"  {row.note[:bar]}", row.style)
            else:  # readable without colors, unlike rich's own bar
                full, halves = divmod(int(row.fraction * bar * 2), 2)
                line.append(f"  {self._done * full}{self._half * halves}", row.style)
                line.append(self._rest * (bar - full - halves), "dim")
            for cell, cell_width in zip(texts, widths, strict=False):
                line.append(f" {set_cell_size(cell, cell_width - 1)}")
            line.rstrip()
            yield line

    def _line(self, progress: ImportProgressData | ImportJob) -> str:
        return text.job_line(progress)

    def _print(self, line: str, *, note: bool = False) -> None:
        """Print a line; a note is about the connection."""
        line = self._encodable(line)
        self._console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _end_outage(self) -> None:
        if self._fault is not None and not self._live:
            self._print("reconnected", note=True)
        self._fault = None

    def _encodable(self, line: str) -> str:
        """Return a text with escapes for the characters that the console cannot show."""
        encoding = self._console.encoding
        return line.encode(encoding, "backslashreplace").decode(encoding)


class _Job(NamedTuple):
    """What is known of a job, and when."""

    begin: float
    changed: float = 0.0
    end: float | None = None
    progress: ImportProgressData | ImportJob | None = None
    samples: tuple[tuple[float, int], ...] = ((float("-inf"), 0),)
    """Times and numbers of rows, which rise."""

    def updated(self, progress: ImportProgressData | ImportJob, now: float) -> _Job:
        """Return the job after a change."""
        begin, end, count = self.begin, now if progress.done else None, 0
        if isinstance(progress, ImportProgressData):
            count = progress.imported_rows
            if self.progress is None:  # it may be older than this program, and have ended before
                age = _seconds(progress.created_at, datetime.now(UTC))
                begin = now - age if 0 < age < _LONGEST_JOB else now
                took = _seconds(progress.created_at, progress.completed_at)
                end = end if end is None else begin + took
        since = now - _RATE_PERIOD
        samples = [(at, rows) for at, rows in self.samples if at >= since and rows < count]
        return _Job(begin, now, end, progress, (*samples, (now, count)))


class _Row(NamedTuple):
    """A name, a bar, and cells; without a fraction a note in the place of the bar."""

    name: str
    style: str
    fraction: float | None = None
    cells: tuple[str, ...] = ()
    note: str = ""


def make_console(*, err: bool) -> Console:
    """Return a console of standard output or error; with FORCE_COLOR, a pipe is no terminal."""
    at_terminal = _at_terminal(sys.stderr if err else sys.stdout)
    return Console(stderr=err, force_terminal=at_terminal and None)


def _rows(job_id: str, job: _Job, now: float) -> Iterator[_Row]:
    """Yield the row of a job, those of its files, and one if it is stalled."""
    progress = job.progress
    if progress is None:
        yield _Row(job_id, "dim", note="no response yet")
        return
    full = progress if isinstance(progress, ImportProgressData) else None
    still, until = (now - job.changed, now) if job.end is None else (0.0, job.end)
    (first, least), (last, most) = job.samples[0], job.samples[-1]
    changes = job.end is None and still < STALLED_AFTER and last > first
    rate = (most - least) / (last - first) if changes else 0.0
    rows, service = (text.rows(full, service=full.service), full.service) if full else ("", "")
    cells: tuple[str, ...] = (f"{progress.fraction:>4.0%}", text.state(progress.state), rows)
    cells += (text.duration(until - job.begin), f"{rate:,.0f}/s" if rate >= 1 else "", service)
    fraction = 0.0 if progress.state is ImportState.FAILED else progress.fraction
    yield _Row(job_id, _COLORS.get(progress.state, "cyan"), fraction, cells)
    for file in full.details if full and not full.done else ():
        failed = bool(file.reason) or file.state == "Failed"
        names = ", ".join(path.rpartition("/")[2] for path in file.paths) or file.file_name
        rows = text.rows(file, service=service)
        cells = (f"{file.fraction:>4.0%}", text.clean(file.state), rows, text.size(file.file_size))
        style, fraction = ("red", 0.0) if failed else ("blue", file.fraction)
        yield _Row(f"  {text.clean(names)}", style, fraction, cells)
    if still >= STALLED_AFTER:
        yield _Row(f"  no change for {text.duration(still)}", "yellow")


def _at_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _seconds(begin: datetime | None, end: datetime | None) -> float:
    """Return the seconds between two times of the server; 0 if one is unknown."""
    return (end - begin).total_seconds() if begin and end else 0.0
