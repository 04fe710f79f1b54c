"""What the Statuses of Milvus and the reasons of its failed jobs mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .._errors import JobLimitError, JobNotFoundError, MilvusStatusError
from .._hints import Hint
from .._text import excerpt, quote
from ._grpc import NODE_NOT_MATCH, NOT_READY, UNAVAILABLE_PART
from ._table import Row, meaning, retry_after

if TYPE_CHECKING:
    from milvus_import_pb.common_pb2 import Status

    from .._models import CallRecord

_IMPORT: Final = frozenset({0, 2100, 2101})
# Milvus 2.2 and 2.3 return most errors with this code, or with error_code 1.
_UNEXPECTED: Final = frozenset({0, 65535})
_INVALID: Final = range(1100, 1200)
_UNKNOWN_CLUSTER: Final = 80020  # of Zilliz Cloud
_NO_CLUSTER: Final = 90104  # of Zilliz Cloud, for the requests of another service
FINAL_CODES: Final = frozenset({100, 800, *_INVALID, 1400, 1401, 1801, 1802, _UNKNOWN_CLUSTER})
"""Codes that no repetition of the request changes."""
UNAUTHENTICATED_CODE: Final = 1800
_FILE_TYPE: Final = r"(?i)unsupported file type|unexpected file type"
_PARTITION_KEY: Final = r"(?i)partition name.{0,99}partition key"
_DISK_QUOTA: Final = r"(?i)disk quota|quota exceeded\[reason=disk"
_COLLECTION: Final = r"(?i)collection not found|CollectionNotExists|failed to find collection"
_RATE_LIMIT: Final = r"(?i)rate limit exceeded|request is rejected by limiter|rejected by grpc Rate"
_UNKNOWN_JOB: Final = (Hint.CHECK_JOB_ID, False, False, JobNotFoundError)
_TOO_MANY_JOBS: Final = (Hint.JOB_LIMIT, True, False, JobLimitError)

# Columns: codes, text, hint, transient, may_have_run.
_ROWS: Final = (
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
    Row(None, NOT_READY, None, True, False),
    Row(None, NODE_NOT_MATCH, None, True, False),
    Row(None, _RATE_LIMIT, Hint.SERVER_RATE_LIMIT, True, False, limited=True),
    Row(None, _PARTITION_KEY, Hint.LEAVE_OUT_PARTITION, None, False),
    Row(None, _COLLECTION, Hint.CHECK_COLLECTION, None, False),
    Row(None, r"(?i)database not found", Hint.CHECK_DATABASE, None, False),
    Row(None, r"(?i)partition not found", Hint.CHECK_PARTITION, None, False),
    Row(None, r"(?i)accepts (only )?one file", Hint.ONE_FILE_PER_GROUP, None, False),
    Row(None, r"(?i)inconsistency in file types", Hint.ONE_FILE_PER_GROUP, None, False),
    Row(None, r"(?i)allowed to input multiple files", Hint.ONE_FILE_PER_GROUP, None, False),
    Row(None, r"(?i)max(imum)? (number of )?(import )?files", Hint.TOO_MANY_FILES, None, False),
    Row(None, r"(?i)too many files", Hint.TOO_MANY_FILES, None, False),
    Row(None, _FILE_TYPE, Hint.FILE_TYPE, None, False),
    Row(None, _DISK_QUOTA, Hint.DISK_QUOTA, None, False),
    Row(None, f"{UNAVAILABLE_PART}|connection refused", Hint.SERVER_STARTING, True, True),
    Row({200}, "", Hint.CHECK_PARTITION),
    # Milvus 2.5 and newer reject the arguments of an import with this code.
    Row({2100}, "", None, None, False),
)
# The old numbering, which counts only if the new code is absent.
_OLD_ROWS: Final = (
    Row({49}, "", Hint.SERVER_RATE_LIMIT, True, False, limited=True),
    Row({56}, "", Hint.SERVER_STARTING, True, False),
)
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
    Row(None, r"(?i)\bl0[ _-]?import.{0,99}loaded", Hint.JOB_RELEASE_COLLECTION),
    Row(None, r"(?i)loaded.{0,99}\bl0[ _-]?import", Hint.JOB_RELEASE_COLLECTION),
    Row(None, r"(?i)exceeds.{0,99}max ?size|reached the maximum limit", Hint.JOB_FILE_SIZE),
    Row(None, r"(?i)size is zero|smaller than indicated|unexpected EOF", Hint.JOB_EMPTY_FILE),
    Row(None, r"(?i)file too small|error: EOF", Hint.JOB_EMPTY_FILE),
    Row(None, r"(?i)root key should be|failed to decode (the )?JSON", Hint.JOB_JSON_LAYOUT),
    Row(None, r"(?i)failed to parse row value|invalid JSON|JSON format", Hint.JOB_JSON_LAYOUT),
)


class ReturnedStatus(NamedTuple):
    """A Status that any of the services returned."""

    code: int
    error_code: int
    reason: str
    detail: str
    retriable: bool
    http_status: int | None = None
    record: CallRecord | None = None


def returned_error(status: Status) -> MilvusStatusError:
    """Return the error of a Status of gRPC that is not Success; ``complete`` adds the method."""
    fields = status.code, status.error_code, status.reason, status.detail, status.retriable
    return status_error(ReturnedStatus(*fields))


def status_error(status: ReturnedStatus) -> MilvusStatusError:
    """Return the error of a Status that is not Success; ``complete`` adds the method."""
    row = meaning(_ROWS, status.code, status_text(status.reason, status.detail))
    old = None if status.code else meaning(_OLD_ROWS, status.error_code, "")
    if old is not None and old.hint is not None and row.kind is None:
        row = old
    kind = row.kind if row.kind in {JobNotFoundError, JobLimitError} else MilvusStatusError
    code = f"code {status.code}" if status.code else f"error_code {status.error_code}"
    reason = quote(status.reason or status.detail or "no reason given")
    return kind(
        f"Milvus returned the status {code}: {reason}",
        code=status.code,
        error_code=status.error_code,
        reason=status.reason,
        detail=status.detail,
        retriable=status.retriable,
        http_status=status.http_status,
        hint=row.hint,
        transient=bool(row.transient),
        may_have_run=row.may_have_run is not False,
        rate_limited=bool(row.limited),
        retry_after=retry_after(status.record),
    )


def status_text(reason: str, detail: str) -> str:
    """Return the texts of a Status that the tables search."""
    return f"{excerpt(reason)}\n{excerpt(detail)}"


def failed_job_hint(reason: str) -> Hint | None:
    """Return the hint for the reason of a failed job."""
    return meaning(_JOB_ROWS, 0, excerpt(reason)).hint
