"""What a person sees while jobs run: bars on a terminal, else a line a change, or JSON."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Protocol, Self

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .._errors import CallError, MilvusImportError
from .._models import ImportProgressData, ImportProgressDetail, ImportState
from . import _text
from ._text import Progress

REFRESH = 0.25
"""Seconds between two pictures of the bars."""
STANDSTILL = 10.0
"""Seconds without a change after which a bar says that it stands still."""

_RATE_WINDOW = 15.0
_LONGEST_JOB = 86_400.0
"""Seconds; where a job that runs is older than that, a clock is wrong."""
_SHORTEST_BAR, _LONGEST_BAR, _LONGEST_NAME = 6, 30, 24
_COLORS = {ImportState.COMPLETED: "green", ImportState.FAILED: "red"}


class View(Protocol):
    """Shows what the jobs do."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def change(self, progress: Progress) -> None:
        """A job changed."""
        ...

    def fault(self, error: MilvusImportError, outage: float) -> None:
        """A fault is borne; the server has been away for so many seconds."""
        ...

    def answer(self) -> None:
        """A call came through, be it without a change."""
        ...

    def refresh(self) -> None:
        """Time has passed."""
        ...


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...
    def change(self, progress: Progress) -> None: ...
    def fault(self, error: MilvusImportError, outage: float) -> None: ...
    def answer(self) -> None: ...
    def refresh(self) -> None: ...


class Lines(Quiet):
    """A line a change, written at once; what happens to the connection goes to stderr."""

    def __init__(self, form: Callable[[Progress], str], *, err: bool = False) -> None:
        self._form = form
        self._err = err
        self._told: dict[str, str] = {}
        self._fault: MilvusImportError | None = None

    def change(self, progress: Progress) -> None:
        """Print the job's line, unless it is the same as before."""
        self._recovered()
        text = self._form(progress)
        if self._told.get(progress.job_id) != text:
            self._told[progress.job_id] = text
            click.echo(text, err=self._err)

    def fault(self, error: MilvusImportError, outage: float) -> None:
        """Say that the server is away, and again if the cause is another."""
        if self._fault is None or _cause(error) != _cause(self._fault):
            click.echo(f"reconnecting: {_cause(error)}", err=True)
        self._fault = error

    def answer(self) -> None:
        """Say that the server is back, unless what is wrong is inside its answers."""
        if isinstance(self._fault, CallError) and self._fault.record:
            self._recovered()

    def _recovered(self) -> None:
        if self._fault is not None:
            click.echo("reconnected", err=True)
        self._fault = None


