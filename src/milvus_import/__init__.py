"""Async, gRPC-native client for Milvus bulk-import jobs."""

from typing import TYPE_CHECKING

from ._address import TLSConfig
from ._client import ImportClient
from ._connection._grpc import ChannelOption
from ._errors import (
    AccessDeniedError,
    ArgumentError,
    CallError,
    ClientClosedError,
    DeadlineExceededError,
    ImportFailedError,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
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
from ._once import GetImportProgressOption, get_import_progress
from ._options import CallOptions, Metadata, OnRetry, RpcOptions, Until, WatchOptions
from ._services._requests import (
    BucketCredentials,
    Files,
    ImportOptions,
    ImportOptionsLike,
    Volume,
)
from ._services._select import ServiceChoice
from ._watch._jobs import Outcome
from ._watch._watch import ImportWatch, JobsWatch

__all__ = [
    "AccessDeniedError",
    "ArgumentError",
    "BucketCredentials",
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
    "ImportOptionsLike",
    "ImportProgressData",
    "ImportProgressDetail",
    "ImportState",
    "ImportWatch",
    "JobLimitError",
    "JobNotFoundError",
    "JobsWatch",
    "Metadata",
    "MilvusImportError",
    "MilvusStatusError",
    "OnRetry",
    "Outcome",
    "RpcOptions",
    "Service",
    "ServiceChoice",
    "TLSConfig",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedServerError",
    "Until",
    "Volume",
    "WaitTimeoutError",
    "WatchOptions",
    "get_import_progress",
]

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    """Return ``__version__`` from the metadata of the installed distribution."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415 - 12 % of the import time

    return version("milvus-import")
