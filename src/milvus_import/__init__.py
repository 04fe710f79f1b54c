"""Async, gRPC-native client for Milvus bulk-import jobs."""

from ._auto import ServiceChoice
from ._channel import ChannelOption
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
    Service,
)
from ._options import CallOptions, Metadata
from ._request import Files, ImportOptions
from ._watch import ImportWatch, OnFault, Until
from ._watch_many import JobsWatch, Outcome

__all__ = [
    "AccessDeniedError",
    "CallError",
    "CallOptions",
    "CallRecord",
    "ChannelOption",
    "ClientClosedError",
    "DeadlineExceededError",
    "Files",
    "GetImportProgressOption",
    "GetImportProgressResponse",
    "ImportClient",
    "ImportFailedError",
    "ImportJob",
    "ImportOptions",
    "ImportProgressData",
    "ImportProgressDetail",
    "ImportState",
    "ImportWatch",
    "JobLimitError",
    "JobNotFoundError",
    "JobsWatch",
    "Metadata",
    "MilvusImportError",
    "OnFault",
    "Outcome",
    "RefusedError",
    "Service",
    "ServiceChoice",
    "TLSConfig",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedServerError",
    "Until",
    "WaitTimeoutError",
    "get_import_progress",
]
