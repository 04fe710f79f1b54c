"""One poll, the repeated request for a job or a list of jobs; and the spacing of all polls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

    from .._errors import MilvusImportError
    from .._services._operations import Operation
    from ._followers import Follower, Group, SharedList

FIRST_RETRY: Final = 0.25
"""Seconds before the first retry; they double up to the polling interval."""
_MAX_RATE_LIMIT_DOUBLINGS: Final = 3
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
NEVER: Final = float("-inf")


class Poll:
    """The repeated request for one job, or for the list of jobs, of one group."""

    def __init__(
        self,
        group: Group,
        operation: Operation[Any, Any],
        params: Any,
        shared_list: SharedList | None = None,
    ) -> None:
        self.group = group
        self.shared_list = shared_list
        self.operation = operation
        self.params = params
        self.followers: set[Follower] = set()
        self.reply: Any = None
        """The last successful reply, undecoded."""
        self.sent = NEVER
        """When the request of that reply was sent."""
        self.received = NEVER
        """When that reply arrived."""
        self.reply_writes_before = 0
        """``writes_before`` of the request of that reply."""
        self.request: asyncio.Task[None] | None = None
        self.request_sent = NEVER
        self.attempt = 0
        """Counts the requests, so that the outcome of a detached one is ignored."""
        self.writes_before = 0
        """The commits and aborts of this client that had ended when the last request was sent."""
        self.due = NEVER
        """When the next request is sent, if a follower is being awaited."""
        self.queued_for: float | None = None
        """The due time of its entry in the queue."""
        self.slot: float | None = None
        """The job's own time in the interval, from which the second request is due."""
        self.errors: int = 0
        self.rate_limits: int = 0
        self.postponed: bool = False
        """Whether the next request waits because the last one failed."""

    @property
    def job_id(self) -> str:
        """The job; "" for a list."""
        return getattr(self.params, "job_id", "")

    @property
    def requests(self) -> int:
        """How many requests one round takes: the pages of a list."""
        return getattr(self.reply, "pages", 1)

    @property
    def followed(self) -> bool:
        """Whether any follower is being awaited."""
        return any(follower.active for follower in self.followers)

    def retry_delay(self, error: MilvusImportError, *, spaced: bool) -> float:
        """Return the seconds before the next request after one that failed.

        ``spaced``: after a rate limit, the spacing of all polls is enough.
        """
        import random  # noqa: PLC0415 - 2 % of the import time of the package, and only for errors

        interval = self.group.interval
        if error.rate_limited:
            doublings = min(self.rate_limits, _MAX_RATE_LIMIT_DOUBLINGS)
            self.rate_limits += not spaced
            return interval * 2.0**doublings * random.uniform(1.0, 1.5)  # noqa: S311 - jitter
        self.errors += 1
        delay = min(interval, FIRST_RETRY * 2.0 ** min(self.errors - 1, 16))
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


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
