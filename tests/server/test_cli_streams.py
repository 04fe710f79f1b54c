"""Standard streams that are closed, full, broken or narrow; errors that nobody foresaw."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from command_line import COMMAND, FAST, TOKEN, Ended, finish, screen, variables

from milvus_import._cli._commands import cli
from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio

CREATE = "create books a.parquet"
LOST = "milvus-import: the output was lost: [Errno "


async def shell(line: str, fake: FakeMilvus, *, broken: bool = False, **more: str) -> Ended:
    """Run a line of sh, in which M is the program; its output may be a broken pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", line.replace("M ", f"{shlex.join(COMMAND)} ", 1)),
        stdout=writer if broken else asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables(MILVUS_URI=fake.internal_uri, **more),
    )
    os.close(writer)
    return await finish(process)


# ------------------------------------------------------------- the id of a job that was started


@pytest.mark.parametrize("more", ["2>&-", "<&- 2>&-", "2>/dev/full", "--wait --interval 50ms 2>&-"])
async def test_job_id_is_printed_without_standard_error(more: str, fake: FakeMilvus) -> None:
    fake.import_seconds = 0.1
    ended = await shell(f"M {CREATE} {more}", fake)
    (job_id,) = fake.jobs
    assert (ended.code, ended.out, ended.err) == (0, f"{job_id}\n", "")


@pytest.mark.parametrize("more", [">/dev/full", ">&-", "<&- >&-", "--wait >/dev/full"])
async def test_job_id_goes_to_standard_error_if_standard_output_does_not_take_it(
    more: str, fake: FakeMilvus
) -> None:
    ended = await shell(f"M {CREATE} {more}", fake)
    assert ended.code == 74
    job_id, message = ended.err.splitlines()
    assert [job_id] == list(fake.jobs)
    assert message.startswith(LOST)


@pytest.mark.parametrize("before", ["", "trap '' PIPE; "], ids=["SIGPIPE", "SIGPIPE is ignored"])
async def test_job_id_goes_to_standard_error_if_the_output_is_a_closed_pipe(
    before: str, fake: FakeMilvus
) -> None:
    ended = await shell(f"{before}M {CREATE}", fake, broken=True)
    assert (ended.code, ended.err.splitlines()) == (141, list(fake.jobs))


async def test_job_id_in_json_goes_to_standard_error_too(fake: FakeMilvus) -> None:
    ended = await shell(f"M {CREATE} --json >/dev/full", fake)
    assert ended.code == 74
    assert json.loads(ended.err.splitlines()[0]) == {"jobId": next(iter(fake.jobs))}


async def test_commit_accepted_over_rest_goes_to_standard_error_too(fake: FakeMilvus) -> None:
    fake.version = "3.0"
    fake.add_job(job_id="7", state="Uncommitted", progress=99, auto_commit=False)
    ended = await shell(f"M commit 7 --service rest --uri {fake.rest_uri} >/dev/full", fake)
    assert ended.code == 74
    assert ended.err.splitlines()[0] == "7  commit accepted"


# ----------------------------------------------------------------------------------- lost output


@pytest.mark.parametrize(
    "command",
    ["get 7 >/dev/full", "get 7 --json >&-", "list >/dev/full", "watch 7 8 >/dev/full",
     "watch 7 --json >&-", "wait 7 >/dev/full", "--help >/dev/full", "watch --help >&-",
     "--version >/dev/full"],
)  # fmt: skip
async def test_lost_output_exits_with_74(command: str, fake: FakeMilvus) -> None:
    for job_id in ("7", "8"):
        fake.add_job(job_id=job_id, state="Completed", progress=100)
    ended = await shell(f"M {command}", fake)
    assert ended.code == 74
    (line,) = ended.err.splitlines()
    assert line.startswith(LOST)


@pytest.mark.parametrize("command", ["--help", "--version"])
async def test_texts_into_a_closed_pipe_exit_with_141(command: str, fake: FakeMilvus) -> None:
    ended = await shell(f"M {command}", fake, broken=True)
    assert (ended.code, ended.err) == (141, "")


