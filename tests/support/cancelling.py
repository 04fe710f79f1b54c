"""Scenarios in which a caller is cancelled, or has a limit that does not apply.

``cancel_at_random`` runs them at random moments of watches and waits.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import watching
from interceptors import Pass
from times import GUARD

from milvus_import import ImportClient, WaitTimeoutError
from milvus_import.testing import FAULTS, FakeMilvus, Fault

FOREVER = 3600.0
Request = Callable[[], Coroutine[Any, Any, Any]]
Scenario = Callable[[Request, float], Coroutine[Any, Any, None]]

GRPC_PATHS: dict[str, dict[str, Any]] = {
    "deadline": {},
    "no deadline": {"rpc_timeout": None},
    "interceptor": {"interceptors": [Pass()]},
}
"""The code paths of a gRPC call, which differ in what is awaited."""
PATHS: dict[str, dict[str, Any]] = GRPC_PATHS | {"rest": {}}
on_each_path = pytest.mark.parametrize("path", GRPC_PATHS)
on_each_path_and_rest = pytest.mark.parametrize("path", PATHS)


class HangsError(AssertionError):
    """A scenario does not end."""


async def alone(scenario: Coroutine[Any, Any, None], seconds: float = GUARD) -> None:
    """Run it in its own task, which must end and must not stay in the state of being cancelled."""

    async def run() -> int:
        await scenario
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.create_task(run())
    done, _ = await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    if not done:
        raise HangsError
    assert task.result() == 0


# The caller is cancelled.


async def move_on_after(request: Request, seconds: float) -> None:
    with anyio.move_on_after(seconds) as scope:
        await request()
    assert scope.cancelled_caught


async def fail_after(request: Request, seconds: float) -> None:
    with pytest.raises(TimeoutError) as caught, anyio.fail_after(seconds):
        await request()
    assert type(caught.value) is TimeoutError


async def scope_cancelled_before(request: Request, seconds: float) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await request()
    assert scope.cancelled_caught


async def scope_without_time(request: Request, seconds: float) -> None:
    with anyio.move_on_after(0) as scope:
        await request()
    assert scope.cancelled_caught


async def inner_scope(request: Request, seconds: float) -> None:
    with anyio.fail_after(FOREVER) as outer:
        with anyio.move_on_after(seconds) as inner:
            await request()
        assert inner.cancelled_caught
        await request()
    assert not outer.cancel_called


async def anyio_task_group(request: Request, seconds: float) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(request)
        group.start_soon(request)
        await anyio.sleep(seconds)
        group.cancel_scope.cancel()


def _fail() -> None:
    raise KeyError


async def anyio_sibling_fails(request: Request, seconds: float) -> None:
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(request)
            await anyio.sleep(seconds)
            _fail()
    except* KeyError:
        pass


async def asyncio_sibling_fails(request: Request, seconds: float) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(request())
            await asyncio.sleep(seconds)
            _fail()
    except* KeyError:
        pass


async def asyncio_timeout(request: Request, seconds: float) -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(seconds):
            await request()
    assert type(caught.value) is TimeoutError


async def asyncio_timeout_around_a_scope(request: Request, seconds: float) -> None:
    async def limited() -> None:
        with anyio.fail_after(FOREVER):
            await request()

    await asyncio_timeout(limited, seconds)


async def scope_around_an_asyncio_timeout(request: Request, seconds: float) -> None:
    with anyio.move_on_after(seconds) as scope:
        async with asyncio.timeout(FOREVER):
            await request()
    assert scope.cancelled_caught


async def asyncio_wait_for(request: Request, seconds: float) -> None:
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(request(), seconds)
    assert type(caught.value) is TimeoutError


async def task_cancelled_twice(request: Request, seconds: float) -> None:
    task = asyncio.create_task(request())
    await asyncio.sleep(seconds)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert task.cancelling() == 2


async def own_task_cancelled_and_caught(request: Request, seconds: float) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(seconds, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await request()
    assert task.cancelling() == 1
    task.uncancel()


async def gather_cancelled(request: Request, seconds: float) -> None:
    both = asyncio.gather(request(), request())
    asyncio.get_running_loop().call_later(seconds, both.cancel)
    with pytest.raises(asyncio.CancelledError):
        await both


# The caller has a limit that does not apply.


async def shielded_scope(request: Request, seconds: float) -> None:
    with anyio.move_on_after(seconds) as outer:
        with anyio.CancelScope(shield=True):
            assert (await request()).data.progress == 40
        await anyio.lowlevel.checkpoint()
    assert outer.cancelled_caught


async def asyncio_shield(request: Request, seconds: float) -> None:
    task = asyncio.create_task(request())
    with anyio.move_on_after(seconds) as scope:
        await asyncio.shield(task)
    assert scope.cancelled_caught
    assert (await task).data.progress == 40


async def scope_deadline_extended(request: Request, seconds: float) -> None:
    with anyio.fail_after(seconds) as scope:
        asyncio.get_running_loop().call_later(seconds / 2, setattr, scope, "deadline", float("inf"))
        assert (await request()).data.progress == 40
    assert not scope.cancel_called


async def asyncio_timeout_extended(request: Request, seconds: float) -> None:
    async with asyncio.timeout(seconds) as limit:
        asyncio.get_running_loop().call_later(seconds / 2, limit.reschedule, None)
        assert (await request()).data.progress == 40


async def limits_never_reached(request: Request, seconds: float) -> None:
    with anyio.fail_after(FOREVER):
        async with asyncio.timeout(FOREVER):
            assert (await asyncio.wait_for(request(), FOREVER)).data.progress == 40


CANCELLED: tuple[Scenario, ...] = (
    *(move_on_after, fail_after, scope_cancelled_before, scope_without_time, anyio_task_group),
    *(anyio_sibling_fails, asyncio_sibling_fails, asyncio_timeout, asyncio_wait_for),
    *(asyncio_timeout_around_a_scope, scope_around_an_asyncio_timeout, task_cancelled_twice),
    *(own_task_cancelled_and_caught, gather_cancelled),
)
"""Scenarios in which the request, if it never ends, is cancelled."""
SCENARIOS: tuple[Scenario, ...] = (
    *CANCELLED,
    *(inner_scope, shielded_scope, asyncio_shield, scope_deadline_extended),
    *(asyncio_timeout_extended, limits_never_reached),
)


# At random moments.

METHODS = watching.METHODS
CONTROL = "asyncio.sleep"
"""In place of a method: what asyncio and anyio do by themselves."""
_LONGEST = 0.02
"""Seconds up to which the moments of cancellation are drawn."""
_CONCURRENT = 32
_FAULTS = (FAULTS["not-ready"], FAULTS["unavailable"], Fault(delay=0.002), Fault(delay=0.02))

Run = Callable[[float | None], Coroutine[Any, Any, None]]
"""Follow jobs that never end; the argument is the timeout of the method."""
Way = Callable[[Run, random.Random], Coroutine[Any, Any, None]]


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
    result, numbers, faults = Result(), random.Random(seed), random.Random(seed)
    remaining = iter(range(count))
    async with FakeMilvus(max_received=1) as fake:
        ids = watching.ids(watching.add_running(fake, 3))
        async with watching.connect(fake, service, rpc_timeout=5) as client:
            await client.check()
            fake.choose_fault = lambda _: faults.choice(_FAULTS) if faults.random() < 0.2 else None

            async def worker() -> None:
                for trial in remaining:
                    way = WAYS[trial % len(WAYS)]
                    interval = numbers.choice((1e-4, 0.001, 0.005, FOREVER))
                    run = partial(_follow, client, method, ids, interval)
                    name = f"{way.__name__} (trial {trial})"
                    try:
                        await alone(way(run, numbers), guard)
                    except HangsError:
                        result.lost.append(name)
                        continue
                    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
                        result.foreign.append(f"{name}: {error!r}")
                    result.ended[way.__name__] += 1

            await asyncio.gather(*[worker() for _ in range(_CONCURRENT)])
            fake.choose_fault = None
    return result


async def _follow(
    client: ImportClient, method: str, ids: list[str], interval: float, timeout: float | None
) -> None:
    if method == CONTROL:
        await asyncio.sleep(FOREVER if timeout is None else timeout)
        raise WaitTimeoutError
    await watching.run(client, method, *ids, interval=interval, timeout=timeout)


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


def _at_random(scenario: Scenario) -> Way:
    async def way(run: Run, numbers: random.Random) -> None:
        await scenario(lambda: run(None), _moment(numbers))

    way.__name__ = scenario.__name__
    return way


WAYS: tuple[Way, ...] = (
    *map(_at_random, CANCELLED),
    _cancelled_in_the_first_iterations,
    _nested_scopes,
    _cancelled_at_its_own_timeout,
    _scope_at_its_own_timeout,
)
