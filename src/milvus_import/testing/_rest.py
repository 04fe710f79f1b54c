"""The HTTP APIs for import jobs: Milvus' REST API v2, and that of Zilliz Cloud.

aiohttp serves both. It is an extra, and is loaded at the first connection.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import logging
import re
import secrets
import ssl
import tempfile
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from milvus_import_pb import common_pb2

from ._behavior import EndedError, Handler, NewImport, Service, StatusError, int64_fault, is_of
from ._faults import FAULTS, HOST, Code, Face, Fault, HttpResponse, Received, Tls, first
from ._replies import cloud_job_data, decode, job_data, records
from ._store import JobStore

if TYPE_CHECKING:
    from aiohttp import web

_PREFIX: Final = "/v2/vectordb/jobs/import/"
_CHUNK: Final = 65536
_MAX_HEAD: Final[dict[str, Any]] = dict.fromkeys(("max_line_size", "max_field_size"), 2**20)
_SETTINGS: Final[dict[str, Any]] = _MAX_HEAD | {"handler_cancellation": True}
_LOG: Final = logging.getLogger(__name__)
_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
_NUMBERS: Final = re.compile(rb'("(?:progress|importedRows|totalRows|fileSize)": )([0-9]+)')
_NOT_FOUND: Final = HttpResponse(404, b"404 page not found", (("Content-Type", "text/plain"),))
_GRPC_ERRORS: Final = {
    Code.UNAUTHENTICATED: (1800, "user hasn't authenticated", 401),
    Code.PERMISSION_DENIED: (65535, "", 403),
    Code.DEADLINE_EXCEEDED: (10001, "request timeout", 408),
}
"""Code, message ("": the one of the gRPC status) and HTTP status. Others are 65535 and 200."""
_BAD_REQUEST: Final = (100, 200, 800, 1100, 1101, 1801, 1802, 2100)
_STANDARD_STATUS: Final = {1400: 403, 1401: 403, 1807: 429, 10000: 499}
_RECORD: Final = ("jobId", "collectionName", "state", "progress", "reason")
_TRACE: Final = re.compile("[^-]*-([^-]{32})-[^-]*-[^-]*")
_CHALLENGE: Final = ("WWW-Authenticate", 'Basic realm="restricted", charset="UTF-8"')
_MAX_TIMEOUT: Final = 9_223_372_036
"""Seconds; Go counts in nanoseconds."""


class HttpApi(Service[HttpResponse]):
    """Serves requests with aiohttp."""

    _listener: asyncio.Server | None = None
    _server: web.Server | None = None
    _busy: set[asyncio.Task[Any]]

    async def start(self, port: int, tls: Tls | None) -> int:
        """Listen; return the port, or 0 without aiohttp."""
        if find_spec("aiohttp") is None:
            return 0
        self._busy = set()
        context = None if tls is None else _server_context(*tls)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connect, HOST, port, ssl=context)
        return int(self._listener.sockets[0].getsockname()[1])

    def _connect(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        if self._server is None:
            from aiohttp import web  # noqa: PLC0415 - an extra, and 0.3 s

            self._server = web.Server(self._serve, access_log=None, logger=_LOG, **_SETTINGS)
        return self._server()

    async def stop(self, grace: float | None) -> None:
        """Close idle connections, and the others after at most ``grace`` seconds."""
        listener, server, self._listener, self._server = self._listener, self._server, None, None
        if listener is None:
            return
        listener.close()
        if server is not None:
            server.pre_shutdown()
            if self._busy and grace:
                await asyncio.wait(self._busy, timeout=grace)
            for connection in server.connections:
                if connection.transport is not None:
                    connection.transport.abort()  # which cancels the call in flight
            async with asyncio.timeout(10.0):  # they take milliseconds
                while server.connections:  # noqa: ASYNC110 - their ends are no events
                    await asyncio.sleep(0)
        await listener.wait_closed()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)
        path = request.raw_path.partition("?")[0]
        method = path.removeprefix(_PREFIX)
        headers = tuple((name.lower(), value) for name, value in request.headers.items())
        body: Any = await request.content.read()
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(body)
        seconds = request.headers.get("Request-Timeout", "")
        timeout = float(seconds) if seconds.isdecimal() and seconds.isascii() else None
        received = Received(self.face, method, body, headers, timeout)
        is_route = request.method == "POST" and path != method
        handler = self.handlers().get(method, "") if is_route else ""
        fault = self._store.receive(received, is_unimplemented=handler == "")
        return await _send(request, await self.respond(received, handler, fault))

    @abstractmethod
    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods that exist."""

    def reply(self, received: Received, content: Any) -> HttpResponse:
        """Return the response with ``data``, of a Milvus Status, or of bytes."""
        if isinstance(content, bytes):
            return HttpResponse(200, content)
        if isinstance(content, common_pb2.Status):
            return self.error(content.code or 65535, content.reason)
        settings = self._store.cloud if self.face == "cloud" else self._store.rest
        envelope = {"code": getattr(settings, "success_code", 0), "data": content}
        body = json.dumps(envelope, ensure_ascii=False).encode()
        body = _NUMBERS.sub(rb'\1"\2"', body) if settings.numbers_as_text else body
        return HttpResponse(200, body)

    def error(self, code: int, message: str, status: int = 200) -> HttpResponse:
        """Return the response of an error."""
        if self._store.rest.standard_status and status == 200 and self.face == "rest":
            status = _STANDARD_STATUS.get(code, 400 if code in _BAD_REQUEST else 500)
        envelope = {"code": code, "message": message}
        return HttpResponse(status, json.dumps(envelope, ensure_ascii=False).encode())

    def outcome(self, received: Received, handler: Handler | str, fault: Fault) -> HttpResponse:
        """Return the response to a request after the delay of its fault."""
        http = fault.http or HttpResponse()
        if http.body is not None:
            return replace(http, status=http.status or 200)
        try:
            normal = super().outcome(received, handler, fault)
        except EndedError as error:
            normal = self._ended(error)
        status, headers = http.status or normal.status, normal.headers + http.headers
        return replace(http, status=status, body=normal.body, headers=headers)

    def _ended(self, error: EndedError) -> HttpResponse:
        """Return what Milvus sends over REST where gRPC sends a status."""
        if error.code is Code.UNIMPLEMENTED:
            return _NOT_FOUND
        if "Proxy is not ready" in error.details:
            return self.error(2, error.details)
        name = error.code.name.title().replace("_", "").replace("Cancelled", "Canceled")  # as in Go
        code, text, status = _GRPC_ERRORS.get(error.code, (65535, "", 200))
        return self.error(code, text or f"rpc error: code = {name} desc = {error.details}", status)


