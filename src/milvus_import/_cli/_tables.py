"""Jobs as tables."""

from __future__ import annotations

from collections.abc import Iterable

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._models import ImportJob, ImportProgressData
from . import _text

_UNCUT = 10_000
"""The width if the output is not a terminal: lines are not wrapped."""


def print_job(data: ImportProgressData) -> None:
    """Print one job, then its files."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in (
        ("Job", data.job_id),
        ("Collection", data.collection_name),
        ("State", f"{_text.state(data.state)}, {data.fraction:.0%}"),
        ("Rows", _text.job_rows(data, brief=True)),
        ("Size", _text.size(data.file_size) if data.file_size else ""),
        ("Reason", data.reason),
        ("Created", _text.local(data.created_at, data.create_time)),
        ("Completed", _text.local(data.completed_at, data.complete_time)),
        ("Service", data.service),
    ):
        if value:
            table.add_row(name, _cell(value))
    _print(table)
    if data.details:
        click.echo()
        _print_rows(
            ("File", "State", "%", "Rows", "Size", "Reason"),
            (
                (
                    ", ".join(detail.paths),
                    detail.state,
                    f"{detail.fraction:.0%}",
                    _text.file_rows(detail),
                    _text.size(detail.file_size),
                    detail.reason,
                )
                for detail in data.details
            ),
        )


def print_jobs(jobs: Iterable[ImportJob]) -> None:
    """Print one job per line."""
    _print_rows(
        ("Job", "Collection", "State", "%", "Reason"),
        (
            (j.job_id, j.collection_name, _text.state(j.state), f"{j.fraction:.0%}", j.reason)
            for j in jobs
        ),
    )


def _print_rows(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(_cell, row))
    _print(table)


def _cell(text: str) -> Text:
    return Text(_text.clean(text))


def _print(table: Table) -> None:
    console = Console()
    if not console.file.isatty():
        console = Console(width=_UNCUT)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
