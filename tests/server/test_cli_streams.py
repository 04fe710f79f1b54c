"""Standard streams that are closed, full, broken or narrow; terminals; errors nobody foresaw."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import COMMAND, TOKEN, Ended, invoke, launch, screen, variables, words
from processes import FakeProcess
from terminal import terminal

from milvus_import._cli._commands import cli
from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio

LOST = "milvus-import: the output was lost: [Errno "


async def shell(line: str, fake: FakeMilvus, *, broken: bool = False, **more: str) -> Ended:
    """Run a line of sh, in which M is the program; its output may be a broken pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    line = line.replace("M ", f"{shlex.join(COMMAND)} ", 1)
    command = await launch(
        *("/bin/sh", "-c", line),
        out=writer if broken else subprocess.PIPE,
        environment={"MILVUS_URI": fake.internal_uri, **more},
    )
    os.close(writer)
    return await command.end()


# ------------------------------------------------------------------- the result of a write


@pytest.mark.parametrize("more", ["2>&-", "<&- 2>&-", "2>/dev/full", "--wait --interval 50ms 2>&-"])
async def test_job_id_is_printed_without_standard_error(more: str, fake: FakeMilvus) -> None:
    fake.import_seconds = 0.1
    ended = await shell(f"M create books a.parquet {more}", fake)
    (job_id,) = fake.jobs
    assert (ended.code, ended.out, ended.err) == (0, f"{job_id}\n", "")


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("create books a.parquet >/dev/full", "JOB"),
        ("create books a.parquet >&-", "JOB"),
        ("create books a.parquet <&- >&-", "JOB"),
        ("create books a.parquet --wait >/dev/full", "JOB"),
        ("create books a.parquet --json >/dev/full", '{"jobId": "JOB"}'),
        ("commit 7 --service rest --uri REST >/dev/full", "7  commit accepted"),
    ],
)
async def test_result_goes_to_standard_error_if_standard_output_does_not_take_it(
    line: str, result: str, fake: FakeMilvus
) -> None:
    if line.startswith("commit"):
        line, fake.version = line.replace("REST", fake.rest_uri), "3.0"
        fake.add_job(job_id="7", state="Uncommitted", progress=99, auto_commit=False)
    ended = await shell(f"M {line}", fake)
    assert ended.code == 74
    shown, message = ended.err.splitlines()
    assert shown == result.replace("JOB", next(iter(fake.jobs)))
    assert message.startswith(LOST)


@pytest.mark.parametrize("before", ["", "trap '' PIPE; "], ids=["SIGPIPE", "SIGPIPE is ignored"])
async def test_job_id_goes_to_standard_error_if_the_output_is_a_closed_pipe(
    before: str, fake: FakeMilvus
) -> None:
    ended = await shell(f"{before}M create books a.parquet", fake, broken=True)
    assert (ended.code, ended.err.splitlines()) == (141, list(fake.jobs))


# ----------------------------------------------------------------------------------- lost output


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        *((f"{command} >/dev/full", 74, LOST)
          for command in ("get 7", "list", "wait 7 8", "watch 7 8", "--help", "--version")),
        *((f"{command} >&-", 74, LOST)
          for command in ("get 7 --json", "wait 7 --json", "watch 7 --json", "watch --help")),
        *[("get 9 2>/dev/full", 4, ""), ("get 9 2>&-", 4, "")],
        *[("watch 2>&-", 2, ""), ("watch 6 2>/dev/full", 1, "")],
    ],
)  # fmt: skip
async def test_lost_output_exits_with_74_and_a_lost_message_changes_nothing(
    command: str, code: int, message: str, fake: FakeMilvus
) -> None:
    for job_id, state in (("6", "Failed"), ("7", "Completed"), ("8", "Completed")):
        fake.add_job(job_id=job_id, state=state, progress=100)
    ended = await shell(f"M {command}", fake)
    assert ended.code == code
    assert len(ended.err.splitlines()) == bool(message)
    assert ended.err.startswith(message)


async def test_closed_streams_are_not_taken_by_a_connection(fake: FakeMilvus) -> None:
    """gRPC's log lines go to descriptor 2, whatever that is."""
    fake.add_job(job_id="7", state="Completed", progress=100)
    line = "M wait 7 --interval 50ms <&- >&- 2>&-"
    ended = await shell(line, fake, GRPC_VERBOSITY="DEBUG", GRPC_TRACE="all")
    assert ended.code == 74
    assert fake.received[-1].method == "GetImportProgress"


async def test_prompt_without_an_input_is_wrong_usage(fake: FakeMilvus) -> None:
    for stdin in ("<&-", "</dev/null"):
        ended = await shell(f"setsid M get 7 --ask-token {stdin}", fake)
        assert ended.code == 2
        assert "milvus-import: no token was entered" in ended.err
    assert not fake.received


# -------------------------------------------------------------------------------- narrow encodings


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ("PYTHONIOENCODING=ascii", "\\u672c"),
        ("PYTHONIOENCODING=cp1252", "\\u672c"),
        ("PYTHONIOENCODING=latin-1:strict", "\\u672c"),
        ("LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0", "\\u672c"),
        ("LC_ALL=C", "\u672c"),  # Python uses UTF-8 then
    ],
)
async def test_characters_that_the_encoding_lacks_are_escaped(
    environment: str, shown: str, fake: FakeMilvus
) -> None:
    fake.add_job(job_id="7", collection_name="\u672c", state="Failed", reason="\u672c is broken")
    for command, code in (("get 7", 0), ("list", 0), ("watch 7", 1)):
        ended = await shell(f"env {environment} M {command}", fake)
        assert ended.code == code
        assert shown in ended.out + ended.err
        assert "Traceback" not in ended.err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