class RestApi(HttpApi):
    """The REST API on the public port of a Milvus."""

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods of the simulated version."""
        store, describe = self._store, self._describe
        handlers = {"create": self._create, "list": self._list, "get_progress": describe}
        if store.rest_has("describe", "2.5"):
            handlers["describe"] = describe
        if store.rest_has("two_phase", "3.0"):
            handlers |= {end.__name__: partial(self._end, end) for end in (self.commit, self.abort)}
        return {} if store.version == "2.3" else handlers

    def outcome(self, received: Received, handler: Handler | str, fault: Fault) -> HttpResponse:
        """Return the response to a request after the delay of its fault."""
        response = super().outcome(received, handler, fault)
        headers: list[tuple[str, str]] = [_CHALLENGE] if ":" in _basic(received) else []
        if self._store.rest_has("trace_id", "3.0"):
            found = _TRACE.fullmatch(first(received, "traceparent"))
            headers.append(("X-Milvus-Trace-Id", found[1] if found else secrets.token_hex(16)))
        return replace(response, headers=(*response.headers, *headers))

    def token(self, received: Received) -> str | None:
        """Return the credentials of a request."""
        return _basic(received) or super().token(received)

    def authenticate(self, received: Received) -> None:
        """End a request without credentials, or that has timed out."""
        if self._store.token is not None and not self.is_user(self.token(received) or ""):
            raise EndedError(Code.UNAUTHENTICATED)
        value = first(received, "request-timeout")
        fault = int64_fault(value) if value else ""
        if fault and self._store.is_at_least("3.0"):
            text = f"Request-Timeout parse failed, err: {fault}: invalid parameter"
            raise StatusError(1100, text)
        if value and not fault and not 0 < int(value) <= _MAX_TIMEOUT:
            raise EndedError(Code.DEADLINE_EXCEEDED)

    def _create(self, received: Received) -> dict[str, Any]:
        body = decode(received.request, "ImportReq", "collectionName", "files")
        values: dict[str, str | None] = body.get("options") or {}
        options = {key: value or "" for key, value in values.items()}
        is_flag = options.get("auto_commit", "true") in {"true", "false"}
        if self._store.is_at_least("3.0") and not is_flag:
            text = 'options.auto_commit must be one of "true" or "false": invalid parameter'
            raise StatusError(1801, f"can only accept json format request, error: {text}")
        name, db_name = body["collectionName"], body.get("dbName") or first(received, "db-name")
        self.require_import(received, name, db_name)
        key, partition = first(received, "idempotency-key"), body.get("partitionName") or ""
        new = NewImport(name, db_name, partition, [*filter(None, body["files"])], options, key)
        return {"jobId": self.create(new)}

    def _describe(self, received: Received) -> dict[str, Any]:
        job_id, db_name = _job(received)
        if not self._store.is_at_least("2.6"):
            self.require_admin(received, "PrivilegeGetImportProgress", db_name)
        job = self.find(job_id)
        self.require_import(received, job.job.collection_name, db_name)
        return job_data(job, with_create_time=self._store.rest_has("create_time", "2.6"))

    def _list(self, received: Received) -> dict[str, Any]:
        body = decode(received.request, "OptionalCollectionNameReq")
        header = first(received, "db-name")
        db_name = body.get("dbName") or header
        if not self._store.is_at_least("2.6"):
            self.require_admin(received, "PrivilegeListImport", db_name)
        jobs = self.list_jobs(body.get("collectionName") or "", db_name)
        own = [job for job in jobs if self.may_import(received, job.job.collection_name, header)]
        return {"records": records(map(job_data, own), *_RECORD)}

    def _end(self, execute: Callable[[str], None], received: Received) -> dict[str, Any]:
        """Commit or abort a job; a user needs the privilege to import into its collection."""
        job_id, db_name = _job(received)
        job = self._store.jobs.get(job_id)
        if job is not None:
            self.require_import(received, job.collection_name, db_name)
        execute(job_id)
        return {}


class CloudApi(HttpApi):
    """The import API at ``https://api.cloud.zilliz.com``.

    Written from its documentation and its clients: Milvus' paths, with other bodies, ids, pages and
    errors. The texts of errors are made up, except that of a wrong key; the codes are from its
    documentation where it has one.
    """

    def __init__(self, store: JobStore, face: Face) -> None:
        super().__init__(store, face)
        self._times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods of Zilliz Cloud."""
        reads = dict.fromkeys(("describe", "get_progress"), self._describe)
        return {"create": self._create, "list": self._list, **reads}

    def authenticate(self, received: Received) -> None:
        """Raise StatusError for a wrong key."""
        key, token = self.token(received), self._store.token
        if not key or (token is not None and not self.is_user(key)):
            raise StatusError(21119, "The apikey is illegal.")

    def outcome(self, received: Received, handler: Handler | str, fault: Fault) -> HttpResponse:
        """Return the response to a request, or that of a gateway above the rate limit."""
        key, now = (self.token(received) or "", received.method), time.monotonic()
        limit, page = self._store.cloud.requests_per_second, FAULTS["http-429"].http
        recent = self._times[key] = [past for past in self._times[key] if past > now - 1]
        if limit is not None and page is not None and len(recent) >= limit:
            return replace(page, headers=(("Retry-After", "1"),))
        recent.append(now)
        return super().outcome(received, handler, fault)

    def _body(self, received: Received, *required: str) -> dict[str, Any]:
        """Return the body of a request for one known cluster, or for a project and its region."""
        body = decode(received.request, "ImportReq", *required)
        cluster, project = body.get("clusterId"), body.get("projectId")
        if bool(cluster) is bool(project and body.get("regionId")):
            reason = "The request needs clusterId, or projectId and regionId."
            raise StatusError(1100 if project else 90104, reason)
        known = self._store.cloud.clusters
        if known is not None and (cluster or project) not in known:
            raise StatusError(80020, "Cluster not exist or you don't have permission.")
        return body

    def _create(self, received: Received) -> dict[str, Any]:
        body = self._body(received, "collectionName")
        paths: list[list[str]] = body.get("dataPaths") or []
        url: str = body.get("objectUrl") or ""
        urls: list[list[str]] = body.get("objectUrls") or ([[url]] if url else [])
        if bool(urls) is bool(paths) or bool(paths) is not bool(body.get("volumeName")):
            raise StatusError(1100, "Give objectUrls, or volumeName and dataPaths.")
        if bool(body.get("accessKey")) is not bool(body.get("secretKey")):
            raise StatusError(1100, "Give accessKey and secretKey, or neither.")
        db_name = body.get("dbName") or ""
        self.check_collection(body["collectionName"], db_name, creating=True)
        self.check_limit()
        groups = [[path.partition("?")[0] for path in group] for group in urls or paths if group]
        new = NewImport(body["collectionName"], db_name, "", groups, {}, "")
        return {"jobId": self.add(new, f"job-{self._store.free_id():0>21}")}

    def _describe(self, received: Received) -> dict[str, Any]:
        body = self._body(received, "jobId")
        job = self._store.jobs.get(body["jobId"])
        if job is None:
            raise StatusError(2100, f"import job does not exist, jobID={body['jobId']}")
        return cloud_job_data(job.count_reply(), with_rows=self._store.cloud.imported_rows)

    def _list(self, received: Received) -> dict[str, Any]:
        body = self._body(received)
        page, size = body.get("currentPage", 1), body.get("pageSize", 10)
        if page < 1 or size < 1:
            raise StatusError(1100, "currentPage and pageSize must be positive.")
        name, db_name = body.get("collectionName"), body.get("dbName") or ""
        jobs = [j for j in self._store.jobs.values() if not name or is_of(j, name, db_name)]
        chosen = jobs[(page - 1) * size :][:size]
        rows = [cloud_job_data(job.count_reply(), with_rows=False) for job in chosen]
        found = records(rows, "collectionName", "jobId", "state")
        return {"count": len(jobs), "currentPage": page, "pageSize": size, "records": found}


