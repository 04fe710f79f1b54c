"""Every method of the client on an instrumented channel, left by its caller during an RPC.

``python -m leaving opentelemetry internal`` prints how each caller ended, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import anyio
from instrumenting import instrument
from servers import Gate
from times import SCALE, until

from milvus_import import ImportClient, ImportJob, ImportProgressData, Service
from milvus_import.testing import FakeMilvus

DEADLINE = 60.0 * SCALE
"""Seconds of each RPC ..."""
GUARD = 5.0 * SCALE
"""... and the seconds in which every caller must be released."""
IDS = ("1", "2", "3")
INTERVAL = 0.02

Request = Callable[[], Coroutine[Any, Any, object]]
Leave = asyncio.Event
"""Set at the moment at which the callers leave."""


async def by_task_cancel(request: Request, leave: Leave) -> str:
    task = asyncio.create_task(request())
    await leave.wait()
    task.cancel()
    await asyncio.wait({task})
    return "left" if task.cancelled() else repr(task.exception())


async def by_asyncio_timeout(request: Request, leave: Leave) -> str:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            expiring = asyncio.create_task(after(leave, lambda: limit.reschedule(loop.time())))
            await request()
            expiring.cancel()
    except TimeoutError as error:
        return "left" if type(error) is TimeoutError else repr(error)
    return "not left"


async def by_task_group(request: Request, leave: Leave) -> str:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(request())
            await leave.wait()
            raise KeyError
    except ExceptionGroup as errors:
        return "left" if [*map(type, errors.exceptions)] == [KeyError] else repr(errors)


async def by_anyio_scope(request: Request, leave: Leave) -> str:
    with anyio.CancelScope() as scope:
        cancelling = asyncio.create_task(after(leave, scope.cancel))
        await request()
        cancelling.cancel()
    return "left" if scope.cancelled_caught else "not left"


async def after(leave: Leave, act: Callable[[], object]) -> None:
    await leave.wait()
    act()


WAYS = (by_task_cancel, by_asyncio_timeout, by_task_group, by_anyio_scope)


class Followers:
    """The methods that follow jobs which never end; each reports its first progress."""

    def __init__(self, client: ImportClient) -> None:
        self.client = client
        self.with_progress = 0

    async def watch(self) -> None:
        seen = self._first()
        async for _ in self.client.watch("1", interval=INTERVAL):
            seen()

    async def wait(self) -> None:
        seen = self._first()

        def on_progress(_: ImportProgressData) -> None:
            seen()

        await self.client.wait("1", interval=INTERVAL, on_progress=on_progress)

    async def watch_all(self) -> None:
        seen = self._first()
        async for _ in self.client.watch_all(IDS, interval=INTERVAL):
            seen()

    async def wait_all(self) -> None:
        seen = self._first()

        def on_progress(_: ImportJob) -> None:
            seen()

        await self.client.wait_all(IDS, interval=INTERVAL, on_progress=on_progress)

    def _first(self) -> Callable[[], None]:
        """Return a function that counts only its first call."""
        calls: list[None] = []

        def seen() -> None:
            self.with_progress += not calls
            calls.append(None)

        return seen


async def run(instrumentation: str, service: Service) -> dict[str, Any]:
    async with FakeMilvus() as fake:
        for job_id in IDS:
            fake.add_job(job_id=job_id, state="Importing", progress=40)
        port = fake.internal_port if service == "internal" else fake.public_port
        async with Gate(port) as gate:
            instrument(instrumentation)
            async with ImportClient(gate.uri, service=service, rpc_timeout=DEADLINE) as client:
                return await leave_all(client, gate)


async def leave_all(client: ImportClient, gate: Gate) -> dict[str, Any]:
    """Start every method in every way, let all callers leave during an RPC; return how it ended."""
    followers, leave = Followers(client), asyncio.Event()
    following = (followers.watch, followers.wait, followers.watch_all, followers.wait_all)
    calls: dict[str, Request] = {
        "get_import_progress": lambda: client.get_import_progress("1"),
        "list_imports": lambda: client.list_imports("books"),
        "create_import": lambda: client.create_import("books", ["a.parquet"]),
        "check": client.check,
    }
    tasks = start(leave, {method.__name__: method for method in following})
    await until(lambda: followers.with_progress == len(tasks))
    gate.hold()
    tasks |= start(leave, calls)
    singles = len(WAYS) * len(calls)
    await until(lambda: gate.held.total() > singles)
    await asyncio.sleep(10 * INTERVAL * SCALE)  # the polls of all followers are in flight too
    held = +gate.held
    leave.set()
    await asyncio.wait(tasks.values(), timeout=GUARD)
    ends = {name: ended(task) for name, task in tasks.items()}
    gate.release()
    await until(lambda: not gate.held.total())
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values(), timeout=GUARD)
    return {"ends": ends, "held": held, "completed": gate.completed, "resets": gate.resets}


def start(leave: Leave, requests: dict[str, Request]) -> dict[str, asyncio.Task[str]]:
    ways: dict[str, Callable[[Request, Leave], Awaitable[str]]] = {w.__name__: w for w in WAYS}
    return {
        f"{name} {way_name}": asyncio.ensure_future(way(request, leave))
        for name, request in requests.items()
        for way_name, way in ways.items()
    }


def ended(task: asyncio.Task[str]) -> str:
    if not task.done():
        return "hangs"
    if task.cancelled():
        return "CancelledError"
    error = task.exception()
    return task.result() if error is None else repr(error)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1], cast("Service", sys.argv[2])))))
