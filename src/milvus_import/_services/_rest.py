"""The REST API for imports, ``/v2/vectordb/jobs/import/`` on port 19530 (Milvus 2.4+).

Every reply is an envelope: ``{"code": 0, "data": {...}}``, or ``{"code": 100, "message": "..."}``.
"""

from __future__ import annotations

import base64
import json
import re
from contextlib import suppress
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final, cast

import grpc

from .._connection._base import Method, NextPage
from .._connection._http import HttpConnection
from .._errors import ArgumentError, shorten, without_queries
from .._failures._http import http_status_error, is_missing_route
from .._failures._statuses import NOT_READY, call_error, reply_error, status_error
from .._hints import Hint
from .._models import ImportProgressData, ImportProgressDetail
from ._operations import (
    ABORT_JOB,
    COMMIT_JOB,
    CREATE_JOB,
    CREATE_JOB_OF_GROUPS,
    GET_PROGRESS,
    LIST_JOBS,
)
from ._replies import (
    COUNTED_FROM,
    MAX_GROUPS,
    MAX_LISTED_JOBS,
    MAX_PROGRESS_BYTES,
    JobList,
    JobRow,
    Snapshot,
    check_count,
    check_size,
    is_valid,
    listed_rows,
    state_of,
)
from ._requests import validate_create_size, validate_job_id
from ._select import MethodTable, Services

if TYPE_CHECKING:
    from .._address import Endpoint, TLSConfig
    from .._connection._http import HttpReply
    from .._errors import MilvusImportError
    from .._models import Service
    from .._options import CallSettings
    from ._requests import CreateParams, JobParams, ListParams

Code: Final = grpc.StatusCode
Json = dict[str, Any]
"""A JSON object."""

DATABASE_HEADER: Final = "db-name"
_UNEXPECTED: Final = 65535
_UNAUTHENTICATED: Final = frozenset({1800, 21119})
"""The codes of Milvus and of Zilliz Cloud."""
_NO_PRIVILEGE: Final = frozenset({1400, 1401})
_SERVER_TIMEOUT: Final = frozenset({408, 10001})
_MAX_MEMBERS: Final = 12
"""Members of one entry at most; Milvus sends 9."""
_NUMBER: Final = r"-?[0-9]{1,19}"
_INT64: Final = range(-(2**63), 2**63)
# Headers that belong to the connection or to the body, or that the client sets itself.
_RESERVED_HEADERS: Final = frozenset(
    {
        *("accept-encoding", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "request-timeout", "trailer", "transfer-encoding", "upgrade"),
    }
)


def read_data(reply: HttpReply, *, missing: Hint, entries: int = MAX_GROUPS) -> Json:
    """Return ``data`` of a successful reply. Raises the error of any other.

    ``missing`` is the hint where the server has no such path.
    """
    body = reply.body
    if len(body) > COUNTED_FROM:
        # Each entry is an object with commas between its members.
        check_count(body.count(b"{"), entries)
        check_count(body.count(b",") + body.count(b"["), _MAX_MEMBERS * entries)
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    members = cast("Json", parsed if isinstance(parsed, dict) else {})
    code, data = members.get("code"), members.get("data")
    if isinstance(code, bool) or not isinstance(code, int) or code not in _INT64:
        raise _no_envelope_error(reply, missing)
    # Milvus 2.4.0 to 2.4.5 send code 200 for success; in others it is "partition not found".
    success = code == 0 or (code == 200 and data is not None)
    if not success or not 200 <= reply.status < 300:
        raise _envelope_error(reply, code, members.get("message", ""))
    return {} if data is None else as_object(data, "data")


def as_object(value: object, name: str) -> Json:
    """Return a JSON object. Raises a reply error for anything else."""
    if not isinstance(value, dict):
        raise _type_error(name, value)
    return cast("Json", value)


def objects(data: Json, name: str, limit: int) -> list[Json]:
    """Return an array of objects; null is empty."""
    value: object = data.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _type_error(name, value)
    entries = cast("list[object]", value)
    check_count(len(entries), limit, factor=1)
    return [as_object(entry, name) for entry in entries]


