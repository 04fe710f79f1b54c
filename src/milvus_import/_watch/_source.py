"""What a watch polls: the services of a client, with one set of call options."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from .._errors import MilvusImportError
from .._failures._grpc import is_rate_limit
from .._services._requests import JobParams, ListParams
from .._services._select import LIST_JOBS, WATCH_LIST, WATCH_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Container

    from .._connection._pauses import Pauses
    from .._options import CallSettings
    from .._services._replies import Snapshot
    from .._services._rows import JobRow
    from .._services._select import Operation, Services

_ParamsT = TypeVar("_ParamsT")
_ResultT = TypeVar("_ResultT")


class ServicesSource:
    """Polls the jobs of one database, and of one collection or all ("")."""

    def __init__(
        self, services: Services, collection_name: str, db_name: str, settings: CallSettings
    ) -> None:
        self._services = services
        self._list = ListParams(collection_name, db_name)
        self._settings = settings

    @property
    def pauses(self) -> Pauses:
        """The pauses that closing the client ends."""
        return self._services.pauses

    def responded(self) -> bool:
        """Return whether the client has had a successful response yet."""
        return self._services.responded

    async def fetch(self, job_id: str, previous: Snapshot | None) -> Snapshot:
        """Return the progress of one job; ``previous`` itself if it has not changed."""
        params = JobParams(job_id, self._list.db_name, previous)
        return await self._poll(WATCH_PROGRESS, params)

    async def fetch_rows(self, wanted: Container[str] | None) -> dict[str, JobRow]:
        """Return the rows of the wanted jobs, or of all, from one RPC of the list."""
        return await self._poll(WATCH_LIST, replace(self._list, wanted=wanted))

    async def list_job_ids(self) -> list[str]:
        """Return the jobs' ids from any service that lists them."""
        jobs = await self._services.call(LIST_JOBS, self._list, self._settings)
        return [job.job_id for job in jobs]

    async def _poll(self, operation: Operation[_ParamsT, _ResultT], params: _ParamsT) -> _ResultT:
        """Call the services, delayed while the request rate is limited."""
        throttle = self.pauses.throttle
        seconds = throttle.reserve()
        if seconds:
            await self.pauses.sleep(seconds)
        try:
            result = await self._services.call(operation, params, self._settings)
        except MilvusImportError as error:
            if is_rate_limit(error):
                throttle.on_rate_limit()
            raise
        throttle.on_success()
        return result
