"""What the statuses of gRPC, HTTP and Milvus mean, and the reasons of failed jobs: one table each.

A row names codes and a text; its other columns give the meaning. The texts of gRPC are those of
grpcio 1.76 to 1.85, of grpc-go servers, and of nginx, HAProxy, Envoy and Caddy; those of Milvus are
from 2.2 to 3.0. An UNKNOWN or INTERNAL of gRPC whose text is not listed is not transient.
"""

from __future__ import annotations

import re
import time
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc

from .._errors import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    excerpt,
    quote,
)
from .._hints import Hint

if TYPE_CHECKING:
    from milvus_import_pb.common_pb2 import Status

    from .._models import CallRecord

Code: Final = grpc.StatusCode


class Row(NamedTuple):
    """One row: the codes and the text that it matches, and what they mean.

    None in a column: this row does not decide it.
    """

    codes: Container[object] | None
    """None is every code."""
    text: str
    """A pattern; "" is every text."""
    hint: Hint | None = None
    transient: bool | None = None
    may_have_run: bool | None = None
    kind: type[Any] | None = None
    """The class of the error."""
    responded: bool | None = None
    """Whether only a reachable server or gateway can have caused it."""
    broke: bool | None = None
    """Whether an established connection broke."""
    limited: bool | None = None
    """Whether the server or a gateway limits the request rate."""


def meaning(rows: Iterable[Row], code: object, text: str) -> Row:
    """Return for each column the value of the first matching row that decides it."""
    matching = [
        row
        for row in rows
        if (row.codes is None or code in row.codes) and re.search(row.text, text)
    ]
    columns = zip(*(row[2:] for row in matching), strict=True)
    return Row(None, "", *(next((v for v in c if v is not None), None) for c in columns))


def retry_after(record: CallRecord | None) -> float | None:
    """Return the seconds of ``retry-after`` in the metadata or the headers, or None."""
    pairs = (*record.initial_metadata, *record.trailing_metadata) if record else ()
    for key, value in pairs:
        if key.lower() == "retry-after":
            return _seconds(value if isinstance(value, str) else value.decode("latin-1"))
    return None


def _seconds(value: str) -> float | None:
    """Return the seconds of a number or of a date; None if it is neither, or in the past."""
    text = value.strip()[:64]
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    if not re.match(r"[A-Z][a-z]{2}", text):
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import

    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


# HTTP: gateways and web servers.


# The codes are those of gRPC (doc/http-grpc-status-mapping.md), and 408 is a deadline.
_STATUSES: Final[Mapping[int, tuple[grpc.StatusCode, Hint | None]]] = {
    **dict.fromkeys((301, 302, 307, 308), (Code.UNKNOWN, Hint.GATEWAY_REDIRECT)),
    400: (Code.INTERNAL, None),
    401: (Code.UNAUTHENTICATED, Hint.GATEWAY_ACCESS),
    403: (Code.PERMISSION_DENIED, Hint.GATEWAY_ACCESS),
    404: (Code.UNIMPLEMENTED, None),
    408: (Code.DEADLINE_EXCEEDED, None),
    413: (Code.UNKNOWN, Hint.GATEWAY_REQUEST_SIZE),
    429: (Code.UNAVAILABLE, Hint.GATEWAY_RATE_LIMIT),
    431: (Code.UNKNOWN, Hint.GATEWAY_METADATA_SIZE),
    502: (Code.UNAVAILABLE, Hint.GATEWAY_BACKEND),
    503: (Code.UNAVAILABLE, Hint.GATEWAY_UNAVAILABLE),
    504: (Code.UNAVAILABLE, Hint.GATEWAY_TIMEOUT),
}
_UNLISTED: Final = (Code.UNKNOWN, None)


def http_code(status: int) -> grpc.StatusCode:
    """Return the gRPC status code that an HTTP status is mapped to."""
    return Code.OK if 200 <= status < 300 else _STATUSES.get(status, _UNLISTED)[0]


def transient_http_status(status: int) -> bool:
    """Return whether an HTTP status is temporary: 408, 429 and 5xx except 501 and 505.

    2xx is temporary too: a gateway responded in place of Milvus.
    """
    server_error = 500 <= status <= 599 and status not in {501, 505}
    return status in {408, 429} or server_error or 200 <= status < 300


