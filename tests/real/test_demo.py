"""The demonstration keeps its word: it ends well, or says so, and leaves nothing behind."""

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


def test_it_follows_a_real_import_to_completed_and_counts_the_rows(
    start: Start, tmp_path: Path
) -> None:
    with start("200000") as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "Completed: the collection holds 200,000 rows, as many as the file" in said
    assert "A SIMULATION" in said
    assert "id.npy + v.npy" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_a_row_too_few_is_told_and_is_a_failure(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(await place.rows_file(1_000))
    assert not await demo.real_import(place.server, path, 1_001)
    assert "holds 1,000 rows, but the file has 1,001" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_stops_the_server_and_removes_its_files(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    with start() as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Importing" in line:
                break
        assert list(tmp_path.iterdir()) != []
        process.send_signal(number)
        said = process.stdout.read()
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert list(tmp_path.iterdir()) == []
