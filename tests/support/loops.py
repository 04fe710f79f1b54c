"""The kinds of event loops; one whose clock jumps to the next timer, so that nothing sleeps."""

from __future__ import annotations

import asyncio
import importlib.util
import selectors
import sys
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import pytest

_T = TypeVar("_T")


class _JumpingSelector(selectors.BaseSelector):
    """Advances the time instead of waiting for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._selector = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("every task waits for something that never happens")
        self.now += max(timeout, 0.0)
        return self._selector.select(0)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 0 and jumps. A deadlock is an AssertionError."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_virtually(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in a loop of its own with a virtual clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def eager_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that runs each task until its first await when it is created."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - since 3.12
    return loop


LOOPS: dict[str, dict[str, Any]] = {"asyncio": {}}
if sys.version_info >= (3, 12):
    LOOPS["asyncio, eager tasks"] = {"loop_factory": eager_loop}
if importlib.util.find_spec("uvloop"):  # made for Linux and macOS
    LOOPS["uvloop"] = {"use_uvloop": True}
on_each_loop = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", options) for options in LOOPS.values()], ids=LOOPS
)
