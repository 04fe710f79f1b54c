"""The tables of tests/vectors: one row per line, columns between `` | ``."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "vectors"


def rows(name: str) -> list[list[str]]:
    """Return the rows of a table; "-" is an empty cell."""
    lines = (FOLDER / f"{name}.txt").read_text("utf-8").splitlines()
    return [
        ["" if cell == "-" else cell for cell in map(str.strip, line.split(" | "))]
        for line in lines
        if line and not line.startswith("#")
    ]
