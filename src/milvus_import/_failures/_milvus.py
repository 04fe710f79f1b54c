"""Map a Status of Milvus to an error, a hint and a retry decision."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from .._errors import JobLimitError, JobNotFoundError, MilvusStatusError
from .._hints import Hint
from .._text import excerpt, quote
from ._context import ReplyError
from ._texts import NOT_READY

if TYPE_CHECKING:
    from milvus_import_pb.common_pb2 import Status

    from ._context import CallContext

# Milvus' codes: not ready, unavailable, request limit, rate limit, resource short, REST limiter.
_TRANSIENT_CODES: Final = frozenset({1, 2, 4, 8, 12, 1807})
# The same in the old numbering, which counts only if the new code is absent.
_TRANSIENT_OLD_CODES: Final = frozenset({49, 56})
# Returned before an import is executed: not ready, unavailable, limits, collection, partition and
# database not found, wrong parameters, privileges, REST's authentication, format and limiter.
_NOT_EXECUTED: Final = frozenset(
    {1, 2, 4, 8, 9, 100, 200, 800, 1100, 1400, 1401, 1800, 1801, 1802, 1807}
)
_IMPORT_CODES: Final = frozenset({0, 2100, 2101})
# Milvus 2.2 and 2.3 return most errors with this code, or with error_code 1.
_UNEXPECTED: Final = frozenset({0, 65535})

_JOB_NOT_FOUND: Final = r"(?i)import job does not exist"
_JOB_NOT_FOUND_2_3: Final = r"(?i)key not found\[key=[^]]*/importtask/"
_JOB_LIMIT: Final = r"(?i)number of jobs has reached the limit"
_JOB_LIMIT_2_3: Final = r"(?i)import task queue max size"
_RATE_LIMIT: Final = r"(?i)rate limit exceeded|request is rejected by limiter|rejected by grpc Rate"
_COLLECTION: Final = r"(?i)collection not found|CollectionNotExists|failed to find collection"
_HINTS: Final = (
    (NOT_READY, Hint.SERVER_STARTING),
    (_RATE_LIMIT, Hint.SERVER_RATE_LIMIT),
    (_COLLECTION, Hint.CHECK_COLLECTION),
    (r"(?i)database not found", Hint.CHECK_DATABASE),
    (r"(?i)partition not found", Hint.CHECK_PARTITION),
    (r"(?i)only accepts one file|allowed to input multiple files", Hint.ONE_FILE_PER_GROUP),
    (r"(?i)max(imum)? (number of )?(import )?files|too many files", Hint.TOO_MANY_FILES),
    (r"(?i)unexpected file type|unsupported file type", Hint.FILE_TYPE),
    (r"(?i)disk quota|quota exceeded\[reason=disk", Hint.DISK_QUOTA),
)
_CODE_HINTS: Final = {
    1: Hint.SERVER_STARTING,
    2: Hint.SERVER_STARTING,
    4: Hint.SERVER_RATE_LIMIT,
    8: Hint.SERVER_RATE_LIMIT,
    12: Hint.SERVER_RESOURCES,
    1807: Hint.SERVER_RATE_LIMIT,
}
_OLD_CODE_HINTS: Final = {49: Hint.SERVER_RATE_LIMIT, 56: Hint.SERVER_STARTING}
_FILE_NOT_FOUND: Final = (
    r"(?i)no such file or directory|failed to get file size|NoSuchKey|specified key does not exist"
    r"|file (does )?not (exist|found)|The specified bucket does not exist|no such key"
)
_JOB_HINTS: Final = (
    (_FILE_NOT_FOUND, Hint.JOB_FILE_PATH),
    (r"(?i)unsupported file type|unexpected file type", Hint.FILE_TYPE),
    (r"(?i)there is no file corresponding to field|no file for field", Hint.JOB_NPY_NAMES),
    (r"(?i)large_utf8|large_string", Hint.JOB_LARGE_STRINGS),
    (r"(?i)marked failed as service restarted", Hint.JOB_RESTARTED),
    (r"(?i)size is zero|smaller than indicated|unexpected EOF", Hint.JOB_EMPTY_FILE),
    (
        (
            r"(?i)root key should be|failed to decode the JSON|failed to parse row value"
            r"|invalid JSON|JSON format"
        ),
        Hint.JOB_JSON_LAYOUT,
    ),
)


class ReturnedStatus(NamedTuple):
    """A Status that any of the services returned."""

    code: int
    error_code: int
    reason: str
    detail: str
    retriable: bool
    http_status: int | None = None


def check_status(status: Status) -> str:
    """Raise ReplyError for a Status that is not Success; return the reason of one that is."""
    if status.code or status.error_code:
        raise _not_success(status)
    return status.reason


def _not_success(status: Status) -> ReplyError:
    returned = ReturnedStatus(
        status.code, status.error_code, status.reason, status.detail, status.retriable
    )
    return ReplyError(lambda context: status_error(returned, context))


def status_error(status: ReturnedStatus, context: CallContext) -> MilvusStatusError:
    """Return the error of a Status that is not Success."""
    text = f"{excerpt(status.reason)}\n{excerpt(status.detail)}"
    error_class = _error_class(status, text)
    hint = _hint(error_class, status, text)
    code = f"code {status.code}" if status.code else f"error_code {status.error_code}"
    reason = quote(status.reason or status.detail or "no reason given")
    return error_class(
        f"{context.method} at {context.target}: Milvus returned the status {code}: {reason}",
        code=status.code,
        error_code=status.error_code,
        reason=status.reason,
        detail=status.detail,
        retriable=status.retriable,
        http_status=status.http_status,
        hint=hint,
        transient=error_class is JobLimitError or _is_transient(status, hint),
        may_have_run=not context.read and not _not_executed(status, error_class, hint),
        method=context.method,
        service=context.service,
        target=context.target,
    )


def failed_job_hint(reason: str) -> Hint | None:
    """Return the hint for the reason of a failed job."""
    text = excerpt(reason)
    return next((hint for pattern, hint in _JOB_HINTS if re.search(pattern, text)), None)


def _error_class(status: ReturnedStatus, text: str) -> type[MilvusStatusError]:
    if status.code in _IMPORT_CODES and re.search(_JOB_NOT_FOUND, text):
        return JobNotFoundError
    if re.search(_JOB_NOT_FOUND_2_3, text):
        return JobNotFoundError
    if status.code in _IMPORT_CODES and re.search(_JOB_LIMIT, text):
        return JobLimitError
    if status.code in _UNEXPECTED and re.search(_JOB_LIMIT_2_3, text):
        return JobLimitError
    return MilvusStatusError


def _hint(error_class: type[MilvusStatusError], status: ReturnedStatus, text: str) -> Hint | None:
    if error_class is JobNotFoundError:
        return Hint.CHECK_JOB_ID
    if error_class is JobLimitError:
        return Hint.JOB_LIMIT
    if status.code in _CODE_HINTS:
        return _CODE_HINTS[status.code]
    if not status.code and status.error_code in _OLD_CODE_HINTS:
        return _OLD_CODE_HINTS[status.error_code]
    return next((hint for pattern, hint in _HINTS if re.search(pattern, text)), None)


def _is_transient(status: ReturnedStatus, hint: Hint | None) -> bool:
    if hint in {Hint.SERVER_STARTING, Hint.SERVER_RATE_LIMIT}:
        return True
    if status.code:
        return status.code in _TRANSIENT_CODES
    return status.error_code in _TRANSIENT_OLD_CODES


def _not_executed(
    status: ReturnedStatus, error_class: type[MilvusStatusError], hint: Hint | None
) -> bool:
    return (
        status.code in _NOT_EXECUTED
        or (not status.code and status.error_code in _TRANSIENT_OLD_CODES)
        or error_class is not MilvusStatusError
        or hint
        in {
            Hint.SERVER_STARTING,
            Hint.SERVER_RATE_LIMIT,
            Hint.CHECK_COLLECTION,
            Hint.CHECK_DATABASE,
            Hint.CHECK_PARTITION,
            Hint.ONE_FILE_PER_GROUP,
            Hint.TOO_MANY_FILES,
            Hint.FILE_TYPE,
            Hint.DISK_QUOTA,
        }
    )
