"""The errors of this package, and how they quote values and texts.

::

    MilvusImportError
    ├── ArgumentError                   a value is wrong, nothing was sent (also a ValueError)
    ├── CallError                       the RPC failed
    │   ├── DeadlineExceededError       (also a TimeoutError)
    │   ├── UnavailableError
    │   ├── UnauthenticatedError
    │   ├── AccessDeniedError
    │   └── UnsupportedServerError
    ├── MilvusStatusError               Milvus returned a Status that is not Success
    │   ├── JobNotFoundError
    │   └── JobLimitError
    ├── ImportFailedError               the job failed
    ├── WaitTimeoutError                the timeout expired, the job continues (also a TimeoutError)
    └── ClientClosedError

An argument of a wrong type raises a plain ``TypeError``.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack, cast

import grpc

if TYPE_CHECKING:
    from ._hints import Hint
    from ._models import CallRecord, ImportProgressData, Service

EXCERPT = 8192
"""Characters of a text that messages, hints, classification and logs use."""
_MAX_QUOTE = 500
_KEYS: Final = (
    *("type", "message", "hint", "transient", "may_have_run", "rate_limited", "retry_after"),
    *("job_id", "method", "service", "target", "outage", "code", "error_code", "http_status"),
    *("details", "reason", "detail", "retriable", "elapsed", "progress"),
)
"""The keys of ``to_dict()``: attributes, but for the first one and ``elapsed``."""


class ErrorContext(TypedDict, total=False):
    """The keyword arguments that the constructors of all errors accept."""

    hint: Hint | None
    transient: bool
    may_have_run: bool
    rate_limited: bool
    retry_after: float | None
    job_id: str | None
    method: str | None
    service: Service | None
    target: str | None


class CallErrorContext(ErrorContext, total=False):
    """The keyword arguments of a CallError."""

    code: grpc.StatusCode
    details: str
    record: CallRecord | None
    http_status: int | None


class StatusErrorContext(ErrorContext, total=False):
    """The keyword arguments of a MilvusStatusError."""

    code: int
    error_code: int
    reason: str
    detail: str
    retriable: bool
    http_status: int | None


class WaitErrorContext(ErrorContext, total=False):
    """The keyword arguments of a WaitTimeoutError."""

    progress: ImportProgressData | None


class MilvusImportError(Exception):
    """Base class of every error of a call, a job or a wait.

    ``str(error)`` is the message followed by the hint.
    """

    message: str
    """What failed and what came back, without the hint."""

    transient: bool = False
    """Whether the error is temporary. It does not mean that resending is safe: resend a write
    (create, commit, abort) only if ``error.transient and not error.may_have_run``."""

    may_have_run: bool = False
    """Whether the request may have taken effect on the server although the call failed."""

    rate_limited: bool = False
    """Whether the server or a gateway limits the request rate, as for an HTTP status 429."""

    retry_after: float | None = None
    """Seconds after which the server or the gateway allows the next request; None if it did not
    send ``retry-after``."""

    job_id: str | None = None
    """The job that the call or the wait was about; None if it was not about a single job."""

    method: str | None = None
    """The method that was called, such as "GetImportProgress"; None if nothing was called."""

    service: Service | None = None
    """The service that was called; None if nothing was called."""

    target: str | None = None
    """The address that was called; None if nothing was called."""

    outage: float | None = None
    """Seconds without a successful response after which a watch stopped retrying; else None."""

    def __init__(self, message: str = "", **context: Unpack[ErrorContext]) -> None:
        super().__init__(message)
        self.message = message
        self._hint = context.pop("hint", None)
        for name, value in context.items():
            setattr(self, name, value)

    @property
    def hint(self) -> str:
        """How to fix the error, as one to three imperative sentences; "" if there is no hint."""
        return "" if self._hint is None else self._hint.python

    def __str__(self) -> str:
        return self._text(self.hint)

    def _text(self, hint: str) -> str:
        text = self.message + self._last_state()
        if self.outage is not None:
            text += (
                f" (retried for {self.outage:.3g} s without a successful response; "
                "the import itself may continue)"
            )
        return f"{text.removesuffix('.')}. {hint}" if hint else text

    def _last_state(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-ready values for logs. It holds no token and no metadata.

        The keys are the attributes of all errors, with ``elapsed`` of the record; those that an
        error does not have are None. Texts of the server are truncated to 8,192 characters.
        """
        found = {name: _json_value(getattr(self, name, None)) for name in _KEYS}
        record = getattr(self, "record", None)
        found["elapsed"] = None if record is None else record.elapsed
        return found | {"type": type(self).__name__}


def _json_value(value: Any) -> Any:
    """Return the value of an attribute as ``to_dict()`` has it."""
    if isinstance(value, str):
        return excerpt(value)
    if isinstance(value, grpc.StatusCode):
        return value.name
    return value.to_dict() if hasattr(value, "to_dict") else value


class ArgumentError(MilvusImportError, ValueError):
    """An argument has a wrong value. Nothing was sent."""


