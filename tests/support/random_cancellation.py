"""Cancel watches and waits at random moments, and check that each of them ends as it must."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import anyio
import pytest
from cancelling import CANCELLED, FOREVER, Scenario

from milvus_import import ImportClient, WaitTimeoutError
from milvus_import.testing import FAULTS, FakeMilvus, Fault

METHODS = ("wait", "watch", "wait_all", "watch_all")
CONTROL = "asyncio.sleep"
"""In place of a method: what asyncio and anyio do by themselves."""
_LONGEST = 0.02
"""Seconds up to which the moments of cancellation are drawn."""
_CONCURRENT = 32
_FAULTS = (FAULTS["not-ready"], FAULTS["unavailable"], Fault(delay=0.002), Fault(delay=0.02))

Run = Callable[[float | None], Coroutine[Any, Any, None]]
"""Follow a job that never ends; the argument is the timeout of the method."""


@dataclass
class Result:
    """The result of many cancellations."""

    ended: Counter[str] = field(default_factory=Counter[str])
    """How many trials ended, by the way of cancellation."""
    lost: list[str] = field(default_factory=list[str])
    """Trials in which the method did not end."""
    foreign: list[str] = field(default_factory=list[str])
    """Trials that ended in another way than they must."""


async def cancel_at_random(
    method: str, count: int, *, service: str = "internal", seed: int = 1, guard: float = 20.0
) -> Result:
    """Start a method ``count`` times and cancel it at a random moment."""
    result, numbers = Result(), random.Random(seed)
    remaining = iter(range(count))
    async with FakeMilvus(max_received=1) as fake:
        for number in range(3):
            fake.add_job(job_id=str(number + 1), state="Importing", progress=40)
        uri = fake.internal_uri if service == "internal" else fake.public_uri
        async with ImportClient(uri, rpc_timeout=5) as client:
            await client.check()
            faults = random.Random(seed)
            fake.choose_fault = lambda _: faults.choice(_FAULTS) if faults.random() < 0.2 else None

            async def worker() -> None:
                for trial in remaining:
                    await _trial(client, method, trial, numbers, result=result, guard=guard)

            await asyncio.gather(*[worker() for _ in range(_CONCURRENT)])
            fake.choose_fault = None
    return result


async def _trial(
    client: ImportClient,
    method: str,
    trial: int,
    numbers: random.Random,
    *,
    result: Result,
    guard: float,
) -> None:
    way = _WAYS[trial % len(_WAYS)]
    options = {"interval": numbers.choice((1e-4, 0.001, 0.005, FOREVER))}

    async def run(timeout: float | None) -> None:
        await _follow(client, method, options | {"timeout": timeout})

    async def alone() -> int:
        await way(run, numbers)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.create_task(alone())
    done, _ = await asyncio.wait((task,), timeout=guard)
    name = f"{way.__name__} (trial {trial})"
    if not done:
        result.lost.append(name)
        task.cancel()
        return
    result.ended[way.__name__] += 1
    if task.cancelled() or task.exception() is not None:
        error = "CancelledError" if task.cancelled() else repr(task.exception())
        result.foreign.append(f"{name}: {error}")
    elif task.result():
        result.foreign.append(f"{name}: the task still counts as being cancelled")


async def _follow(client: ImportClient, method: str, options: dict[str, Any]) -> None:
    if method == CONTROL:
        seconds = options["timeout"]
        await asyncio.sleep(FOREVER if seconds is None else seconds)
        raise WaitTimeoutError
    if method == "wait":
        await client.wait("1", **options)
    elif method == "watch":
        async for _ in client.watch("1", **options):
            pass
    elif method == "watch_all":
        async for _ in client.watch_all(["1", "2", "3"], **options):
            pass
    else:
        outcomes = await client.wait_all(["1", "2", "3"], **options)
        raise next(outcome for outcome in outcomes.values() if isinstance(outcome, Exception))


def _moment(numbers: random.Random) -> float:
    return numbers.choice((0.0, numbers.uniform(0, 0.001), numbers.uniform(0, _LONGEST)))


async def _cancelled_in_the_first_iterations(run: Run, numbers: random.Random) -> None:
    task = asyncio.ensure_future(run(None))
    for _ in range(numbers.randrange(30)):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def _nested_scopes(run: Run, numbers: random.Random) -> None:
    with anyio.move_on_after(_moment(numbers)) as outer:
        with anyio.move_on_after(_moment(numbers)) as inner:
            await run(None)
        assert inner.cancelled_caught or outer.cancel_called
        await run(None)
    assert outer.cancelled_caught


async def _cancelled_at_its_own_timeout(run: Run, numbers: random.Random) -> None:
    moment = _moment(numbers)
    task = asyncio.ensure_future(run(moment))
    asyncio.get_running_loop().call_later(moment + numbers.uniform(-0.001, 0.001), task.cancel)
    await asyncio.wait((task,))
    if not task.cancelled():
        assert isinstance(task.exception(), WaitTimeoutError)


async def _scope_at_its_own_timeout(run: Run, numbers: random.Random) -> None:
    moment = _moment(numbers)
    with anyio.move_on_after(max(moment + numbers.uniform(-0.001, 0.001), 0)):
        try:
            await run(moment)
        except WaitTimeoutError:
            return


def _scenario(scenario: Scenario) -> Callable[[Run, random.Random], Awaitable[None]]:
    """Return a way to run a scenario of cancelling.py at a random moment."""

    @wraps(scenario)
    async def way(run: Run, numbers: random.Random) -> None:
        await scenario(lambda: run(None), _moment(numbers))

    return way


_WAYS: tuple[Callable[[Run, random.Random], Awaitable[None]], ...] = (
    *map(_scenario, CANCELLED),
    _cancelled_in_the_first_iterations,
    _nested_scopes,
    _cancelled_at_its_own_timeout,
    _scope_at_its_own_timeout,
)
WAYS = len(_WAYS)
