"""Async, gRPC-native client for Milvus bulk-import jobs."""

from ._client import GetImportProgressOption, ImportClient, get_import_progress
from ._endpoint import TLSConfig
from ._errors import (
    AccessDeniedError,
    CallError,
    ClientClosedError,
    DeadlineExceededError,
    ImportFailedError,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from ._models import (
    CallRecord,
    GetImportProgressResponse,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
)
from ._options import CallOptions
from ._watch import ImportWatch
from ._watch_many import JobsWatch

__all__ = [
    "AccessDeniedError",
    "CallError",
    "CallOptions",
    "CallRecord",
    "ClientClosedError",
    "DeadlineExceededError",
    "GetImportProgressOption",
    "GetImportProgressResponse",
    "ImportClient",
    "ImportFailedError",
    "ImportJob",
    "ImportProgressData",
    "ImportProgressDetail",
    "ImportState",
    "ImportWatch",
    "JobLimitError",
    "JobNotFoundError",
    "JobsWatch",
    "MilvusImportError",
    "RefusedError",
    "TLSConfig",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedServerError",
    "WaitTimeoutError",
    "get_import_progress",
]
