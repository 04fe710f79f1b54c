"""milvus_import.progress with a server, in programs, and without rich."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from command_line import COMMAND, until, variables
from rich.console import Console

from milvus_import import ImportClient, ImportProgressData, ImportState
from milvus_import.progress import ProgressBars
from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "examples" / "progress_bars.py"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


async def test_wait_draws_bars_of_a_job_and_its_files(fake: FakeMilvus) -> None:
    job = fake.add_job(job_id="7", state="Importing", progress=40, files=[FakeFile("a.parquet")])
    file = io.StringIO()
    with ProgressBars(Console(file=file, force_terminal=True, width=100, height=24)) as bars:

        def show(progress: ImportProgressData) -> None:
            bars(progress)
            job.state, job.progress = "Completed", 100

        async with ImportClient(fake.internal_uri) as client:
            first = await anext(client.watch("7"))
            bars(first)
            await until(lambda: "a.parquet" in plain(file.getvalue()))
            final = await client.wait("7", interval=0.05, on_progress=show, on_retry=bars.on_retry)
    assert final.state is ImportState.COMPLETED
    text = plain(file.getvalue())
    assert re.search(r"7 +━+[╸─]+ +40%  Importing", text)
    assert re.search(r"7 +━+ +100%  Completed  1,000/1,000", text.splitlines()[-1])


async def test_on_finish_ends_the_outage_without_a_change(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing", progress=40)
    file = io.StringIO()
    with ProgressBars(Console(file=file)) as bars:
        async with ImportClient(fake.internal_uri, on_finish=bars.on_finish) as client:
            progress = (await client.get_import_progress("7")).data
            fake.inject("unavailable", times=2)
            watch = client.watch("7", interval=0.02, on_retry=bars.on_retry, timeout=20)
            await anext(watch)
            bars(progress)
    lines = file.getvalue().splitlines()
    assert lines[:2] == ["reconnecting: UNAVAILABLE", "reconnected"]


async def test_the_example_follows_jobs(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed", progress=100)
    fake.add_job(job_id="8", state="Failed", reason="disk full")
    out: list[str] = []
    for jobs, code in ((["7"], 0), (["7", "8"], 1)):
        done = await anyio.run_process(
            [COMMAND[0], str(EXAMPLE), fake.internal_uri, *jobs], env=variables(), check=False
        )
        assert done.returncode == code
        assert "7  Completed  100%" in done.stderr.decode()
        out.append(done.stdout.decode())
    assert out[0] == "7: 1,000 rows imported\n"
    assert out[1] == "7: 1,000 rows imported\n8: import job 8 failed: disk full\n"


def test_without_rich_the_import_error_names_the_extra() -> None:
    code = """
import sys
sys.modules["rich"] = None
try:
    import milvus_import.progress
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "milvus_import.progress needs rich: pip install 'milvus-import[cli]'\n"
