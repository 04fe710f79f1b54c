"""Space the polls of one client while the server or a gateway limits the request rate."""

from __future__ import annotations

import time
from typing import Final

_INITIAL_SPACING: Final = 1 / 32
"""Seconds between two polls after the first rate limit."""
_MAX_SPACING: Final = 2.0
"""The longest spacing, in seconds: Milvus' own polling interval."""
_MIN_SPACING: Final = 0.001
"""Seconds below which the spacing ends."""
_INCREASE: Final = 1.2
_INCREASE_INTERVAL: Final = 0.25
"""The shortest time between two increases, in seconds: reserved polls are not moved."""
_DECREASE: Final = 0.99


class PollThrottle:
    """Spaces the polls of all watches of a client.

    Without it, a low rate limit would starve some watches. Those whose polls are accepted poll
    again after one interval and use the whole rate; those whose polls are rejected wait longer.
    """

    def __init__(self) -> None:
        self.spacing: float = 0.0
        """Seconds between two polls; 0 without a rate limit."""
        self._next = 0.0
        self._increased = 0.0

    def reserve(self) -> float:
        """Reserve the next start of a poll and return the seconds until then."""
        if not self.spacing:
            return 0.0
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self.spacing
        return start - now

    def on_success(self) -> None:
        """Shorten the spacing by 1 %."""
        self.spacing *= _DECREASE
        if self.spacing < _MIN_SPACING:
            self.spacing = 0.0

    def on_rate_limit(self) -> None:
        """Lengthen the spacing by 20 %."""
        now = time.monotonic()
        if now - self._increased >= max(self.spacing, _INCREASE_INTERVAL):
            self._increased = now
            self.spacing = min(max(self.spacing * _INCREASE, _INITIAL_SPACING), _MAX_SPACING)
