"""Tasks, timers, gRPC calls and descriptors that are left, and errors logged by the loop."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
from times import GUARD

from milvus_import import ImportClient
from milvus_import._connection._grpc import GrpcConnection

# The tasks of a server in the same loop start and end at any time.
_SERVERS_TASK = r"AioServer|server\.pyx"
_SLEEP = "_set_result_unless_cancelled"  # of asyncio.sleep, whose task is found anyway


def alive(kind: type) -> int:
    """Return the number of objects of a class that are not garbage."""
    gc.collect()
    return sum(type(obj) is kind for obj in gc.get_objects())


def descriptors() -> set[str]:
    """Return the open descriptors, each with its target."""
    found: set[str] = set()
    for entry in os.listdir("/dev/fd"):  # noqa: PTH208 - it includes the descriptor of the listing
        try:
            found.add(f"{entry} {Path('/dev/fd', entry).readlink()}")
        except OSError:
            continue  # the descriptor of the listing itself
    return found


def _done(call: grpc.aio.Call) -> bool:
    try:
        return call.done()
    except Exception:  # noqa: BLE001 - of its interceptor, with older versions of grpcio
        return True


def holdings() -> dict[str, set[Any]]:
    """Return what the process holds: tasks, timers, calls and descriptors."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = getattr(loop, "_scheduled", [])  # uvloop shows none
    gc.collect()
    calls = [thing for thing in gc.get_objects() if isinstance(thing, grpc.aio.Call)]
    return {
        "tasks": {t for t in asyncio.all_tasks(loop) if not re.search(_SERVERS_TASK, repr(t))},
        "timers": {t for t in timers if not (t.cancelled() or _SLEEP in repr(t))},
        "calls": {call for call in calls if not _done(call)},
        "descriptors": {*descriptors()},
    }


def _added(before: dict[str, set[Any]]) -> dict[str, set[Any]]:
    return {kind: new for kind, things in holdings().items() if (new := things - before[kind])}


def connection(client: ImportClient) -> GrpcConnection:
    """Return the connection of a client of a gRPC service."""
    found = client._services.connection  # pyright: ignore[reportPrivateUsage]
    assert isinstance(found, GrpcConnection)
    return found


def channel(client: ImportClient) -> grpc.aio.Channel:
    """Return the open channel of a client of a gRPC service."""
    found = connection(client)._channel  # pyright: ignore[reportPrivateUsage]
    assert found is not None
    return found


@asynccontextmanager
async def nothing_left(*, immediately: bool = False) -> AsyncGenerator[None, None]:
    """Fail if anything that the block created is left.

    Tasks, timers and calls must be gone at the end of the block if ``immediately``. Descriptors
    are closed by gRPC's own threads, soon afterwards.
    """
    before = holdings()
    yield
    left = _added(before)
    assert not immediately or left.keys() <= {"descriptors"}, left
    end = time.monotonic() + GUARD
    while left:
        assert time.monotonic() < end, left
        await asyncio.sleep(0.02)
        left = _added(before)


@asynccontextmanager
async def quiet_loop() -> AsyncGenerator[None, None]:
    """Fail if the event loop logs an error, such as an exception that was never retrieved."""
    loop = asyncio.get_running_loop()
    errors: list[dict[str, Any]] = []
    usual = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    try:
        yield
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(usual)
    assert not errors
