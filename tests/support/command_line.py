"""Commands of milvus-import: in this process, in a process of their own, or at a terminal."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from terminal import Terminal, terminal
from times import SCALE

from milvus_import._cli._commands import cli
from milvus_import._cli._run import main

COMMAND = (sys.executable, "-P", "-m", "milvus_import")
GUARD = 40.0 * SCALE
"""Seconds after which a command that should have ended fails its test."""
FAST = ("--interval", "50ms")

TOKEN, METADATA = "root:Sup3rS3cret", "metadata-s3cret"
SECRETS = (TOKEN, "Sup3rS3cret", METADATA, "cm9vdDpTdXAzclMzY3JldA==")

_CLEARED = ("MILVUS_", "GRPC_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "_MILVUS_IMPORT")


@dataclass
class Ended:
    """A command that has ended, and its output."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        """The output of --json."""
        return [json.loads(line) for line in self.out.splitlines()]


def variables(**added: str) -> dict[str, str]:
    """Return the environment without what would change a command, and with ``added``."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_CLEARED)} | added


def invoke(*arguments: str, **environment: str) -> Ended:
    """Run a command in this thread."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with _environment(**environment), redirect_stdout(out), redirect_stderr(err):
        try:
            code: Any = main(cli, arguments)
        except SystemExit as exit_:
            code = exit_.code
    texts: list[str] = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return _checked(Ended(code or 0, *texts))


async def run(*arguments: str, **environment: str) -> Ended:
    """Run a command in a thread of this process, with secrets that must not be printed."""
    environment.setdefault("MILVUS_TOKEN", TOKEN)
    command = (*arguments, "--metadata", f"x-secret={METADATA}")
    with anyio.fail_after(GUARD):
        return await anyio.to_thread.run_sync(lambda: invoke(*command, **environment))


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """Start a command in a process of its own."""
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables(**environment),
    )


async def finish(process: asyncio.subprocess.Process) -> Ended:
    """Wait for the end of a process."""
    try:
        async with asyncio.timeout(GUARD):
            out, err = await process.communicate()
    except TimeoutError:
        os.kill(process.pid, signal.SIGKILL)
        raise
    return _checked(Ended(process.returncode or 0, (out or b"").decode(), (err or b"").decode()))


async def run_process(*arguments: str, **environment: str) -> Ended:
    """Run a command in a process of its own, with secrets that must not be printed."""
    environment.setdefault("MILVUS_TOKEN", TOKEN)
    secret = ("--metadata", f"x-secret={METADATA}")
    return await finish(await start(*arguments, *secret, **environment))


@asynccontextmanager
async def screen(
    *arguments: str, kind: str = "xterm-256color", **environment: str
) -> AsyncGenerator[Terminal, None]:
    """Run a command at a terminal."""
    async with terminal(
        (*COMMAND, *arguments), kind=kind, environment=variables(**environment)
    ) as running:
        yield running
    assert not any(secret in running.screen.text() for secret in SECRETS)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(GUARD):
        while not condition():  # noqa: ASYNC110 - a server does not signal what it has received
            await asyncio.sleep(0.01)


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


def _checked(ended: Ended) -> Ended:
    assert not any(secret in ended.out + ended.err for secret in SECRETS)
    return ended
