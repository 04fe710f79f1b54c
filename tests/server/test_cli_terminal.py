"""The command line at a terminal."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from command_line import COMMAND, FAST, screen, variables
from processes import FakeProcess
from terminal import terminal

from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio


def lines(text: str) -> list[str]:
    return text.splitlines()


async def test_bars_are_drawn_in_place_and_the_end_is_tidy(fake: FakeMilvus) -> None:
    files = [FakeFile(f"part-{number}.parquet") for number in range(8)]
    job = fake.add_job(job_id="7", state="Importing", progress=28, files=files)
    async with screen("watch", "7", "--uri", fake.internal_uri, *FAST) as running:
        text = await running.see(re.compile(r"part-7.* MB\Z").search)
        assert len(lines(text)) == 9
        assert re.fullmatch(
            r"7 +[━╸─]+ +28%  Importing +2,400/8,000 +\d:\d\d +internal", lines(text)[0]
        )
        assert re.fullmatch(
            r"  part-0.parquet +[━╸─]+ +30%  InProgress +300/1,000 +1.0 MB", lines(text)[1]
        )
        assert not running.screen.cursor_shown
        job.progress = 64
        text = await running.see(lambda text: text.count(" 90%") == 8)
        assert len(lines(text)) == 9
        job.state, job.progress = "Completed", 100
        assert await running.end() == 0
    line, summary = lines(running.screen.text())
    assert "100%  Completed" in line
    assert summary == "1 job completed, 8,000 rows"
    assert running.screen.cursor_shown


async def test_outage_is_shown_in_place() -> None:
    job = {"job_id": "7", "state": "Importing", "progress": 30}
    async with (
        FakeProcess(job) as server,
        screen("watch", "7", "--uri", server.internal_uri, *FAST) as running,
    ):
        await running.see(" 30%")
        await server.kill()
        await running.see(re.compile(r"\nreconnecting for \d:\d\d: UNAVAILABLE\Z").search)
        job.update(progress=60)
        await server.start()
        await running.see(lambda text: " 60%" in text and "reconnecting" not in text)
        await server.kill()
        job.update(state="Completed", progress=100)
        await server.start()
        assert await running.end() == 0
    line, summary = lines(running.screen.text())
    assert "Completed" in line
    assert summary == "1 job completed, 1,000 rows"


@pytest.mark.parametrize(
    ("kind", "environment", "bars", "colors"),
    [
        ("xterm-256color", {}, True, True),
        ("xterm-256color", {"NO_COLOR": "1"}, True, False),
        ("dumb", {}, False, False),
    ],
    ids=["terminal", "NO_COLOR", "dumb"],
)
async def test_terminal_decides_on_bars_and_colors(
    kind: str, environment: dict[str, str], bars: bool, colors: bool, fake: FakeMilvus
) -> None:
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    arguments = ("watch", "7", "--uri", fake.internal_uri, *FAST)
    async with screen(*arguments, kind=kind, **environment) as running:
        assert await running.end() == 0
    assert ("━" in running.screen.text()) is bars
    assert bool(re.search(r"\x1b\[[0-9;]*[39][0-7]", running.screen.styled())) is colors


async def test_messages_go_to_the_file_that_standard_error_is(
    fake: FakeMilvus, tmp_path: Path
) -> None:
    fake.add_job(job_id="7", state="Failed", reason="disk full")
    fake.add_job(job_id="8", script=[("Importing", 40), ("Completed", 100)])
    program = shlex.join((*COMMAND, "watch", "7", "8", "--uri", fake.internal_uri, *FAST))
    line = f"exec {program} 2>{tmp_path}/errors"
    async with terminal(["/bin/sh", "-c", line], environment=variables()) as running:
        assert await running.end() == 1
    text = (tmp_path / "errors").read_text("utf-8")
    assert text == "milvus-import: import job 7 failed: disk full\n"
    assert "disk full" not in running.screen.text()
