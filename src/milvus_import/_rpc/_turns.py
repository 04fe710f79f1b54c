"""Spacing of one client's polls while the server or a gateway limits their rate."""

from __future__ import annotations

import time
from typing import Final

_FIRST: Final = 1 / 32
"""Seconds between two polls after the first rate limit."""
_MOST: Final = 2.0
"""Seconds between two polls at most: Milvus' own polling interval."""
_LEAST: Final = 0.001
"""Seconds below which there is no spacing any more."""
_RAISE: Final = 1.2
_RAISE_INTERVAL: Final = 0.25
"""Seconds between two raises at least: polls that have a turn already keep it."""
_LOWER: Final = 0.99


class Turns:
    """Lets the polls of all watches of a client start one after the other.

    Without it, a limit below the wanted rate would starve some watches: those that are admitted
    poll again after one interval and use the whole rate, those that are rejected wait longer.
    """

    def __init__(self) -> None:
        self.spacing: float = 0.0
        """Seconds between two polls; 0 while no rate limit is noticed."""
        self._next = 0.0
        self._raised = 0.0

    def reserve(self) -> float:
        """Reserve the next turn and return the seconds until then."""
        if not self.spacing:
            return 0.0
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self.spacing
        return start - now

    def on_success(self) -> None:
        """Shorten the spacing by 1 %."""
        self.spacing *= _LOWER
        if self.spacing < _LEAST:
            self.spacing = 0.0

    def on_rate_limit(self) -> None:
        """Lengthen the spacing by 20 %."""
        now = time.monotonic()
        if now - self._raised >= max(self.spacing, _RAISE_INTERVAL):
            self._raised = now
            self.spacing = min(max(self.spacing * _RAISE, _FIRST), _MOST)
