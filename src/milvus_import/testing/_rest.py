"""Milvus' REST API for import jobs, v2."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ._behavior import NewImport, StatusError, int64_fault
from ._call_log import Received
from ._faults import HttpResponse
from ._http import HttpRequest
from ._http_api import TIMEOUT, UNAUTHENTICATED, Handler, HttpApi, envelope
from ._rest_bodies import (
    Members,
    decode,
    is_groups,
    is_options,
    is_text,
    job_data,
    list_data,
    with_numbers_as_text,
)

_CHALLENGE: Final = (("WWW-Authenticate", 'Basic realm="restricted", charset="UTF-8"'),)
_MAX_TIMEOUT: Final = 9_223_372_036
"""Seconds; Go counts in nanoseconds."""
_LIST: Final[Members] = {"collectionName": is_text, "dbName": is_text}
_CREATE: Final[Members] = {
    **_LIST,
    "files": is_groups,
    "partitionName": is_text,
    "options": is_options,
}
_STANDARD_STATUS: Final = {
    **dict.fromkeys((100, 200, 800, 1100, 1101, 1801, 1802, 2100), 400),
    1400: 403,
    1401: 403,
    1807: 429,
    10000: 499,
}


class RestApi(HttpApi):
    """The REST API on the public port of a Milvus."""

    face = "rest"

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods of the simulated version."""
        store, rest = self._store, self._store.rest
        if store.version == "2.3":
            return {}
        handlers: dict[str, Handler] = {
            "create": self._create,
            "get_progress": self._describe,
            "list": self._list,
        }
        if _switch(rest.describe, default=store.is_at_least("2.5")):
            handlers["describe"] = self._describe
        if _switch(rest.two_phase, default=store.is_at_least("3.0")):
            handlers |= {"commit": self._commit, "abort": self._abort}
        return handlers

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request."""
        response = await super().respond(request)
        if ":" in _basic(request):
            response = replace(response, headers=response.headers + _CHALLENGE)
        if not _switch(self._store.rest.trace_id, default=self._store.is_at_least("3.0")):
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
        return envelope(200, {"code": self._store.rest.success_code, "data": data})

    def error(self, code: int, message: str, status: int = 200) -> HttpResponse:
        """Return the response of an error."""
        if self._store.rest.standard_status and status == 200:
            status = _STANDARD_STATUS.get(code, 500)
        return super().error(code, message, status)

    def reject(self, received: Received, request: HttpRequest) -> HttpResponse | None:
        """Return the response to a request without credentials, or that has timed out."""
        if self._store.token is not None and not self._behavior.is_user(_token(request)):
            return self.error(*UNAUTHENTICATED)
        value = request.header("request-timeout")
        fault = int64_fault(value) if value else ""
        if fault and self._store.is_at_least("3.0"):
            return self.error(
                1100, f"Request-Timeout parse failed, err: {fault}: invalid parameter"
            )
        if value and not fault and not 0 < int(value) <= _MAX_TIMEOUT:
            return self.error(*TIMEOUT)
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
        user, is_new = self._user(request), self._store.is_at_least("2.6")
        if not is_new:
            self._behavior.require_admin(user, "PrivilegeGetImportProgress", db_name)
        job = self._behavior.find(job_id)
        self._behavior.require_import(user, job.job.collection_name, db_name)
        return job_data(job, with_create_time=_switch(self._store.rest.create_time, default=is_new))

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
        return str(decode(request.body, "JobIDReq", {"jobId": is_text}, ("jobId",))["jobId"])


def _switch(value: bool | None, *, default: bool) -> bool:
    return default if value is None else value


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
