"""milvus_import.progress: progress bars in programs."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import grpc
import pytest
from command_line import COMMAND, until, variables
from rich.console import Console

from milvus_import import (
    CallError,
    CallRecord,
    ImportClient,
    ImportJob,
    ImportProgressData,
    ImportState,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
)
from milvus_import.progress import ProgressBars
from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "examples" / "progress_bars.py"


def terminal() -> tuple[io.StringIO, Console]:
    file = io.StringIO()
    return file, Console(file=file, force_terminal=True, width=100, height=24)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def data(percent: int, state: str = "Importing") -> ImportProgressData:
    return ImportProgressData(
        "books", "7", "", ImportState(state), percent, 10, 100, "", 0, [], "", "internal"
    )


UNAVAILABLE = UnavailableError("gone", code=grpc.StatusCode.UNAVAILABLE)


async def test_wait_draws_bars_of_a_job_and_its_files(fake: FakeMilvus) -> None:
    job = fake.add_job(job_id="7", state="Importing", progress=40, files=[FakeFile("a.parquet")])
    file, console = terminal()
    with ProgressBars(console) as bars:

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


def test_jobs_named_before_are_shown_in_their_order() -> None:
    file, console = terminal()
    with ProgressBars(console, job_ids=["9", "7"]) as bars:
        bars(data(40))
    lines = plain(file.getvalue()).splitlines()
    assert lines[-2].rstrip() == "9  no response yet"
    assert lines[-1].startswith("7 ")


def test_an_exception_leaves_a_tidy_terminal() -> None:
    file, console = terminal()
    with pytest.raises(ZeroDivisionError):
        _fail_while_drawing(console)
    assert file.getvalue().rstrip().endswith("\x1b[?25h")


def _fail_while_drawing(console: Console) -> None:
    with ProgressBars(console) as bars:
        bars(data(40))
        raise ZeroDivisionError


async def test_its_thread_ends_with_it() -> None:
    def drawing() -> int:
        names = [type(thread).__name__ for thread in threading.enumerate()]
        return names.count("_RefreshThread")

    _, console = terminal()
    with ProgressBars(console):
        assert drawing() == 1
    await until(lambda: drawing() == 0)


def test_what_the_program_prints_into_a_pipe_stays_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, console = terminal()
    with ProgressBars(console) as bars:
        bars(data(40))
        print("a result")
    assert capsys.readouterr().out == "a result\n"
    assert "a result" not in file.getvalue()


def test_outage_is_shown_until_a_change() -> None:
    file, console = terminal()
    with ProgressBars(console) as bars:
        bars(data(40))
        bars.on_retry(UNAVAILABLE, 3.0)
        console_text = _next_picture(file)
        assert "reconnecting for 0:03: UNAVAILABLE" in console_text
        bars(data(50))
        assert "reconnecting" not in _next_picture(file)


def _next_picture(file: io.StringIO) -> str:
    """Wait for the refreshing thread: two pictures, as the first may have begun before."""
    length = 0
    for _ in range(2):
        length, waiting = len(file.getvalue()), threading.Event()
        while len(file.getvalue()) == length:
            waiting.wait(0.02)
    return plain(file.getvalue()[length:])


def test_without_a_terminal_there_is_a_line_per_change() -> None:
    file = io.StringIO()
    with ProgressBars(Console(file=file, width=20)) as bars:
        bars(data(40))
        bars(data(40))
        bars.on_retry(UNAVAILABLE, 3.0)
        bars.on_retry(UNAVAILABLE, 4.0)
        bars(data(100, "Completed"))
        bars(ImportJob("8", "[red]books", ImportState.IMPORTING, 5, ""))
    assert file.getvalue().splitlines() == [
        "7  Importing  40%  10/100 rows  (internal)",
        "reconnecting: UNAVAILABLE",
        "reconnected",
        "7  Completed  100%  10/100 rows  (internal)",
        "8  Importing  5%  [red]books",
    ]


def test_without_a_terminal_a_status_of_milvus_is_shown_as_the_cause() -> None:
    file = io.StringIO()
    with ProgressBars(Console(file=file)) as bars:
        bars.on_retry(MilvusStatusError("service not ready"), 0.0)
    assert file.getvalue() == "reconnecting: service not ready\n"


def record(code: grpc.StatusCode = grpc.StatusCode.OK) -> CallRecord:
    return CallRecord("internal", "GetImportProgress", code, "", (), (), 0.1)


@pytest.mark.parametrize(
    ("error", "recovered"),
    [
        (CallError("broken", record=record(grpc.StatusCode.UNAVAILABLE)), True),
        (CallError("empty reply", record=None), False),
        (MilvusStatusError("not ready"), False),
    ],
    ids=["broken connection", "reply that is not valid", "Status of Milvus"],
)
def test_successful_rpc_ends_only_an_outage_of_the_connection(
    error: MilvusImportError, recovered: bool
) -> None:
    """A reply may be OK for gRPC and still be the fault."""
    file = io.StringIO()
    with ProgressBars(Console(file=file)) as bars:
        bars.on_retry(error, 0.0)
        bars.on_finish(record())
    assert ("reconnected" in file.getvalue()) is recovered


async def test_on_finish_ends_the_outage_without_a_change(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing", progress=40)
    file = io.StringIO()
    with ProgressBars(Console(file=file)) as bars:
        async with ImportClient(fake.internal_uri, on_finish=bars.on_finish) as client:
            await client.get_import_progress("7")
            fake.inject("unavailable", times=2)
            watch = client.watch("7", interval=0.02, on_retry=bars.on_retry, timeout=20)
            await anext(watch)
            bars(data(40))
    lines = file.getvalue().splitlines()
    assert lines[:2] == ["reconnecting: UNAVAILABLE", "reconnected"]


def test_default_console_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBars() as bars:
        bars(data(40))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "7  Importing  40%  10/100 rows  (internal)\n"


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
