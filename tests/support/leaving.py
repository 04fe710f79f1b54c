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

from milvus_import import ImportClient, Service
from milvus_import.testing import FakeMilvus

DEADLINE = 60.0 * SCALE
"""Seconds of each RPC ..."""
GUARD = 5.0 * SCALE
"""... and the seconds in which every caller must be released."""
IDS = ("1", "2", "3")
INTERVAL = 0.02

Request = Callable[[], Coroutine[Any, Any, object]]
Leave = list[Callable[[], object]]
"""What lets each of the callers leave, all at the same moment."""


async def by_task_cancel(request: Request, leave: Leave) -> str:
    task = asyncio.create_task(request())
    leave.append(task.cancel)
    await asyncio.wait({task})
    return "left" if task.cancelled() else repr(task.exception())


async def by_asyncio_timeout(request: Request, leave: Leave) -> str:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            leave.append(lambda: limit.reschedule(loop.time()))
            await request()
    except TimeoutError as error:
        return "left" if type(error) is TimeoutError else repr(error)
    return "not left"


async def by_task_group(request: Request, leave: Leave) -> str:
    left = asyncio.get_running_loop().create_future()
    leave.append(lambda: left.set_exception(KeyError()))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(request())
            await left
    except ExceptionGroup as errors:
        return "left" if [*map(type, errors.exceptions)] == [KeyError] else repr(errors)
    return "not left"


async def by_anyio_scope(request: Request, leave: Leave) -> str:
    with anyio.CancelScope() as scope:
        leave.append(scope.cancel)
        await request()
    return "left" if scope.cancelled_caught else "not left"


WAYS: tuple[Callable[[Request, Leave], Awaitable[str]], ...] = (
    *(by_task_cancel, by_asyncio_timeout, by_task_group, by_anyio_scope),
)


def followers(client: ImportClient, progressed: set[object]) -> dict[str, Request]:
    """The methods that follow jobs which never end; each adds an object at its first progress."""

    async def watch(watch: Any) -> None:
        me = object()
        async for _ in watch:
            progressed.add(me)

    async def wait(wait: Callable[..., Any], job_ids: Any) -> None:
        me = object()

        def on_progress(_: object) -> None:
            progressed.add(me)

        await wait(job_ids, interval=INTERVAL, on_progress=on_progress)

    return {
        "watch": lambda: watch(client.watch("1", interval=INTERVAL)),
        "wait": lambda: wait(client.wait, "1"),
        "watch_all": lambda: watch(client.watch_all(IDS, interval=INTERVAL)),
        "wait_all": lambda: wait(client.wait_all, IDS),
    }


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
    leave: Leave = []
    progressed = set[object]()
    calls: dict[str, Request] = {
        "get_import_progress": lambda: client.get_import_progress("1"),
        "list_imports": lambda: client.list_imports("books"),
        "create_import": lambda: client.create_import("books", ["a.parquet"]),
        "check": client.check,
    }
    tasks = start(leave, followers(client, progressed))
    await until(lambda: len(progressed) == len(tasks))
    gate.hold()
    tasks |= start(leave, calls)
    await until(lambda: gate.held.total() > len(WAYS) * len(calls))
    await asyncio.sleep(10 * INTERVAL * SCALE)  # the polls of all followers are in flight too
    held = +gate.held
    ends = await leave_now(leave, tasks)
    gate.release()
    await until(lambda: not gate.held.total())
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values(), timeout=GUARD)
    return {"ends": ends, "held": held, "completed": gate.completed, "resets": gate.resets}


def start(leave: Leave, requests: dict[str, Request]) -> dict[str, asyncio.Task[str]]:
    return {
        f"{name} {way.__name__}": asyncio.ensure_future(way(request, leave))
        for name, request in requests.items()
        for way in WAYS
    }


async def leave_now(leave: Leave, tasks: dict[str, asyncio.Task[str]]) -> dict[str, str]:
    """Let all callers leave; return how each ended, "left" if it left."""
    for act in leave:
        act()
    await asyncio.wait(tasks.values(), timeout=GUARD)
    return {name: ended(task) for name, task in tasks.items()}


def ended(task: asyncio.Task[str]) -> str:
    if not task.done():
        return "hangs"
    if task.cancelled():
        return "CancelledError"
    return task.result() if task.exception() is None else repr(task.exception())


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1], cast("Service", sys.argv[2])))))
