"""Milvus' REST API for import jobs, v2, independent of how HTTP is transported."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from ._calls import REST_METHODS, CallLog, Received
from ._faults import FAULTS, Fault, HttpResponse
from ._json import RestError, Schema, decode, job_data, list_data
from ._rules import NewImport, Rules, StatusError, database, int64_fault
from ._store import JobStore

_PREFIX: Final = "/v2/vectordb/jobs/import/"
_TEXT: Final = (("Content-Type", "text/plain"),)
_NOT_FOUND: Final = HttpResponse(404, b"404 page not found", _TEXT)
_BASIC: Final = (("WWW-Authenticate", 'Basic realm="restricted"'),)

_SCHEMAS: Final[Mapping[str, Schema]] = {
    "create": Schema(
        "ImportReq",
        {
            "collectionName": str,
            "files": list,
            "dbName": str,
            "partitionName": str,
            "options": dict,
        },
        {"collectionName": "CollectionName", "files": "Files"},
    ),
    "list": Schema("OptionalCollectionNameReq", {"collectionName": str, "dbName": str}),
    **dict.fromkeys(
        ("describe", "get_progress", "commit", "abort"),
        Schema("JobIDReq", {"jobId": str}, {"jobId": "JobID"}),
    ),
}
_STANDARD_STATUS: Final = {
    **dict.fromkeys((100, 200, 800, 1100, 1801, 1802, 2100), 400),
    1400: 403,
    1401: 403,
    1807: 429,
    10000: 499,
}
_AUTO_COMMIT: Final = {None, "true", "false"}
_UNAUTHENTICATED: Final = (1800, "user hasn't authenticated", 401)
_TIMEOUT: Final = (10001, "request timeout", 408)
_GRPC_ERRORS: Final = {
    "UNAUTHENTICATED": _UNAUTHENTICATED,
    "PERMISSION_DENIED": (65535, "", 403),
    "DEADLINE_EXCEEDED": _TIMEOUT,
}
"""Code, message ("": the one of the gRPC status) and HTTP status. Others are 65535 and 200."""


@dataclass(slots=True)
class RestBehavior:
    """How the REST API behaves, where Milvus' versions and settings differ.

    None: as the simulated version does.
    """

    success_code: int = 0
    """``code`` of a success: 0, or 200 as Milvus 2.4.0 to 2.4.5 sent."""
    standard_status: bool = False
    """Send errors with HTTP 400, 403, 429 and 500 instead of 200."""
    numbers_as_text: bool = False
    """Send progress, rows and sizes as JSON strings."""
    describe: bool | None = None
    """Whether ``describe`` exists; ``get_progress`` always does. None: from 2.5 on."""
    forbid_describe: bool = False
    """Respond 403 to ``describe`` and ``get_progress`` of any user but root, as 2.4 to 2.6 do."""
    create_time: bool | None = None
    """Whether jobs have ``createTime``. None: in 3.0."""
    two_phase: bool | None = None
    """Whether ``commit`` and ``abort`` exist. None: in 3.0."""
    trace_id: bool | None = None
    """Whether responses have ``X-Milvus-Trace-Id``. None: from 2.6 on."""
    request_timeout: float = 30.0
    """Seconds until the server ends a request that has no ``Request-Timeout`` header."""


@dataclass(slots=True)
class HttpRequest:
    """One HTTP request."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    """With names in lower case."""
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """Return a header, or ""."""
        return next((value for key, value in self.headers if key == name), "")


class RestApi:
    """Responds to HTTP requests."""

    def __init__(self, store: JobStore, rules: Rules, calls: CallLog) -> None:
        self.behavior = RestBehavior()
        self._store = store
        self._rules = rules
        self._calls = calls
        self._handlers: dict[str, Callable[[dict[str, Any], HttpRequest], dict[str, Any]]] = {
            "create": self._create,
            "describe": self._describe,
            "get_progress": self._describe,
            "list": self._list,
            "commit": self._commit,
            "abort": self._abort,
        }

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request."""
        path = request.path.partition("?")[0]
        method = path.removeprefix(_PREFIX)
        is_route = request.method == "POST" and path != method and method in self._methods()
        received = _received(method, request)
        self._calls.record(received, is_unimplemented=not is_route)
        try:
            response = await self._with_faults(received, request, is_route=is_route)
        except asyncio.CancelledError:
            received.reset = True
            raise
        return replace(response, headers=response.headers + self._trace(request))

    async def _with_faults(
        self, received: Received, request: HttpRequest, *, is_route: bool
    ) -> HttpResponse:
        fault = self._calls.take_fault(received, is_unimplemented=not is_route)
        job = self._store.jobs.get(received.job_id)
        if fault is None and is_route and job is not None and job.hangs:
            fault = FAULTS["hang"]
        if fault is None:
            return self._normal(received, request, is_route=is_route)
        if fault.http is not None:
            await asyncio.sleep(fault.delay)
            if fault.http.body is not None:
                return fault.http
            normal = self._normal(received, request, is_route=is_route)
            status = fault.http.status or normal.status
            headers = normal.headers + fault.http.headers
            return replace(fault.http, status=status, body=normal.body, headers=headers)
        try:
            async with asyncio.timeout(received.time_remaining or self.behavior.request_timeout):
                await asyncio.sleep(fault.delay)
        except TimeoutError:
            return self._error(*_TIMEOUT)
        faulty = self._of_fault(fault)
        return faulty or self._normal(received, request, is_route=is_route)

    def _of_fault(self, fault: Fault) -> HttpResponse | None:
        """Return what Milvus sends over REST where gRPC sends a status."""
        if fault.reply is not None:
            return HttpResponse(200, fault.reply)
        if fault.status is not None:
            return self._error(fault.status.code or 65535, fault.status.reason)
        if fault.code is None:
            return None
        if fault.code.name == "UNIMPLEMENTED":
            return _NOT_FOUND
        name = "".join(part.capitalize() for part in fault.code.name.split("_"))
        name = name.replace("Cancelled", "Canceled")  # as Go spells it
        text = f"rpc error: code = {name} desc = {fault.details}"
        if "Proxy is not ready" in fault.details:
            return self._error(2, f"service unavailable: internal: {fault.details}")
        code, message, status = _GRPC_ERRORS.get(fault.code.name, (65535, "", 200))
        return self._error(code, message or text, status)

    def _normal(self, received: Received, request: HttpRequest, *, is_route: bool) -> HttpResponse:
        """Return the response without a fault: credentials first, then the route."""
        if not self._is_authenticated(request):
            headers = _BASIC if request.header("authorization").startswith("Basic ") else ()
            response = self._error(*_UNAUTHENTICATED)
            return replace(response, headers=headers)
        if not is_route:
            return _NOT_FOUND
        if self._is_forbidden(received.method):
            text = (
                "rpc error: code = PermissionDenied desc = PrivilegeGetImportProgress: permission "
                f"deny to {self._user()} in the `{database(request.header('db-name'))}` database"
            )
            return self._error(65535, text, 403)
        try:
            self._check_timeout(request)
            body = decode(request.body, _SCHEMAS[received.method])
            self._rules.check_database(request.header("db-name"))
            data = self._handlers[received.method](body, request)
        except (StatusError, RestError) as error:
            return self._error(error.code, error.reason)
        return _json(200, {"code": self.behavior.success_code, "data": data})

    def _methods(self) -> tuple[str, ...]:
        rules, behavior = self._rules, self.behavior
        if self._store.version == "2.3":
            return ()
        missing: set[str] = set()
        if not _switch(behavior.describe, default=rules.is_at_least("2.5")):
            missing.add("describe")
        if not _switch(behavior.two_phase, default=rules.is_at_least("3.0")):
            missing |= {"commit", "abort"}
        return tuple(method for method in REST_METHODS if method not in missing)

    # Credentials.

    def _is_authenticated(self, request: HttpRequest) -> bool:
        token = self._store.token
        if token is None:
            return True
        value = request.header("authorization")
        if not value.startswith("Basic "):
            return value.removeprefix("Bearer ") == token
        try:
            return base64.b64decode(value.removeprefix("Basic "), validate=True) == token.encode()
        except ValueError:
            return False

    def _user(self) -> str:
        return (self._store.token or "root:").partition(":")[0]

    def _is_forbidden(self, method: str) -> bool:
        is_read = method in {"describe", "get_progress"}
        return self.behavior.forbid_describe and is_read and self._user() != "root"

    # Methods.

    def _check_timeout(self, request: HttpRequest) -> None:
        value = request.header("request-timeout")
        if value and self._rules.is_at_least("3.0") and int64_fault(value):
            raise RestError(1100, "Request-Timeout parse failed")

    def _create(self, body: dict[str, Any], request: HttpRequest) -> dict[str, Any]:
        values: dict[str, str | None] = body.get("options") or {}
        options = {key: value or "" for key, value in values.items()}
        if self._rules.is_at_least("3.0") and options.get("auto_commit") not in _AUTO_COMMIT:
            raise RestError(1801, 'options.auto_commit must be one of "true" or "false"')
        job = self._rules.create(
            NewImport(
                body["collectionName"],
                body.get("dbName") or request.header("db-name"),
                [group or [] for group in body["files"]],
                options,
                request.header("idempotency-key"),
            )
        )
        return {"jobId": job.job_id}

    def _describe(self, body: dict[str, Any], _: HttpRequest) -> dict[str, Any]:
        return job_data(
            self._rules.find(body["jobId"]),
            with_create_time=_switch(
                self.behavior.create_time, default=self._rules.is_at_least("3.0")
            ),
            numbers_as_text=self.behavior.numbers_as_text,
        )

    def _list(self, body: dict[str, Any], request: HttpRequest) -> dict[str, Any]:
        db_name = body.get("dbName") or request.header("db-name")
        self._rules.check_database(db_name)
        jobs = self._rules.list_jobs(body.get("collectionName") or "", db_name)
        return list_data(jobs, numbers_as_text=self.behavior.numbers_as_text)

    def _commit(self, body: dict[str, Any], _: HttpRequest) -> dict[str, Any]:
        self._rules.commit(_int64(body["jobId"]))
        return {}

    def _abort(self, body: dict[str, Any], _: HttpRequest) -> dict[str, Any]:
        self._rules.abort(_int64(body["jobId"]))
        return {}

    # Responses.

    def _error(self, code: int, message: str, status: int = 200) -> HttpResponse:
        if self.behavior.standard_status and status == 200:
            status = _STANDARD_STATUS.get(code, 500)
        return _json(status, {"code": code, "message": message})

    def _trace(self, request: HttpRequest) -> tuple[tuple[str, str], ...]:
        if not _switch(self.behavior.trace_id, default=self._rules.is_at_least("2.6")):
            return ()
        parts = request.header("traceparent").split("-")
        trace_id = parts[1] if len(parts) == 4 and len(parts[1]) == 32 else secrets.token_hex(16)
        return (("X-Milvus-Trace-Id", trace_id),)


def _switch(value: bool | None, *, default: bool) -> bool:
    return default if value is None else value


def _int64(job_id: str) -> str:
    fault = int64_fault(job_id)
    if fault:
        raise RestError(1100, f"invalid parameter[expected=int64 jobId][actual={job_id}]: {fault}")
    return job_id


def _json(status: int, envelope: dict[str, Any]) -> HttpResponse:
    return HttpResponse(status, json.dumps(envelope, ensure_ascii=False).encode())


def _received(method: str, request: HttpRequest) -> Received:
    body: Any = request.body
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(request.body)
    seconds = request.header("request-timeout")
    timeout = float(seconds) if seconds.isdecimal() and seconds.isascii() else None
    headers = cast("tuple[tuple[str, str | bytes], ...]", request.headers)
    return Received("rest", method, body, headers, timeout)
