"""What the REST APIs of Milvus and of Zilliz Cloud share: routes, faults, envelopes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from ._behavior import DeniedError, MilvusBehavior, StatusError
from ._call_log import Face, Received
from ._faults import Fault, HttpResponse
from ._http import HttpRequest
from ._store import JobStore

_PREFIX: Final = "/v2/vectordb/jobs/import/"
_NOT_FOUND: Final = HttpResponse(404, b"404 page not found", (("Content-Type", "text/plain"),))
UNAUTHENTICATED: Final = (1800, "user hasn't authenticated", 401)
TIMEOUT: Final = (10001, "request timeout", 408)
_GRPC_ERRORS: Final = {
    "UNAUTHENTICATED": UNAUTHENTICATED,
    "PERMISSION_DENIED": (65535, "", 403),
    "DEADLINE_EXCEEDED": TIMEOUT,
}
"""Code, message ("": the one of the gRPC status) and HTTP status. Others are 65535 and 200."""

Handler = Callable[[HttpRequest], dict[str, Any]]


class HttpApi(ABC):
    """Responds to HTTP requests."""

    face: Face

    def __init__(self, store: JobStore, behavior: MilvusBehavior) -> None:
        self._store = store
        self._behavior = behavior

    @abstractmethod
    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods that exist, with what returns ``data`` of their response."""

    @abstractmethod
    def reject(self, received: Received, request: HttpRequest) -> HttpResponse | None:
        """Return the response to a request that is not executed: without credentials."""

    @abstractmethod
    def timeout(self, received: Received) -> float | None:
        """Return the seconds after which the server itself ends the request."""

    def success(self, data: dict[str, Any]) -> HttpResponse:
        """Return the response with ``data``."""
        return envelope(200, {"code": 0, "data": data})

    def error(self, code: int, message: str, status: int = 200) -> HttpResponse:
        """Return the response of an error."""
        return envelope(status, {"code": code, "message": message})

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request."""
        path = request.path.partition("?")[0]
        method, handlers = path.removeprefix(_PREFIX), self.handlers()
        is_route = request.method == "POST" and path != method and method in handlers
        received = _received(self.face, method, request)
        handler = handlers[method] if is_route else None
        try:
            return await self._with_faults(received, request, handler)
        except asyncio.CancelledError:
            received.reset = True
            raise

    async def _with_faults(
        self, received: Received, request: HttpRequest, handler: Handler | None
    ) -> HttpResponse:
        fault = self._store.receive(received, is_unimplemented=handler is None)
        if fault is None:
            return self._normal(received, request, handler)
        if fault.http is not None:
            await asyncio.sleep(fault.delay)
            if fault.http.body is not None:
                return fault.http
            normal = self._normal(received, request, handler)
            status = fault.http.status or normal.status
            headers = normal.headers + fault.http.headers
            return replace(fault.http, status=status, body=normal.body, headers=headers)
        try:
            async with asyncio.timeout(self.timeout(received)):
                await asyncio.sleep(fault.delay)
        except TimeoutError:
            return self.error(*TIMEOUT)
        return self._of_fault(fault) or self._normal(received, request, handler)

    def _of_fault(self, fault: Fault) -> HttpResponse | None:
        """Return what Milvus sends over REST where gRPC sends a status."""
        if fault.reply is not None:
            return HttpResponse(200, fault.reply)
        if fault.status is not None:
            return self.error(fault.status.code or 65535, fault.status.reason)
        if fault.code is None:
            return None
        if fault.code.name == "UNIMPLEMENTED":
            return _NOT_FOUND
        name = "".join(part.capitalize() for part in fault.code.name.split("_"))
        name = name.replace("Cancelled", "Canceled")  # as Go spells it
        if "Proxy is not ready" in fault.details:
            return self.error(2, fault.details)
        code, message, status = _GRPC_ERRORS.get(fault.code.name, (65535, "", 200))
        return self.error(
            code, message or f"rpc error: code = {name} desc = {fault.details}", status
        )

    def _normal(
        self, received: Received, request: HttpRequest, handler: Handler | None
    ) -> HttpResponse:
        """Return the response without a fault: credentials first, then the route."""
        rejection = self.reject(received, request)
        if rejection is not None:
            return rejection
        if handler is None:
            return _NOT_FOUND
        try:
            return self.success(handler(request))
        except StatusError as error:
            return self.error(error.code, error.reason)
        except DeniedError as error:
            return self.error(65535, f"rpc error: code = PermissionDenied desc = {error}", 403)


def envelope(status: int, value: dict[str, Any]) -> HttpResponse:
    """Return a response with a JSON body."""
    return HttpResponse(status, json.dumps(value, ensure_ascii=False).encode())


def _received(face: Face, method: str, request: HttpRequest) -> Received:
    body: Any = request.body
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(request.body)
    seconds = request.header("request-timeout")
    timeout = float(seconds) if seconds.isdecimal() and seconds.isascii() else None
    headers = cast("tuple[tuple[str, str | bytes], ...]", request.headers)
    return Received(face, method, body, headers, timeout)
