"""Every error this package raises, drawn as a tree.

::

    MilvusImportError
    ├── CallError                       the RPC itself failed
    │   ├── DeadlineExceededError       (also a TimeoutError)
    │   ├── UnavailableError
    │   ├── UnauthenticatedError
    │   ├── AccessDeniedError
    │   └── UnsupportedServerError
    ├── RefusedError                    the server answered, and the answer was no
    │   ├── JobNotFoundError
    │   └── JobLimitError
    ├── ImportFailedError               the job failed
    ├── WaitTimeoutError                our waiting ended, the job goes on (also a TimeoutError)
    └── ClientClosedError

Misuse (a bad URI, job id, option) is a plain ``ValueError`` or ``TypeError``, raised before
any byte is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from ._models import CallRecord, ImportProgressData, Service


class MilvusImportError(Exception):
    """Root of every error that a call, a job or a wait can end in."""


class CallError(MilvusImportError):
    """The RPC ended with a gRPC status other than OK, or its reply made no sense."""

    code: grpc.StatusCode
    """gRPC's status code."""

    details: str
    """The status text, as the server or gRPC wrote it."""

    record: CallRecord | None
    """What is known about the RPC; None where none was sent, or where gRPC itself said OK and the
    reply is at fault."""

    may_have_run: bool
    """Whether the server may have acted on the request although no answer arrived."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        details: str = "",
        record: CallRecord | None = None,
        may_have_run: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.record = record
        self.may_have_run = may_have_run


class DeadlineExceededError(CallError, TimeoutError):
    """The call's ``timeout`` ran out before an answer arrived."""


class UnavailableError(CallError):
    """No server could be reached, or the connection broke."""


class UnauthenticatedError(CallError):
    """The server wants credentials, or does not accept the ones it got."""


class AccessDeniedError(CallError):
    """The credentials are good, but the user lacks the privilege."""


class UnsupportedServerError(CallError):
    """No service behind this address knows the method."""


class RefusedError(MilvusImportError):
    """The server answered gRPC OK with a Milvus Status that says no."""

    code: int
    """Milvus' error code; 0 where an old server sent only ``error_code``."""

    error_code: int
    """The old error code (another number space); 0 where the server no longer sets it."""

    reason: str
    """Why, in the server's words; often only the innermost cause."""

    detail: str
    """The whole chain of causes where the server sends one; may hold a Go stack trace."""

    retriable: bool
    """The server's own flag. Servers before 2.6.22 leave it false on transient refusals too."""

    service: Service | None
    """Which service answered."""

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        error_code: int = 0,
        reason: str = "",
        detail: str = "",
        retriable: bool = False,
        service: Service | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.error_code = error_code
        self.reason = reason
        self.detail = detail
        self.retriable = retriable
        self.service = service


class JobNotFoundError(RefusedError):
    """The server knows no such job: never created, another server's, or already forgotten."""

    progress: ImportProgressData | None = None
    """The last progress seen, when a watched job vanished."""


class JobLimitError(RefusedError):
    """The server has as many import jobs as it takes; try again when some have ended."""


class ImportFailedError(MilvusImportError):
    """The job ended in the state Failed."""

    progress: ImportProgressData | None
    """The job's last progress, with the reasons of the job and of its files."""

    def __init__(self, message: str, *, progress: ImportProgressData | None = None) -> None:
        super().__init__(message)
        self.progress = progress


class WaitTimeoutError(MilvusImportError, TimeoutError):
    """The time given to a wait or a watch ran out. The job itself goes on."""

    progress: ImportProgressData | None
    """The last progress seen; None if no answer arrived in time, or if many jobs were followed."""

    def __init__(self, message: str, *, progress: ImportProgressData | None = None) -> None:
        super().__init__(message)
        self.progress = progress


class ClientClosedError(MilvusImportError):
    """The client was closed before or during the call."""

    may_have_run: bool
    """Whether the server may have acted on the request: True for a call that was in flight."""

    def __init__(self, message: str, *, may_have_run: bool = False) -> None:
        super().__init__(message)
        self.may_have_run = may_have_run
