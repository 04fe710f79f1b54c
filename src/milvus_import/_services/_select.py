"""One call: which service performs it, what is retried, and the completion of its error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import grpc

from .._connection._base import NextPage
from .._errors import (
    CallError,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
    quote,
)
from .._failures import complete
from .._failures._complete import cloud_hint
from .._failures._http import MISSING_ROUTE
from .._failures._statuses import call_error, connection_broke, http_hint, lacks_grpc_status
from .._hints import Hint
from ._operations import CREATE_JOB, CREATE_JOB_OF_GROUPS, Operation

if TYPE_CHECKING:
    from .._connection._base import LazyConnection, Method, ParamsT, ResultT
    from .._models import Service
    from .._options import CallSettings

ServiceChoice = Literal["auto", "internal", "public", "rest", "cloud"]
"""The service to call; "auto" tries the internal one, then the public one, and remembers."""

MethodTable = Mapping[Operation[Any, Any], "Method[Any, Any]"]
"""The methods of one service, or of one version of it."""

RECHECK_INTERVAL = 10.0
"""Seconds after which a service that has worked before is tried first again."""
RETRY_WITHIN = 1.0
"""Seconds from the start of a call within which a read is retried whose connection broke."""
RETRY_DELAY = 0.05
"""Seconds before that retry. Without them gRPC may send it on the same broken connection."""
PAGE_DELAY = 0.1
"""Seconds between the pages of one list: Zilliz Cloud allows 20 requests per second and user."""


class Services:
    """The services behind one address, or the one service that was chosen.

    They are tried in order. The next one is called after UNIMPLEMENTED, and the one that responded
    is remembered.
    """

    def __init__(
        self,
        connection: LazyConnection,
        services: Mapping[str, MethodTable],
        database_key: str,
        validate_settings: Callable[[CallSettings], object] = bool,
    ) -> None:
        """``services``: the methods by service, in the order in which they are called."""
        self.connection = connection
        self.database_key = database_key
        """The metadata key or header that names the database."""
        self.validate_settings = validate_settings
        self.quoted_token = False
        """Whether the token or the password is in quotes, which are probably not part of it."""
        self._services = services
        self._order = self._first_order = tuple(services)
        self._names: dict[Operation[Any, Any], list[str]] = {}
        """The services of each operation in the present order."""
        self._worked: set[str] = set()
        self._responded_last = ""
        self._recheck_at = 0.0

    async def call(
        self, operation: Operation[ParamsT, ResultT], params: ParamsT, settings: CallSettings
    ) -> ResultT:
        """Call the services in turn until one implements the operation; return its result.

        What remains of the timeout is the deadline of each further request. A read is retried if
        its connection breaks within the first second. Raises ClientClosedError, CallError,
        MilvusStatusError, UnsupportedServerError if no service has the method, and what an
        interceptor raises.
        """
        self.validate_settings(settings)
        started, retried = time.monotonic(), False
        remaining = settings.timeout
        unimplemented: list[CallError] = []
        names = self._names_of(operation)
        several = len(names) > 1
        tried = 0
        while tried < len(names):
            name = names[tried]
            method: Method[ParamsT, ResultT] = self._services[name][operation]
            outcome = await self._attempt(method, params, settings, remaining)
            if not isinstance(outcome, Exception):
                if name != self._responded_last:
                    self._remember(name, responded=True, several=several)
                if not isinstance(outcome, NextPage):
                    return outcome
            try:
                self._complete(outcome, operation, method, params, settings)
                if isinstance(outcome, MilvusStatusError):
                    self._remember(name, responded=not outcome.transient, several=several)
                if isinstance(outcome, NextPage):
                    params = cast("ParamsT", outcome)
                    await asyncio.sleep(PAGE_DELAY)
                elif not isinstance(outcome, CallError):
                    raise outcome
                elif self._is_unimplemented(outcome, method):
                    unimplemented.append(outcome)
                    tried += 1
                elif method.is_read and _may_retry(outcome, settings, started, retried=retried):
                    retried = True
                    await asyncio.sleep(RETRY_DELAY)
                else:
                    raise outcome
            finally:
                del outcome  # or the error and this frame would form a reference cycle
            remaining = _remaining(settings, started)
        raise self._unsupported_error(operation, unimplemented, params)

    async def _attempt(
        self,
        method: Method[ParamsT, ResultT],
        params: ParamsT,
        settings: CallSettings,
        timeout: float | None,
    ) -> ResultT | NextPage | Exception:
        """Return the result of one request, or its error, which has no traceback and no context.

        Raises what opening the connection raises.
        """
        in_flight = self.connection.open()
        reply: Any = None
        try:
            if timeout is not None and timeout <= 0:
                raise call_error(grpc.StatusCode.DEADLINE_EXCEEDED, "")
            reply = await in_flight.run(self.connection.start(method, params, settings, timeout))
            return reply if isinstance(reply, Exception) else method.read(reply, params)
        except MilvusImportError as error:
            if isinstance(error, CallError) and error.http_status is None:
                status = getattr(reply, "status", None)  # of HTTP; a message may have one as well
                error.http_status = status if isinstance(status, int) else None
            return error.with_traceback(None)  # its frames hold the request or the reply

    def _complete(
        self,
        error: object,
        operation: Operation[Any, Any],
        method: Method[Any, Any],
        params: Any,
        settings: CallSettings,
    ) -> None:
        """Add the data of the call to its error. No other place does."""
        if not isinstance(error, MilvusImportError):
            return
        connection, sent = self.connection, settings.metadata_by_key
        complete(
            error,
            method=method.name,
            service=method.service,
            target=connection.endpoint.target,
            secure=connection.endpoint.secure,
            is_read=method.is_read,
            timeout=settings.timeout,
            responded=connection.responded,
            authorized="authorization" in sent,
            metadata_bytes=sum(len(key) + len(value) for key, value in settings.metadata or ()),
            creates=operation in {CREATE_JOB, CREATE_JOB_OF_GROUPS},
            job_id=getattr(params, "job_id", None),
            quoted_token=self.quoted_token,
            routed=bool(sent.keys() & {"cluster", "serverid"}),
        )

    def _is_unimplemented(self, error: CallError, method: Method[Any, Any]) -> bool:
        """Return whether the error means that the next service is called."""
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            # A gateway's 404 over HTTP does not mean that Milvus has no such path.
            return method.reply_type is not None or MISSING_ROUTE in error.details
        return len(self._order) > 1 and method.is_read and lacks_grpc_status(error)

    def _names_of(self, operation: Operation[Any, Any]) -> list[str]:
        """Return the services that have an operation, in the order in which they are called.

        The first one is the first again once RECHECK_INTERVAL is over: it had worked before it
        returned UNIMPLEMENTED, which may have come from a gateway.
        """
        if self._recheck_at and time.monotonic() >= self._recheck_at:
            self._recheck_at = 0.0
            self._order = self._first_order
            self._responded_last = ""
            self._names.clear()
        names = self._names.get(operation)
        if names is None:
            names = [name for name in self._order if operation in self._services[name]]
            self._names[operation] = names
        return names

    def _remember(self, name: str, *, responded: bool, several: bool) -> None:
        """Call this service first from now on, if ``several`` have the operation.

        ``responded``: the response was successful.
        """
        if responded:
            self.connection.responded = True
            self._worked.add(name)
        if not several:
            return
        self._responded_last = name if responded else ""
        if self._order[0] != name:
            if self._first_order[0] in self._worked:
                self._recheck_at = time.monotonic() + RECHECK_INTERVAL
            self._order = (name, *(other for other in self._order if other != name))
            self._names.clear()

    def _unsupported_error(
        self, operation: Operation[Any, Any], errors: list[CallError], params: Any
    ) -> CallError:
        """Return the error of an operation that no service implements."""
        last = errors[-1] if errors else None
        if last is not None and (
            last.code is not grpc.StatusCode.UNIMPLEMENTED or last.service not in _GRPC
        ):
            return last
        texts = "; ".join(f"{error.service} service: {quote(error.details)}" for error in errors)
        service = last.service if last else self._order[0]
        missing = (
            "no gRPC service has such a method"
            if len(self._first_order) > 1
            else f"the {service} service has no such method"
        )
        method = last.method if last else operation.name
        target = self.connection.endpoint.target
        return UnsupportedServerError(
            f"{method} at {target}: UNIMPLEMENTED ({texts or missing})",
            code=grpc.StatusCode.UNIMPLEMENTED,
            details=" / ".join(error.details for error in errors),
            record=last.record if last else None,
            http_status=last.http_status if last else None,
            hint=cloud_hint(
                operation.unsupported_hint or _unsupported_hint(errors),
                cast("Service", service),
                target,
            ),
            method=method,
            service=cast("Service", service),
            target=target,
            job_id=getattr(params, "job_id", None),
        )


_GRPC = ("internal", "public")


def _remaining(settings: CallSettings, started: float) -> float | None:
    """Return the seconds that remain of the timeout; None without one."""
    if settings.timeout is None:
        return None
    return settings.timeout - (time.monotonic() - started)


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


def _may_retry(error: CallError, settings: CallSettings, started: float, *, retried: bool) -> bool:
    """Return whether to retry a read: its connection broke within a second of its start.

    It is retried once, and again while the server never processed it (GOAWAY), unless its timeout
    would expire before: then the error that was received says more.
    """
    early = error.record is not None and time.monotonic() - started < RETRY_WITHIN
    remaining = _remaining(settings, started)
    in_time = remaining is None or remaining > RETRY_DELAY
    return early and in_time and connection_broke(error) and not (retried and error.may_have_run)
