"""Measure the time to error of each fault in docs/errors.md and update the table there."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"
TEST = "tests/server/test_errors_table.py"
ROUNDS = 5
_IMMEDIATELY = 0.05  # seconds
_COLUMN = 4  # the time to error; 0 is before the first bar


def measure() -> dict[str, float]:
    """Return the seconds of each row: the median of the runs, of its slowest host."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-P", "-m", "pytest", "-q", TEST, "-k", "test_fault_shows"]
        command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
        for _ in range(ROUNDS):
            done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{done.stdout}The tests of docs/errors.md fail.")
            for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by our own pytest
                for entry in case.iter("property"):
                    if seconds := entry.get("value"):
                        found[entry.get("name", "")][case.get("name", "")].append(float(seconds))
    return {row: max(map(statistics.median, hosts.values())) for row, hosts in found.items()}


def with_times(times: dict[str, float], page: str) -> str:
    """Return the page with these times in its table."""
    lines = page.splitlines(keepends=True)
    for index, line in enumerate(lines):
        cells = line.split("|")
        row = cells[1].strip(" `") if len(cells) > _COLUMN else ""
        if row in times:
            time = "immediately" if times[row] < _IMMEDIATELY else f"{times[row]:.1f} s"
            cells[_COLUMN] = f" {time} "
            lines[index] = "|".join(cells)
    return "".join(lines)


def main() -> None:
    """Measure and write."""
    times = measure()
    PAGE.write_text(with_times(times, PAGE.read_text("utf-8")), "utf-8")
    print(f"{len(times)} times in docs/{PAGE.name}")


if __name__ == "__main__":
    main()
