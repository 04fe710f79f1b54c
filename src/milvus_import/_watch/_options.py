"""What a watch polls; the options of a watch are in ``milvus_import._options``."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from .._connection._pauses import Pauses
from .._models import ImportProgressData
from .._services._replies import Snapshot
from .._services._rows import JobRow


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


def last_progress(snapshot: Snapshot | None) -> ImportProgressData | None:
    """Return the last progress, decoded again: the caller may have changed the last object."""
    return None if snapshot is None else snapshot.decode()
