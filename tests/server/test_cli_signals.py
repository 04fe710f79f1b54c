"""SIGINT, SIGTERM, SIGHUP, and a reader that leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from command_line import COMMAND, FAST, TOKEN, finish, screen, start, until, variables
from terminal import terminal

from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio

SIGNALS = [
    (signal.SIGINT, 130, "interrupted"),
    (signal.SIGTERM, 143, "interrupted by SIGTERM"),
    (signal.SIGHUP, 129, "interrupted by SIGHUP"),
]
each_signal = pytest.mark.parametrize(
    ("number", "code", "what"), SIGNALS, ids=["SIGINT", "SIGTERM", "SIGHUP"]
)
CONTINUES = "; the job continues. Follow it again: milvus-import watch 7 --interval 0.05"


@each_signal
async def test_signal_ends_the_command_and_the_job_continues(
    number: int, code: int, what: str, fake: FakeMilvus
) -> None:
    fake.add_job(job_id="7", state="Importing")
    process = await start("watch", "7", "--uri", fake.internal_uri, *FAST)
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(number)
    ended = await finish(process)
    assert ended.code == code
    assert ended.err == f"\nmilvus-import: {what}{CONTINUES} --uri {fake.internal_uri}\n"


@each_signal
async def test_signal_at_a_terminal_restores_it(
    number: int, code: int, what: str, fake: FakeMilvus
) -> None:
    fake.add_job(job_id="7", state="Importing", progress=28)
    async with screen("watch", "7", "--uri", fake.internal_uri, *FAST) as running:
        await running.see("28%")
        assert not running.screen.cursor_shown
        running.process.send_signal(number)
        assert await running.end() == code
    assert running.screen.cursor_shown
    assert f"{what}{CONTINUES}" in running.screen.text().replace("\n", "")


async def test_ctrl_c_at_a_terminal_restores_it(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing", progress=28)
    async with screen("watch", "7", "--uri", fake.internal_uri, *FAST) as running:
        await running.see("28%")
        running.type("\x03")
        assert await running.end() == 130
    assert running.screen.cursor_shown
    assert CONTINUES in running.screen.text().replace("\n", "")


async def test_closed_terminal_ends_the_command(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing", progress=28)
    async with screen("watch", "7", "--uri", fake.internal_uri, *FAST) as running:
        await running.see("28%")
        assert await running.hang_up() == 129


async def test_ignored_hangup_stays_ignored(fake: FakeMilvus) -> None:
    """As under nohup."""
    job = fake.add_job(job_id="7", state="Importing")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _IGNORE_HANGUP, *COMMAND),
        *("watch", "7", "--uri", fake.internal_uri, *FAST),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables(),
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    received = len(fake.received)
    await until(lambda: len(fake.received) > received + 2)
    job.state, job.progress = "Completed", 100
    assert (await finish(process)).code == 0


_IGNORE_HANGUP = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""


async def test_sigterm_ends_a_command_that_ignores_ctrl_c(fake: FakeMilvus) -> None:
    """As in ``milvus-import ... &`` of a script."""
    fake.add_job(job_id="7", state="Importing")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _IGNORE_HANGUP.replace("SIGHUP", "SIGINT"), *COMMAND),
        *("watch", "7", "--uri", fake.internal_uri, *FAST),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables(),
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    received = len(fake.received)
    await until(lambda: len(fake.received) > received + 2)
    process.send_signal(signal.SIGTERM)
    ended = await finish(process)
    assert ended.code == 143
    assert ended.err.startswith(f"\nmilvus-import: interrupted by SIGTERM{CONTINUES}")


@each_signal
async def test_signal_during_create_reports_that_the_job_may_exist(
    number: int, code: int, what: str, fake: FakeMilvus
) -> None:
    fake.inject("hang")
    process = await start("create", "books", "a.parquet", "--uri", fake.internal_uri)
    await until(lambda: bool(fake.received))
    process.send_signal(number)
    ended = await finish(process)
    assert ended.code == code
    assert f"{what}; the job may have been started" in ended.err


async def test_an_interrupt_repeats_the_options_that_lead_to_the_server(fake: FakeMilvus) -> None:
    """But no secret, and nothing that comes from the environment."""
    fake.token = TOKEN
    fake.add_job(job_id="7", state="Importing", db_name="my db")
    process = await start(
        *("--db", "other", "--service", "internal", "watch", "7", "--db", "my db"),
        *("--token", TOKEN, *FAST),
        MILVUS_URI=fake.internal_uri,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    ended = await finish(process)
    assert ended.err.endswith(f"{CONTINUES} --db 'my db' --service internal\n")


async def test_second_signal_ends_the_command_without_a_traceback(fake: FakeMilvus) -> None:
    """While the connection is closed, which gives the RPC in flight a second."""
    fake.inject("hang")
    process = await start("get", "7", "--uri", fake.internal_uri)
    await until(lambda: bool(fake.received))
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    process.send_signal(signal.SIGINT)
    ended = await finish(process)
    assert ended.code in {130, 143}  # 143 if the first was done already
    assert ended.err.startswith("\nmilvus-import: interrupted")
    assert len(ended.err.splitlines()) == 2


@pytest.mark.parametrize("command", ["watch", "wait"])
@pytest.mark.parametrize("target", ["ids", "books", "--collection books --until uncommitted"])
async def test_an_interrupt_repeats_the_command(
    command: str, target: str, fake: FakeMilvus
) -> None:
    ids = " ".join(fake.add_job(state="Importing").job_id for _ in range(11))
    words = target.replace("ids", ids)
    process = await start(command, *words.split(), "--uri", fake.internal_uri, *FAST)
    await until(lambda: len(fake.received) > 30)
    process.send_signal(signal.SIGINT)
    ended = await finish(process)
    again = ended.err.partition("; the jobs continue. Follow them again: ")[2]
    assert sorted(again.split()) == sorted(
        f"milvus-import {command} {words} --interval 0.05 --uri {fake.internal_uri}".split()
    )


async def test_an_interrupt_of_create_names_the_command_that_follows_the_job(
    fake: FakeMilvus,
) -> None:
    process = await start(
        *("create", "books", "a.parquet", "--partition", "p", "--wait", "--timeout", "1h"),
        *("--uri", fake.internal_uri, *FAST),
    )
    assert process.stdout is not None
    job_id = (await process.stdout.readline()).decode().strip()
    await until(lambda: len(fake.received) > 2)
    process.send_signal(signal.SIGINT)
    ended = await finish(process)
    assert ended.err.endswith(
        f"; the job continues. Follow it again: milvus-import watch {job_id} --interval 0.05 "
        f"--uri {fake.internal_uri} --timeout 3600\n"
    )


async def test_ctrl_c_leaves_each_row_once(fake: FakeMilvus) -> None:
    """The terminal echoes ^C after the last row, which is as wide as the terminal."""
    fake.add_job(
        job_id="7", state="Importing", progress=28,
        files=[FakeFile(f"{number}-{'long' * 9}.parquet") for number in range(3)],
    )  # fmt: skip
    command = (*COMMAND, "watch", "7", "--uri", fake.internal_uri, *FAST)
    async with terminal(command, columns=60, environment=variables()) as running:
        await running.see("2-long")
        running.type("\x03")
        assert await running.end() == 130
    rows = running.screen.text().splitlines()
    assert [row[:3] for row in rows[:4]] == ["7  ", "  0", "  1", "  2"]
    assert sum(row.startswith("7  ") for row in rows) == 1


@each_signal
async def test_signal_at_the_token_prompt_turns_echo_on_again(
    number: int, code: int, what: str, fake: FakeMilvus
) -> None:
    async with screen("get", "7", "--ask-token", "--uri", fake.public_uri) as running:
        await until(lambda: not running.echoes)
        running.process.send_signal(number)
        await until(lambda: running.echoes)
        assert await running.end() == code
    assert not fake.received


async def test_token_is_read_from_the_prompt_and_not_shown(fake: FakeMilvus) -> None:
    fake.token = TOKEN
    fake.add_job(job_id="7", state="Completed", progress=100)
    async with screen("get", "7", "--ask-token", "--uri", fake.public_uri) as running:
        await until(lambda: not running.echoes)
        running.type(f"{TOKEN}\n")
        assert await running.end() == 0
    assert "Token:" in running.screen.text()
    assert "Completed, 100%" in running.screen.text()


@pytest.mark.parametrize("command", ["watch 7 8", "wait 7 8", "list", "get 7 8 --json"])
async def test_closed_output_pipe_exits_with_141(command: str, fake: FakeMilvus) -> None:
    """As in ``milvus-import ... | head -1``."""
    for job_id in ("7", "8"):
        script = [("Importing", percent) for percent in range(20, 40)] + [("Completed", 100)]
        fake.add_job(job_id=job_id, script=script)
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *command.split(), "--uri", fake.internal_uri,
        *(FAST if command.startswith("w") else ()),
        stdout=writer, stderr=asyncio.subprocess.PIPE, env=variables(),
    )  # fmt: skip
    os.close(writer)
    ended = await finish(process)
    assert (ended.code, ended.err) == (141, "")
