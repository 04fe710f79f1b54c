"""Independent polls of many jobs: a poll that hangs delays only its own job."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from .._connection._pauses import consume_exception
from .._services._replies import Snapshot

CONCURRENT_POLLS = 64
"""Polls of one watch at a time; beyond it Milvus 2.3 gets slow, and may crash."""
MAX_IN_FLIGHT = 256
"""Polls of one watch in flight, those included that are older than one interval."""

Finished = tuple[str, float, "asyncio.Task[Snapshot]"]
"""A job id, when its poll started, and the poll."""


class Polls:
    """Starts each job's poll when it is due, at most 64 at a time.

    A poll that takes longer than one interval no longer counts towards the 64.
    """

    def __init__(
        self,
        fetch: Callable[[str], Coroutine[Any, Any, Snapshot]],
        interval: float,
        on_finish: Callable[[], None],
    ) -> None:
        self._fetch = fetch
        self._interval = interval
        self._on_finish = on_finish
        self._due: list[tuple[float, str]] = []
        self._scheduled: set[str] = set()
        self._running: dict[asyncio.Task[Snapshot], tuple[str, float]] = {}
        self.finished: deque[Finished] = deque()

    def schedule(self, job_id: str, due: float) -> None:
        """Poll a job at this time of the event loop, unless it is already scheduled or running."""
        if job_id not in self._scheduled:
            self._scheduled.add(job_id)
            heapq.heappush(self._due, (due, job_id))

    def start_due(self, now: float, wanted: Iterable[str]) -> float:
        """Start the polls that are due; return when to call this again."""
        started_after = now - self._interval
        recent = sum(1 for _, started in self._running.values() if started > started_after)
        while self._due and self._due[0][0] <= now:
            if recent >= CONCURRENT_POLLS or len(self._running) >= MAX_IN_FLIGHT:
                return self._next_start(started_after)
            _, job_id = heapq.heappop(self._due)
            if job_id not in wanted:
                self._scheduled.discard(job_id)
                continue
            self._start(job_id, now)
            recent += 1
        return self._due[0][0] if self._due else float("inf")

    def cancel(self) -> None:
        """Stop: the RPCs in flight are detached and continue to their own deadlines."""
        for task in self._running:
            task.cancel()
        self.abandon()

    def abandon(self) -> list[str]:
        """Drop all polls, and return the jobs that were scheduled or running."""
        jobs = [*self._scheduled]
        self._scheduled.clear()
        self._running.clear()
        self._due.clear()
        self.finished.clear()
        return jobs

    def _next_start(self, started_after: float) -> float:
        """Return when the oldest of the recent polls stops counting towards the 64."""
        recent = [start for _, start in self._running.values() if start > started_after]
        if len(self._running) >= MAX_IN_FLIGHT or not recent:
            return float("inf")
        return min(recent) + self._interval

    def _start(self, job_id: str, now: float) -> None:
        task = asyncio.get_running_loop().create_task(self._fetch(job_id))
        self._running[task] = (job_id, now)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Snapshot]) -> None:
        consume_exception(task)
        running = self._running.pop(task, None)
        if running is None:
            return
        job_id, started = running
        self._scheduled.discard(job_id)
        if task.cancelled():  # with all tasks of the loop
            self.schedule(job_id, started + self._interval)
        else:
            self.finished.append((job_id, started, task))
        self._on_finish()
