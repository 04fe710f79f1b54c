"""One poll: the repeated request for a job, or for the list of jobs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

    from .._errors import MilvusImportError
    from .._services._operations import Operation
    from ._followers import Follower, Group, SharedList

FIRST_RETRY: Final = 0.25
"""Seconds before the first retry; they double up to the polling interval."""
_MAX_RATE_LIMIT_DOUBLINGS: Final = 3
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
        interval = self.group.interval
        if error.rate_limited:
            doublings = min(self.rate_limits, _MAX_RATE_LIMIT_DOUBLINGS)
            self.rate_limits += not spaced
            return interval * 2.0**doublings * random.uniform(1.0, 1.5)  # noqa: S311 - jitter
        self.errors += 1
        delay = min(interval, FIRST_RETRY * 2.0 ** min(self.errors - 1, 16))
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
