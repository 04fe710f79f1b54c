"""Numbers, times and states in words."""

from __future__ import annotations

from datetime import datetime

from .._models import ImportProgressData, ImportState

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_WORDS = {
    ImportState.PRE_IMPORTING: "Pre-importing",
    ImportState.INDEX_BUILDING: "Building index",
    ImportState.UNCOMMITTED: "Waits for commit",
}


def state(value: ImportState) -> str:
    """A state as a person reads it."""
    return _WORDS.get(value, str(value))


def size(count: int) -> str:
    """Bytes with a unit: ``1.5 MB``."""
    value, units = float(max(count, 0)), list(_UNITS)
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        del units[0]
    whole = value >= 99.5 or len(units) == len(_UNITS)
    return f"{value:.0f} {units[0]}" if whole else f"{value:.1f} {units[0]}"


def rows(imported: int, total: int) -> str:
    """``400/1,000 rows``, or ``400 rows`` where the total is not known; "" before there are any."""
    if total > 0:
        return f"{imported:,}/{total:,} rows"
    return f"{imported:,} rows" if imported else ""


def duration(seconds: float) -> str:
    """``0:42``, ``1:02:03``."""
    minutes, second = divmod(int(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def local(moment: datetime | None, raw: str = "") -> str:
    """A time in this machine's zone, or what the server wrote."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else raw


def line(progress: ImportProgressData) -> str:
    """One job's progress on one line."""
    parts = [
        progress.job_id,
        state(progress.state),
        f"{progress.fraction:.0%}",
        rows(progress.imported_rows, progress.total_rows),
        f"({progress.service})",
    ]
    return "  ".join(part for part in parts if part)
