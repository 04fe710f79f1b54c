"""Which errors of a poll are retried, when, and for how long."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import grpc

from .._errors import CallError, MilvusImportError
from .._failures._grpc import from_a_server, is_rate_limit
from .._options import MAX_OUTAGE, WatchSettings, reject_awaitable

FIRST_RETRY = 0.25
"""Seconds before the first retry; they double up to the polling interval."""
_MAX_RATE_LIMIT_DOUBLINGS = 3


class OutagePolicy:
    """The retry policy and the current outage of one job, or of the list of jobs."""

    def __init__(self, settings: WatchSettings, responded: Callable[[], bool]) -> None:
        self._settings = settings
        self._responded = responded
        self.last_error: MilvusImportError | None = None
        """The last error that is retried; None after a success."""
        self._started = 0.0
        self._errors = 0
        self._rate_limits = 0

    def on_success(self) -> None:
        """End the outage."""
        self.last_error = None
        self._errors = self._rate_limits = 0

    def on_error(self, error: MilvusImportError, poll_started: float) -> float:
        """Return the seconds until the next poll, or raise the error.

        It is raised if it is not transient, or if the outage is too long. Before the first
        successful call it is also raised if the address may be wrong. The outage starts with its
        first poll, not with the last success: the caller may have paused in between.
        """
        if not self._is_retried(error):
            raise error
        if self.last_error is None:
            self._started = poll_started
        outage = asyncio.get_running_loop().time() - self._started
        limit = MAX_OUTAGE if self._settings.max_outage is None else self._settings.max_outage
        if outage >= limit:
            error.outage = outage if limit else None
            raise error
        self.last_error = error
        self._errors += 1
        if self._settings.on_retry is not None:
            reject_awaitable("on_retry", self._settings.on_retry(error, outage))
        return self._delay(error)

    def _is_retried(self, error: MilvusImportError) -> bool:
        if isinstance(error, CallError) and error.code is grpc.StatusCode.UNIMPLEMENTED:
            return self._responded()  # it has worked before: an upgrade, or a gateway
        if not error.transient:
            return False
        return self._responded() or self._settings.max_outage is not None or from_a_server(error)

    def _delay(self, error: MilvusImportError) -> float:
        interval = self._settings.interval
        if is_rate_limit(error):
            doublings = min(self._rate_limits, _MAX_RATE_LIMIT_DOUBLINGS)
            self._rate_limits += 1
            delay = interval * 2.0**doublings
            return delay * random.uniform(1.0, 1.5)  # noqa: S311 - jitter, no secret
        delay = min(interval, FIRST_RETRY * 2.0 ** min(self._errors - 1, 16))
        return delay * random.uniform(0.5, 1.0)  # noqa: S311
