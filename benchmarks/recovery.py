"""Measure the time to the next response of a watch after each kind of fault: make recovery.

With the defaults of the client: interval 2 s, keepalive. All faults run at the same time, each on
its own server, in several rounds; the table gives the minimum, the median and the maximum.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from network import Relay
from processes import FakeProcess

from milvus_import import CallRecord, ImportClient, MilvusImportError

ROUNDS = 3
_HTTP = b"HTTP/1.1 502 Bad Gateway\r\n\r\n"
JOB = "450000000000000001"

Damage = Callable[[FakeProcess, Relay], Awaitable[None]]
"""Causes the fault, and returns when a response is possible again."""


async def restart(server: FakeProcess, _: Relay) -> None:
    """Kill the server, and restart it after a second."""
    await restart_after(server, 1.0)


async def long_outage(server: FakeProcess, _: Relay) -> None:
    """Kill the server, and restart it after 30 seconds."""
    await restart_after(server, 30.0)


async def restart_after(server: FakeProcess, seconds: float) -> None:
    """Kill the server, and restart it after this time."""
    await server.kill()
    await anyio.sleep(seconds)
    await server.start()


async def frozen(server: FakeProcess, _: Relay) -> None:
    """Send SIGSTOP, and SIGCONT after 12 seconds, longer than the deadline of an RPC."""
    server.freeze()
    await anyio.sleep(12.0)
    server.thaw()


async def refused(_: FakeProcess, relay: Relay) -> None:
    """Refuse connections for 5 seconds."""
    relay.refuse()
    relay.reset()
    await anyio.sleep(5.0)
    await relay.listen()


def connection(break_it: Callable[[Relay], None]) -> Damage:
    """Return a fault of the connection alone."""

    async def damage(_: FakeProcess, relay: Relay) -> None:
        break_it(relay)

    return damage


FAULTS: dict[str, Damage] = {
    "the server is killed and restarted after 1 s": restart,
    "the server is down for 30 s": long_outage,
    "the server is stopped for 12 s (SIGSTOP)": frozen,
    "the port refuses connections for 5 s": refused,
    "the connection is reset": connection(Relay.reset),
    "the connection is half-closed": connection(Relay.half_close),
    "the connection is cut in the middle of a reply": connection(lambda relay: relay.cut(after=5)),
    "an HTTP/1 response arrives": connection(lambda relay: relay.garbage(_HTTP)),
    "a frame is never completed": connection(Relay.garbage),
    "an oversized frame arrives": connection(Relay.oversized_frame),
    "the connection is dropped silently": connection(Relay.drop),
}


async def measured(damage: Damage) -> tuple[float, list[str]]:
    """Return the seconds to the next response of the watch, and the errors of on_retry."""
    errors: list[str] = []
    responses: list[float] = []

    def finished(record: CallRecord) -> None:
        if record.code.name == "OK":
            responses.append(time.monotonic())

    def fault(error: MilvusImportError, _: float) -> None:
        errors.append(type(error).__name__)

    async with AsyncExitStack() as stack:
        job = {"job_id": JOB, "state": "Importing", "progress": 40}
        server = await stack.enter_async_context(FakeProcess(job))
        relay = await stack.enter_async_context(Relay(server.internal_port))
        client = await stack.enter_async_context(ImportClient(relay.uri))

        async def follow() -> None:
            async for _ in client.watch(JOB, on_retry=fault, on_finish=finished):
                pass

        following = asyncio.create_task(follow())

        async def until(condition: Callable[[], bool]) -> None:
            while not condition():
                if following.done():
                    await following  # raises what ended it
                await anyio.sleep(0.01)

        await until(lambda: len(responses) >= 2)
        await damage(server, relay)
        back = time.monotonic()
        await until(lambda: responses[-1] >= back)
        following.cancel()
        await asyncio.wait({following})
    return responses[-1] - back, errors


async def main() -> None:
    """Measure and print a table."""
    found: dict[str, list[float]] = {name: [] for name in FAULTS}
    faults: dict[str, set[str]] = {name: set() for name in FAULTS}
    for _ in range(ROUNDS):
        ends = await asyncio.gather(*[measured(damage) for damage in FAULTS.values()])
        for name, (seconds, errors) in zip(FAULTS, ends, strict=True):
            found[name].append(seconds)
            faults[name].update(errors)
    print("| fault | time to the next response | `on_retry` receives |")
    print("| --- | --- | --- |")
    for name, times in found.items():
        kinds = ", ".join(sorted(faults[name])) or "nothing"
        low, middle, high = min(times), statistics.median(times), max(times)
        print(f"| {name} | {middle:.1f} s ({low:.1f}-{high:.1f}) | {kinds} |")


if __name__ == "__main__":
    asyncio.run(main())
