"""The tables of a documentation page, and its code, which can be run."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
README = "../README.md"


def code_blocks(name: str, language: str = "python") -> list[str]:
    """Return the code blocks of a page of docs/ in one language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, (DOCS / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def code_block(name: str, mark: str, language: str = "python") -> str:
    """Return the only block of a page that contains a text."""
    (found,) = [block for block in code_blocks(name, language) if mark in block]
    return found


def replace(code: str, changes: dict[str, str]) -> str:
    """Replace texts, each of which must be there."""
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    return code


def table(name: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its header row."""
    section = (DOCS / name).read_text("utf-8").partition(f"\n## {heading}\n")[2]
    lines = section.partition("\n## ")[0].splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


async def run(source: str, **names: Any) -> dict[str, Any]:
    """Run a block, which may await, with ``names``; return its names."""
    code = compile(source, "<documentation>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running: object = eval(code, names)  # noqa: S307 - our own pages
    if inspect.isawaitable(running):
        await running
    return names
