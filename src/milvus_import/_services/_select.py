"""Which gRPC service is called, and what happens if it does not implement the method."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar

import grpc

from .._connection._call import unary
from .._connection._method import Method
from .._errors import CallError, MilvusImportError, MilvusStatusError, UnsupportedServerError
from .._failures._context import ReplyError
from .._failures._grpc import connection_broke, lacks_grpc_status
from .._failures._http_status import http_hint
from .._hints import Hint
from .._text import quote
from . import _internal, _public

if TYPE_CHECKING:
    from .._connection._channel import LazyChannel
    from .._connection._http import HttpMethod
    from .._connection._lazy import LazyConnection
    from .._models import GetImportProgressResponse, ImportJob, Service
    from .._options import CallSettings
    from ._replies import Snapshot
    from ._requests import CreateParams, JobParams, ListParams
    from ._rows import JobRow

ServiceChoice = Literal["auto", "internal", "public", "rest"]
"""The service to call; "auto" tries the internal one, then the public one, and remembers."""

RECHECK_INTERVAL = 10.0
"""Seconds after which a service that has worked before is tried first again."""
RETRY_WITHIN = 1.0
"""Seconds from the start of a call within which a broken connection is retried, once."""
RETRY_DELAY = 0.05
"""Seconds before that retry. Without them gRPC may send it on the same broken connection."""

_ParamsT = TypeVar("_ParamsT")
_ResultT = TypeVar("_ResultT")
_ErrorT = TypeVar("_ErrorT", bound=MilvusImportError)


@dataclass(slots=True, frozen=True)
class Operation(Generic[_ParamsT, _ResultT]):
    """One operation of the client, and the method of each gRPC service that implements it.

    The method of REST is in ``_rest_methods.METHODS``, which gRPC clients do not load.
    """

    name: str
    methods: Mapping[Service, Method[_ParamsT, _ResultT]]
    unsupported_hint: Hint | None = None
    """The hint if the chosen gRPC service has no such method."""


GET_PROGRESS: Final[Operation[JobParams, GetImportProgressResponse]] = Operation(
    "get_import_progress",
    {"internal": _internal.GET_IMPORT_PROGRESS, "public": _public.GET_IMPORT_STATE},
)
WATCH_PROGRESS: Final[Operation[JobParams, Snapshot]] = Operation(
    "watch",
    {"internal": _internal.WATCH_PROGRESS, "public": _public.WATCH_STATE},
)
LIST_JOBS: Final[Operation[ListParams, list[ImportJob]]] = Operation(
    "list_imports",
    {"internal": _internal.LIST_IMPORTS, "public": _public.LIST_IMPORT_TASKS},
)
WATCH_LIST: Final[Operation[ListParams, dict[str, JobRow]]] = Operation(
    "watch_all",
    {"internal": _internal.WATCH_LIST},
    Hint.REST_FOR_JOB_LIST,
)
CREATE_JOB: Final[Operation[CreateParams, str]] = Operation(
    "create_import", {"internal": _internal.IMPORT_V2, "public": _public.IMPORT}
)
CREATE_JOB_OF_GROUPS: Final[Operation[CreateParams, str]] = Operation(
    "create_import with several file groups",
    {"internal": _internal.IMPORT_V2},
    Hint.REST_FOR_MANY_GROUPS,
)
COMMIT_JOB: Final[Operation[JobParams, None]] = Operation("commit_import", {}, Hint.REST_FOR_COMMIT)
ABORT_JOB: Final[Operation[JobParams, None]] = Operation("abort_import", {}, Hint.REST_FOR_COMMIT)


class Services(ABC):
    """The services behind one address."""

    database_key: ClassVar[str]
    """The metadata key or header that names the database."""

    def __init__(self, channel: LazyConnection[Any]) -> None:
        self._connection = channel
        self.target = channel.endpoint.target
        self.pauses = channel.pauses

    @property
    def responded(self) -> bool:
        """Whether any call has had a successful response yet."""
        return self._connection.responded

    @property
    def open(self) -> bool:
        """Whether there is a connection that close() has to end."""
        return self._connection.open

    async def close(self) -> None:
        """Reject new calls, wait up to a second for those in flight, then cancel them."""
        await self._connection.close()

    @abstractmethod
    async def call(
        self, operation: Operation[_ParamsT, _ResultT], params: _ParamsT, settings: CallSettings
    ) -> _ResultT:
        """Call one method and return its result."""


class GrpcServices(Services):
    """Calls the gRPC service that is available, and remembers which one responded."""

    database_key = "dbname"

    def __init__(self, channel: LazyChannel, choice: ServiceChoice) -> None:
        super().__init__(channel)
        self.channel = channel
        self._auto = choice == "auto"
        self._order: tuple[Service, ...] = ("internal", "public") if choice == "auto" else (choice,)
        self._worked: set[Service] = set()
        self._responded_last: Service | None = None
        self._recheck_at = 0.0

    async def call(
        self,
        operation: Operation[_ParamsT, _ResultT],
        params: _ParamsT,
        settings: CallSettings,
    ) -> _ResultT:
        """Call the services in turn until one implements the method.

        The next one is called after UNIMPLEMENTED, and for a read also after a response without a
        gRPC status; what remains of the timeout is its deadline. A read is retried once if its
        connection breaks. Raises MilvusStatusError for a Status that is not Success,
        UnsupportedServerError if no service has the method, and what ``unary`` raises.
        """
        services = list(self._rechecked_order() if self._recheck_at else self._order)
        remaining = settings.timeout
        unimplemented: list[CallError] = []
        retried = broken = False
        while services:
            method = operation.methods.get(services[0])
            if method is None:
                del services[0]
                continue
            if broken:  # outside the except clause, as below
                broken = False
                await self.pauses.sleep(RETRY_DELAY)
            try:
                reply = await unary(self.channel, method, method.build(params), settings, remaining)
                result = method.read_reply(reply, params)
            except ReplyError as no_result:
                invalid = self._invalid(no_result, method, settings)
            except CallError as error:
                with_job(error, params)
                if self._is_unimplemented(error, method):
                    unimplemented.append(error.with_traceback(None))
                    remaining = remaining_timeout(remaining, error)
                    del services[0]
                elif retried or not may_retry(error, method):
                    raise
                else:
                    retried = broken = True
                    remaining = remaining_timeout(remaining, error, delay=RETRY_DELAY)
                continue
            else:
                if method.service != self._responded_last:
                    self._remember(method.service, responded=True)
                return result
            try:  # outside the except clause: the error must not keep the reply alive
                raise with_job(invalid, params)
            finally:
                del invalid
        raise with_job(self._unsupported(operation, unimplemented), params)

    def _invalid(
        self, no_result: ReplyError, method: Method[Any, Any], settings: CallSettings
    ) -> MilvusImportError:
        """Return the error of a reply without a result."""
        error = no_result.make(method.context(self.channel, settings))
        if isinstance(error, MilvusStatusError):
            self._remember(method.service, responded=not error.transient)
        return error

    def _is_unimplemented(self, error: CallError, method: Method[Any, Any]) -> bool:
        """Return whether the error means that the next service is called."""
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            return True
        return self._auto and method.read and lacks_grpc_status(error)

    def _rechecked_order(self) -> tuple[Service, ...]:
        """Return the order: the internal service first again once RECHECK_INTERVAL is over.

        It had worked before it returned UNIMPLEMENTED, which may have come from a gateway.
        """
        if time.monotonic() >= self._recheck_at:
            self._recheck_at = 0.0
            self._order = ("internal", "public")
            self._responded_last = None
        return self._order

    def _remember(self, service: Service, *, responded: bool) -> None:
        """Call this service first from now on; ``responded``: its response was successful."""
        if responded:
            self.channel.responded = True
            self._worked.add(service)
        self._responded_last = service if responded else None
        if self._order[0] != service:
            if "internal" in self._worked:
                self._recheck_at = time.monotonic() + RECHECK_INTERVAL
            self._order = (service, *(other for other in self._order if other != service))

    def _unsupported(self, operation: Operation[Any, Any], errors: list[CallError]) -> CallError:
        """Return the error of a method that no service implements."""
        target = self.target
        if errors and errors[-1].code is not grpc.StatusCode.UNIMPLEMENTED:
            return errors[-1]
        texts = "; ".join(f"{error.service} service: {quote(error.details)}" for error in errors)
        last = errors[-1] if errors else None
        method = operation.name if last is None else last.method
        missing = f"the {self._order[0]} service has no such method"
        return UnsupportedServerError(
            f"{method} at {target}: UNIMPLEMENTED ({texts or missing})",
            code=grpc.StatusCode.UNIMPLEMENTED,
            details=" / ".join(error.details for error in errors),
            record=last.record if last else None,
            http_status=last.http_status if last else None,
            hint=operation.unsupported_hint or _unsupported_hint(errors),
            method=method,
            service=last.service if last else self._order[0],
            target=target,
        )


def with_job(error: _ErrorT, params: object) -> _ErrorT:
    """Add the job id of the call to its error, and return the error."""
    error.job_id = getattr(params, "job_id", None)
    return error


def _unsupported_hint(errors: list[CallError]) -> Hint | None:
    statuses = [error.http_status for error in errors]
    if all(statuses) and statuses[-1] is not None:
        return http_hint(statuses[-1], secure=False)
    if any(lacks_grpc_status(error) for error in errors):
        return Hint.NO_GRPC_STATUS
    if not any(error.details for error in errors):  # Milvus names the service or the method
        return Hint.GATEWAY_ROUTE
    if any(e.service == "internal" and "unknown method" in e.details for e in errors):
        return Hint.USE_PUBLIC_PORT_2_3
    if len(errors) > 1:
        return Hint.CHECK_IS_MILVUS
    return Hint.USE_INTERNAL_PORT if errors[0].service == "internal" else Hint.USE_PUBLIC_PORT


def remaining_timeout(
    timeout: float | None, error: MilvusImportError, delay: float = 0.0
) -> float | None:
    """Return what remains of a timeout after a request that failed, and a delay."""
    if timeout is None:
        return None
    record = error.record if isinstance(error, CallError) else None
    return timeout - delay - (record.elapsed if record else 0.0)


def may_retry(error: CallError, method: Method[Any, Any] | HttpMethod[Any, Any]) -> bool:
    """Return whether to retry: a read whose connection broke within a second of its start."""
    record = error.record
    return (
        method.read
        and record is not None
        and record.elapsed < RETRY_WITHIN
        and connection_broke(error)
    )
