"""What is left behind: tasks, timers, gRPC calls, descriptors, and what the loop complains of."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from milvus_import import ImportClient
from milvus_import._rpc._channel import Connection

# A server under test in the same loop comes and goes at its own pace.
_SERVERS_TASK = r"AioServer|server\.pyx"
_SLEEP = "_set_result_unless_cancelled"  # whose sleep it is, its task tells


@dataclass(slots=True)
class Holdings:
    """What the process holds at one moment, each as a line of text where it can be told."""

    tasks: set[asyncio.Task[Any]] = field(default_factory=set[asyncio.Task[Any]])
    timers: set[asyncio.TimerHandle] = field(default_factory=set[asyncio.TimerHandle])
    calls: set[grpc.aio.Call] = field(default_factory=set[grpc.aio.Call])
    descriptors: set[str] = field(default_factory=set[str])

    def beyond(self, before: Holdings) -> dict[str, Any]:
        """What is here now and was not before."""
        more = {
            "tasks": self.tasks - before.tasks,
            "timers": self.timers - before.timers,
            "calls": self.calls - before.calls,
            "descriptors": self.descriptors - before.descriptors,
        }
        return {kind: things for kind, things in more.items() if things}


def descriptors() -> set[str]:
    """The open descriptors, each with what it is open on."""
    found: set[str] = set()
    for entry in os.listdir("/dev/fd"):  # noqa: PTH208 - the listing's own descriptor is in it
        try:
            found.add(f"{entry} {Path('/dev/fd', entry).readlink()}")
        except OSError:
            continue  # it was the listing's own
    return found


def holdings() -> Holdings:
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = getattr(loop, "_scheduled", [])  # uvloop shows none
    gc.collect()
    calls = {
        thing for thing in gc.get_objects() if isinstance(thing, grpc.aio.Call) and not thing.done()
    }
    return Holdings(
        {task for task in asyncio.all_tasks(loop) if not re.search(_SERVERS_TASK, repr(task))},
        {timer for timer in timers if not (timer.cancelled() or _SLEEP in repr(timer))},
        calls,
        descriptors(),
    )


def connection(client: ImportClient) -> Connection:
    """The client's connection, with the calls in flight on it."""
    services: Any = client._services  # pyright: ignore[reportPrivateUsage]
    connection: Connection = services.channel.connection()
    return connection


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for something that must come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def nothing_left(seconds: float, *, at_once: bool = False) -> AsyncGenerator[None, None]:
    """Fails if the block leaves anything behind.

    Tasks, timers and calls: at its end where ``at_once``. Descriptors, which gRPC's own threads
    close: within ``seconds``.
    """
    before = holdings()
    yield
    left = holdings().beyond(before)
    assert not at_once or left.keys() <= {"descriptors"}, left
    end = time.monotonic() + seconds
    while left:
        assert time.monotonic() < end, left
        await asyncio.sleep(0.02)
        left = holdings().beyond(before)


@asynccontextmanager
async def quiet_loop() -> AsyncGenerator[None, None]:
    """Fails if the running loop has anything to complain of, tasks never awaited among them."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    usual = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        yield
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(usual)
    assert not complaints


class Pass(grpc.aio.UnaryUnaryClientInterceptor):
    """Does nothing; with an interceptor gRPC runs a call in another way."""

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(client_call_details, request)


class Raise(Pass):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        raise self.error


class HoldBack(Pass):
    """Never lets a call start."""

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        await asyncio.Event().wait()