class CallError(MilvusImportError):
    """The RPC ended with a gRPC status other than OK, or its reply is not valid."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    """The gRPC status code; for REST, the code that gRPC maps the HTTP status to."""

    details: str = ""
    """The status text as the server or gRPC wrote it."""

    record: CallRecord | None = None
    """What is known about the RPC; None if nothing was sent, or if gRPC reported OK and the reply
    is not valid."""

    http_status: int | None = None
    """The HTTP status, if a gateway or a web server responded, or the service is REST."""

    def __init__(self, message: str = "", **context: Unpack[CallErrorContext]) -> None:
        super().__init__(message, **cast("Any", context))


class DeadlineExceededError(CallError, TimeoutError):
    """The deadline of the RPC expired before a response arrived."""

    transient = True


class UnavailableError(CallError):
    """No server could be reached, or the connection was lost.

    ``code`` is UNAVAILABLE, or UNKNOWN or INTERNAL where gRPC reports a lost connection so.
    """

    transient = True


class UnauthenticatedError(CallError):
    """The server requires credentials, or rejected the ones that were sent."""


class AccessDeniedError(CallError):
    """The credentials are valid, but the user lacks the privilege."""


class UnsupportedServerError(CallError):
    """No service at this address implements the method."""


class MilvusStatusError(MilvusImportError):
    """Milvus returned a Status that is not Success."""

    code: int = 0
    """Milvus' error code; 0 if an old server sent only ``error_code``."""

    error_code: int = 0
    """The old error code, a different numbering; 0 if the server no longer sends it."""

    reason: str = ""
    """The reason as the server wrote it; often only the innermost cause."""

    detail: str = ""
    """The whole chain of causes if the server sends it; may hold a Go stack trace."""

    retriable: bool = False
    """The server's own flag. Servers before 2.6.22 leave it False for transient errors too."""

    http_status: int | None = None
    """The HTTP status of a REST response; None for gRPC."""

    def __init__(self, message: str = "", **context: Unpack[StatusErrorContext]) -> None:
        super().__init__(message, **cast("Any", context))


class JobNotFoundError(MilvusStatusError):
    """The server has no such job: never created, on another server, or already removed."""

    progress: ImportProgressData | None = None
    """The last progress seen if a followed job no longer exists; else None."""

    def _last_state(self) -> str:
        last = self.progress
        return f"; its last state was {last.state} at {last.progress} %" if last else ""


class JobLimitError(MilvusStatusError):
    """The server already runs its maximum number of import jobs."""

    transient = True


class ImportFailedError(MilvusImportError):
    """The job ended in the state Failed."""

    progress: ImportProgressData
    """The job's last progress, with the reasons of the job and of its files."""

    def __init__(
        self, message: str, *, progress: ImportProgressData, hint: Hint | None = None
    ) -> None:
        super().__init__(message, hint=hint, job_id=progress.job_id, service=progress.service)
        self.progress = progress

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(type(self), progress=self.progress), (self.message,), self.__dict__)


class WaitTimeoutError(MilvusImportError, TimeoutError):
    """The timeout of a wait or a watch expired. The job itself continues."""

    progress: ImportProgressData | None = None
    """The last progress seen; None if no response arrived in time but lists, or for many jobs."""

    transient = True

    def __init__(self, message: str = "", **context: Unpack[WaitErrorContext]) -> None:
        super().__init__(message, **cast("Any", context))


class ClientClosedError(MilvusImportError):
    """The client was closed before or during the call."""


def hint_of(error: MilvusImportError) -> Hint | None:
    """Return the Hint of an error, for another error with the same cause."""
    return error._hint  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def set_hint(error: MilvusImportError, hint: Hint | None) -> None:
    """Replace the hint of an error."""
    error._hint = hint  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def cli_text(error: MilvusImportError) -> str:
    """Return ``str(error)`` with its hint in the wording of the command line."""
    hint = hint_of(error)
    text = error._text  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return text("" if hint is None else hint.cli)


def wrong_type_error(name: str, rule: str, value: object, *, secret: bool = False) -> TypeError:
    """Return the error of an argument of a wrong type; of a secret it names only the type."""
    got = type(value).__name__ if secret else shorten(value)
    return TypeError(f"{name} must be {rule}, got {got}")


# Values and texts in messages.


def excerpt(text: str) -> str:
    """Return an untrusted text, truncated to ``EXCERPT`` characters."""
    return text[:EXCERPT]


def one_line(text: str) -> str:
    """Return the text on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def quote(text: str) -> str:
    """Return the text for a message: one line of at most 500 characters."""
    line = one_line(excerpt(text))
    shortened = len(line) > _MAX_QUOTE or len(text) > EXCERPT
    return line[:_MAX_QUOTE] + "..." if shortened else line


def without_queries(text: str) -> str:
    """Return a text whose URLs have no query and no user: those of objects are secrets."""
    text = re.sub(r"(://[^\s?]*)\?[^\s'\"<>)\]},]*", r"\1", text)
    return re.sub(r"(?<=://)[^/\s@]*@", "", text)


def shorten(value: object) -> str:
    """Return the repr of an argument for an error message, truncated to 60 characters."""
    text = repr(value[:64] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 64 else text[:60] + "..."
