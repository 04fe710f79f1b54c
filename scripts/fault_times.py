"""Measure the time to error of each fault of docs/errors.md, and write it into the table."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

import environment

PAGE = environment.ROOT / "docs" / "errors.md"
TEST = "tests/server/test_errors_table.py"
ROUNDS = 5
_AT_ONCE = 0.05
_COLUMN = 4  # "Time to error"; 0 is what stands before the first bar


def measure() -> dict[str, float]:
    """The seconds of each row: the median of some runs, of its slowest host."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-P", "-m", "pytest", "-q", TEST, "-k", "test_fault_shows"]
        command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
        for _ in range(ROUNDS):
            done = subprocess.run(
                command, cwd=environment.ROOT, check=False, capture_output=True, text=True
            )
            if done.returncode:
                raise environment.SetupError(f"{done.stdout}a fault does not show what it should")
            for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by our own pytest
                for entry in case.iter("property"):
                    if seconds := entry.get("value"):
                        found[entry.get("name", "")][case.get("name", "")].append(float(seconds))
    return {row: max(map(statistics.median, hosts.values())) for row, hosts in found.items()}


def put(times: dict[str, float], page: str) -> str:
    """The page with these times in its table."""
    lines = page.splitlines(keepends=True)
    for index, line in enumerate(lines):
        cells = line.split("|")
        row = cells[1].strip(" `") if len(cells) > _COLUMN else ""
        if row in times:
            text = "immediately" if times[row] < _AT_ONCE else f"{times[row]:.1f} s"
            cells[_COLUMN] = f" {text} "
            lines[index] = "|".join(cells)
    return "".join(lines)


def write() -> int:
    """Measure and write; how many rows there are."""
    times = measure()
    PAGE.write_text(put(times, PAGE.read_text("utf-8")), "utf-8")
    return len(times)