def text(data: Json, name: str) -> str:
    """Return a text; "" if it is missing."""
    value: object = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _type_error(name, value)
    if "://" in value:
        value = without_queries(value)
    if value.isascii():
        return value
    # JSON may name half of a surrogate pair, which no encoding accepts.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def number(data: Json, name: str) -> int:
    """Return an int64, which some servers send as text; 0 if it is missing."""
    value: object = data.get(name)
    if value is None or value == "":
        return 0
    if isinstance(value, str) and re.fullmatch(_NUMBER, value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT64:
        raise _type_error(name, value)
    return value


def identifier(data: Json, name: str) -> str:
    """Return a job id as text; "" if it is missing."""
    value: object = data.get(name)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else text(data, name)


def _type_error(name: str, value: object) -> MilvusImportError:
    kind = "null" if value is None else type(value).__name__
    return reply_error(f"the reply is not valid: {name} has the wrong type {kind}")


def _no_envelope_error(reply: HttpReply, missing: Hint) -> MilvusImportError:
    """Return the error of a reply whose body is not an envelope."""
    status, line, record = reply.status, reply.text, reply.record
    if is_missing_route(status, reply.body):
        return call_error(Code.UNIMPLEMENTED, line, record, http_status=status, hint=missing)
    if not 200 <= status < 300:
        return http_status_error(status, line, record)
    details = f"the HTTP response has no body (HTTP {status})"
    if reply.body:
        details = f"the response is not JSON from Milvus ({line})"
    return reply_error(details, Hint.REST_ROUTE)


def _envelope_error(reply: HttpReply, code: int, message: object) -> MilvusImportError:
    """Return the error of an envelope that does not report success."""
    shown = message if isinstance(message, str) else json.dumps(message)
    reason, status = text({"message": shown}, "message"), reply.status
    http_error = not 200 <= status < 300
    generic = code == _UNEXPECTED or (http_error and (code in {0, 200} or 400 <= code <= 599))
    generic = generic and not re.search(NOT_READY, reason)
    details, record = f"code {code}: {reason}", reply.record
    failed, hint = None, None
    if code in _UNAUTHENTICATED or (generic and status == 401):
        failed = Code.UNAUTHENTICATED
    elif code in _NO_PRIVILEGE or (generic and (status == 403 or "permission deny" in reason)):
        failed = Code.PERMISSION_DENIED
    elif code in _SERVER_TIMEOUT:
        failed, hint = Code.DEADLINE_EXCEEDED, Hint.SERVER_DEADLINE
    if failed is not None:
        return call_error(failed, details, record, http_status=status, hint=hint)
    if generic and http_error:
        line = f"HTTP {status}: {details}" if reason else reply.text
        return http_status_error(status, line, record, by_milvus=code == _UNEXPECTED)
    return status_error(code, 0, reason, http_status=status, record=record)


class RestApi:
    """The bodies of the requests, and what their replies mean. Zilliz Cloud has a subclass."""

    service: Service = "rest"
    validate_job_id = staticmethod(validate_job_id)

    def __init__(self, **members: str) -> None:
        """``members``: those of each request, unless they are empty."""
        self._members = members

    def connect(
        self,
        endpoint: Endpoint,
        tls: TLSConfig | None,
        max_receive_bytes: int,
        max_send_bytes: int,
    ) -> Services:
        """Return the service. Nothing is sent. Raises ImportError without the extra."""
        if endpoint.several:
            raise ArgumentError(
                f"uri must name one address with service={self.service!r}, "
                f"got {shorten(endpoint.target)}: only gRPC balances calls over several addresses"
            )
        connection = HttpConnection(endpoint, tls, max_receive_bytes, max_send_bytes)
        create = self.method("create", self.create_request, self.read_job_id, is_read=False)
        methods: MethodTable = {
            GET_PROGRESS: self.method("describe", self.job_request, self.read_progress),
            LIST_JOBS: self.method("list", self.list_request, self.read_list),
            CREATE_JOB: create,
            CREATE_JOB_OF_GROUPS: create,
            COMMIT_JOB: self.method("commit", self.job_request, self.read_success, is_read=False),
            ABORT_JOB: self.method("abort", self.job_request, self.read_success, is_read=False),
        }
        # Milvus 2.4.0 to 2.4.13 call ``describe`` by its older name.
        get_progress = self.method("get_progress", self.job_request, self.read_progress)
        tables = {"describe": methods, "get_progress": {GET_PROGRESS: get_progress}}
        return Services(connection, tables, DATABASE_HEADER)

    def authorization(self, secret: str | None, name: str) -> str | None:
        """Return the header: Bearer, or Basic if the token is not printable ASCII.

        ``name``: the arguments that the secret is from.
        """
        if secret is None:
            return None
        if is_header_value(secret):
            return f"Bearer {secret}"
        with suppress(UnicodeEncodeError):  # its repr holds the secret: it must not be the context
            if ":" in secret and self.service == "rest":
                return "Basic " + base64.b64encode(secret.encode()).decode("ascii")
        rule = f"printable ASCII without spaces at its ends if service is {self.service!r}"
        raise ArgumentError(f"{name} must be {rule}")

    def validate_settings(self, settings: CallSettings) -> None:
        """Raise ArgumentError for call options that HTTP does not support."""
        for name in ("wait_for_ready", "compression", "call_credentials"):
            if getattr(settings, name):  # NoCompression is 0
                rule = "False or None" if name == "wait_for_ready" else "None"
                where = f"with service={self.service!r}"
                raise ArgumentError(f"{name} must be {rule} {where}: it is for gRPC only")
        # No frame may hold a value while the error is raised.
        for fault in filter(None, starmap(self._metadata_fault, settings.metadata or ())):
            raise ArgumentError(fault)

    def _metadata_fault(self, key: str, value: str | bytes) -> str | None:
        where = f"with service={self.service!r}"
        if isinstance(value, bytes):
            return f"metadata {key!r} must not end in -bin {where}: HTTP headers are text"
        if key in _RESERVED_HEADERS:
            hint = "; pass timeout=" if key == "request-timeout" else ""
            return f"metadata key {key!r} is reserved {where}{hint}"
        if is_header_value(value):
            return None
        return f"metadata {key!r} must have no spaces at the ends of its value {where}"

    def method(self, path: str, build: Any, read: Any, *, is_read: bool = True) -> Method[Any, Any]:
        """Return one method; ``path`` is also its name in errors."""
        return Method(self.service, path, path, build, read, is_read)

    def body(self, **members: object) -> bytes:
        """Return a JSON body of the members that are not empty."""
        given = {name: value for name, value in (self._members | members).items() if value}
        return json.dumps(given, separators=(",", ":")).encode()

    def job_request(self, params: JobParams) -> bytes:
        """Build a request with the id alone: the server reads the database from the header."""
        return self.body(jobId=params.job_id)

    def list_request(self, params: ListParams) -> bytes:
        """Build the request of a list, or of one of its pages."""
        return self.body(collectionName=params.collection_name, dbName=params.db_name)

    def create_request(self, params: CreateParams) -> bytes:
        """Build the request of a job. Raises ArgumentError if it is too large."""
        body = self.body(
            **self.files(params),
            collectionName=params.collection_name,
            dbName=params.db_name,
            partitionName=params.partition_name,
            options=dict(params.options),
        )
        validate_create_size(len(body))
        return body

    def files(self, params: CreateParams) -> Json:
        """Return the members that name the files."""
        return {"files": params.groups}

    def read_progress(self, reply: HttpReply, params: JobParams) -> Snapshot:
        """Return the progress in a reply."""
        check_size(len(reply.body), MAX_PROGRESS_BYTES)
        data = read_data(reply, missing=Hint.REST_NEEDS_2_4)
        echo = identifier(data, "jobId")
        if echo and echo != params.job_id:
            raise reply_error(f"the reply is about another job, {shorten(echo)}")
        self.decode_progress(data, params.job_id)  # raises a reply error now rather than later
        return Snapshot(reply.body, data, params.job_id, self.decode_progress)

    def decode_progress(self, data: Json, job_id: str) -> ImportProgressData:
        """Map ``data`` onto the dataclasses."""
        details = [
            ImportProgressDetail(
                text(entry, "fileName"),
                number(entry, "fileSize"),
                number(entry, "progress"),
                text(entry, "completeTime"),
                text(entry, "state"),
                number(entry, "importedRows"),
                number(entry, "totalRows"),
                text(entry, "reason"),
            )
            for entry in objects(data, "details", MAX_GROUPS)
        ]
        return ImportProgressData(
            text(data, "collectionName"),
            job_id,
            text(data, "completeTime"),
            state_of(_state_name(data)),
            number(data, "progress"),
            number(data, "importedRows"),
            number(data, "totalRows"),
            text(data, "reason"),
            number(data, "fileSize") or sum([detail.file_size for detail in details]),
            details,
            text(data, "createTime"),
            self.service,
        )

    def read_list(self, reply: HttpReply, params: ListParams) -> JobList | NextPage:
        """Return the jobs of a list."""
        return self.job_list(self.records(reply)[1])

    def records(self, reply: HttpReply) -> tuple[Json, dict[str, Json]]:
        """Return the data of a list, and its records by job id."""
        data = read_data(reply, missing=Hint.REST_NEEDS_2_4, entries=MAX_LISTED_JOBS)
        if "records" not in data:
            raise reply_error("the reply has no list of jobs")
        records = objects(data, "records", MAX_LISTED_JOBS)
        return data, {identifier(record, "jobId"): record for record in records}

    def job_list(self, records: dict[str, Json]) -> JobList:
        """Return the jobs of records."""
        return listed_rows(
            {id_: _row_of(record) for id_, record in records.items()}, self.validate_job_id
        )

    def read_job_id(self, reply: HttpReply, _: CreateParams) -> str:
        """Return the id of a job that was created."""
        job_id = identifier(read_data(reply, missing=Hint.REST_NEEDS_2_4), "jobId")
        if is_valid(job_id, self.validate_job_id):
            return self.validate_job_id(job_id)
        fault = f"the job id {shorten(job_id)}, which is not valid" if job_id else "no job id"
        raise reply_error(f"the reply has {fault}")

    def read_success(self, reply: HttpReply, _: JobParams) -> None:
        """Raise the error of a reply that does not report success."""
        read_data(reply, missing=Hint.REST_NEEDS_3_0)


def _state_name(data: Json) -> str:
    """Return the name of the state. Raises a reply error if there is none."""
    name = text(data, "state")
    if not name:
        raise reply_error("the reply has no state")
    return (
        "Importing" if name == "InProgress" else name
    )  # Zilliz Cloud uses the names of files' states


def _row_of(record: Json) -> JobRow:
    """Return a record. Zilliz Cloud leaves out the progress of a completed job."""
    state, progress = _state_name(record), number(record, "progress")
    if state == "Completed" and record.get("progress") is None:
        progress = 100
    return text(record, "collectionName"), state, progress, text(record, "reason")


def is_header_value(value: str) -> bool:
    """Return whether a text can be sent as the value of an HTTP header."""
    return value.isascii() and value.isprintable() and value == value.strip()
