"""A short run of ``make soak``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("share", [pytest.param("0", id="grpc"), pytest.param("0.5", id="rest")])
def test_every_call_of_a_short_soak_ends_in_a_documented_way(share: str) -> None:
    command = [sys.executable, str(SOAK), "--calls", "1500", "--replies", "100", "--rest", share]
    command += ["--seconds", "150", "--pause", "0.6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # nothing wrong, nothing left open
    responses, connections = (
        int(re.findall(rf"{words}", done.stdout)[0].replace(",", ""))
        for words in (r"response: ([\d,]+)", r"and ([\d,]+) connections")
    )
    assert responses > 100
    assert connections > 0
