"""``python -m milvus_import.testing``."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from milvus_import import ImportClient, ImportFailedError

pytestmark = pytest.mark.anyio

FREE_PORTS = ("--port", "0", "--internal-port", "0", "--rest-port", "0", "--cloud-port", "0")
COMMAND = (sys.executable, "-m", "milvus_import.testing")


@asynccontextmanager
async def running(*options: str) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def addresses(process: asyncio.subprocess.Process) -> dict[str, str]:
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode().partition(" ") for _ in range(4)]
    return {name: uri.strip() for name, _, uri in lines}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serves_until_a_signal(number: int, guard: float) -> None:
    async with asyncio.timeout(guard), running(*FREE_PORTS, "--import-seconds", "0") as process:
        uris = await addresses(process)
        assert list(uris) == ["public", "internal", "rest", "cloud"]
        async with ImportClient(uris["internal"], rpc_timeout=guard) as client:
            job_id = await client.create_import("books", ["a.json"])
            assert (await client.wait(job_id)).state == "Completed"
        process.send_signal(number)
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


async def test_options_are_applied(guard: float) -> None:
    options = ("--version", "3.0", "--token", "root:Milvus", "--import-seconds", "0")
    command = (*FREE_PORTS, *options, "--fail-imports", "disk full")
    async with asyncio.timeout(guard), running(*command) as process:
        uris = await addresses(process)
        async with ImportClient(uris["public"], token="root:Milvus", rpc_timeout=guard) as client:
            job_id = await client.create_import("books", ["a.json"])
            with pytest.raises(ImportFailedError, match="disk full"):
                await client.wait(job_id)


async def test_rest_port_in_use_is_one_line(guard: float) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with asyncio.timeout(guard), running(*FREE_PORTS, "--rest-port", port) as process:
            _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.startswith(b"The server cannot listen: ")
    assert b"Traceback" not in errors


async def test_help_names_every_option(guard: float) -> None:
    async with asyncio.timeout(guard), running("--help") as process:
        output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0
    assert "--internal-port" in text
    assert "(default: 19529)" in text
    assert "0 takes a free port" in " ".join(text.split())


async def test_port_out_of_range_is_an_error(guard: float) -> None:
    async with asyncio.timeout(guard), running("--port", "99999") as process:
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"a port is a number from 0 to 65535, got '99999'" in errors
