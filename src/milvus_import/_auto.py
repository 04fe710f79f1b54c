"""Which of the two services to ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from . import _internal, _public
from ._call import Rpc, unary
from ._errors import UnsupportedServerError
from ._models import GetImportProgressResponse, ImportJob
from ._request import ImportJobRequest
from ._status import is_transient, refusal, unsupported

if TYPE_CHECKING:
    from ._channel import LazyChannel
    from ._models import CallRecord, Service
    from ._options import CallSettings

ServiceChoice = Literal["auto", "internal", "public"]
"""The service to ask; "auto" asks the internal one, then the public one, and remembers."""

_QuestionT = TypeVar("_QuestionT")
_AnswerT = TypeVar("_AnswerT")
Rpcs = Mapping["Service", Rpc[_QuestionT, Any, Any, _AnswerT]]
"""The same question to each service that has a method for it."""

GET_PROGRESS: Final[Rpcs[tuple[str, str], GetImportProgressResponse]] = {
    "internal": _internal.GET_IMPORT_PROGRESS,
    "public": _public.GET_IMPORT_STATE,
}
LIST_JOBS: Final[Rpcs[tuple[str, str], list[ImportJob]]] = {
    "internal": _internal.LIST_IMPORTS,
    "public": _public.LIST_IMPORT_TASKS,
}
LIST_ROWS: Final[Rpcs[tuple[str, str], dict[str, _internal.JobRow]]] = {
    "internal": _internal.LIST_ROWS,
}
CREATE_JOB: Final[Rpcs[ImportJobRequest, str]] = {
    "internal": _internal.IMPORT_V2,
    "public": _public.IMPORT,
}


class Services:
    """Asks the service that is there, and remembers which one answered."""

    answered = False
    """Whether any call had a good answer yet."""

    def __init__(self, channel: LazyChannel, choice: ServiceChoice) -> None:
        if choice not in {"auto", "internal", "public"}:
            raise ValueError(f"service is 'auto', 'internal' or 'public', not {choice!r}")
        self._channel = channel
        self._target = channel.endpoint.target
        self._order: tuple[Service, ...] = ("internal", "public") if choice == "auto" else (choice,)

    async def ask(
        self, rpcs: Rpcs[_QuestionT, _AnswerT], question: _QuestionT, settings: CallSettings
    ) -> _AnswerT:
        """Put a question to the services in turn until one knows the method.

        UNIMPLEMENTED moves on to the next, with what is left of the timeout; when all have said
        so, UnsupportedServerError holds every answer. Raises RefusedError for a Status that is
        not 0, and what ``unary`` raises.
        """
        left = settings.timeout
        denials: tuple[tuple[Service, str], ...] = ()
        record: CallRecord | None = None
        for service in self._order:
            if (rpc := rpcs.get(service)) is None:
                continue
            try:
                reply = await unary(self._channel, rpc, rpc.request(question), settings, left)
            except UnsupportedServerError as error:
                denials, record = (*denials, (service, error.details)), error.record
                if left is not None and record is not None:
                    left -= record.elapsed
                continue
            status = reply.status
            if status.code or status.error_code:
                refused = refusal(status, rpc.name, self._target, service)
                self._prefer(service, good=not is_transient(refused))
                try:
                    raise refused
                finally:
                    del refused  # or the error and this frame would hold each other
            answer = rpc.answer(reply, question, self._target)
            if not self.answered or self._order[0] != service:
                self._prefer(service, good=True)
            return answer
        raise unsupported(dict(denials) or {"public": "not asked"}, self._target, record)

    def _prefer(self, service: Service, *, good: bool) -> None:
        """This one has answered: it is asked first from now on."""
        self.answered = self.answered or good
        if self._order[0] != service:
            self._order = (service, *(other for other in self._order if other != service))
