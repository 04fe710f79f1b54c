"""Show the progress of jobs: bars on a terminal, otherwise lines or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console

from . import _text
from ._bars import ProgressBars
from ._lines import LineWriter
from ._text import Progress

View = ProgressBars | LineWriter


def choose_view(console: Console, job_ids: Iterable[str], *, as_json: bool, quiet: bool) -> View:
    """Return the bars or the lines for the output. With ``quiet``, nothing is written."""
    if quiet:
        return LineWriter(lambda _: None, lambda _: None)
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
