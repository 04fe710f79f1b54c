"""What a person sees while jobs run: bars on a terminal, else a line a change, or JSON."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol, Self

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .._errors import CallError, MilvusImportError
from .._models import ImportJob, ImportProgressData, ImportProgressDetail, ImportState
from . import _text

STANDSTILL = 10.0
"""Seconds without a change after which a bar says that it stands still."""
_RATE_WINDOW = 15.0
_SHORTEST_BAR, _LONGEST_BAR = 6, 30
_COLORS = {ImportState.COMPLETED: "green", ImportState.FAILED: "red"}

Progress = ImportProgressData | ImportJob


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
        """The server answered, be it without a change."""
        ...


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...
    def change(self, progress: Progress) -> None: ...
    def fault(self, error: MilvusImportError, outage: float) -> None: ...
    def answer(self) -> None: ...


class JsonLines(Quiet):
    """One JSON object a change, on stdout, at once."""

    def change(self, progress: Progress) -> None:
        """Print it."""
        print_json(progress.to_dict())


class PlainLines(Quiet):
    """One line a change, for logs and dumb terminals."""

    def __init__(self) -> None:
        self._away = False

    def change(self, progress: Progress) -> None:
        """Print the job's line."""
        click.echo(_line(progress))

    def fault(self, error: MilvusImportError, outage: float) -> None:
        """Say once that the server is away."""
        if not self._away:
            click.echo(f"reconnecting: {_cause(error)}", err=True)
        self._away = True

    def answer(self) -> None:
        """Say that it is back."""
        if self._away:
            click.echo("reconnected", err=True)
        self._away = False


class Bars:
    """A live view: a bar a job, under it one a file; redrawn four times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._jobs: dict[str, _Job] = {}
        self._fault = ""
        self._live = Live(
            get_renderable=self._draw, console=console, refresh_per_second=4, transient=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._fault = ""
        self._live.stop()

    def change(self, progress: Progress) -> None:
        """Take in the change; the next redraw shows it."""
        self._jobs.setdefault(progress.job_id, _Job()).take(progress)

    def fault(self, error: MilvusImportError, outage: float) -> None:
        """Show the outage in place."""
        self._fault = f"reconnecting, no answer for {outage:.0f} s: {_cause(error)}"

    def answer(self) -> None:
        """The outage is over."""
        self._fault = ""

    def _draw(self) -> RenderableType:
        width = self._console.width
        rows = [row for job in self._jobs.values() for row in job.rows()]
        away = _Row(self._fault, style="yellow")
        lines = [*_grid(rows, width), *([away.line()] if self._fault else [])]
        return Group(*lines)


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
    name = min(max((len(row.name) for row in barred), default=0), 24)
    columns = max((len(row.words) for row in barred), default=0)
    widths = [
        max(len(row.words[i]) for row in barred if i < len(row.words)) for i in range(columns)
    ]
    while widths and name + sum(widths) + 2 * len(widths) + _SHORTEST_BAR + 4 > width:
        widths.pop()
    bar = min(width - name - sum(widths) - 2 * len(widths) - 4, _LONGEST_BAR)
    lines: list[RenderableType] = []
    for row in rows:
        if row.fraction is None:
            lines.append(row.line())
            continue
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=name, no_wrap=True, overflow="ellipsis")
        for size in (max(bar, _SHORTEST_BAR), *widths):
            grid.add_column(width=size, no_wrap=True)
        done = ProgressBar(1.0, row.fraction, complete_style=row.style, finished_style=row.style)
        grid.add_row(Text(row.name), done, *map(Text, row.words[: len(widths)]))
        lines.append(grid)
    return lines


class _Job:
    """One job as it is drawn."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._started = self._changed = time.monotonic()
        self._ended: float | None = None
        self._rows: deque[tuple[float, int]] = deque()

    def take(self, progress: Progress) -> None:
        now = self._changed = time.monotonic()
        self._progress = progress
        if progress.done and self._ended is None:
            self._ended = now
        if isinstance(progress, ImportProgressData):
            self._rows.append((now, progress.imported_rows))
            while now - self._rows[0][0] > _RATE_WINDOW and len(self._rows) > 2:
                self._rows.popleft()

    def rows(self) -> list[_Row]:
        progress = self._progress
        if progress is None:
            return []
        rows = [self._job_row(progress)]
        if isinstance(progress, ImportProgressData) and not progress.done:
            rows.extend(_file_row(detail) for detail in progress.details)
        still = time.monotonic() - self._changed
        if still >= STANDSTILL and not progress.done:
            rows.append(_Row(f"  no change for {_text.duration(still)}", style="yellow"))
        return rows

    def _job_row(self, progress: Progress) -> _Row:
        words = [f"{progress.fraction:>4.0%}", _text.state(progress.state)]
        if isinstance(progress, ImportProgressData):
            words.append(_text.rows(progress.imported_rows, progress.total_rows))
        words.append(_text.duration(self._elapsed(progress)))
        if isinstance(progress, ImportProgressData):
            words += [self._rate(), progress.service]
        color = _COLORS.get(progress.state, "cyan")
        return _Row(progress.job_id, progress.fraction, tuple(words), color)

    def _rate(self) -> str:
        if len(self._rows) < 2 or self._ended is not None:
            return ""
        (then, before), (now, after) = self._rows[0], self._rows[-1]
        rate = (after - before) / (now - then) if now > then else 0
        return f"{rate:,.0f}/s" if rate >= 1 else ""

    def _elapsed(self, progress: Progress) -> float:
        if isinstance(progress, ImportProgressData):
            begin, end = progress.created_at, progress.completed_at
            if begin and end:
                return (end - begin).total_seconds()
        return (self._ended or time.monotonic()) - self._started


def view(console: Console, *, as_json: bool, quiet: bool) -> View:
    """The view that fits the output."""
    if as_json:
        return Quiet() if quiet else JsonLines()
    if quiet:
        return Quiet()
    if console.is_terminal and not console.is_dumb_terminal:
        return Bars(console)
    return PlainLines()


def print_json(value: dict[str, Any]) -> None:
    """One object on one line, flushed."""
    click.echo(json.dumps(value, ensure_ascii=False))


def _line(progress: Progress) -> str:
    if isinstance(progress, ImportProgressData):
        return _text.line(progress)
    name = f"  {progress.collection_name}" if progress.collection_name else ""
    return f"{progress.job_id}  {_text.state(progress.state)}  {progress.fraction:.0%}{name}"


def _file_row(detail: ImportProgressDetail) -> _Row:
    failed = bool(detail.reason) or detail.state == "Failed"
    names = ", ".join(path.rpartition("/")[2] for path in detail.paths) or detail.file_name
    rows = _text.rows(detail.imported_rows, detail.total_rows)
    words = (f"{detail.fraction:>4.0%}", detail.state, rows, _text.size(detail.file_size))
    return _Row(f"  {names}", detail.fraction, words, "red" if failed else "blue")


def _cause(error: MilvusImportError) -> str:
    """The shortest true word for a fault."""
    return error.code.name if isinstance(error, CallError) else str(error)
