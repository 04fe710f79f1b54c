"""Pauses: the waits between polls, which closing the client ends."""

from __future__ import annotations

import asyncio
import threading

import anyio
import anyio.lowlevel
import pytest
from times import GUARD, until

from milvus_import import ClientClosedError
from milvus_import._connection._pauses import Pauses, yield_to_loop

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seconds", [0.05, 0.0, -1.0])
async def test_sleep_waits_for_the_seconds_and_lets_other_tasks_run(seconds: float) -> None:
    loop, ran = asyncio.get_running_loop(), False

    def run() -> None:
        nonlocal ran
        ran = True

    loop.call_soon(run)
    started = loop.time()
    await Pauses().sleep(seconds)
    assert loop.time() - started >= seconds
    assert ran


async def test_close_ends_every_pause_and_later_ones() -> None:
    pauses = Pauses()
    tasks = [asyncio.ensure_future(pauses.sleep(3600)) for _ in range(3)]
    await asyncio.sleep(0)
    pauses.close()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), GUARD)
    assert [type(result) for result in results] == [ClientClosedError] * 3
    with pytest.raises(ClientClosedError):
        await pauses.sleep(1)
    with pytest.raises(ClientClosedError):
        pauses.waiter()
    pauses.close()


async def test_close_ends_a_pause_in_the_event_loop_of_another_thread() -> None:
    pauses, ended = Pauses(), threading.Event()

    async def sleep() -> None:
        with pytest.raises(ClientClosedError):
            await pauses.sleep(3600)
        ended.set()

    thread = threading.Thread(target=lambda: asyncio.run(sleep()))
    thread.start()
    await until(lambda: bool(pauses._waiters))  # pyright: ignore[reportPrivateUsage]
    pauses.close()
    await anyio.to_thread.run_sync(thread.join, GUARD)
    assert ended.is_set()


def test_close_ignores_a_pause_of_an_event_loop_that_is_closed() -> None:
    pauses = Pauses()

    async def leave() -> None:
        pauses.waiter()

    asyncio.run(leave())
    pauses.close()
    assert pauses.closed


@pytest.mark.parametrize("seconds", [0.0, 0.01])
async def test_a_pause_never_loses_a_cancellation(seconds: float) -> None:
    """A cancel scope as a timer loses one that arrives when its deadline expires."""
    pauses = Pauses()

    async def forever() -> None:
        while True:
            await pauses.sleep(seconds)

    for iterations in range(100):
        task = asyncio.ensure_future(forever())
        for _ in range(iterations % 7):
            await asyncio.sleep(0)
        if iterations > 50:
            await asyncio.sleep(0.01)
        task.cancel()
        done, _ = await asyncio.wait((task,), timeout=GUARD)
        assert done
        assert task.cancelled()
    assert not pauses._waiters  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("scope_first", [True, False])
async def test_a_scope_and_a_timeout_that_expire_together_keep_their_cancellations(
    scope_first: bool,
) -> None:
    """asyncio.sleep(0) instead of a future lets CancelledError escape from both."""

    async def yields() -> None:
        while True:
            await yield_to_loop()

    with anyio.move_on_after(None) as scope:
        try:
            async with asyncio.timeout(None) as limit:
                loop = asyncio.get_running_loop()
                actions = [scope.cancel, lambda: limit.reschedule(loop.time() - 1)]
                for action in actions if scope_first else reversed(actions):
                    loop.call_soon(action)
                await yields()
        except TimeoutError:
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