async def test_bars_of_a_narrow_encoding_do_not_freeze(encoding: str, fake: FakeMilvus) -> None:
    files = [FakeFile("\u672c.parquet")]
    job = fake.add_job(job_id="7", state="Importing", progress=28, files=files)
    async with screen(*words(fake, "watch 7"), PYTHONIOENCODING=encoding) as running:
        await running.see(re.compile(r"7 +#+\.+ +28%[\s\S]*  \\u672c\.parquet +#+\.+ +30%").search)
        job.progress = 64
        await running.see(" 64%")
        job.state, job.progress = "Completed", 100
        assert await running.end() == 0
    assert "1 job completed" in running.screen.text()


# -------------------------------------------------------------------------------------- terminals


async def test_bars_are_drawn_in_place_and_the_end_is_tidy(fake: FakeMilvus) -> None:
    files = [FakeFile(f"part-{number}.parquet") for number in range(8)]
    job = fake.add_job(job_id="7", state="Importing", progress=28, files=files)
    async with screen(*words(fake, "watch 7")) as running:
        rows = (await running.see(re.compile(r"part-7.* MB\Z").search)).splitlines()
        assert len(rows) == 9
        line = r"7 +[━╸─]+ +28%  Importing +2,400/8,000 +\d:\d\d +internal"
        assert re.fullmatch(line, rows[0])
        line = r"  part-0.parquet +[━╸─]+ +30%  InProgress +300/1,000 +1.0 MB"
        assert re.fullmatch(line, rows[1])
        job.progress = 64
        text = await running.see(lambda text: text.count(" 90%") == 8)
        assert len(text.splitlines()) == 9
        job.state, job.progress = "Completed", 100
        assert await running.end() == 0
    row, summary = running.screen.text().splitlines()
    assert "100%  Completed" in row
    assert summary == "1 job completed, 8,000 rows"
    assert running.screen.cursor_shown


async def test_outage_is_shown_in_place() -> None:
    job = {"job_id": "7", "state": "Importing", "progress": 30}
    async with FakeProcess(job) as server, screen(*words(server, "watch 7")) as running:
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
    row, summary = running.screen.text().splitlines()
    assert "Completed" in row
    assert summary == "1 job completed, 1,000 rows"


@pytest.mark.parametrize(
    ("kind", "environment", "bars", "colors"),
    [
        ("xterm-256color", {}, True, True),
        ("xterm-256color", {"NO_COLOR": "1"}, True, False),
        ("dumb", {}, False, False),
        ("xterm-256color", {"COLUMNS": "1"}, None, None),
        ("", {"COLUMNS": "5"}, None, None),
        ("unknown", {"LINES": "1"}, None, None),
        ("xterm", {"COLUMNS": "0", "LINES": "0"}, None, None),
    ],
)
async def test_terminal_decides_on_bars_and_colors(
    kind: str, environment: dict[str, Any], bars: bool | None, colors: bool | None, fake: FakeMilvus
) -> None:
    """And a strange one is no error: None stands for either."""
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    async with screen(*words(fake, "watch 7"), kind=kind, **environment) as running:
        assert await running.end() == 0
    assert "Traceback" not in running.screen.text()
    assert bars in {"━" in running.screen.text(), None}
    colored = re.search(r"\x1b\[[0-9;]*[39][0-7]", running.screen.styled())
    assert colors in {colored is not None, None}


async def test_messages_go_to_the_file_that_standard_error_is(
    fake: FakeMilvus, tmp_path: Path
) -> None:
    fake.add_job(job_id="7", state="Failed", reason="disk full")
    fake.add_job(job_id="8", script=[("Importing", 40), ("Completed", 100)])
    program = shlex.join((*COMMAND, *words(fake, "watch 7 8")))
    line = f"exec {program} 2>{tmp_path}/errors"
    async with terminal(["/bin/sh", "-c", line], environment=variables()) as running:
        assert await running.end() == 1
    text = (tmp_path / "errors").read_text("utf-8")
    assert text == "milvus-import: import job 7 failed: disk full\n"
    assert "disk full" not in running.screen.text()


# ------------------------------------------------------------------------------ unforeseen errors


@pytest.mark.parametrize("debug", [False, True])
def test_unforeseen_error_is_one_line_and_exits_with_70(debug: bool) -> None:
    """With too few descriptors for an event loop."""
    program = shlex.join([*COMMAND, "get", "7", "--token", TOKEN, *["--debug"] * debug])
    # A measurement of coverage would need descriptors too, and warn.
    environment = {k: v for k, v in variables().items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -n 5; exec {program}"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (70, ""), done.stderr
    line, *traceback = done.stderr.splitlines()
    assert line.startswith("milvus-import: unexpected OSError: ")
    assert line.endswith(". Run the command with --debug and report the traceback")
    assert traceback[:1] == ["Traceback (most recent call last):"] * debug
    assert "Sup3rS3cret" not in done.stderr


# --------------------------------------------------------------------------- without docstrings


async def test_commands_and_help_do_not_need_docstrings_and_assertions(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    program = (sys.executable, "-OO", *COMMAND[1:])
    ended = await (await launch(*program, *words(fake, "watch 7"))).end()
    assert (ended.code, ended.err) == (0, "")
    for command in ("", *cli.commands):
        line = [*command.split(), "--help"]
        ended = await (await launch(*program, *line)).end()
        assert ended.out == invoke(*line).out
