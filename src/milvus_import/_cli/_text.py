"""Numbers, times, states and errors as text."""

from __future__ import annotations

import re
from datetime import datetime

from .._errors import ArgumentError, MilvusImportError, cli_text
from .._models import ImportJob, ImportProgressData, ImportProgressDetail, ImportState
from .._text import excerpt, one_line

Progress = ImportProgressData | ImportJob

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STATES = {
    ImportState.PRE_IMPORTING: "Pre-importing",
    ImportState.INDEX_BUILDING: "Building index",
    ImportState.UNCOMMITTED: "Waits for commit",
}
# The arguments in the library's error messages, and their names on the command line.
_ARGUMENTS = {
    "uri": "--uri",
    "token": "the token",
    "db_name": "--db",
    "tls": "a TLS option",
    "service": "--service",
    "collection_name": "the collection's name",
    "all_databases": "--all-databases",
    "partition_name": "--partition",
    "idempotency_key": "--idempotency-key",
    "job_id": "JOB_ID",
    "files": "FILE",
}
_TLS_ARGUMENTS = {"ca": "--ca", "cert": "--cert", "key": "--key", "server_name": "--server-name"}
_QUOTED = r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"


def state(value: ImportState) -> str:
    """Return the display name of a state."""
    return _STATES.get(value, clean(value))


def size(count: int) -> str:
    """Return bytes with a unit: ``1.5 MB``."""
    value, units = float(max(count, 0)), list(_UNITS)
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        del units[0]
    whole = value >= 99.95 or len(units) == len(_UNITS)
    return f"{value:.0f} {units[0]}" if whole else f"{value:.1f} {units[0]}"


def count(number: int, noun: str) -> str:
    """Return a number and its noun: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def rows(imported: int, total: int, *, completed: bool = False, brief: bool = False) -> str:
    """Return ``400/1,000 rows``, or ``400 rows`` if the total is unknown.

    0 rows of an unknown total are "" (unknown as well), unless the import has ``completed``.
    """
    if total > 0:
        return f"{imported:,}/{total:,}" + ("" if brief else " rows" if total > 1 else " row")
    return count(imported, "row") if imported or completed else ""


def duration(seconds: float) -> str:
    """Return ``0:42``, ``1:02:03``."""
    minutes, second = divmod(int(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def local(moment: datetime | None, raw: str = "") -> str:
    """Return a time in this machine's zone, or the text that the server sent."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else clean(raw)


def job_rows(progress: Progress, *, brief: bool = False) -> str:
    """Return the rows of a job; "" if they are unknown."""
    if not isinstance(progress, ImportProgressData):
        return ""
    completed = progress.state is ImportState.COMPLETED
    imported, total = progress.imported_rows, progress.total_rows
    return rows(imported, total, completed=completed, brief=brief)


def file_rows(detail: ImportProgressDetail) -> str:
    """Return the rows of a file; "" if they are unknown."""
    completed = detail.state == "Completed"
    return rows(detail.imported_rows, detail.total_rows, completed=completed, brief=True)


def line(progress: Progress) -> str:
    """Return one job's progress on one line."""
    parts = [progress.job_id, state(progress.state), f"{progress.fraction:.0%}"]
    if isinstance(progress, ImportProgressData):
        parts += [job_rows(progress), f"({progress.service})"]
    else:
        parts.append(clean(progress.collection_name))
    return "  ".join(part for part in parts if part)


def error(exception: BaseException) -> str:
    """Return an error on one line, in the wording of the command line."""
    if isinstance(exception, (ArgumentError, TypeError, ImportError)):
        return clean(_name_options(str(exception)))
    if isinstance(exception, MilvusImportError):
        return clean(cli_text(exception))
    return clean(str(exception))


def clean(text: str) -> str:
    """Return untrusted text on one line, without control characters for the terminal."""
    # one_line leaves a blank for each control character; split() joins these blanks.
    return " ".join(one_line(excerpt(text)).split())


def _name_options(text: str) -> str:
    """Replace the names of arguments by those of options, except in quoted values."""
    names = _ARGUMENTS
    if text.startswith("TLSConfig: "):
        names, text = _TLS_ARGUMENTS, text.removeprefix("TLSConfig: ")
    pattern = rf"\b({'|'.join(names)})\b(\[\d+\]|=True|=)?"
    parts = re.split(_QUOTED, text)
    for index in range(0, len(parts), 2):
        replaced = re.sub(pattern, lambda match: names[match[1]] + _after(match), parts[index])
        parts[index] = replaced
    return "".join(parts)


def _after(match: re.Match[str]) -> str:
    """Return a blank if an option and its quoted value were joined by "=", as in Python."""
    return " " if match[2] == "=" and match.end() == len(match.string) else ""