async def _send(request: web.BaseRequest, response: HttpResponse) -> web.StreamResponse:
    """Send a response, unless the client has closed the connection."""
    from aiohttp import web  # noqa: PLC0415 - an extra, which is loaded by now

    body = response.body or b""
    stream = web.StreamResponse(status=response.status or 200, headers=_JSON)
    stream.headers.update(response.headers)
    if response.gzip:
        body = gzip.compress(body)
        stream.headers["Content-Encoding"] = "gzip"
    stream.content_length = size = max(len(body), response.size)
    sent = 0 if request.method == "HEAD" else size // 2 if response.close == "within" else size
    with contextlib.suppress(ConnectionError):
        if response.close == "before" and request.transport is not None:
            request.transport.close()
        await stream.prepare(request)
        for start in range(0, sent, _CHUNK):
            end = min(start + _CHUNK, sent)
            await stream.write(body[start:end].ljust(end - start))
        if response.close == "within" and request.transport is not None:
            request.transport.close()
        await stream.write_eof()
    return stream


def _is_own_error(record: logging.LogRecord) -> bool:
    """Return whether a record is not about bytes that are no HTTP, as a gRPC client sends."""
    return not record.exc_info or "aiohttp" not in type(record.exc_info[1]).__module__


_LOG.addFilter(_is_own_error)


def _server_context(key: bytes, certificate: bytes, client_ca: bytes | None) -> ssl.SSLContext:
    """Return the TLS settings of a server; ``client_ca`` requires a certificate of the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # ssl reads them from files only
        path = Path(folder, "both.pem")
        path.write_bytes(key + b"\n" + certificate)
        context.load_cert_chain(path)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.decode())
    return context


def _job(received: Received) -> tuple[str, str]:
    """Return the id of the job that a request is about, and the database of its header."""
    body = decode(received.request, "JobIDReq", "jobId")
    return str(body["jobId"]), first(received, "db-name")


def _basic(received: Received) -> str:
    """Return the credentials of HTTP Basic, or ""."""
    scheme, _, value = first(received, "authorization").partition(" ")
    with contextlib.suppress(ValueError):
        return base64.b64decode(value, validate=True).decode() if scheme == "Basic" else ""
    return ""