def http_hint(status: int, *, secure: bool) -> Hint:
    """Return the hint for the HTTP status of a gateway or a web server."""
    if 200 <= status < 300:
        return Hint.NO_GRPC_STATUS
    if status == 400 and secure:
        return Hint.PASS_CLIENT_CERTIFICATE
    if 300 <= status < 400 and not secure:
        return Hint.GATEWAY_HTTPS
    default = Hint.GATEWAY_ERROR if transient_http_status(status) else Hint.GATEWAY_ROUTE
    return _STATUSES.get(status, _UNLISTED)[1] or default


# gRPC.

EMPTY_REPLY: Final = "the reply is empty; the coordinator may be unavailable"
DEADLINE_TEXT: Final = "deadline exceeded"
NO_ROOM_FOR_METADATA: Final = (
    r"(?i)ENHANCE_YOUR_CALM|error code: 11\b(?!.*too_many_pings)|metadata size exceeds|header list"
)
NODE_NOT_MATCH: Final = "node not match"
NOT_READY: Final = r"(?i)proxy is not ready|service not ready"
"""A server that is starting and has not executed the request."""
UNAVAILABLE_PART: Final = (
    r"(?i)find no available \w*coord|is not ready|service not ready|is not serving|not healthy"
    r"|empty grpc client"
    r"|rpc error: code = (Unavailable|DeadlineExceeded|Canceled)"
    r"|node not (match|found)"
    r"|etcdserver: (request timed out|leader changed|no leader|too many requests)"
)
"""A coordinator or the store of a server is unavailable."""
# The last of the alerts: HAProxy checks the certificate after the handshake, for the client.
_CERTIFICATE_WANTED: Final = (
    r"ALERT_(\w*CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)"
    r"|failed to connect.{0,999}TSI_DATA_CORRUPTED"
)
_OTHER_NAME: Final = (
    r"Hostname Verification Check|Peer name .* is not in peer|(Hostname|IP address) mismatch"
)
_NO_CONNECTION: Final = (
    r"(?i)failed to connect|connections to all backends failing|name resolution|DNS resolution"
    r"|errors resolving|empty address list"
)
_NO_STATUS: Final = (
    r"No status received|Data frame with END_STREAM flag|http2 header with status: 2[0-9]{2}\b"
)
# RFC 9113, 6.8: a stream above the last id of a GOAWAY was not processed. If the socket was closed
# as well, the text may be about a stream that was.
_NOT_PROCESSED: Final = r"^(?!.*[Ss]ocket closed)Stream removed \(GOAWAY received; Error code: 0\b"
_CORRUPTED: Final = r"Failed parsing HTTP/2|overflows local window"
_BROKEN: Final = (
    r"^Stream removed|[Ss]ocket closed|Connection reset|Broken pipe|recvmsg:|sendmsg:|GOAWAY"
    r"|^the connection broke"  # REST
)
_TOO_LARGE: Final = r"(SERVER: R|grpc: r)eceived message larger"
_NO_UPSTREAM: Final = r"upstream connect error|no healthy upstream"
UPSTREAM_TIMEOUT: Final = r"stream timeout|upstream request timeout"
_HTTP_STATUS: Final = r"Received http2 header with status: ([0-9]{3})"

_DOWN: Final = frozenset({Code.UNAVAILABLE})
_UNKNOWN: Final = frozenset({Code.UNKNOWN, Code.INTERNAL})
# gRPC reports a broken connection with any of these, depending on the timing of its threads.
_LOST: Final = _DOWN | _UNKNOWN
_DENIED: Final = frozenset({Code.PERMISSION_DENIED})
_LOGIN: Final = frozenset({Code.UNAUTHENTICATED})
_EXHAUSTED: Final = frozenset({Code.RESOURCE_EXHAUSTED})

_REMOVED: Final = (Hint.BROKEN_OR_NOT_GRPC, True, None, UnavailableError)

