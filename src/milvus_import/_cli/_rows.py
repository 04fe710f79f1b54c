"""The rows that progress bars draw: one per job, one per file, fitted to the terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .._models import ImportProgressData, ImportProgressDetail, ImportState
from . import _text
from ._text import Progress

STALLED_AFTER = 10.0
"""Seconds without a change after which a job is shown as stalled."""

_RATE_WINDOW = 15.0
_LONGEST_JOB = 86_400.0
"""Seconds; if a running job is older, one of the clocks is wrong."""
_SHORTEST_BAR, _LONGEST_BAR, _LONGEST_NAME = 6, 30, 24
_COLORS = {ImportState.COMPLETED: "green", ImportState.FAILED: "red"}
_LINES, _ASCII = ("━", "╸", "─"), ("#", "#", ".")
"""Done, half done, and the rest."""


@dataclass(slots=True)
class Row:
    """One line: a name, a bar, and columns of text. Without a fraction it is only the name."""

    name: str
    fraction: float | None = None
    columns: tuple[str, ...] = ()
    style: str = "cyan"


class JobRows:
    """The rows of one job."""

    def __init__(self, job_id: str, clock: Callable[[], float]) -> None:
        self._job_id = job_id
        self._clock = clock
        self._progress: Progress | None = None
        self._begin = self._changed = clock()
        self._end: float | None = None
        self._counts: deque[tuple[float, int]] = deque()
        """The imported rows, each with its time."""

    @property
    def ended(self) -> bool:
        """Whether the job has completed or failed."""
        return self._end is not None

    def update(self, progress: Progress) -> None:
        """Record a change."""
        now = self._changed = self._clock()
        if isinstance(progress, ImportProgressData):
            self._counts.append((now, progress.imported_rows))
            self._forget_old_counts(now)
            if self._progress is None:
                self._begin = now - _age(progress)
        if progress.done:
            # The duration of a job that had ended before is known from the server only.
            self._end = now if self._progress else self._begin + _took(progress)
        self._progress = progress

    def rows(self) -> list[Row]:
        """Return the job's row, then those of its files while it is running."""
        now, progress = self._clock(), self._progress
        if progress is None:
            return [Row(f"{self._job_id}  no response yet", style="dim")]
        rows = [self._job_row(progress, now)]
        if self.ended:
            return rows
        if isinstance(progress, ImportProgressData):
            rows.extend(_file_row(detail) for detail in progress.details)
        stalled = now - self._changed
        if stalled >= STALLED_AFTER:
            rows.append(Row(f"  no change for {_text.duration(stalled)}", style="yellow"))
        return rows

    def _job_row(self, progress: Progress, now: float) -> Row:
        full = isinstance(progress, ImportProgressData)
        columns = (
            f"{progress.fraction:>4.0%}",
            _text.state(progress.state),
            _text.job_rows(progress, brief=True),
            _text.duration((now if self._end is None else self._end) - self._begin),
            self._rate(now) if full and not self.ended else "",
            progress.service if isinstance(progress, ImportProgressData) else "",
        )
        fraction = 0.0 if progress.state is ImportState.FAILED else progress.fraction
        return Row(progress.job_id, fraction, columns, _COLORS.get(progress.state, "cyan"))

    def _rate(self, now: float) -> str:
        """Return the rows per second of the last 15 seconds; "" if there are none."""
        self._forget_old_counts(now)
        (then, before), (_, after) = self._counts[0], self._counts[-1]
        rate = (after - before) / (now - then) if now > then else 0.0
        return f"{rate:,.0f}/s" if rate >= 1 else ""

    def _forget_old_counts(self, now: float) -> None:
        while len(self._counts) > 1 and now - self._counts[1][0] > _RATE_WINDOW:
            self._counts.popleft()


def layout(rows: list[Row], width: int, *, ascii_only: bool) -> list[RenderableType]:
    """Return the rows as lines of a width.

    The last columns are left out if there is no room for them; the bar takes what remains.
    """
    barred = [row for row in rows if row.fraction is not None]
    name = min(max((len(row.name) for row in barred), default=0), _LONGEST_NAME)
    columns = zip_longest(*(row.columns for row in barred), fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    while len(widths) > 1 and _taken(name, widths) + _SHORTEST_BAR > width:
        widths.pop()
    bar = min(max(width - _taken(name, widths), _SHORTEST_BAR), _LONGEST_BAR)
    name = max(1, min(name, width - _taken(0, widths) - bar))
    lines: list[RenderableType] = []
    for row in rows:
        if row.fraction is None:
            lines.append(Text(row.name, style=row.style, no_wrap=True, overflow="ellipsis"))
            continue
        grid = Table.grid()
        grid.add_column(width=name, no_wrap=True, overflow="ellipsis")
        grid.add_column(width=bar + 2)
        drawn = Text("  ") + _bar(row.fraction, bar, row.style, _ASCII if ascii_only else _LINES)
        cells: list[RenderableType] = [Text(row.name), drawn]
        for text, size in zip(row.columns, widths, strict=False):
            if size:
                grid.add_column(width=size + 2, no_wrap=True)
                cells.append(Text(f"  {text}"))
        grid.add_row(*cells)
        lines.append(grid)
    return lines


def _taken(name: int, widths: list[int]) -> int:
    """Return the width of all but the bar: names, columns, and two blanks before each part."""
    return name + 2 + sum(size + 2 for size in widths if size)


def _bar(fraction: float, width: int, style: str, characters: tuple[str, str, str]) -> Text:
    """Return a bar that is readable without colors, unlike rich's own."""
    done, half, rest = characters
    full, halves = divmod(int(fraction * width * 2), 2)
    bar = Text(done * full + half * halves, style=style, no_wrap=True)
    return bar.append(rest * (width - full - halves), style="dim")


def _age(progress: ImportProgressData) -> float:
    """Return the seconds since the job was created; 0 if unknown, or if a clock is wrong."""
    if progress.created_at is None:
        return 0.0
    age = (datetime.now(UTC) - progress.created_at).total_seconds()
    return age if 0 < age < _LONGEST_JOB else 0.0


def _took(progress: Progress) -> float:
    """Return the seconds that the server reports for a job; 0 if unknown."""
    if isinstance(progress, ImportProgressData) and progress.created_at and progress.completed_at:
        return (progress.completed_at - progress.created_at).total_seconds()
    return 0.0


def _file_row(detail: ImportProgressDetail) -> Row:
    failed = bool(detail.reason) or detail.state == "Failed"
    names = ", ".join(path.rpartition("/")[2] for path in detail.paths) or detail.file_name
    columns = (
        f"{detail.fraction:>4.0%}",
        _text.clean(detail.state),
        _text.file_rows(detail),
        _text.size(detail.file_size),
    )
    name = f"  {_text.clean(names)}"
    return Row(name, 0.0 if failed else detail.fraction, columns, "red" if failed else "blue")
