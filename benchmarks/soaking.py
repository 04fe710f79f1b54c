"""Many calls through a bad network to a bad server, each of which must end in a documented way.

The server runs in its own process (``python soaking.py SEED RATE PORT REST_PORT``) and ends a share
of its calls in a fault; a relay breaks connections; some callers are cancelled; the server is
killed, frozen and restarted; the event loop is blocked; the client is closed during calls and
replaced by another.
Tasks and descriptors are counted after the last close.
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
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from network import Relay, server_ports

from milvus_import import CallError, ClientClosedError, ImportClient, MilvusStatusError
from milvus_import.testing import FAULTS, FakeFile, FakeMilvus, Fault

JOBS = 500
FIRST = 450_000_000_000_000_000
_FAULTS = (
    *(fault for name, fault in FAULTS.items() if name not in {"hang", "unimplemented"}),
    Fault(delay=0.3),
    Fault(delay=3600.0),
)

_LARGE = 25
"""Every 25th job has many files: a reply of 20 kB, for a cut in the middle."""
_FILES = 250

_OF_CONNECTIONS = ("reset", "cut", "drop", "garbage", "oversized frame", "half-close", "delay")
_OF_SERVERS = ("kill", "freeze", "refuse")
_OF_THE_CLIENT = ("blocked loop", "close")
_BREAKS = (*_OF_CONNECTIONS, *_OF_SERVERS, *_OF_THE_CLIENT)


@dataclass
class Outcome:
    """The result of a soak."""

    calls: Counter[str] = field(default_factory=Counter[str])
    """How many calls ended in a "response", in each error class, or "cancelled"."""
    wrong: list[str] = field(default_factory=list[str])
    """Responses that are not the job's, and ends that are not documented."""
    breaks: Counter[str] = field(default_factory=Counter[str])
    """What was done to the connections, the server and the client."""
    seconds: float = 0.0
    undisturbed: int = 0
    """Calls over connections that nothing broke."""
    grown_undisturbed: float = 0.0
    """Megabytes by which the memory of the process grew during these."""
    disturbed: int = 0
    """Calls while connections were broken, after the first tenth."""
    grown_disturbed: float = 0.0
    connections: int = 0
    """Connections that were made during these."""
    left_behind: list[str] = field(default_factory=list[str])
    """Tasks and descriptors that are left after the close."""

    @property
    def per_call(self) -> float:
        """Bytes by which the memory grew per call."""
        return self.grown_undisturbed * 1e6 / max(self.undisturbed, 1)

    @property
    def per_connection(self) -> float:
        """Bytes by which the memory grew per broken connection, besides its calls."""
        rest = self.grown_disturbed * 1e6 - self.per_call * self.disturbed
        return rest / max(self.connections, 1)


