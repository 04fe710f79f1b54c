"""Which errors of a poll are retried, and for how long."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Final

from .._errors import CallError, MilvusImportError, MilvusStatusError, UnsupportedServerError
from .._failures import is_final, is_unauthenticated
from .._failures._statuses import is_response
from .._options import MAX_OUTAGE, reject_awaitable

if TYPE_CHECKING:
    from .._options import WatchSettings
    from ._polls import Polls

_REJECTED_FOR: Final = 60.0
"""Seconds for which a known job may be reported as unauthenticated: a proxy with a cold credential
cache does so while its coordinator is unavailable."""


class RetryPolicy:
    """The current outage of one job, or of the list of jobs, for one follower."""

    def __init__(self, settings: WatchSettings, polls: Polls) -> None:
        self._settings = settings
        self._polls = polls
        self.last_error: MilvusImportError | None = None
        """The last error that is retried; None after a success."""
        self._started = 0.0
        self._rejected_since: float | None = None

    def on_success(self) -> None:
        """End the outage."""
        self.last_error = self._rejected_since = None

    def on_error(self, error: Exception, sent: float, *, known: bool) -> None:
        """Return if the error is retried, or raise it.

        It is raised if no later request can succeed, or if the outage is too long. ``known``: the
        job has had a successful response. The outage starts with its first failed request, not with
        the last success: the caller may have paused in between. Each follower gets a copy of the
        error.
        """
        try:
            if not isinstance(error, MilvusImportError):
                raise error
            error = copy.copy(error)
            if not self._is_retried(error, sent, known=known):
                raise error
            if self.last_error is None:
                self._started = sent
            outage = asyncio.get_running_loop().time() - self._started
            limit = MAX_OUTAGE if self._settings.max_outage is None else self._settings.max_outage
            if outage >= limit:
                error.outage = outage if limit else None
                raise error
            self.last_error = error
            if self._settings.on_retry is not None:
                reject_awaitable("on_retry", self._settings.on_retry(error, outage))
        finally:
            del error  # or an error that is raised and this frame would form a reference cycle

    def _is_retried(self, error: MilvusImportError, sent: float, *, known: bool) -> bool:
        if is_unauthenticated(error):
            self._rejected_since = sent if self._rejected_since is None else self._rejected_since
            return known and sent - self._rejected_since < _REJECTED_FOR
        self._rejected_since = None
        if is_final(error):
            return False
        if isinstance(error, MilvusStatusError):
            return known or error.transient
        if not isinstance(error, CallError) or self._polls.responded:
            return isinstance(error, CallError)
        waits = self._settings.max_outage is not None or is_response(error)
        return error.transient and waits and not isinstance(error, UnsupportedServerError)
