"""SIGINT, SIGTERM and SIGHUP: the command is cancelled, cleans up and ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from types import FrameType, TracebackType
from typing import Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Interrupted(Exception):  # noqa: N818 - a signal is not an error
    """The command was cancelled by a signal."""


class Signals:
    """Handles the signals that end a command, while it is entered.

    A signal that the parent process ignores, as nohup does, stays ignored.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that was received, or None."""
        self._forced = False
        self._cancel: Callable[[], object] | None = None
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is None:
                continue
            handler = signal.getsignal(number)
            if handler in {signal.SIG_DFL, signal.default_int_handler}:
                self._previous[number] = handler
                signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """The exit code of a program that was ended by the signal, SIGINT if there was none."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def description(self) -> str:
        """What happened, for the message."""
        if self.number in {None, signal.SIGINT}:
            return "interrupted"
        return f"interrupted by {signal.Signals(self.number).name}"

    async def run(self, work: Callable[[], Awaitable[int]]) -> int:
        """Return the result of the work. Raises Interrupted if a signal cancelled it."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if self.number is not None:
            raise Interrupted
        if task is not None:
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return await work()
        except (Exception, asyncio.CancelledError) as error:
            if self.number is None:
                raise
            if self._forced:  # asyncio logs other exceptions while the loop is closed
                raise asyncio.CancelledError from error
            raise Interrupted from error  # also an OSError: the terminal may be closed
        finally:
            self._cancel = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Cancel the work at the first signal; end it immediately at the second."""
        cancel, self._cancel = self._cancel, None
        self._forced = self.number is not None
        self.number = number
        if cancel is None:
            raise KeyboardInterrupt
        cancel()
