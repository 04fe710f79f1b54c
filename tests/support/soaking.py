"""Many calls through a bad network to a bad server, each of which must end in one known way.

The server runs in a process of its own (``python soaking.py SEED RATE``) and ends a share of its
calls in a fault; a relay breaks connections; some callers leave; the server is killed, frozen and
started again; the event loop is blocked; the client is closed under its callers, and another takes
its place. What the clients then hold is counted after the last close.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from network import Relay

from milvus_import import CallError, ClientClosedError, ImportClient, RefusedError
from milvus_import.testing import FAULTS, FakeFile, FakeMilvus, Fault

JOBS = 500
FIRST = 450_000_000_000_000_000
_FAULTS = (
    *(fault for name, fault in FAULTS.items() if name not in {"hang", "unimplemented"}),
    Fault(delay=0.3),
    Fault(delay=3600.0),
)

_LARGE = 25
"""Each so many-th job has many files: a reply of some 20 kB, for a cut in the middle."""
_FILES = 250

_OF_CONNECTIONS = ("reset", "cut", "drop", "garbage", "oversized frame", "half-close", "delay")
_OF_SERVERS = ("kill", "freeze", "refuse")
_OF_THE_CLIENT = ("blocked loop", "close")
_BREAKS = (*_OF_CONNECTIONS, *_OF_SERVERS, *_OF_THE_CLIENT)


@dataclass
class Outcome:
    """What came of a soak."""

    calls: Counter[str] = field(default_factory=Counter[str])
    """How many calls ended in what: "answer", an error class, "left"."""
    wrong: list[str] = field(default_factory=list[str])
    """Answers that are not the job's, and ends that are not documented."""
    breaks: Counter[str] = field(default_factory=Counter[str])
    """What was done to the connections and to the server."""
    seconds: float = 0.0
    grown: float = 0.0
    """Megabytes of memory more at the end than after the first tenth."""
    left_behind: list[str] = field(default_factory=list[str])
    """Tasks and descriptors that are still there after the close."""


