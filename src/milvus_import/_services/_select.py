"""One call: which service performs it, what is retried, and the completion of its error."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, cast

import grpc

from .._connection._base import NextPage
from .._errors import (
    CallError,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
    quote,
    set_hint,
)
from .._failures import complete
from .._failures._complete import cloud_hint
from .._failures._http import MISSING_ROUTE
from .._failures._statuses import call_error, connection_broke, http_hint, lacks_grpc_status
from .._hints import Hint
from ._operations import Operation

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
        self, connection: LazyConnection, services: Mapping[str, MethodTable], database_key: str
    ) -> None:
        """``services``: the methods by service, in the order in which they are called."""
        self.connection = connection
        self.database_key = database_key
        """The metadata key or header that names the database."""
        self.quoted_token = False
        """Whether the token or the password is in quotes, which are probably not part of it."""
        self._services = services
        self._first_order = tuple(services)
        self._worked: set[str] = set()
        self._recheck_at = math.inf
        """When the first service, which has worked before, is called first again."""
        self._set_order(self._first_order)

    async def call(  # noqa: C901 - one branch for each way to continue
        self, operation: Operation[ParamsT, ResultT], params: ParamsT, settings: CallSettings
    ) -> ResultT:
        """Call the services in turn until one implements the operation; return its result.

        What remains of the timeout is the deadline of each further request. A read is retried if
        its connection breaks within the first second. Raises ClientClosedError, CallError,
        MilvusStatusError, UnsupportedServerError if no service has the method, and what an
        interceptor raises.
        """
        started, remaining, retried = time.monotonic(), settings.timeout, False
        if started >= self._recheck_at:
            self._recheck_at = math.inf
            self._set_order(self._first_order)
        methods: Sequence[tuple[str, Method[ParamsT, ResultT]]] = self._methods.get(operation, ())
        unimplemented: list[CallError] = []
        while len(unimplemented) < len(methods):
            name, method = methods[len(unimplemented)]
            in_flight, reply = self.connection.open(), None
            outcome: Exception | None
            try:
                if remaining is not None and remaining <= 0:
                    raise call_error(grpc.StatusCode.DEADLINE_EXCEEDED, "")
                reply = await in_flight.run(
                    self.connection.start(method, params, settings, remaining)
                )
                outcome = reply if isinstance(reply, Exception) else None
                if outcome is None:
                    result = method.read(reply, params)
                    if name != self._current:
                        self._remember(name, several=len(methods) > 1)
                    if not isinstance(result, NextPage):
                        return result
                    params = cast("ParamsT", result)
                    await asyncio.sleep(PAGE_DELAY)
            except MilvusImportError as error:
                outcome = error.with_traceback(None)  # its frames hold the request or the reply
            if outcome is not None:
                try:
                    self._complete(outcome, reply, method, params, settings)
                    if self._is_unimplemented(outcome, method):
                        unimplemented.append(outcome)
                    elif _may_retry(outcome, method, settings, started, retried=retried):
                        retried = True
                        await asyncio.sleep(RETRY_DELAY)
                    else:
                        self._remember(name, outcome, several=len(methods) > 1)
                        raise outcome
                finally:
                    del outcome, reply  # or they and this frame would form a reference cycle
            remaining = _remaining(settings, started)
        raise self._unsupported_error(operation, unimplemented, params, settings)

    def _complete(
        self,
        error: Exception,
        reply: Any,
        method: Method[Any, Any],
        params: Any,
        settings: CallSettings,
    ) -> None:
        """Add the data of the call to its error. No other place does."""
        status = getattr(reply, "status", None)  # of HTTP; a message may have one as well
        if isinstance(error, CallError) and error.http_status is None and isinstance(status, int):
            error.http_status = status
        complete(
            error,
            method.name,
            method.service,
            self.connection.endpoint.target,
            settings,
            is_read=method.is_read,
            job_id=getattr(params, "job_id", None),
            responded=self.connection.responded,
            quoted_token=self.quoted_token,
        )

    def _is_unimplemented(self, error: Exception, method: Method[Any, Any]) -> TypeGuard[CallError]:
        """Return whether the error means that the next service is called."""
        if not isinstance(error, CallError):
            return False
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            # A gateway's 404 over HTTP does not mean that Milvus has no such path.
            return method.reply_type is not None or MISSING_ROUTE in error.details
        return len(self._order) > 1 and method.is_read and lacks_grpc_status(error)

    def _remember(self, name: str, error: Exception | None = None, *, several: bool) -> None:
        """Call a service first from now on if it returned a result or a Status.

        ``several``: more than one has the operation. The first one is the first again after
        RECHECK_INTERVAL if it has worked before: its UNIMPLEMENTED may be a gateway's.
        """
        if error is not None and not isinstance(error, MilvusStatusError):
            return
        if error is None or not error.transient:
            self.connection.responded = True
            self._worked.add(name)
        if several and self._order[0] != name:
            if self._first_order[0] in self._worked:
                self._recheck_at = time.monotonic() + RECHECK_INTERVAL
            self._set_order((name, *(other for other in self._order if other != name)))
        self._current = self._order[0] if self._order[0] in self._worked else ""

    def _set_order(self, order: tuple[str, ...]) -> None:
        """Call the services in this order from now on.

        ``_current`` is the first one as soon as it has worked, until then "".
        """
        self._order, self._current = order, ""
        self._methods: dict[Operation[Any, Any], list[tuple[str, Method[Any, Any]]]] = {}
        for name in order:
            for operation, method in self._services[name].items():
                self._methods.setdefault(operation, []).append((name, method))

    def _unsupported_error(
        self,
        operation: Operation[Any, Any],
        errors: list[CallError],
        params: Any,
        settings: CallSettings,
    ) -> CallError:
        """Return the error of an operation that no service implements."""
        target, code = self.connection.endpoint.target, grpc.StatusCode.UNIMPLEMENTED
        if not errors:
            service = cast("Service", self._order[0])
            several = len(self._first_order) > 1
            missing = (
                "no gRPC service has such a" if several else f"the {service} service has no such"
            )
            text, hint = f"UNIMPLEMENTED ({missing} method)", operation.unsupported_hint
            error: CallError = UnsupportedServerError(text, code=code, hint=hint)
            job_id = getattr(params, "job_id", None)
            complete(error, operation.name, service, target, settings, job_id=job_id)
            return error
        all_errors, error = (*errors,), errors.pop()  # the frame that raises it must not hold it
        if error.code is not code or error.service not in {"internal", "public"}:
            return error
        texts = "; ".join(f"{each.service} service: {quote(each.details)}" for each in all_errors)
        hint = operation.unsupported_hint or _unsupported_hint(all_errors)
        set_hint(error, cloud_hint(hint, error.service, target))
        error.details = " / ".join(each.details for each in all_errors)
        error.message = f"{error.method} at {target}: UNIMPLEMENTED ({texts})"
        error.args = (error.message,)
        return error


def _remaining(settings: CallSettings, started: float) -> float | None:
    """Return the seconds that remain of the timeout; None without one."""
    if settings.timeout is None:
        return None
    return settings.timeout - (time.monotonic() - started)


def _unsupported_hint(errors: Sequence[CallError]) -> Hint | None:
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


def _may_retry(
    error: Exception,
    method: Method[Any, Any],
    settings: CallSettings,
    started: float,
    *,
    retried: bool,
) -> bool:
    """Return whether to retry a read: its connection broke within a second of its start.

    It is retried once, and again while the server never processed it (GOAWAY), unless its timeout
    would expire before: then the error that was received says more.
    """
    if not method.is_read or not isinstance(error, CallError) or error.record is None:
        return False
    remaining = _remaining(settings, started)
    early = time.monotonic() - started < RETRY_WITHIN
    in_time = remaining is None or remaining > RETRY_DELAY
    return early and in_time and connection_broke(error) and not (retried and error.may_have_run)