# Columns: codes, text, hint, transient, may_have_run.
_GRPC_ROWS: Final = (
    # TLS, before the request was sent.
    Row(_DOWN, r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE", Hint.USE_HTTP, None, False),
    Row(_DOWN, r"CERTIFICATE_VERIFY_FAILED.*expired", Hint.RENEW_CERTIFICATE, None, False),
    Row(_DOWN, _OTHER_NAME, Hint.EXPECT_SERVER_NAME, None, False),
    Row(_DOWN, r"CERTIFICATE_VERIFY_FAILED", Hint.TRUST_CA, None, False),
    Row(_DOWN, r"NO_APPLICATION_PROTOCOL|missing selected ALPN", Hint.ENABLE_HTTP2, None, False),
    Row(_DOWN, r"UNRECOGNIZED_NAME", Hint.UNKNOWN_VIRTUAL_HOST, None, False),
    Row(_DOWN, _CERTIFICATE_WANTED, Hint.PASS_CLIENT_CERTIFICATE, None, False, broke=False),
    # The address. A hint that depends on the client is chosen in _complete.py.
    Row(_DOWN, r"failed to connect.{0,999}(Frame size 4740180 |http1\.x)", Hint.USE_HTTPS_HTTP1),
    Row(_DOWN, r"failed to connect.{0,999}Failed parsing HTTP/2", Hint.USE_HTTPS_NOT_GRPC),
    Row(_DOWN, r"Too many open files", Hint.OPEN_FILES, None, False, broke=False),
    Row(_DOWN, _NO_CONNECTION, None, None, False, broke=False),
    Row({Code.FAILED_PRECONDITION}, r"connect failed", None, None, False),
    # A gateway responded.
    Row(None, _NO_UPSTREAM, Hint.GATEWAY_BACKEND, True, responded=True),
    Row(None, UPSTREAM_TIMEOUT, Hint.GATEWAY_TIMEOUT, True, responded=True),
    Row(_UNKNOWN, r"upstream", None, True),
    Row(None, r"local_rate_limited", Hint.GATEWAY_RATE_LIMIT, responded=True, limited=True),
    Row(None, r"http2 header with status: 0\b", Hint.GATEWAY_GRPC_PASS),
    # 4740180 is "HTT" read as the length of a frame: the response came after frames of HTTP/2.
    Row(_LOST, r"http1\.x|Frame size 4740180 ", Hint.USE_HTTPS_HTTP1),
    # The response has no status, or the server reset this call alone. Some versions of grpcio
    # begin these texts with "Stream removed" too.
    Row(_UNKNOWN, _NO_STATUS, Hint.NO_GRPC_STATUS, True, None, CallError, broke=False),
    Row(_UNKNOWN, r"RST_STREAM", Hint.RECONNECT, True, None, CallError, broke=False),
    Row(_DOWN, r"RST_STREAM|END_STREAM", Hint.RECONNECT, broke=False),
    # The connection broke.
    Row(_EXHAUSTED, NO_ROOM_FOR_METADATA, Hint.GATEWAY_METADATA_SIZE, False),
    Row(_LOST, NO_ROOM_FOR_METADATA, Hint.GATEWAY_METADATA_SIZE, broke=True),
    Row(_DOWN, r"GOAWAY received; Error code: 2\b", Hint.GATEWAY_CLOSED, broke=True),
    Row(_LOST, _NOT_PROCESSED, Hint.RECONNECT, None, False),
    Row(_LOST, _CORRUPTED, Hint.CORRUPTED_STREAM, True, None, UnavailableError),
    Row(_UNKNOWN, r"^Stream removed", *_REMOVED, broke=True),
    Row(_DOWN, _BROKEN, broke=True),
    # Milvus, or the server library of grpc-go.
    Row(_LOST, f"{NOT_READY}|{NODE_NOT_MATCH}", None, True, False, responded=True),
    Row(_LOST, UNAVAILABLE_PART, Hint.SERVER_STARTING, True, responded=True),
    Row(_UNKNOWN, r"cross cluster routing", Hint.DROP_ROUTING_METADATA, None, False),
    Row({Code.INTERNAL}, re.escape(EMPTY_REPLY), None, True, responded=True),
    Row({Code.INTERNAL}, r"(?i)invalid UTF-8", Hint.INVALID_UTF8),
    Row({Code.INTERNAL}, r"error unmarshalling request", None, None, False),
    Row({Code.UNKNOWN}, r"^$", Hint.GATEWAY_NO_TEXT),
    Row({Code.DEADLINE_EXCEEDED}, r"interceptor", Hint.INTERCEPTOR_SLOW),
    Row(_LOGIN, r"^code 21119\b", Hint.CLOUD_API_KEY),
    Row(_LOGIN, r"missing authorization", Hint.PASS_TOKEN),
    Row(_LOGIN, r"invalid token format", Hint.PASS_PLAIN_TOKEN),
    Row(_LOGIN, r"auth check failure", Hint.CHECK_CREDENTIALS),
    Row(_LOGIN, r"hasn't authenticated|^code 1800\b", Hint.CHECK_OR_FORWARD_CREDENTIALS),
    Row(_LOGIN, r"", Hint.GATEWAY_ACCESS, None, False, UnauthenticatedError),
    Row(_DENIED, r"(?i)privilege|permission|^code 140[01]\b", Hint.GRANT_PRIVILEGE),
    Row(_DENIED, r"", Hint.GATEWAY_RBAC, None, False, AccessDeniedError),
    Row(_EXHAUSTED, _TOO_LARGE, Hint.REQUEST_TOO_LARGE, False, False),
    Row(_EXHAUSTED, r"Received message larger than max", Hint.RAISE_MAX_RECEIVE, False),
    Row(_EXHAUSTED, r"Sent message larger than max", Hint.RAISE_MAX_SEND, False, False),
    Row(_EXHAUSTED, r"", Hint.SERVER_RATE_LIMIT, True, responded=True, limited=True),
    # Every other text.
    Row(_DOWN, r"", None, True, None, UnavailableError),
    Row({Code.DEADLINE_EXCEEDED}, r"", None, True, None, DeadlineExceededError),
    Row({Code.CANCELLED, Code.ABORTED}, r"", None, True),
    Row({Code.UNIMPLEMENTED}, r"", None, None, False, UnsupportedServerError),
    Row({Code.INVALID_ARGUMENT, Code.NOT_FOUND}, r"", None, None, False),
)


def call_error(
    code: grpc.StatusCode,
    details: str,
    record: CallRecord | None = None,
    *,
    http_status: int | None = None,
    hint: Hint | None = None,
) -> CallError:
    """Return the error of an RPC that did not end with OK; ``complete`` sets its message.

    ``record`` is None if nothing was sent. ``http_status`` and ``hint`` override those of the
    table.
    """
    text = excerpt(details)
    row = meaning(_GRPC_ROWS, code, text)
    status = http_status or _http_status(text)
    unsent = code is Code.DEADLINE_EXCEEDED and record is None
    by_gateway = status is not None and not re.match("code [0-9]", text)  # else Milvus' envelope
    transient = transient_http_status(status) if status and by_gateway else bool(row.transient)
    if status and by_gateway and hint is None:
        hint = http_hint(status, secure=True)
    kind: type[CallError] = row.kind or CallError
    return kind(
        code=code,
        details=details,
        record=record,
        http_status=status,
        hint=hint or (Hint.ALLOW_MORE_TIME if unsent else row.hint),
        transient=transient and not unsent,
        may_have_run=row.may_have_run is not False and not unsent,
        rate_limited=status == 429 or (transient and bool(row.limited)),
        retry_after=retry_after(record),
    )


def reply_error(details: str, hint: Hint | None = None) -> CallError:
    """Return the error of a reply that is not valid although gRPC, or HTTP, reported success."""
    empty = details == EMPTY_REPLY
    return CallError(
        details,
        code=Code.INTERNAL,
        details=details,
        hint=hint or (None if empty else Hint.CHECK_IS_MILVUS),
        transient=empty,
        may_have_run=True,
    )


def connection_broke(error: CallError) -> bool:
    """Return whether an established connection broke during the call, so that a read is retried.

    The error must be complete: a connection that the metadata of this call broke is not retried.
    """
    may_break = error.http_status is None and error.code in {Code.UNAVAILABLE, Code.UNKNOWN}
    return may_break and error.transient and _row(error).broke is True


def lacks_grpc_status(error: CallError) -> bool:
    """Return whether the response had no gRPC status at all, as from an unrouted path."""
    return error.code is Code.UNKNOWN and _row(error).hint is Hint.NO_GRPC_STATUS


def is_response(error: MilvusImportError) -> bool:
    """Return whether only a reachable server or gateway can have caused the error.

    All other errors may also come from a wrong address.
    """
    if not isinstance(error, CallError):
        return True
    if error.http_status is not None:
        return error.http_status in {408, 429, 502, 503, 504}
    return error.code is Code.RESOURCE_EXHAUSTED or _row(error).responded is True


def _row(error: CallError) -> Row:
    return meaning(_GRPC_ROWS, error.code, excerpt(error.details))


def _http_status(details: str) -> int | None:
    """Return the HTTP status of a response that is not gRPC's, or None."""
    found = re.search(_HTTP_STATUS, details)
    return int(found[1]) if found else None


# Milvus.

_IMPORT: Final = frozenset({0, 2100, 2101})
# Milvus 2.2 and 2.3 return most errors with this code, or with error_code 1.
_UNEXPECTED: Final = frozenset({0, 65535})
_INVALID: Final = range(1100, 1200)
_UNKNOWN_CLUSTER: Final = 80020  # of Zilliz Cloud
_NO_CLUSTER: Final = 90104  # of Zilliz Cloud, for the requests of another service
FINAL_CODES: Final = frozenset({100, 800, *_INVALID, 1400, 1401, 1801, 1802, _UNKNOWN_CLUSTER})
"""Codes of permanent errors: a retry cannot succeed."""
UNAUTHENTICATED_CODE: Final = 1800
_FILE_TYPE: Final = r"(?i)unsupported file type|unexpected file type"
_PARTITION_KEY: Final = r"(?i)partition name.{0,99}partition key"
_DISK_QUOTA: Final = r"(?i)disk quota|quota exceeded\[reason=disk"
_MANY_FILES: Final = r"(?i)(too many |max(imum)? (number of )?(import )?)files"
_ONE_FILE: Final = r"(?i)accepts (only )?one file|inconsistency in file types|input multiple files"
_LOADED: Final = r"(?i)\bl0[ _-]?import.{0,99}loaded|loaded.{0,99}\bl0[ _-]?import"
_COLLECTION: Final = r"(?i)collection not found|CollectionNotExists|failed to find collection"
_RATE_LIMIT: Final = r"(?i)rate limit exceeded|request is rejected by limiter|rejected by grpc Rate"
_UNKNOWN_JOB: Final = (Hint.CHECK_JOB_ID, False, False, JobNotFoundError)
_TOO_MANY_JOBS: Final = (Hint.JOB_LIMIT, True, False, JobLimitError)

# Columns: codes, text, hint, transient, may_have_run.
_MILVUS_ROWS: Final = (
    Row(_IMPORT, r"(?i)import job does not exist", *_UNKNOWN_JOB),
    Row(_IMPORT, r"\bjob -?[0-9]+ not found", *_UNKNOWN_JOB),
    Row(None, r"(?i)key not found\[key=[^]]*/importtask/", *_UNKNOWN_JOB),  # 2.3
    Row(_IMPORT, r"(?i)number of jobs has reached the limit", *_TOO_MANY_JOBS),
    Row(_UNEXPECTED, r"(?i)import task queue max size", *_TOO_MANY_JOBS),  # 2.3
    # Codes that decide alone: not ready and unavailable, limits of requests, memory.
    Row({1, 2}, "", Hint.SERVER_STARTING, True, False),
    Row({4, 8, 1807}, "", Hint.SERVER_RATE_LIMIT, True, False, limited=True),
    Row({12}, "", Hint.SERVER_RESOURCES, True),
    Row({_UNKNOWN_CLUSTER}, "", Hint.CLOUD_CLUSTER),
    Row({_NO_CLUSTER}, "", Hint.SWITCH_TO_CLOUD, None, False),
    # The job may exist although its creation was reported as failed.
    Row(None, r"(?i)add import job failed", may_have_run=True),
    Row(FINAL_CODES, "", None, False, False),
    # Partition not found, quotas, credentials.
    Row({200, 9, UNAUTHENTICATED_CODE}, "", None, None, False),
    # Texts with any other code.
    Row(None, f"{NOT_READY}|{NODE_NOT_MATCH}", None, True, False),
    Row(None, _RATE_LIMIT, Hint.SERVER_RATE_LIMIT, True, False, limited=True),
    Row(None, _PARTITION_KEY, Hint.LEAVE_OUT_PARTITION, None, False),
    Row(None, _COLLECTION, Hint.CHECK_COLLECTION, None, False),
    Row(None, r"(?i)database not found", Hint.CHECK_DATABASE, None, False),
    Row(None, r"(?i)partition not found", Hint.CHECK_PARTITION, None, False),
    Row(None, _ONE_FILE, Hint.ONE_FILE_PER_GROUP, None, False),
    Row(None, _MANY_FILES, Hint.TOO_MANY_FILES, None, False),
    Row(None, _FILE_TYPE, Hint.FILE_TYPE, None, False),
    Row(None, _DISK_QUOTA, Hint.DISK_QUOTA, None, False),
    Row(None, f"{UNAVAILABLE_PART}|connection refused", Hint.SERVER_STARTING, True, True),
    Row({200}, "", Hint.CHECK_PARTITION),
    # Milvus 2.5 and newer reject the arguments of an import with this code.
    Row({2100}, "", None, None, False),
)
_OLD_CODES: Final = {49: 4, 56: 1}
"""The codes for those of the old numbering, which counts only if the new code is absent."""
_JOB_ROWS: Final = (
    Row(None, r"(?i)access ?denied", Hint.JOB_BUCKET_KEYS),
    Row(None, r"(?i)no such file or directory|failed to get file size", Hint.JOB_FILE_PATH),
    Row(None, r"(?i)key not found\[key=|NoSuchKey|no such key", Hint.JOB_FILE_PATH),
    Row(None, r"(?i)specified (key|bucket) does not exist", Hint.JOB_FILE_PATH),
    Row(None, r"(?i)file (does )?not (exist|found)|is a directory", Hint.JOB_FILE_PATH),
    Row(None, _FILE_TYPE, Hint.FILE_TYPE),
    Row(None, r"(?i)no file for field: \$meta", Hint.JOB_META_FIELD),
    Row(None, r"(?i)no file (for|corresponding to) field", Hint.JOB_NPY_NAMES),
    Row(None, r"(?i)large_utf8|large_string", Hint.JOB_LARGE_STRINGS),
    Row(None, r"(?i)not in arrow schema|value of field .{0,200}is missed", Hint.JOB_MISSING_COLUMN),
    Row(None, r"(?i)marked failed as service restarted", Hint.JOB_RESTARTED),
    Row(None, r"(?i)import timeout", Hint.JOB_TIMEOUT),
    Row(None, r"(?i)collection \S+ dropped", Hint.JOB_COLLECTION_DROPPED),
    Row(None, _DISK_QUOTA, Hint.DISK_QUOTA),
    Row(None, _PARTITION_KEY, Hint.LEAVE_OUT_PARTITION),
    Row(None, _LOADED, Hint.JOB_RELEASE_COLLECTION),
    Row(None, r"(?i)exceeds.{0,99}max ?size|reached the maximum limit", Hint.JOB_FILE_SIZE),
    Row(None, r"(?i)size is zero|smaller than indicated|unexpected EOF", Hint.JOB_EMPTY_FILE),
    Row(None, r"(?i)file too small|error: EOF", Hint.JOB_EMPTY_FILE),
    Row(None, r"(?i)root key should be|failed to decode (the )?JSON", Hint.JOB_JSON_LAYOUT),
    Row(None, r"(?i)failed to parse row value|invalid JSON|JSON format", Hint.JOB_JSON_LAYOUT),
)


def returned_error(status: Status) -> MilvusStatusError:
    """Return the error of a Status of gRPC that is not Success."""
    texts = status.reason, status.detail
    return status_error(status.code, status.error_code, *texts, retriable=status.retriable)


def status_error(
    code: int,
    error_code: int,
    reason: str,
    detail: str = "",
    *,
    retriable: bool = False,
    http_status: int | None = None,
    record: CallRecord | None = None,
) -> MilvusStatusError:
    """Return the error of a Status that is not Success; ``complete`` adds the call."""
    texts = status_text(reason, detail)
    row = meaning(_MILVUS_ROWS, code, texts)
    if not code and row.kind is None and error_code in _OLD_CODES:
        row = meaning(_MILVUS_ROWS, _OLD_CODES[error_code], texts)
    kind: type[MilvusStatusError] = row.kind or MilvusStatusError
    shown = f"code {code}" if code else f"error_code {error_code}"
    text = quote(reason or detail or "no reason given")
    return kind(
        f"Milvus returned the status {shown}: {text}",
        code=code,
        error_code=error_code,
        reason=reason,
        detail=detail,
        retriable=retriable,
        http_status=http_status,
        hint=row.hint,
        transient=bool(row.transient),
        may_have_run=row.may_have_run is not False,
        rate_limited=bool(row.limited),
        retry_after=retry_after(record),
    )


def status_text(reason: str, detail: str) -> str:
    """Return the texts of a Status that the tables search."""
    return f"{excerpt(reason)}\n{excerpt(detail)}"


def failed_job_hint(reason: str) -> Hint | None:
    """Return the hint for the reason of a failed job."""
    return meaning(_JOB_ROWS, 0, excerpt(reason)).hint