class Server:
    """The server's process; it keeps its port."""

    def __init__(self, seed: int, rate: float) -> None:
        self._command = [sys.executable, "-P", __file__, str(seed), str(rate)]
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    async def start(self) -> None:
        """Returns when it listens."""
        await anyio.to_thread.run_sync(self._spawn)

    def _spawn(self) -> None:
        self._process = subprocess.Popen(
            [*self._command, str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def send(self, number: signal.Signals) -> None:
        """A signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            await anyio.to_thread.run_sync(self._process.wait)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


async def soak(calls: int, *, seed: int = 1, rate: float = 0.01, seconds: float = 600.0) -> Outcome:
    """So many calls, 64 at once, for at most so long; ``rate`` is the share of injected faults."""
    outcome = Outcome()
    rng = random.Random(seed)
    tasks, descriptors = asyncio.all_tasks(), _descriptors()
    server = Server(seed, rate)
    await server.start()
    start = time.monotonic()
    try:
        async with Relay(server.port) as relay:
            with anyio.move_on_after(seconds):
                await _run(calls, relay, server, rng, outcome)
        outcome.seconds = time.monotonic() - start
    finally:
        await server.kill()
    await asyncio.sleep(0.1)
    gc.collect()
    outcome.left_behind = [repr(task) for task in asyncio.all_tasks() - tasks]
    outcome.left_behind += sorted(_descriptors() - descriptors)
    return outcome


async def _run(
    calls: int, relay: Relay, server: Server, rng: random.Random, outcome: Outcome
) -> None:
    left = iter(range(calls))
    memory = 0.0
    place = Place(relay)

    async def caller() -> None:
        nonlocal memory
        for index in left:
            if index == calls // 10:
                memory = _resident()
            outcome.calls[await _call(place.client, rng, outcome)] += 1

    try:
        async with anyio.create_task_group() as breaking:
            breaking.start_soon(_break, place, server, rng, outcome)
            async with anyio.create_task_group() as callers:
                for _ in range(64):
                    callers.start_soon(caller)
            breaking.cancel_scope.cancel()
    finally:
        await place.client.close()
    gc.collect()
    outcome.grown = (_resident() - memory) / 1e6


class Place:
    """The way to the server, and the client that is in use now."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.client = self._made()

    def _made(self) -> ImportClient:
        options = [
            ("grpc.keepalive_time_ms", 2_000),
            ("grpc.keepalive_timeout_ms", 1_000),
            ("grpc.http2.ping_timeout_ms", 1_000),
        ]
        return ImportClient(self.relay.uri, timeout=2, channel_options=options)

    async def replace(self) -> None:
        """Close the client under its callers; the next calls go to another."""
        closing, self.client = self.client, self._made()
        await closing.close()


async def _call(client: ImportClient, rng: random.Random, outcome: Outcome) -> str:
    """One call; what it ended in."""
    number = rng.randrange(JOBS)
    leaving = rng.random() < 0.005
    try:
        with anyio.move_on_after(rng.random() * 0.02 if leaving else None) as scope:
            data = (await client.get_import_progress(str(FIRST + number))).data
            files = [detail.file_name for detail in data.details]
            if (data.progress, data.collection_name, files) != expected(number):
                outcome.wrong.append(f"job {number}: {data}")
            return "answer"
    except (CallError, RefusedError, ClientClosedError) as error:
        return type(error).__name__
    except BaseException as error:
        task = asyncio.current_task()
        if task is None or not task.cancelling():  # else the soak's own time is over
            outcome.wrong.append(repr(error))
        raise
    if not (leaving and scope.cancelled_caught):
        outcome.wrong.append("a call ended without an answer")
    return "left"


def expected(number: int) -> tuple[int, str, list[str]]:
    """What the server says of a job: percent, collection and files."""
    files = _FILES if number % _LARGE == 0 else 1
    return number % 90, f"c{number}", [f"[{number}-{index}.parquet]" for index in range(files)]


async def _break(place: Place, server: Server, rng: random.Random, outcome: Outcome) -> None:
    """Every half second or so something breaks, each thing as often as the others."""
    while True:
        for what in rng.sample(_BREAKS, len(_BREAKS)):
            await anyio.sleep(rng.uniform(0.2, 0.8))
            outcome.breaks[what] += 1
            if what in _OF_CONNECTIONS:
                await _break_connections(what, place.relay, rng)
            elif what == "blocked loop":
                # Now and then beyond the calls' deadlines.
                time.sleep(rng.choice((0.1, 0.5, 2.5)))  # noqa: ASYNC251 - that is the fault
            elif what == "close":
                await place.replace()
            else:
                await _break_server(what, place.relay, server)


async def _break_connections(what: str, relay: Relay, rng: random.Random) -> None:
    with suppress(RuntimeError):  # one is half-closed already
        if what == "reset":
            relay.reset()
        elif what == "cut":
            relay.cut(rng.randrange(1, 40_000))
        elif what == "drop":
            relay.drop()
        elif what == "garbage":
            relay.garbage(rng.randbytes(200))
        elif what == "oversized frame":
            relay.oversized_frame()
        elif what == "half-close":
            relay.half_close()
        else:
            relay.delay = 0.05
            await anyio.sleep(0.5)
            relay.delay = 0.0


async def _break_server(what: str, relay: Relay, server: Server) -> None:
    if what == "kill":
        await server.kill()
        await anyio.sleep(0.5)
        await server.start()
    elif what == "freeze":
        server.send(signal.SIGSTOP)
        await anyio.sleep(1.0)
        server.send(signal.SIGCONT)
    else:
        relay.refuse()
        relay.reset()
        await anyio.sleep(0.5)
        await relay.listen()


def _descriptors() -> set[str]:
    """The sockets and files this process holds, but for gRPC's own wake-up descriptors."""
    found: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith(("socket:", "/")):
            found.add(target)
    return found


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * float(os.sysconf("SC_PAGE_SIZE"))


class _BadMilvus(FakeMilvus):
    """Ends a share of its calls in a fault."""

    def __init__(self, rng: random.Random, rate: float, port: int) -> None:
        super().__init__(internal_port=port)
        self._rng = rng
        self._rate = rate

    def take_fault(self, method: str, *, named: bool = False) -> Fault | None:
        del method
        self.received.clear()
        if named or self._rng.random() >= self._rate:
            return None
        return self._rng.choice(_FAULTS)


async def _serve(seed: int, rate: float, port: int) -> None:
    server = _BadMilvus(random.Random(seed), rate, port)
    for number in range(JOBS):
        percent, collection, files = expected(number)
        server.add_job(
            job_id=str(FIRST + number),
            state="Importing",
            progress=percent,
            collection_name=collection,
            files=[FakeFile(name.strip("[]")) for name in files],
        )
    async with server:
        print(server.internal_port, flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