class Bars:
    """A live view: a bar a job, under it one a file."""

    def __init__(
        self,
        console: Console,
        job_ids: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._jobs = {job_id: _Job(job_id, clock) for job_id in job_ids}
        self._fault = ""
        self._away_since = 0.0
        self._live = Live(get_renderable=self._draw, console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._fault = ""
        self._live.stop()

    def change(self, progress: Progress) -> None:
        """Take in the change; the next picture shows it."""
        self._jobs[progress.job_id].take(progress)

    def fault(self, error: MilvusImportError, outage: float) -> None:
        """Show the outage under the jobs."""
        self._fault = _cause(error)
        self._away_since = self._clock() - outage

    def answer(self) -> None:
        """The outage is over."""
        self._fault = ""

    def refresh(self) -> None:
        """Draw the next picture in the place of the last."""
        self._live.refresh()

    def _draw(self) -> RenderableType:
        rows = self._rows(room=self._console.height - 2)
        if self._fault:
            away = _text.duration(self._clock() - self._away_since)
            rows.append(_Row(f"reconnecting for {away}: {self._fault}", style="yellow"))
        return Group(*_grid(rows, self._console.width))

    def _rows(self, room: int) -> list[_Row]:
        """As much as there is room for: first the files go, then the jobs that have ended."""
        rows = [row for job in self._jobs.values() for row in job.rows()]
        if len(rows) > room:
            jobs = sorted(self._jobs.values(), key=lambda job: job.ended)
            rows = [job.rows()[0] for job in jobs]
        if len(rows) > room:
            rows[room - 1 :] = [_Row(f"... and {len(rows) - room + 1} more jobs", style="dim")]
        return rows


@dataclass(slots=True)
class _Row:
    """One line of the view: a name, a bar, and words in columns; without a bar, just the name."""

    name: str
    fraction: float | None = None
    words: tuple[str, ...] = ()
    style: str = "cyan"

    def line(self) -> Text:
        return Text(self.name, style=self.style, no_wrap=True, overflow="ellipsis")


def _grid(rows: list[_Row], width: int) -> list[RenderableType]:
    """Rows under each other: the last columns go where there is no room, the bar takes the rest."""
    barred = [row for row in rows if row.fraction is not None]
    name = min(max((len(row.name) for row in barred), default=0), _LONGEST_NAME)
    columns = zip_longest(*(row.words for row in barred), fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    while len(widths) > 1 and _taken(name, widths) + _SHORTEST_BAR > width:
        widths.pop()
    bar = min(max(width - _taken(name, widths), _SHORTEST_BAR), _LONGEST_BAR)
    name = max(1, min(name, width - _taken(0, widths) - bar))
    lines: list[RenderableType] = []
    for row in rows:
        if row.fraction is None:
            lines.append(row.line())
            continue
        grid = Table.grid()
        done = ProgressBar(1.0, row.fraction, complete_style=row.style, finished_style=row.style)
        cells: list[RenderableType] = [Text(row.name), done]
        grid.add_column(width=name, no_wrap=True, overflow="ellipsis")
        grid.add_column(width=bar + 2)
        for word, size in zip(row.words, widths, strict=False):
            if size:
                grid.add_column(width=size + 2, no_wrap=True)
                cells.append(Text(f"  {word}"))
        grid.add_row(cells[0], Padding(done, (0, 0, 0, 2)), *cells[2:])
        lines.append(grid)
    return lines


def _taken(name: int, widths: list[int]) -> int:
    """Columns that are not the bar's: names, words, and two blanks before the bar and each word."""
    return name + 2 + sum(size + 2 for size in widths if size)


class _Job:
    """One job as it is drawn."""

    def __init__(self, job_id: str, clock: Callable[[], float]) -> None:
        self._job_id = job_id
        self._clock = clock
        self._progress: Progress | None = None
        self._begin = self._changed = clock()
        self._end: float | None = None
        self._counts: deque[tuple[float, int]] = deque()
        """The rows imported, each with its time."""

    @property
    def ended(self) -> bool:
        return self._end is not None

    def take(self, progress: Progress) -> None:
        now = self._changed = self._clock()
        if isinstance(progress, ImportProgressData):
            self._counts.append((now, progress.imported_rows))
            if self._progress is None:
                self._begin = now - _age(progress)
        if progress.done:
            # One that had ended before we looked took what the server says.
            self._end = now if self._progress else self._begin + _took(progress)
        self._progress = progress

    def rows(self) -> list[_Row]:
        now, progress = self._clock(), self._progress
        if progress is None:
            return [_Row(f"{self._job_id}  no answer yet", style="dim")]
        rows = [self._job_row(progress, now)]
        if self.ended:
            return rows
        if isinstance(progress, ImportProgressData):
            rows.extend(_file_row(detail) for detail in progress.details)
        still = now - self._changed
        if still >= STANDSTILL:
            commit = progress.state is ImportState.UNCOMMITTED
            why = "; its commit is only in Milvus' REST API" if commit else ""
            rows.append(_Row(f"  no change for {_text.duration(still)}{why}", style="yellow"))
        return rows

    def _job_row(self, progress: Progress, now: float) -> _Row:
        full = progress if isinstance(progress, ImportProgressData) else None
        words = (
            f"{progress.fraction:>4.0%}",
            _text.state(progress.state),
            _text.rows(full.imported_rows, full.total_rows, brief=True) if full else "",
            _text.duration((now if self._end is None else self._end) - self._begin),
            self._rate(now) if full and not self.ended else "",
            full.service if full else "",
        )
        color = _COLORS.get(progress.state, "cyan")
        return _Row(progress.job_id, progress.fraction, words, color)

    def _rate(self, now: float) -> str:
        """Rows a second over the last while; "" when there are none."""
        while len(self._counts) > 1 and now - self._counts[1][0] > _RATE_WINDOW:
            self._counts.popleft()
        (then, before), (_, after) = self._counts[0], self._counts[-1]
        rate = (after - before) / (now - then) if now > then else 0.0
        return f"{rate:,.0f}/s" if rate >= 1 else ""


def view(console: Console, job_ids: Iterable[str], *, as_json: bool, quiet: bool) -> View:
    """The view that fits the output."""
    if quiet:
        return Quiet()
    if as_json:
        return Lines(json_line, err=console.stderr)
    # Not console.is_terminal: FORCE_COLOR makes that true of a pipe.
    if console.file.isatty() and not console.is_dumb_terminal:
        return Bars(console, job_ids)
    return Lines(_text.line, err=console.stderr)


def json_line(progress: Progress) -> str:
    """One object on one line."""
    return to_json(progress.to_dict())


def to_json(value: dict[str, Any]) -> str:
    """One object on one line, in ASCII: safe in any terminal and any encoding."""
    return json.dumps(value)


def _age(progress: ImportProgressData) -> float:
    """Seconds since the job was created; 0 where the server does not say, or a clock is wrong."""
    if progress.created_at is None:
        return 0.0
    age = (datetime.now(UTC) - progress.created_at).total_seconds()
    return age if 0 < age < _LONGEST_JOB else 0.0


def _took(progress: Progress) -> float:
    """Seconds a job took by the server's word; 0 without it."""
    if isinstance(progress, ImportProgressData) and progress.created_at and progress.completed_at:
        return (progress.completed_at - progress.created_at).total_seconds()
    return 0.0


def _file_row(detail: ImportProgressDetail) -> _Row:
    failed = bool(detail.reason) or detail.state == "Failed"
    names = ", ".join(path.rpartition("/")[2] for path in detail.paths) or detail.file_name
    rows = _text.rows(detail.imported_rows, detail.total_rows, brief=True)
    words = (
        f"{detail.fraction:>4.0%}",
        _text.clean(detail.state),
        rows,
        _text.size(detail.file_size),
    )
    return _Row(f"  {_text.clean(names)}", detail.fraction, words, "red" if failed else "blue")


def _cause(error: MilvusImportError) -> str:
    """The shortest true word for a fault."""
    return error.code.name if isinstance(error, CallError) else _text.error(error)
