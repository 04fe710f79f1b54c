"""Scenarios in which the caller of an awaitable leaves, or is about to leave and stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from milvus_import import GetImportProgressResponse

FOREVER = 3600.0
Request = Callable[[], Coroutine[Any, Any, GetImportProgressResponse]]


async def alone(scenario: Coroutine[Any, Any, None], seconds: float) -> None:
    """Run it in a task of its own, which must end, and not be left half cancelled."""

    async def run() -> int:
        await scenario
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.create_task(run())
    done, _ = await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    assert done, "it hangs"
    assert task.result() == 0


# The caller leaves.


async def move_on_after(request: Request, leave: float) -> None:
    with anyio.move_on_after(leave) as scope:
        await request()
    assert scope.cancelled_caught


async def fail_after(request: Request, leave: float) -> None:
    with pytest.raises(TimeoutError) as caught, anyio.fail_after(leave):
        await request()
    assert type(caught.value) is TimeoutError


async def scope_cancelled(request: Request, leave: float) -> None:
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(leave, scope.cancel)
        await request()
    assert scope.cancelled_caught


async def scope_cancelled_before(request: Request, leave: float) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await request()
    assert scope.cancelled_caught


async def scope_without_time(request: Request, leave: float) -> None:
    with anyio.move_on_after(0) as scope:
        await request()
    assert scope.cancelled_caught


async def outer_scope(request: Request, leave: float) -> None:
    with anyio.move_on_after(leave) as outer, anyio.move_on_after(FOREVER) as inner:
        await request()
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)


async def inner_scope(request: Request, leave: float) -> None:
    with anyio.fail_after(FOREVER) as outer:
        with anyio.move_on_after(leave) as inner:
            await request()
        assert inner.cancelled_caught
        await request()
    assert not outer.cancel_called


async def anyio_task_group(request: Request, leave: float) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(request)
        group.start_soon(request)
        await anyio.sleep(leave)
        group.cancel_scope.cancel()


async def anyio_sibling_fails(request: Request, leave: float) -> None:
    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(request)
            await anyio.sleep(leave)
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def asyncio_sibling_fails(request: Request, leave: float) -> None:
    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(request())
            await asyncio.sleep(leave)
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def asyncio_timeout(request: Request, leave: float) -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(leave):
            await request()
    assert type(caught.value) is TimeoutError


async def asyncio_timeout_around_a_scope(request: Request, leave: float) -> None:
    async def limited() -> None:
        with anyio.fail_after(FOREVER):
            await request()

    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(leave):
            await limited()
    assert type(caught.value) is TimeoutError


async def scope_around_an_asyncio_timeout(request: Request, leave: float) -> None:
    with anyio.move_on_after(leave) as scope:
        async with asyncio.timeout(FOREVER):
            await request()
    assert scope.cancelled_caught


async def asyncio_wait_for(request: Request, leave: float) -> None:
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(request(), leave)
    assert type(caught.value) is TimeoutError


async def task_cancelled(request: Request, leave: float) -> None:
    task = asyncio.create_task(request())
    await asyncio.sleep(leave)
    assert task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert task.cancelling() == 1


async def task_cancelled_twice(request: Request, leave: float) -> None:
    task = asyncio.create_task(request())
    await asyncio.sleep(leave)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def own_task_cancelled_and_caught(request: Request, leave: float) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(leave, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await request()
    assert task.cancelling() == 1
    task.uncancel()


async def gather_cancelled(request: Request, leave: float) -> None:
    both = asyncio.gather(request(), request())
    asyncio.get_running_loop().call_later(leave, both.cancel)
    with pytest.raises(asyncio.CancelledError):
        await both


# The caller is about to leave, and stays.


async def shielded_scope(request: Request, leave: float) -> None:
    with anyio.move_on_after(leave) as outer:
        with anyio.CancelScope(shield=True):
            assert (await request()).data.progress == 40
        await anyio.lowlevel.checkpoint()
    assert outer.cancelled_caught


async def asyncio_shield(request: Request, leave: float) -> None:
    task = asyncio.create_task(request())
    with anyio.move_on_after(leave) as scope:
        await asyncio.shield(task)
    assert scope.cancelled_caught
    assert (await task).data.progress == 40


async def scope_deadline_extended(request: Request, leave: float) -> None:
    with anyio.fail_after(leave) as scope:
        asyncio.get_running_loop().call_later(leave / 2, setattr, scope, "deadline", float("inf"))
        assert (await request()).data.progress == 40
    assert not scope.cancel_called


async def asyncio_timeout_extended(request: Request, leave: float) -> None:
    async with asyncio.timeout(leave) as limit:
        asyncio.get_running_loop().call_later(leave / 2, limit.reschedule, None)
        assert (await request()).data.progress == 40


async def limits_never_reached(request: Request, leave: float) -> None:
    with anyio.fail_after(FOREVER):
        async with asyncio.timeout(FOREVER):
            assert (await asyncio.wait_for(request(), FOREVER)).data.progress == 40


SCENARIOS: tuple[Callable[[Request, float], Coroutine[Any, Any, None]], ...] = (
    move_on_after,
    fail_after,
    scope_cancelled,
    scope_cancelled_before,
    scope_without_time,
    outer_scope,
    inner_scope,
    anyio_task_group,
    anyio_sibling_fails,
    asyncio_sibling_fails,
    asyncio_timeout,
    asyncio_timeout_around_a_scope,
    scope_around_an_asyncio_timeout,
    asyncio_wait_for,
    task_cancelled,
    task_cancelled_twice,
    own_task_cancelled_and_caught,
    gather_cancelled,
    shielded_scope,
    asyncio_shield,
    scope_deadline_extended,
    asyncio_timeout_extended,
    limits_never_reached,
)
