"""What the commands write: lines, tables and messages; numbers, states and errors as text."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from datetime import datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import (
    ArgumentError,
    CallError,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
    MilvusImportError,
)
from .._errors import cli_text, one_line

Progress = ImportProgressData | ImportJob
_Rows = ImportProgressData | ImportProgressDetail

_MAX_TEXT = 8192
_UNCUT = 10_000
"""The width of tables if the output is not a terminal: lines are not wrapped."""
_FILE_HEADS = ("File", "State", "%", "Rows", "Size", "Reason")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STATES = {
    ImportState.PRE_IMPORTING: "Pre-importing",
    ImportState.INDEX_BUILDING: "Building index",
    ImportState.UNCOMMITTED: "Waits for commit",
}
_QUOTED = r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"


class OutputLost(Exception):  # noqa: N818 - the cause is the error
    """Standard output cannot be written."""


def write(text: str, *, err: bool = False, keep: bool = False) -> None:
    """Write a line to standard output, or to standard error.

    Raises OutputLost if standard output cannot be written; with ``keep`` the line then goes to
    standard error. Lines that cannot be written to standard error are lost.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError as error:
        with suppress(OSError):  # Python would report what is still in the buffer when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if keep:
            write(text, err=True)
        if not err:
            raise OutputLost(error) from error


def print_message(text: str) -> None:
    """Write a line to standard error, prefixed with the program's name."""
    write(f"milvus-import: {text}", err=True)


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_message(f"warning: {clean(record.getMessage())}")


@contextmanager
def print_warnings(*, silent: bool) -> Generator[None]:
    """Print the warnings that the client logs; with ``silent``, only its errors.

    Not the one about a job that waits for its commit, which names Python's arguments.
    """
    logger = logging.getLogger("milvus_import")
    handler = _LogHandler(logging.ERROR if silent else logging.WARNING)
    handler.addFilter(lambda record: "commit_import" not in record.getMessage())
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def cause(error: MilvusImportError) -> str:
    """Return the shortest description of a fault."""
    return error.code.name if isinstance(error, CallError) else error_text(error)


def job_text(data: ImportProgressData) -> str:
    """Return one job, then its files."""
    lines = (
        ("Job", data.job_id),
        ("Collection", data.collection_name),
        ("State", f"{state(data.state)}, {data.fraction:.0%}"),
        ("Rows", rows(data, service=data.service)),
        ("Size", size(data.file_size) if data.file_size else ""),
        ("Reason", data.reason),
        ("Created", local(data.created_at, data.create_time)),
        ("Completed", local(data.completed_at, data.complete_time)),
        ("Service", data.service),
    )
    files = [
        (", ".join(file.paths), file.state, f"{file.fraction:.0%}",
         rows(file, service=data.service), size(file.file_size), file.reason)
        for file in data.details
    ]  # fmt: skip
    text = _table(line for line in lines if line[1])
    return f"{text}\n\n{_table(files, *_FILE_HEADS)}" if files else text


def jobs_text(jobs: Iterable[ImportJob]) -> str:
    """Return one job per line."""
    lines = [
        (job.job_id, job.collection_name, state(job.state), f"{job.fraction:.0%}", job.reason)
        for job in jobs
    ]
    return _table(lines, "Job", "Collection", "State", "%", "Reason")


def _table(lines: Iterable[tuple[str, ...]], *heads: str) -> str:
    table = Table(*heads, box=None, pad_edge=False, show_header=bool(heads))
    for line in lines:
        table.add_row(*(Text(clean(text)) for text in line))
    drawn, at_terminal = io.StringIO(), sys.stdout.isatty()
    console = Console(file=drawn, force_terminal=at_terminal, width=None if at_terminal else _UNCUT)
    console.print(table)
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines())


def state(value: ImportState) -> str:
    """Return the display name of a state."""
    return _STATES.get(value, clean(value))


def size(number: int) -> str:
    """Return bytes with a unit: ``1.5 MB``."""
    value, units = float(max(number, 0)), iter(_UNITS)
    unit = next(units)
    while value >= 999.5 and unit != _UNITS[-1]:
        value, unit = value / 1000, next(units)
    whole = value >= 99.95 or unit in {_UNITS[0], _UNITS[-1]}
    return f"{value:.0f} {unit}" if whole else f"{value:.1f} {unit}"


def count(number: int, noun: str) -> str:
    """Return a number and its noun: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def rows(item: _Rows, *, service: str = "", brief: bool = True) -> str:
    """Return the rows of a job or a file: ``400/1,000``, or ``400 rows`` without a total.

    0 rows of an unknown total are "" (unknown as well), unless the import has completed. Zilliz
    Cloud may not report them then either.
    """
    imported, total = item.imported_rows, item.total_rows
    if total > 0:
        return f"{imported:,}/{total:,}" + ("" if brief else " rows" if total > 1 else " row")
    known = imported or (item.state == "Completed" and service != "cloud")
    return count(imported, "row") if known else ""


def duration(seconds: float) -> str:
    """Return ``0:42``, ``1:02:03``."""
    minutes, second = divmod(int(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def local(moment: datetime | None, raw: str = "") -> str:
    """Return a time in this machine's zone, or the text that the server sent."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else clean(raw)


def job_line(progress: Progress) -> str:
    """Return one job's progress on one line."""
    parts = [progress.job_id, state(progress.state), f"{progress.fraction:.0%}"]
    if isinstance(progress, ImportProgressData):
        parts += [rows(progress, service=progress.service, brief=False), f"({progress.service})"]
    else:
        parts.append(clean(progress.collection_name))
    return "  ".join(part for part in parts if part)


def error_text(error: BaseException) -> str:
    """Return an error on one line, in the wording of the command line."""
    if isinstance(error, (ArgumentError, TypeError, ImportError)):
        return clean(_name_options(str(error)))
    return clean(cli_text(error) if isinstance(error, MilvusImportError) else str(error))


def clean(text: str) -> str:
    """Return untrusted text on one line, without control characters for the terminal."""
    # one_line leaves a blank for each control character; split() joins these blanks.
    return " ".join(one_line(text[:_MAX_TEXT]).split())


def _name_options(text: str) -> str:
    """Replace the names of arguments by those of the command's options, except in quoted values.

    A name that is also an English word is replaced at the start of the text, and before "=".
    """
    context = click.get_current_context(silent=True)
    names = {
        p.name: p.opts[0] if p.opts[0][0] == "-" else p.human_readable_name.rstrip(".")
        for p in (context.command.params if context else ())
    } | {"tls": "a TLS option", "job_id": "JOB_ID"}
    rest = text.removeprefix("TLSConfig: ")
    no_words = {"tls"} if rest == text else {"tls", "ca", "cert", "key"}

    def option(match: re.Match[str]) -> str:
        name, mark = match.groups()
        if name not in names or not (match.start() == 0 or mark or "_" in name or name in no_words):
            return match[0]
        # The option and a quoted value after it are joined by a blank.
        return names[name] + (" " if mark == "=" and match.end() == len(match.string) else "")

    parts = re.split(_QUOTED, rest)
    parts[::2] = [re.sub(r"\b([a-z_]+)\b(\[\d+\]|=True|=)?", option, part) for part in parts[::2]]
    return "".join(parts)
