"""SIGINT, SIGTERM, SIGHUP, and a reader that leaves."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys

import pytest
from command_line import (
    COMMAND,
    TOKEN,
    Running,
    launch,
    screen,
    start,
    until,
    until_received,
    words,
)

from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio

SIGNALS = [
    (signal.SIGINT, 130, "interrupted"),
    (signal.SIGTERM, 143, "interrupted by SIGTERM"),
    (signal.SIGHUP, 129, "interrupted by SIGHUP"),
]
each_signal = pytest.mark.parametrize(("number", "code", "what"), SIGNALS)
CONTINUES = "; the job continues. Follow it again: milvus-import watch 7 --interval 0.05"


async def watch(fake: FakeMilvus, *ignored: str) -> Running:
    """Start to watch a job, as a program that ignores signals starts it."""
    fake.add_job(job_id="7", state="Importing", progress=28)
    ignore = "".join(f"signal.signal(signal.{name}, signal.SIG_IGN)\n" for name in ignored)
    starter = f"import os, signal, sys\n{ignore}os.execv(sys.argv[1], sys.argv[1:])"
    command = await launch(sys.executable, "-c", starter, *COMMAND, *words(fake, "watch 7"))
    await command.line()
    return command


@each_signal
async def test_signal_ends_the_command_and_the_job_continues(
    number: int, code: int, what: str, fake: FakeMilvus
) -> None:
    ended = await (await watch(fake)).end(number)
    assert ended.code == code
    assert ended.err == f"\nmilvus-import: {what}{CONTINUES} --uri {fake.internal_uri}\n"


async def test_ignored_hangup_stays_ignored(fake: FakeMilvus) -> None:
    """As under nohup."""
    command = await watch(fake, "SIGHUP")
    command.process.send_signal(signal.SIGHUP)
    await until_received(fake, 3)
    fake.jobs["7"].state, fake.jobs["7"].progress = "Completed", 100
    assert (await command.end()).code == 0


async def test_sigterm_ends_a_command_that_ignores_ctrl_c(fake: FakeMilvus) -> None:
    """As in ``milvus-import ... &`` of a script."""
    command = await watch(fake, "SIGINT")
    command.process.send_signal(signal.SIGINT)
    await until_received(fake, 3)
    ended = await command.end(signal.SIGTERM)
    assert ended.code == 143
    assert ended.err.startswith(f"\nmilvus-import: interrupted by SIGTERM{CONTINUES}")


@pytest.mark.parametrize(("number", "code", "what"), [*SIGNALS, (0, 130, "interrupted")])
async def test_signal_at_a_terminal_restores_it(
    number: int, code: int, what: str, fake: FakeMilvus
) -> None:
    """And leaves each row once: ^C is echoed after the last row, as wide as the terminal."""
    files = [FakeFile(f"{number}-{'long' * 9}.parquet") for number in range(3)]
    fake.add_job(job_id="7", state="Importing", progress=28, files=files)
    async with screen(*words(fake, "watch 7"), columns=60) as running:
        await running.see("2-long")
        assert not running.screen.cursor_shown
        if number:
            running.process.send_signal(number)
        else:
            running.type("\x03")
        assert await running.end() == code
    assert running.screen.cursor_shown
    rows = running.screen.text().splitlines()
    assert [row[:3] for row in rows[:4]] == ["7  ", "  0", "  1", "  2"]
    assert sum(row.startswith("7  ") for row in rows) == 1
    assert f"{what}{CONTINUES}" in "".join(rows)


async def test_closed_terminal_ends_the_command(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing", progress=28)
    async with screen(*words(fake, "watch 7")) as running:
        await running.see("28%")
        assert await running.hang_up() == 129


@each_signal
async def test_signal_during_create_reports_that_the_job_may_exist(
    number: int, code: int, what: str, fake: FakeMilvus
) -> None:
    fake.inject("hang")
    command = await start(fake, "create books a.parquet")
    await until_received(fake, 1)
    ended = await command.end(number)
    assert ended.code == code
    assert f"{what}; the job may have been started" in ended.err


async def test_second_signal_ends_the_command_without_a_traceback(fake: FakeMilvus) -> None:
    """While the connection is closed, which gives the RPC in flight a second."""
    fake.inject("hang")
    command = await start(fake, "get 7")
    await until_received(fake, 1)
    command.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    ended = await command.end(signal.SIGINT)
    assert ended.code in {130, 143}  # 143 if the first was done already
    assert ended.err.startswith("\nmilvus-import: interrupted")
    assert len(ended.err.splitlines()) == 2


async def test_an_interrupt_repeats_the_options_that_lead_to_the_server(fake: FakeMilvus) -> None:
    """But no secret, and nothing that comes from the environment."""
    fake.token = TOKEN
    fake.add_job(job_id="7", state="Importing", db_name="my db")
    line = f"--db other --service internal watch 7 --db 'my db' --token {TOKEN} --interval 50ms"
    environment = {"MILVUS_URI": fake.internal_uri}
    command = await launch(*COMMAND, *shlex.split(line), environment=environment)
    await command.line()
    ended = await command.end(signal.SIGINT)
    assert ended.err.endswith(f"{CONTINUES} --db 'my db' --service internal\n")


@pytest.mark.parametrize("command", ["watch", "wait"])
@pytest.mark.parametrize("target", ["ids", "books", "--collection books --until uncommitted"])
async def test_an_interrupt_repeats_the_command(
    command: str, target: str, fake: FakeMilvus
) -> None:
    ids = " ".join(fake.add_job(state="Importing").job_id for _ in range(11))
    line = f"{command} {target.replace('ids', ids)}"
    running = await start(fake, line)
    await until_received(fake, 31)
    ended = await running.end(signal.SIGINT)
    again = ended.err.partition("; the jobs continue. Follow them again: ")[2]
    expected = f"milvus-import {line} --interval 0.05 --uri {fake.internal_uri}"
    assert sorted(again.split()) == sorted(expected.split())


async def test_an_interrupt_of_create_names_the_command_that_follows_the_job(
    fake: FakeMilvus,
) -> None:
    command = await start(fake, "create books a.parquet --partition p --wait --timeout 1h")
    job_id = (await command.line()).strip()
    await until_received(fake, 2)
    ended = await command.end(signal.SIGINT)
    assert ended.err.endswith(
        f"; the job continues. Follow it again: milvus-import watch {job_id} --interval 0.05 "
        f"--uri {fake.internal_uri} --timeout 3600\n"
    )


@each_signal
async def test_signal_at_the_token_prompt_turns_echo_on_again(
    number: int, code: int, what: str, fake: FakeMilvus
) -> None:
    async with screen("get", "7", "--ask-token", "--uri", fake.public_uri) as running:
        await until(lambda: not running.echoes)
        running.process.send_signal(number)
        await until(lambda: running.echoes)
        assert await running.end() == code
    assert what in running.screen.text()
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


@pytest.mark.parametrize(
    "line", ["watch 7 8", "wait 7 8", "list", "get 7 8 --json", "--help", "--version"]
)
async def test_closed_output_pipe_exits_with_141(line: str, fake: FakeMilvus) -> None:
    """As in ``milvus-import ... | head -1``."""
    for job_id in ("7", "8"):
        script = [("Importing", percent) for percent in range(20, 40)] + [("Completed", 100)]
        fake.add_job(job_id=job_id, script=script)
    reader, writer = os.pipe()
    os.close(reader)
    command = await launch(*COMMAND, *words(fake, line), out=writer)
    os.close(writer)
    ended = await command.end()
    assert (ended.code, ended.err) == (141, "")