@pytest.mark.parametrize(
    ("command", "code"),
    [("get 8 2>/dev/full", 4), ("get 8 2>&-", 4), ("watch 2>&-", 2), ("watch 7 2>/dev/full", 1)],
)
async def test_lost_message_does_not_change_the_exit_code(
    command: str, code: int, fake: FakeMilvus
) -> None:
    fake.add_job(job_id="7", state="Failed", reason="disk full")
    ended = await shell(f"M {command}", fake)
    assert (ended.code, ended.err) == (code, "")


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


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1:strict"])
async def test_characters_that_the_encoding_lacks_are_escaped(
    encoding: str, fake: FakeMilvus
) -> None:
    fake.add_job(job_id="7", collection_name="\u672c", state="Failed", reason="\u672c is broken")
    for command in ("get 7", "list", "watch 7"):
        ended = await shell(f"M {command}", fake, PYTHONIOENCODING=encoding)
        assert ended.code == (1 if command == "watch 7" else 0)
        assert "\\u672c" in ended.out + ended.err
        assert "Traceback" not in ended.err


async def test_locale_without_unicode_is_no_error(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", collection_name="\u672c", state="Failed", reason="\u672c")
    ended = await shell("M list", fake, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert (ended.code, "\\u672c" in ended.out) == (0, True)
    assert (await shell("M list", fake, LC_ALL="C")).code == 0


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
async def test_bars_of_a_narrow_terminal_do_not_freeze(encoding: str, fake: FakeMilvus) -> None:
    files = [FakeFile("\u672c.parquet")]
    job = fake.add_job(job_id="7", state="Importing", progress=28, files=files)
    arguments = ("watch", "7", "--uri", fake.internal_uri, *FAST)
    async with screen(*arguments, PYTHONIOENCODING=encoding) as running:
        await running.see(re.compile(r"7 +#+\.+ +28%[\s\S]*  \\u672c\.parquet +#+\.+ +30%").search)
        job.progress = 64
        await running.see(" 64%")
        job.state, job.progress = "Completed", 100
        assert await running.end() == 0
    assert "1 job completed" in running.screen.text()


@pytest.mark.parametrize(
    ("kind", "environment"),
    [("xterm-256color", {"COLUMNS": "1"}), ("", {"COLUMNS": "5"}), ("unknown", {"LINES": "1"}),
     ("xterm", {"COLUMNS": "0", "LINES": "0"})],
)  # fmt: skip
async def test_bars_end_well_at_a_strange_terminal(
    kind: str, environment: dict[str, str], fake: FakeMilvus
) -> None:
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    arguments = ("watch", "7", "--uri", fake.internal_uri, *FAST)
    async with screen(*arguments, kind=kind, **environment) as running:
        assert await running.end() == 0
    assert "Traceback" not in running.screen.text()


# ------------------------------------------------------------------------------ unforeseen errors


def with_few_descriptors(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that may open too few files for an event loop."""
    program = shlex.join([*COMMAND, *arguments, "--token", TOKEN])
    # A measurement of coverage would need descriptors too, and warn.
    environment = {k: v for k, v in variables().items() if not k.startswith("COVERAGE")}
    return subprocess.run(
        ["/bin/sh", "-c", f"ulimit -n 5; exec {program}"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_unforeseen_error_is_one_line_and_exits_with_70() -> None:
    done = with_few_descriptors("get", "7")
    assert (done.returncode, done.stdout) == (70, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("milvus-import: unexpected OSError: ")
    assert line.endswith(". Run the command with --debug and report the traceback")


def test_debug_shows_the_traceback_of_an_unforeseen_error() -> None:
    done = with_few_descriptors("get", "7", "--debug")
    assert done.returncode == 70
    assert "Traceback (most recent call last):" in done.stderr
    assert "Sup3rS3cret" not in done.stderr


# --------------------------------------------------------------------------- without docstrings


def test_help_does_not_depend_on_docstrings() -> None:
    code = """
from milvus_import._cli._commands import cli
for command in (cli, *cli.commands.values()):
    print(command.name, command.help)
"""
    helps = [
        subprocess.run(
            [sys.executable, *optimize, "-P", "-c", code],
            env=variables(), capture_output=True, text=True, check=True,
        ).stdout
        for optimize in ([], ["-OO"])
    ]  # fmt: skip
    assert helps[0] == helps[1]
    assert helps[0].count("Examples:") == len(cli.commands) + 1


async def test_commands_work_without_docstrings_and_assertions(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-OO", *COMMAND[1:], "watch", "7", "--uri", fake.internal_uri, *FAST),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables(),
    )
    ended = await finish(process)
    assert (ended.code, ended.err) == (0, "")
