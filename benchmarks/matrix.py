"""Check how calls end, on instrumented channels and on each kind of event loop: make matrix.

Prints one table for the installed grpcio: a row per scenario and instrumentation, a column per
loop. "right" is the documented end; anything else is what happened instead. `own interceptor` is
one given to the client. Exits with 1 if a cell is not "right".
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import grpc
import grpc.aio

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

import leaving
from cancelling import cancel_at_random
from instrumenting import installed, instrument
from servers import Gate
from times import until

from milvus_import import CallError, ImportClient
from milvus_import.testing import FakeMilvus, Fault

OWN = "own interceptor"
LOOPS = ("asyncio", "uvloop", "eager tasks")
JOB = "1"
LIMIT = 5.0
"""Seconds after which a call that must have ended counts as hanging; its deadline is later."""
LONG = 60.0


class Interceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Does what ``behavior`` names: "pass", "raise", "hang" or "invalid metadata"."""

    def __init__(self) -> None:
        self.behavior = "pass"

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        """Continue with the call, or not."""
        details = client_call_details
        if self.behavior == "raise":
            raise ZeroDivisionError
        if self.behavior == "hang":
            await asyncio.Event().wait()
        if self.behavior == "invalid metadata":
            details = grpc.aio.ClientCallDetails(
                details.method,
                details.timeout,
                grpc.aio.Metadata(("Not A Key", "1")),
                details.credentials,
                details.wait_for_ready,
            )
        return await continuation(details, request)


@dataclass
class Setting:
    """The server, the gate in front of it, a client, and the client's own interceptor."""

    fake: FakeMilvus
    gate: Gate
    client: ImportClient
    interceptor: Interceptor | None

    def get(self, timeout: float | None = LONG) -> Coroutine[Any, Any, object]:
        """Call GetImportProgress."""
        return self.client.get_import_progress(JOB, timeout=timeout)


async def end_of(request: Coroutine[Any, Any, object]) -> str:
    """Return how a request ends."""
    task = asyncio.ensure_future(request)
    await asyncio.wait({task}, timeout=LIMIT)
    if not task.done():
        task.cancel()
        return "hangs"
    if task.cancelled():
        return "CancelledError"
    error = task.exception()
    if error is None:
        return "response"
    return f"CallError {error.code.name}" if type(error) is CallError else type(error).__name__


def wrong(found: str, *expected: str) -> str:
    """Return "" if what was found is expected."""
    return "" if found in expected else found


async def response(setting: Setting) -> str:
    """A response."""
    return wrong(await end_of(setting.get()), "response")


async def not_found(setting: Setting) -> str:
    """The server ends the call with NOT_FOUND."""
    setting.fake.inject(Fault(grpc.StatusCode.NOT_FOUND, "no"))
    return wrong(await end_of(setting.get()), "CallError NOT_FOUND")


async def cancelled_by_the_server(setting: Setting) -> str:
    """The server ends the call with CANCELLED."""
    setting.fake.inject(Fault(grpc.StatusCode.CANCELLED, "by the server"))
    return wrong(await end_of(setting.get()), "CallError CANCELLED")


async def deadline(setting: Setting) -> str:
    """The server never responds."""
    setting.gate.hold()
    found = await end_of(setting.get(0.3))
    setting.gate.release()
    return wrong(found, "DeadlineExceededError")


async def leave_in_each_way(setting: Setting) -> str:
    """Callers with a timeout leave."""
    return await left(setting, LONG)


async def leave_without_timeout(setting: Setting) -> str:
    """Callers with timeout=None leave."""
    return await left(setting, None)


async def left(setting: Setting, timeout: float | None) -> str:
    """Leave one call in each way; the server must complete it."""
    gate = setting.gate
    leave: leaving.Leave = []
    resets, completed = len(gate.resets), gate.completed.total()
    gate.hold()
    tasks = leaving.start(leave, {"get": lambda: setting.get(timeout)})
    await until(lambda: gate.held.total() >= len(tasks))
    ends = await leaving.leave_now(leave, tasks)
    gate.release()
    await until(lambda: not gate.held.total())
    found = [f"{n.removeprefix('get ')}: {end:.20}" for n, end in ends.items() if end != "left"]
    if len(gate.resets) > resets:
        found.append("the server's calls are reset")
    elif gate.completed.total() < completed + len(tasks):
        found.append("the server's calls are not completed")
    return "; ".join(found)


async def wait_for(setting: Setting) -> str:
    """asyncio.wait_for ends a call."""
    setting.gate.hold()
    found = await end_of(asyncio.wait_for(setting.get(), 0.2))
    setting.gate.release()
    return wrong(found, "TimeoutError")


async def leave_every_method(setting: Setting) -> str:
    """Callers of every method leave."""
    found = await leaving.leave_all(setting.client, setting.gate)
    ends = [f"{name}: {end}" for name, end in found["ends"].items() if end != "left"]
    return f"{len(ends)} of {len(found['ends'])}, such as {ends[0]}" if ends else ""


async def leave_at_random(_: Setting) -> str:
    """150 waits and 150 watches of many jobs are cancelled at random moments."""
    results = [await cancel_at_random(name, 150, guard=LIMIT) for name in ("wait", "watch_all")]
    lost = sum(len(result.lost) for result in results)
    foreign = [name for result in results for name in result.foreign]
    return (
        f"{lost} lost, {len(foreign)} with another error {foreign[:1]}" if lost or foreign else ""
    )


