"""Space the polls of one client while the server or a gateway limits the request rate."""

from __future__ import annotations

from typing import Final

_INITIAL_SPACING: Final = 1 / 32
"""Seconds between two polls after the first rate limit."""
_MAX_SPACING: Final = 2.0
"""The longest spacing, in seconds: Milvus' own polling interval."""
_MIN_SPACING: Final = 0.001
"""Seconds below which the spacing ends."""
_INCREASE: Final = 1.2
_INCREASE_INTERVAL: Final = 0.25
"""The shortest time between two increases, in seconds: polls in flight were sent before."""
_DECREASE: Final = 0.99
_MAX_RETRY_AFTER: Final = 60.0


class PollThrottle:
    """Spaces the polls of all watches of a client. Times are those of the event loop.

    Without it, a low rate limit would starve some watches. Those whose polls are accepted poll
    again after one interval and use the whole rate; those whose polls are rejected wait longer.
    """

    def __init__(self, spacing: float = 0.0) -> None:
        self.spacing: float = spacing
        """Seconds between two polls; 0 without a rate limit."""
        self.ready_at: float = 0.0
        """When the next poll may start."""
        self._increased = 0.0

    @property
    def at_limit(self) -> bool:
        """Whether the spacing cannot be lengthened any more."""
        return self.spacing >= _MAX_SPACING

    def on_start(self, now: float, requests: int) -> None:
        """Record that a poll starts, which takes this number of requests."""
        if self.spacing:
            self.ready_at = max(now, self.ready_at) + self.spacing * requests

    def on_success(self) -> None:
        """Shorten the spacing by 1 %."""
        self.spacing *= _DECREASE
        if self.spacing < _MIN_SPACING:
            self.spacing = 0.0

    def on_rate_limit(self, now: float) -> None:
        """Lengthen the spacing by 20 %."""
        if now - self._increased >= max(self.spacing, _INCREASE_INTERVAL):
            self._increased = now
            self.spacing = min(max(self.spacing * _INCREASE, _INITIAL_SPACING), _MAX_SPACING)

    def wait(self, now: float, seconds: float) -> None:
        """Start no poll for the seconds of a ``Retry-After``, at most 60."""
        self.ready_at = max(self.ready_at, now + min(seconds, _MAX_RETRY_AFTER))
