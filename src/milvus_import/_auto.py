"""Which of the two services to ask."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeVar

import grpc

from ._errors import RefusedError, UnsupportedServerError
from ._internal import InternalService
from ._public import PublicService
from ._status import is_transient, unsupported

if TYPE_CHECKING:
    from ._channel import LazyChannel
    from ._internal import JobRow
    from ._models import CallRecord, ImportJob, ImportProgressData, Service
    from ._options import CallSettings
    from ._request import ImportJobRequest

ServiceChoice = Literal["auto", "internal", "public"]
Backend = InternalService | PublicService

_T = TypeVar("_T")


class Services:
    """Asks the service that is there, and remembers which one answered."""

    answered = False
    """Whether any call had a good answer yet."""

    def __init__(self, channel: LazyChannel, choice: ServiceChoice) -> None:
        if choice not in {"auto", "internal", "public"}:
            raise ValueError(f"service is 'auto', 'internal' or 'public', not {choice!r}")
        self._channel = channel
        self._internal = InternalService(channel)
        backends: tuple[Backend, ...] = (self._internal, PublicService(channel))
        self._order = [b for b in backends if choice in {"auto", b.service}]

    async def get_import_progress(
        self, job_id: str, db_name: str, settings: CallSettings
    ) -> tuple[str, ImportProgressData]:
        """A job's progress, with the Status' word beside its 0."""
        return await self._ask(
            lambda backend, left: backend.get_import_progress(job_id, db_name, settings, left),
            settings.timeout,
        )

    async def list_imports(
        self, collection_name: str, db_name: str, settings: CallSettings
    ) -> list[ImportJob]:
        """The jobs of a collection, or of all ("")."""
        return await self._ask(
            lambda backend, left: backend.list_imports(collection_name, db_name, settings, left),
            settings.timeout,
        )

    async def list_rows(
        self, collection_name: str, db_name: str, settings: CallSettings
    ) -> dict[str, JobRow]:
        """The same undecoded; UnsupportedServerError where only the public service is."""
        if self._internal not in self._order:
            raise unsupported({"public": "not asked"}, self._channel.endpoint.target)
        try:
            rows = await self._internal.list_rows(
                collection_name, db_name, settings, settings.timeout
            )
        except RefusedError as error:
            self._prefer(self._internal, good=not is_transient(error))
            raise
        self._prefer(self._internal, good=True)
        return rows

    async def create_import(self, order: ImportJobRequest, settings: CallSettings) -> str:
        """Start an import; the job id."""
        return await self._ask(
            lambda backend, left: backend.create_import(order, settings, left), settings.timeout
        )

    async def _ask(
        self, question: Callable[[Backend, float | None], Awaitable[_T]], timeout: float | None
    ) -> _T:
        """Put a question to the services in turn until one knows the method.

        ``question`` is called with a service and the seconds left. UNIMPLEMENTED moves on to the
        next; when all have said so, UnsupportedServerError holds every answer.
        """
        start = time.monotonic()
        answers: dict[Service, str] = {}
        record: CallRecord | None = None
        for backend in tuple(self._order):
            left = timeout if timeout is None or not answers else timeout - time.monotonic() + start
            try:
                answer = await question(backend, left)
            except UnsupportedServerError as error:
                if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
                answers[backend.service] = error.details
                record = error.record
            except RefusedError as error:
                self._prefer(backend, good=not is_transient(error))
                raise
            else:
                self._prefer(backend, good=True)
                return answer
        raise unsupported(answers, self._channel.endpoint.target, record)

    def _prefer(self, backend: Backend, *, good: bool) -> None:
        """This one has answered: it is asked first from now on."""
        self.answered = self.answered or good
        if self._order[0] is not backend:
            self._order.remove(backend)
            self._order.insert(0, backend)