async def close(setting: Setting) -> str:
    """The client is closed during a call."""
    setting.gate.hold()
    task = asyncio.ensure_future(end_of(setting.get()))
    await until(lambda: setting.gate.held.total() > 0)
    await setting.client.close()
    found = await task
    setting.gate.release()
    return wrong(found, "ClientClosedError")


async def own_raises(setting: Setting) -> str:
    """The client's interceptor raises an error."""
    return wrong(await with_behavior(setting, "raise"), "ZeroDivisionError")


async def own_hangs(setting: Setting) -> str:
    """The client's interceptor never continues."""
    return wrong(await with_behavior(setting, "hang", 0.3), "DeadlineExceededError")


async def own_metadata(setting: Setting) -> str:
    """The client's interceptor sets invalid metadata."""
    found = await with_behavior(setting, "invalid metadata", 0.3)
    return found if found in {"hangs", "response", "CancelledError"} else ""


async def own_metadata_without_timeout(setting: Setting) -> str:
    """The client's interceptor sets invalid metadata, with timeout=None."""
    found = await with_behavior(setting, "invalid metadata", None)
    return found if found in {"hangs", "response", "CancelledError"} else ""


async def with_behavior(setting: Setting, behavior: str, timeout: float | None = LONG) -> str:
    """Return how a call ends with this behavior of the interceptor."""
    assert setting.interceptor is not None
    setting.interceptor.behavior = behavior
    found = await end_of(setting.get(timeout))
    setting.interceptor.behavior = "pass"
    return found


Scenario = Callable[[Setting], Awaitable[str]]
SCENARIOS: tuple[Scenario, ...] = (
    response,
    not_found,
    cancelled_by_the_server,
    deadline,
    leave_in_each_way,
    leave_without_timeout,
    wait_for,
    leave_every_method,
    leave_at_random,
    close,
)
OWN_SCENARIOS: tuple[Scenario, ...] = (
    own_raises,
    own_hangs,
    own_metadata,
    own_metadata_without_timeout,
)


def scenarios(instrumentation: str) -> dict[str, Scenario]:
    """Return the scenarios, by the first line of their docstrings without its period."""
    every = (*SCENARIOS, *OWN_SCENARIOS) if instrumentation == OWN else SCENARIOS
    return {(scenario.__doc__ or "").splitlines()[0].rstrip("."): scenario for scenario in every}


@asynccontextmanager
async def servers() -> AsyncGenerator[tuple[FakeMilvus, Gate]]:
    """Start a server and the gate in front of it."""
    async with FakeMilvus() as fake, Gate(fake.internal_port) as gate:
        for job_id in leaving.IDS:
            fake.add_job(job_id=job_id, state="Importing", progress=40)
        yield fake, gate


async def run(instrumentation: str, *, eager: bool) -> dict[str, str]:
    """Run the scenarios in this process; return what was wrong in each."""
    if eager:
        factory: Any = getattr(asyncio, "eager_task_factory", None)
        asyncio.get_running_loop().set_task_factory(factory)
    found: dict[str, str] = {}
    async with servers() as (fake, gate):
        if instrumentation != OWN:
            instrument(instrumentation)
        for name, scenario in scenarios(instrumentation).items():
            own = Interceptor() if instrumentation == OWN else None
            options: dict[str, Any] = {"interceptors": [own]} if own else {}
            async with ImportClient(gate.uri, service="internal", **options) as client:
                try:
                    with anyio.fail_after(6 * LIMIT):
                        found[name] = await scenario(Setting(fake, gate, client, own))
                except Exception as error:  # noqa: BLE001 - any failure is a result
                    found[name] = repr(error)[:100].replace("|", "/")
            gate.release()
            await until(lambda: not gate.held.total())
    return found


def table() -> bool:
    """Run each combination in its own process and print the table; return whether all is right."""
    loops = [loop for loop in LOOPS if loop != "uvloop" or find_spec("uvloop")]
    if sys.version_info < (3, 12):
        loops.remove("eager tasks")
    print(f"\n## grpcio {version('grpcio')}, Python {sys.version.split()[0]}\n")
    print("| scenario | instrumented by |", " | ".join(loops), "|")
    print("| --- | --- |", " --- |" * len(loops), sep="")
    right = True
    for instrumentation in (*installed(), OWN):
        cells = [outcomes(instrumentation, loop) for loop in loops]
        for name in scenarios(instrumentation):
            row = [found.get(name, found.get("", "not run")) or "right" for found in cells]
            right &= {*row} == {"right"}
            print(f"| {name} | {instrumentation} |", " | ".join(row), "|", flush=True)
    return right


def outcomes(instrumentation: str, loop: str) -> dict[str, str]:
    """Return what another process found."""
    command = [sys.executable, __file__, "--only", instrumentation, loop]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"": (done.stderr.strip().splitlines() or ["no output"])[-1][:100]}
    outcome: dict[str, str] = json.loads(done.stdout)
    return outcome


def main() -> None:
    """Print the table, or with --only the outcomes of one combination as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs=2, metavar=("INSTRUMENTATION", "LOOP"))
    only = parser.parse_args().only
    if not only:
        sys.exit(not table())
    logging.disable(logging.CRITICAL)  # Sentry and ddtrace log what they may not send
    instrumentation, loop = only
    start = import_module("uvloop").run if loop == "uvloop" else asyncio.run
    print(json.dumps(start(run(instrumentation, eager=loop == "eager tasks"))))


if __name__ == "__main__":
    main()
