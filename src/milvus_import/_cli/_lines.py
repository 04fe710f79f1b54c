"""Progress as lines, for output that is not a terminal: one line per change."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import grpc

from .._errors import CallError, MilvusImportError
from .._models import CallRecord
from . import _text
from ._text import Progress


class LineWriter:
    """Writes a line per change of a job, and a line per change of the connection."""

    def __init__(
        self,
        write: Callable[[str], object],
        write_connection: Callable[[str], object],
        form: Callable[[Progress], str] = _text.line,
    ) -> None:
        self._write = write
        self._write_connection = write_connection
        self._form = form
        self._written: dict[str, str] = {}
        self._fault: MilvusImportError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def __call__(self, progress: Progress) -> None:
        """Write the job's line, unless it is the same as before."""
        self._recovered()
        text = self._form(progress)
        if self._written.get(progress.job_id) != text:
            self._written[progress.job_id] = text
            self._write(text)

    def on_retry(self, error: MilvusImportError, outage: float) -> None:
        """Write that the connection is lost, and again if the cause changes."""
        del outage
        if self._fault is None or cause(error) != cause(self._fault):
            self._write_connection(f"reconnecting: {cause(error)}")
        self._fault = error

    def on_finish(self, record: CallRecord) -> None:
        """Write that the server is back, unless its responses are the fault."""
        responded = record.code is grpc.StatusCode.OK
        if responded and isinstance(self._fault, CallError) and self._fault.record:
            self._recovered()

    def _recovered(self) -> None:
        if self._fault is not None:
            self._write_connection("reconnected")
        self._fault = None


def cause(error: MilvusImportError) -> str:
    """Return the shortest description of a fault."""
    return error.code.name if isinstance(error, CallError) else _text.error(error)