class Server:
    """The process of the server; it keeps its port."""

    def __init__(self, seed: int, rate: float) -> None:
        self._command = [sys.executable, "-P", __file__, str(seed), str(rate)]
        self._process: subprocess.Popen[str] | None = None
        self.port, self.rest_port, *_ = server_ports().values()

    async def start(self) -> None:
        """Start it; return when it listens."""
        await anyio.to_thread.run_sync(self._spawn)

    def _spawn(self) -> None:
        self._process = subprocess.Popen(
            [*self._command, str(self.port), str(self.rest_port)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._process.stdout is not None
        self.port, self.rest_port = map(int, self._process.stdout.readline().split())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL it, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            await anyio.to_thread.run_sync(self._process.wait)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


async def soak(
    calls: int,
    *,
    seed: int = 1,
    rate: float = 0.01,
    rest: float = 0.0,
    seconds: float = 600.0,
    pause: float = 0.0,
) -> Outcome:
    """Make this many calls, 64 at once, for at most so long; ``rate`` of them end in a fault.

    ``rest`` of them are made over REST, the others over gRPC.

    The first tenth warms up. Then four tenths run over connections that nothing breaks, which
    gives the growth per call; the rest gives the growth per broken connection. ``pause`` is the
    longest pause of a caller while they are broken, so that few calls meet many faults.
    """
    outcome = Outcome()
    rng = random.Random(seed)
    tasks, descriptors = asyncio.all_tasks(), _descriptors()
    server = Server(seed, rate)
    await server.start()
    start = time.monotonic()
    try:
        async with Relay(server.port) as relay, Relay(server.rest_port) as rest_relay:
            place = Place(relay, rest_relay, rest)
            with anyio.move_on_after(seconds):
                await _run(calls, place, server, rng, outcome, pause=pause)
        outcome.seconds = time.monotonic() - start
    finally:
        await server.kill()
    await asyncio.sleep(0.1)
    gc.collect()
    outcome.left_behind = [repr(task) for task in asyncio.all_tasks() - tasks]
    outcome.left_behind += sorted(_descriptors() - descriptors)
    return outcome


async def _run(
    calls: int,
    place: Place,
    server: Server,
    rng: random.Random,
    outcome: Outcome,
    *,
    pause: float,
) -> None:
    warm_up, undisturbed = calls // 10, calls * 4 // 10
    try:
        await _phase(warm_up, place, rng, outcome, server, pause=pause)
        before = _resident()
        await _phase(undisturbed, place, rng, outcome)
        outcome.undisturbed = undisturbed
        outcome.grown_undisturbed = (_resident() - before) / 1e6
        before, connections = _resident(), place.connections
        await _phase(calls - warm_up - undisturbed, place, rng, outcome, server, pause=pause)
        outcome.disturbed = calls - warm_up - undisturbed
        outcome.grown_disturbed = (_resident() - before) / 1e6
        outcome.connections = place.connections - connections
    finally:
        await place.close()


async def _phase(
    calls: int,
    place: Place,
    rng: random.Random,
    outcome: Outcome,
    server: Server | None = None,
    *,
    pause: float = 0.0,
) -> None:
    """Make this many calls; with ``server``, break connections and the server meanwhile."""
    left = iter(range(calls))
    stop = asyncio.Event()

    async def caller() -> None:
        for _ in left:
            if pause:
                await anyio.sleep(rng.uniform(0, pause))
            outcome.calls[await _call(place.client(rng), rng, outcome)] += 1

    async with anyio.create_task_group() as breaking:
        if server is not None:
            breaking.start_soon(_break, place, server, rng, outcome, stop)
        async with anyio.create_task_group() as callers:
            for _ in range(64):
                callers.start_soon(caller)
        stop.set()


class Place:
    """The relays to the server, and the clients in use: one over gRPC, one over REST."""

    def __init__(self, relay: Relay, rest_relay: Relay, rest: float) -> None:
        self.relays = [relay, rest_relay] if rest else [relay]
        self._rest = rest
        self._clients = self._create()

    def _create(self) -> list[ImportClient]:
        options = [
            ("grpc.keepalive_time_ms", 2_000),
            ("grpc.keepalive_timeout_ms", 1_000),
            ("grpc.http2.ping_timeout_ms", 1_000),
        ]
        clients = [ImportClient(self.relays[0].uri, rpc_timeout=2, channel_options=options)]
        if self._rest:
            clients.append(ImportClient(self.relays[1].uri, service="rest", rpc_timeout=2))
        return clients

    @property
    def connections(self) -> int:
        """Connections accepted so far."""
        return sum(relay.connections for relay in self.relays)

    def client(self, rng: random.Random) -> ImportClient:
        """Return the client of the next call."""
        return self._clients[rng.random() < self._rest]

    async def replace(self) -> None:
        """Close the clients during calls; the next calls use others."""
        closing, self._clients = self._clients, self._create()
        for client in closing:
            await client.close()

    async def close(self) -> None:
        """Close the clients."""
        for client in self._clients:
            await client.close()


async def _call(client: ImportClient, rng: random.Random, outcome: Outcome) -> str:
    """Make one call; return how it ended."""
    number = rng.randrange(JOBS)
    cancelling = rng.random() < 0.005
    try:
        with anyio.move_on_after(rng.random() * 0.02 if cancelling else None) as scope:
            data = (await client.get_import_progress(str(FIRST + number))).data
            files = [detail.file_name for detail in data.details]
            if (data.progress, data.collection_name, files) != expected(number):
                outcome.wrong.append(f"job {number}: {data}")
            return "response"
    except (CallError, MilvusStatusError, ClientClosedError) as error:
        return type(error).__name__
    except BaseException as error:
        task = asyncio.current_task()
        if task is None or not task.cancelling():  # else the time of the soak has expired
            outcome.wrong.append(repr(error))
        raise
    if not (cancelling and scope.cancelled_caught):
        outcome.wrong.append("a call ended without a response")
    return "cancelled"


def expected(number: int) -> tuple[int, str, list[str]]:
    """What the server reports for a job: percent, collection and files."""
    files = _FILES if number % _LARGE == 0 else 1
    return number % 90, f"c{number}", [f"[{number}-{index}.parquet]" for index in range(files)]


async def _break(
    place: Place, server: Server, rng: random.Random, outcome: Outcome, stop: asyncio.Event
) -> None:
    """Break something every half second, each thing as often as the others, until ``stop``."""
    while not stop.is_set():
        for what in rng.sample(_BREAKS, len(_BREAKS)):
            await anyio.sleep(rng.uniform(0.2, 0.8))
            if stop.is_set():
                return
            outcome.breaks[what] += 1
            if what in _OF_CONNECTIONS:
                for relay in place.relays:
                    await _break_connections(what, relay, rng)
            elif what == "blocked loop":
                # At times beyond the deadlines of the calls.
                time.sleep(rng.choice((0.1, 0.5, 2.5)))  # noqa: ASYNC251 - the fault itself
            elif what == "close":
                await place.replace()
            else:
                await _break_server(what, place.relays, server)


async def _break_connections(what: str, relay: Relay, rng: random.Random) -> None:
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


async def _break_server(what: str, relays: list[Relay], server: Server) -> None:
    if what == "kill":
        await server.kill()
        await anyio.sleep(0.5)
        await server.start()
    elif what == "freeze":
        server.send(signal.SIGSTOP)
        await anyio.sleep(1.0)
        server.send(signal.SIGCONT)
    else:
        for relay in relays:
            relay.refuse()
            relay.reset()
        await anyio.sleep(0.5)
        for relay in relays:
            await relay.listen()


def _descriptors() -> set[str]:
    """Return the sockets and files of this process, without gRPC's wake-up descriptors."""
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


async def _serve(seed: int, rate: float, port: int, rest_port: int) -> None:
    rng = random.Random(seed)
    server = FakeMilvus(internal_port=port, rest_port=rest_port, max_received=1)
    server.choose_fault = lambda _: rng.choice(_FAULTS) if rng.random() < rate else None
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
        print(server.internal_port, server.rest_port, flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:])))
