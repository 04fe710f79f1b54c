"""Scenarios in which a caller is cancelled, or has a limit that does not apply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from times import GUARD

FOREVER = 3600.0
Request = Callable[[], Coroutine[Any, Any, Any]]
Scenario = Callable[[Request, float], Coroutine[Any, Any, None]]


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
    assert done, "the scenario hangs"
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


async def scope_cancelled(request: Request, seconds: float) -> None:
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(seconds, scope.cancel)
        await request()
    assert scope.cancelled_caught


async def scope_cancelled_before(request: Request, seconds: float) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await request()
    assert scope.cancelled_caught


async def scope_without_time(request: Request, seconds: float) -> None:
    with anyio.move_on_after(0) as scope:
        await request()
    assert scope.cancelled_caught


async def outer_scope(request: Request, seconds: float) -> None:
    with anyio.move_on_after(seconds) as outer, anyio.move_on_after(FOREVER) as inner:
        await request()
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)


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


async def anyio_sibling_fails(request: Request, seconds: float) -> None:
    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(request)
            await anyio.sleep(seconds)
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def asyncio_sibling_fails(request: Request, seconds: float) -> None:
    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(request())
            await asyncio.sleep(seconds)
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def asyncio_timeout(request: Request, seconds: float) -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(seconds):
            await request()
    assert type(caught.value) is TimeoutError


async def asyncio_timeout_around_a_scope(request: Request, seconds: float) -> None:
    async def limited() -> None:
        with anyio.fail_after(FOREVER):
            await request()

    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(seconds):
            await limited()
    assert type(caught.value) is TimeoutError


async def scope_around_an_asyncio_timeout(request: Request, seconds: float) -> None:
    with anyio.move_on_after(seconds) as scope:
        async with asyncio.timeout(FOREVER):
            await request()
    assert scope.cancelled_caught


async def asyncio_wait_for(request: Request, seconds: float) -> None:
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(request(), seconds)
    assert type(caught.value) is TimeoutError


async def task_cancelled(request: Request, seconds: float) -> None:
    task = asyncio.create_task(request())
    await asyncio.sleep(seconds)
    assert task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert task.cancelling() == 1


async def task_cancelled_twice(request: Request, seconds: float) -> None:
    task = asyncio.create_task(request())
    await asyncio.sleep(seconds)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


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
    *(move_on_after, fail_after, scope_cancelled, scope_cancelled_before, scope_without_time),
    *(outer_scope, anyio_task_group, anyio_sibling_fails, asyncio_sibling_fails, asyncio_timeout),
    *(asyncio_timeout_around_a_scope, scope_around_an_asyncio_timeout, asyncio_wait_for),
    *(task_cancelled, task_cancelled_twice, own_task_cancelled_and_caught, gather_cancelled),
)
"""Scenarios in which the request, if it never ends, is cancelled."""
SCENARIOS: tuple[Scenario, ...] = (
    *CANCELLED,
    *(inner_scope, shielded_scope, asyncio_shield, scope_deadline_extended),
    *(asyncio_timeout_extended, limits_never_reached),
)
