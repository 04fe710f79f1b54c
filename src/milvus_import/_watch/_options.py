"""The arguments of watch, wait, watch_all and wait_all, validated in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast

from .._connection._pauses import Pauses
from .._errors import ArgumentError, MilvusImportError
from .._models import ImportProgressData, ImportState
from .._options import RpcOptions, unknown_argument, validate_callback, validate_timeout
from .._services._replies import Snapshot
from .._services._rows import JobRow
from .._text import shorten

INTERVAL: Final = 2.0
"""Seconds between polls: the interval of the server's own state machine."""
MAX_OUTAGE: Final = 300.0
"""Seconds without a successful response after which a watch gives up by default."""

OnRetry = Callable[[MilvusImportError, float], object]
"""Called with an error that is retried, and the seconds of the outage so far. Not awaited."""
Until = Literal["completed", "uncommitted"]
"""The state to wait for; "uncommitted" also accepts a job that waits for its commit."""


class WatchOptions(RpcOptions, total=False):
    """Options of ``watch``, ``wait``, ``watch_all`` and ``wait_all``, with those of each RPC."""

    timeout: float | None
    """Seconds that the method may take, default None: no limit. 0 polls each job once. When it
    expires, WaitTimeoutError is raised; the job itself continues."""

    interval: float
    """Seconds between polls of a job, default 2, the interval of Milvus' own state machine."""

    max_outage: float | None
    """Seconds without a successful response after which the last error is raised. None, the
    default: 300 s once the client has had a successful response. Until then, only errors of a
    reachable server or gateway are retried; a failed connection is raised immediately. A number
    applies from the start, so that a program may start before its server."""

    on_retry: OnRetry | None
    """Called with each error that is retried, and the seconds of the outage so far."""


class Source(Protocol):
    """What a watch polls."""

    @property
    def pauses(self) -> Pauses:
        """The pauses that closing the client ends."""
        ...

    def responded(self) -> bool:
        """Return whether the client has had a successful response yet."""
        ...

    async def fetch(self, job_id: str, previous: Snapshot | None) -> Snapshot:
        """Return the progress of one job; ``previous`` itself if it has not changed."""
        ...

    async def fetch_rows(self, wanted: Container[str] | None) -> dict[str, JobRow]:
        """Return the rows of the wanted jobs, or of all, from one RPC of the list.

        Raises UnsupportedServerError if there is no such RPC.
        """
        ...

    async def list_job_ids(self) -> list[str]:
        """Return the jobs' ids from any service that lists them, to poll each job."""
        ...


@dataclass(slots=True)
class WatchSettings:
    """Validated WatchOptions, without those of each RPC."""

    timeout: float
    """Seconds; infinite if there is no limit."""
    interval: float
    max_outage: float | None
    on_retry: OnRetry | None


def take_watch_settings(options: WatchOptions) -> WatchSettings:
    """Remove the options of a watch from ``options``; those of each RPC remain.

    Raises TypeError for an unknown keyword or a wrong type, ArgumentError for a wrong value.
    """
    given = cast("dict[str, Any]", options)
    known = WatchOptions.__optional_keys__
    for name in given.keys() - known:
        raise unknown_argument(name, sorted(known))
    timeout = given.pop("timeout", None)
    interval = _positive("interval", given.pop("interval", INTERVAL))
    if math.isinf(interval):
        raise ArgumentError("interval must be finite, got inf")
    max_outage = given.pop("max_outage", None)
    on_retry = given.pop("on_retry", None)
    limit = None if timeout is None else validate_timeout(timeout)
    return WatchSettings(
        math.inf if limit is None else limit,
        interval,
        None if max_outage is None else _positive("max_outage", max_outage, zero=True),
        None if on_retry is None else validate_callback("on_retry", on_retry),
    )


def validate_until(until: str) -> None:
    """Raise ArgumentError unless ``until`` is a state to wait for."""
    if until not in {"completed", "uncommitted"}:
        raise ArgumentError(f"until must be 'completed' or 'uncommitted', got {shorten(until)}")


def has_reached(state: ImportState, until: Until) -> bool:
    """Return whether a job in this state has reached ``until``."""
    return state is ImportState.COMPLETED or (
        until == "uncommitted" and state in (ImportState.UNCOMMITTED, ImportState.COMMITTING)
    )


def last_progress(snapshot: Snapshot | None) -> ImportProgressData | None:
    """Return the last progress, decoded again: the caller may have changed the last object."""
    return None if snapshot is None else snapshot.decode()


def _positive(name: str, value: object, *, zero: bool = False) -> float:
    seconds = validate_timeout(value, name=name)
    if seconds is None:
        return math.inf
    if seconds < 0 or (seconds == 0 and not zero):
        least = "0 or more" if zero else "above 0"
        raise ArgumentError(f"{name} must be {least} seconds, got {shorten(value)}")
    return seconds
