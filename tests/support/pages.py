"""The tables of a documentation page, and its code, which can be run."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

DOCS = Path(__file__).resolve().parents[2] / "docs"


def code_blocks(name: str, language: str = "python") -> list[str]:
    """Return the code blocks of a page of docs/ in one language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, (DOCS / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def table(name: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its header row."""
    section = (DOCS / name).read_text("utf-8").partition(f"\n## {heading}\n")[2]
    lines = section.partition("\n## ")[0].splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


async def run(source: str, **names: object) -> None:
    """Run a block as the body of an async function that knows ``names``."""
    body = "async def block():\n" + textwrap.indent(source, "    ")
    exec(compile(body, "<documentation>", "exec"), names)  # noqa: S102 - our own pages
    await cast("Callable[[], Awaitable[None]]", names["block"])()
