"""The demonstration: its result, its exit code, and the files that it removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import demo
import pytest
from real_place import Place

pytestmark = pytest.mark.timeout(120)

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, demo.__file__, *arguments],
            stdout=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            text=True,
        )

    return start


def test_demo_follows_a_real_import_to_completed_and_counts_the_rows(
    start: Start, tmp_path: Path
) -> None:
    with start("200000") as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "Completed: the collection holds 200,000 rows, as many as the file" in output
    assert "A SIMULATION" in output
    assert "id.npy + v.npy" in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_demo_fails_if_a_row_is_missing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(await place.rows_file(1_000))
    assert not await demo.real_import(place.server, path, 1_001)
    assert "holds 1,000 rows, but the file has 1,001" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_the_server_and_removes_its_files(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    with start() as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Importing" in line:
                break
        assert list(tmp_path.iterdir()) != []
        process.send_signal(number)
        output = process.stdout.read()
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert list(tmp_path.iterdir()) == []
