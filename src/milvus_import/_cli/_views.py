"""Show the progress of jobs: bars on a terminal, otherwise lines or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Protocol, Self

import click
from rich.console import Console

from .._errors import MilvusImportError
from .._models import CallRecord
from . import _text
from ._bars import ProgressBars
from ._lines import LineWriter
from ._text import Progress


class View(Protocol):
    """Shows the progress of jobs."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __call__(self, progress: Progress) -> None:
        """Show a change of a job."""
        ...

    def on_fault(self, error: MilvusImportError, outage: float) -> None:
        """Show an error that is retried, and the seconds of the outage."""
        ...

    def on_finish(self, record: CallRecord) -> None:
        """Update the state of the connection after an RPC."""
        ...


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __call__(self, progress: Progress) -> None: ...
    def on_fault(self, error: MilvusImportError, outage: float) -> None: ...
    def on_finish(self, record: CallRecord) -> None: ...


def choose_view(console: Console, job_ids: Iterable[str], *, as_json: bool, quiet: bool) -> View:
    """Return the bars, the lines or the silent view for the output."""
    if quiet:
        return Quiet()
    # Not console.is_terminal: FORCE_COLOR makes that true of a pipe.
    if not as_json and console.file.isatty() and not console.is_dumb_terminal:
        return ProgressBars(console, job_ids=job_ids)
    return LineWriter(
        lambda text: click.echo(text, err=console.stderr),
        lambda text: click.echo(text, err=True),
        json_line if as_json else _text.line,
    )


def json_line(progress: Progress) -> str:
    """Return one object on one line."""
    return to_json(progress.to_dict())


def to_json(value: dict[str, Any]) -> str:
    """Return one object on one line, in ASCII: safe in any terminal and any encoding."""
    return json.dumps(value)
