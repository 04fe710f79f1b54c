"""Time in a watch: its limit, a bounded await without a cancel scope, and a single consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from .._connection._pauses import consume_exception

_T = TypeVar("_T")


class TimeLimit:
    """How long a method may take, from its first poll on.

    A limit of 0 lets the first poll of each job run to its end.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline: float | None = None
        self.polled = False
        """Whether each job has been polled once."""

    def remaining(self) -> float | None:
        """Return the seconds that remain; None if there is no limit (yet)."""
        if self._seconds == float("inf") or (self._seconds <= 0 and not self.polled):
            return None
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._seconds
        return max(0.0, self._deadline - now)

    def __str__(self) -> str:
        return f"{max(self._seconds, 0.0):g} s"


class SingleConsumer:
    """Raises RuntimeError if two tasks iterate at the same time, as an async generator does."""

    _taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise RuntimeError("another task is awaiting this watch: create one watch per task")
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


async def await_within(coroutine: Coroutine[Any, Any, _T], seconds: float | None) -> _T:
    """Await a coroutine for at most ``seconds``, then cancel it and raise TimeExpired.

    No cancel scope is used as a timer. A scope of anyio below 4.16 loses a cancellation that
    arrives in the same iteration of the event loop as its deadline.
    """
    if seconds is None:
        return await coroutine
    task = asyncio.ensure_future(coroutine)
    task.add_done_callback(consume_exception)
    try:
        done, _ = await asyncio.wait((task,), timeout=seconds)
    except BaseException:
        task.cancel()
        raise
    if done:
        return task.result()
    task.cancel()
    raise TimeExpired


class TimeExpired(Exception):  # noqa: N818 - internal
    """The timeout of ``await_within`` expired."""
