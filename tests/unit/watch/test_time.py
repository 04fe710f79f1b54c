"""The time limit of a method, an await within seconds, and the single consumer of a watch."""

from __future__ import annotations

import asyncio
import math

import pytest
from times import GUARD

from milvus_import._watch._time import SingleConsumer, TimeExpired, TimeLimit, await_within

pytestmark = pytest.mark.anyio


async def test_a_time_limit_starts_with_its_first_use() -> None:
    limit = TimeLimit(1000)
    await asyncio.sleep(0.02)
    first = limit.remaining()
    assert first == pytest.approx(1000)
    await asyncio.sleep(0.02)
    second = limit.remaining()
    assert second is not None
    assert 900 < second < 999.99


async def test_a_time_limit_never_remains_below_0() -> None:
    limit = TimeLimit(0.001)
    limit.remaining()
    await asyncio.sleep(0.01)
    assert limit.remaining() == 0


async def test_infinite_limit_has_no_remaining_time() -> None:
    assert TimeLimit(math.inf).remaining() is None


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_time_limit_of_0_applies_after_the_first_poll(seconds: float) -> None:
    limit = TimeLimit(seconds)
    assert limit.remaining() is None
    limit.polled = True
    assert limit.remaining() == 0
    assert str(limit) == "0 s"


async def test_await_within_returns_the_result_or_the_exception() -> None:
    async def result() -> int:
        await asyncio.sleep(0)
        return 7

    async def error() -> int:
        await asyncio.sleep(0)
        raise KeyError

    for seconds in (None, GUARD):
        assert await await_within(result(), seconds) == 7
        with pytest.raises(KeyError):
            await await_within(error(), seconds)


async def test_await_within_cancels_the_coroutine_after_the_seconds() -> None:
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    started = asyncio.get_running_loop().time()
    with pytest.raises(TimeExpired):
        await await_within(hang(), 0.05)
    assert asyncio.get_running_loop().time() - started >= 0.05
    await asyncio.wait_for(cancelled.wait(), GUARD)


@pytest.mark.parametrize("seconds", [0.0, 0.01, None])
async def test_await_within_never_loses_a_cancellation(seconds: float | None) -> None:
    """Also one that arrives in the iteration in which the seconds expire."""

    async def hang() -> None:
        await asyncio.Event().wait()

    async def forever() -> None:
        while True:
            try:
                await await_within(hang(), seconds)
            except TimeExpired:
                continue

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


def test_a_single_consumer_is_free_again_after_an_exception() -> None:
    consumer = SingleConsumer()
    with pytest.raises(KeyError), consumer:
        raise KeyError
    with consumer, pytest.raises(RuntimeError, match="another task"), consumer:
        pass
    with consumer:
        pass
