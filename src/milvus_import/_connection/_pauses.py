"""Pauses between polls that closing the client ends, without a cancel scope as a timer."""

from __future__ import annotations

import asyncio
from typing import Any

from .._errors import ClientClosedError
from ._throttle import PollThrottle


class Pauses:
    """The pauses of one client, in any event loop."""

    closed: bool = False
    """Whether the client is closed."""

    def __init__(self) -> None:
        self.throttle: PollThrottle = PollThrottle()
        """The spacing of the polls while their rate is limited."""
        self._waiters: set[asyncio.Future[None]] = set()

    async def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``. Raises ClientClosedError when the client is closed."""
        if seconds <= 0:
            await yield_to_loop()
            return  # on a closed client the poll itself raises the error
        waiter = self.waiter()
        timer = waiter.get_loop().call_later(seconds, wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)
        self.check()

    def waiter(self) -> asyncio.Future[None]:
        """Return a future that closing the client resolves. The owner discards it when done."""
        self.check()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        return waiter

    def discard(self, waiter: asyncio.Future[None]) -> None:
        """Remove a future that is no longer awaited."""
        self._waiters.discard(waiter)

    def check(self) -> None:
        """Raise ClientClosedError if the client is closed."""
        if self.closed:
            raise ClientClosedError(
                "the client was closed; the import continues; create a new client to follow it"
            )

    def close(self) -> None:
        """End every pause, also those in other event loops."""
        self.closed = True
        for waiter in tuple(self._waiters):
            loop = waiter.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(wake, waiter)
        self._waiters.clear()


async def yield_to_loop() -> None:
    """Let the event loop run once, so that a task that is already cancelled ends here.

    asyncio.sleep(0) awaits no future: if a scope of anyio and a timeout of asyncio cancel it in
    the same iteration, each attributes the CancelledError to the other.
    """
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    loop.call_soon(wake, waiter)
    await waiter


def wake(waiter: asyncio.Future[None]) -> None:
    """Resolve a future unless it has ended already."""
    if not waiter.done():
        waiter.set_result(None)


def consume_exception(future: asyncio.Future[Any]) -> None:
    """Keep asyncio from logging the exception as never retrieved."""
    if not future.cancelled():
        future.exception()
