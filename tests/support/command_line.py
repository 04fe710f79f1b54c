"""Commands of milvus-import: in this process, in a process of their own, or at a terminal."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE
from typing import Any

import anyio.to_thread
from processes import FakeProcess
from terminal import Terminal, terminal
from times import SCALE

from milvus_import._cli._commands import cli
from milvus_import._cli._run import main
from milvus_import.testing import FakeMilvus

COMMAND = (sys.executable, "-P", "-m", "milvus_import")
GUARD = 40.0 * SCALE
"""Seconds after which a command that should have ended fails its test."""
FAST = ("--interval", "50ms")

TOKEN, METADATA = "root:Sup3rS3cret", "metadata-s3cret"
SECRETS = (TOKEN, "Sup3rS3cret", METADATA, "cm9vdDpTdXAzclMzY3JldA==")
_SECRET = ("--metadata", f"x-secret={METADATA}")

_CLEARED = ("MILVUS_", "GRPC_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "_MILVUS_IMPORT")


@dataclass
class Ended:
    """A command that has ended, and its output."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert not any(secret in self.out + self.err for secret in SECRETS)

    @property
    def objects(self) -> list[Any]:
        """The output of --json."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A command in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self, *, err: bool = False) -> str:
        """Return the next line of an output."""
        stream = self.process.stderr if err else self.process.stdout
        assert stream is not None
        async with asyncio.timeout(GUARD):
            return (await stream.readline()).decode()

    async def end(self, number: int = 0) -> Ended:
        """Wait for the end, after a signal if there is one."""
        if number:
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(GUARD):
                out, err = await self.process.communicate()
        except TimeoutError:
            os.kill(self.process.pid, signal.SIGKILL)
            raise
        return Ended(self.process.returncode or 0, (out or b"").decode(), (err or b"").decode())


def variables(**added: str) -> dict[str, str]:
    """Return the environment without what would change a command, and with ``added``."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_CLEARED)} | added


def words(fake: FakeMilvus | FakeProcess, line: str) -> tuple[str, ...]:
    """Return the arguments of a command line; if it names no server and interval, those too."""
    typed = shlex.split(line)
    uri = fake.internal_uri
    if isinstance(fake, FakeMilvus) and "rest" in typed:
        uri = fake.rest_uri
    return (
        *typed,
        *(() if "--uri" in typed else ("--uri", uri)),
        *(FAST if {"watch", "wait", "--wait"} & set(typed) else ()),
    )


def invoke(*arguments: str, **environment: str) -> Ended:
    """Run a command in this thread."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with _environment(**environment), redirect_stdout(out), redirect_stderr(err):
        try:
            code: Any = main(cli, arguments)
        except SystemExit as exit_:
            code = exit_.code
    for stream in (out, err):
        stream.seek(0)
    return Ended(code or 0, out.read(), err.read())


async def run(*arguments: str, **environment: str) -> Ended:
    """Run a command in a thread of this process, with secrets that must not be printed."""
    environment.setdefault("MILVUS_TOKEN", TOKEN)
    with anyio.fail_after(GUARD):
        return await anyio.to_thread.run_sync(lambda: invoke(*arguments, *_SECRET, **environment))


async def run_line(fake: FakeMilvus, line: str, **environment: str) -> Ended:
    """Run a command line against a server, in a thread of this process."""
    return await run(*words(fake, line), **environment)


async def launch(
    *command: str, out: int = PIPE, environment: Mapping[str, str] | None = None
) -> Running:
    """Start a program in a process of its own."""
    env = variables(**(environment or {}))
    return Running(
        await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=out, stderr=PIPE, env=env
        )
    )


async def start(fake: FakeMilvus | FakeProcess, line: str, **environment: str) -> Running:
    """Start a command line in a process of its own."""
    return await launch(*COMMAND, *words(fake, line), environment=environment)


async def run_process(fake: FakeMilvus, line: str, **environment: str) -> Ended:
    """Run a command line in a process of its own, with secrets that must not be printed."""
    environment = {"MILVUS_TOKEN": TOKEN, **environment}
    return await (await start(fake, f"{line} {shlex.join(_SECRET)}", **environment)).end()


@asynccontextmanager
async def screen(
    *arguments: str, kind: str = "xterm-256color", columns: int = 100, **environment: str
) -> AsyncGenerator[Terminal, None]:
    """Run a command at a terminal."""
    async with terminal(
        (*COMMAND, *arguments), columns=columns, kind=kind, environment=variables(**environment)
    ) as running:
        yield running
    assert not any(secret in running.screen.text() for secret in SECRETS)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(GUARD):
        while not condition():  # noqa: ASYNC110 - a server does not signal what it has received
            await asyncio.sleep(0.01)


async def until_received(fake: FakeMilvus, more: int) -> None:
    """Wait until a server has received more requests."""
    received = len(fake.received)
    await until(lambda: len(fake.received) >= received + more)


@contextmanager
def _environment(**added: str) -> Generator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables(**added))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
