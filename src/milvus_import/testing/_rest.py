"""Milvus' REST API for import jobs, v2, and what Zilliz Cloud's shares with it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from ._behavior import DeniedError, MilvusBehavior, NewImport, StatusError, int64_fault
from ._faults import Face, Fault, HttpResponse, Received
from ._http import HttpRequest
from ._replies import Members, decode, job_data, list_data, with_numbers_as_text
from ._store import JobStore

_PREFIX: Final = "/v2/vectordb/jobs/import/"
_NOT_FOUND: Final = HttpResponse(404, b"404 page not found", (("Content-Type", "text/plain"),))
_UNAUTHENTICATED: Final = (1800, "user hasn't authenticated", 401)
_TIMEOUT: Final = (10001, "request timeout", 408)
_GRPC_ERRORS: Final = {
    "UNAUTHENTICATED": _UNAUTHENTICATED,
    "PERMISSION_DENIED": (65535, "", 403),
    "DEADLINE_EXCEEDED": _TIMEOUT,
}
"""Code, message ("": the one of the gRPC status) and HTTP status. Others are 65535 and 200."""
_CHALLENGE: Final = (("WWW-Authenticate", 'Basic realm="restricted", charset="UTF-8"'),)
_MAX_TIMEOUT: Final = 9_223_372_036
"""Seconds; Go counts in nanoseconds."""
_LIST: Final[Members] = {"collectionName": str, "dbName": str}
_CREATE: Final[Members] = {
    **_LIST,
    "files": [[str]],
    "partitionName": str,
    "options": {},
}
_STANDARD_STATUS: Final = {
    **dict.fromkeys((100, 200, 800, 1100, 1101, 1801, 1802, 2100), 400),
    1400: 403,
    1401: 403,
    1807: 429,
    10000: 499,
}
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
        return _envelope(200, {"code": 0, "data": data})

    def error(self, code: int, message: str, status: int = 200) -> HttpResponse:
        """Return the response of an error."""
        return _envelope(status, {"code": code, "message": message})

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
            return self.error(*_TIMEOUT)
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


class RestApi(HttpApi):
    """The REST API on the public port of a Milvus."""

    face = "rest"

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods of the simulated version."""
        store = self._store
        if store.version == "2.3":
            return {}
        handlers: dict[str, Handler] = {"create": self._create, "list": self._list}
        handlers["get_progress"] = self._describe
        if store.rest_has("describe"):
            handlers["describe"] = self._describe
        if store.rest_has("two_phase"):
            handlers |= {"commit": self._commit, "abort": self._abort}
        return handlers

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request."""
        response = await super().respond(request)
        if ":" in _basic(request):
            response = replace(response, headers=response.headers + _CHALLENGE)
        if not self._store.rest_has("trace_id"):
            return response
        parts = request.header("traceparent").split("-")
        trace_id = parts[1] if len(parts) == 4 and len(parts[1]) == 32 else secrets.token_hex(16)
        return replace(response, headers=(*response.headers, ("X-Milvus-Trace-Id", trace_id)))

    def timeout(self, received: Received) -> float | None:
        """Return the seconds after which Milvus responds with HTTP 408."""
        return received.time_remaining or self._store.rest.request_timeout

    def success(self, data: dict[str, Any]) -> HttpResponse:
        """Return the response with ``data``."""
        if self._store.rest.numbers_as_text:
            data = with_numbers_as_text(data)
        return _envelope(200, {"code": self._store.rest.success_code, "data": data})

    def error(self, code: int, message: str, status: int = 200) -> HttpResponse:
        """Return the response of an error."""
        if self._store.rest.standard_status and status == 200:
            status = _STANDARD_STATUS.get(code, 500)
        return super().error(code, message, status)

    def reject(self, received: Received, request: HttpRequest) -> HttpResponse | None:
        """Return the response to a request without credentials, or that has timed out."""
        if self._store.token is not None and not self._behavior.is_user(_token(request)):
            return self.error(*_UNAUTHENTICATED)
        value = request.header("request-timeout")
        fault = int64_fault(value) if value else ""
        if fault and self._store.is_at_least("3.0"):
            return self.error(
                1100, f"Request-Timeout parse failed, err: {fault}: invalid parameter"
            )
        if value and not fault and not 0 < int(value) <= _MAX_TIMEOUT:
            return self.error(*_TIMEOUT)
        return None

    def _user(self, request: HttpRequest) -> str | None:
        return None if self._store.token is None else _token(request)

    def _create(self, request: HttpRequest) -> dict[str, Any]:
        body = decode(request.body, "ImportReq", _CREATE, ("collectionName", "files"))
        values: dict[str, str | None] = body.get("options") or {}
        options = {key: value or "" for key, value in values.items()}
        if self._store.is_at_least("3.0") and options.get("auto_commit", "true") not in {
            "true",
            "false",
        }:
            raise StatusError(
                1801,
                "can only accept json format request, error: options.auto_commit must be one of "
                '"true" or "false": invalid parameter',
            )
        db_name = body.get("dbName") or request.header("db-name")
        self._behavior.require_import(self._user(request), body["collectionName"], db_name)
        job = self._behavior.create(
            NewImport(
                body["collectionName"],
                db_name,
                body.get("partitionName") or "",
                [group or [] for group in body["files"]],
                options,
                request.header("idempotency-key"),
            )
        )
        return {"jobId": job.job_id}

    def _describe(self, request: HttpRequest) -> dict[str, Any]:
        job_id, db_name = self._job_id(request), request.header("db-name")
        user = self._user(request)
        if not self._store.is_at_least("2.6"):
            self._behavior.require_admin(user, "PrivilegeGetImportProgress", db_name)
        job = self._behavior.find(job_id)
        self._behavior.require_import(user, job.job.collection_name, db_name)
        return job_data(job, with_create_time=self._store.rest_has("create_time"))

    def _list(self, request: HttpRequest) -> dict[str, Any]:
        body = decode(request.body, "OptionalCollectionNameReq", _LIST, ())
        header = request.header("db-name")
        db_name, user = body.get("dbName") or header, self._user(request)
        if not self._store.is_at_least("2.6"):
            self._behavior.require_admin(user, "PrivilegeListImport", db_name)
        jobs = self._behavior.list_jobs(body.get("collectionName") or "", db_name)
        return list_data(
            [
                job
                for job in jobs
                if self._behavior.may_import(user, job.job.collection_name, header)
            ]
        )

    def _commit(self, request: HttpRequest) -> dict[str, Any]:
        self._behavior.commit(self._permitted(request))
        return {}

    def _abort(self, request: HttpRequest) -> dict[str, Any]:
        self._behavior.abort(self._permitted(request))
        return {}

    def _permitted(self, request: HttpRequest) -> str:
        """Return the id of the job; a user needs the privilege to import into its collection."""
        job_id = self._job_id(request)
        job = self._store.jobs.get(job_id)
        if job is not None:
            db_name = request.header("db-name")
            self._behavior.require_import(self._user(request), job.collection_name, db_name)
        return job_id

    def _job_id(self, request: HttpRequest) -> str:
        return str(decode(request.body, "JobIDReq", {"jobId": str}, ("jobId",))["jobId"])


def _token(request: HttpRequest) -> str:
    """Return the credentials of a request, or ""."""
    return _basic(request) or request.header("authorization").removeprefix("Bearer ")


def _basic(request: HttpRequest) -> str:
    """Return the credentials of HTTP Basic, or ""."""
    scheme, _, value = request.header("authorization").partition(" ")
    if scheme != "Basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return ""


def _envelope(status: int, value: dict[str, Any]) -> HttpResponse:
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
