"""What the client must make of each recorded failure, written down from the recordings.

The tables in tests/vectors are not made from what the client does. They are read from the responses
of the servers and from the rules of docs/errors.md.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import grpc
from recordings import Recording
from tables import rows

import milvus_import
from milvus_import import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    MilvusImportError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)

CLASSES: dict[grpc.StatusCode, type[CallError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.PERMISSION_DENIED: AccessDeniedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedServerError,
}
"""The class of an error; of every other status code it is CallError."""


class Expected(NamedTuple):
    """The error of the failures of one ``kind`` whose text has the pattern ``text``."""

    kind: str
    text: str
    error: type[MilvusImportError]
    hint: str | None
    transient: bool = False
    may_have_run: bool = False
    calls: str = ""
    """A pattern of "SERVICE METHOD"."""
    authorized: bool | None = None
    """Whether the request had credentials; None for both."""

    def matches(self, recording: Recording) -> bool:
        failure = recording.failure
        assert failure is not None
        return (
            failure.kind == self.kind
            and re.search(self.text, failure.text) is not None
            and re.search(self.calls, f"{recording.service} {recording.call}") is not None
            and self.authorized in {None, recording.authorized}
        )


def _failure(row: list[str]) -> Expected:
    kind, error, flags, hint, calls, credentials, text = row
    return Expected(
        kind,
        text,
        getattr(milvus_import, error),
        hint or None,
        transient="transient" in flags,
        may_have_run="may-have-run" in flags,
        calls=calls,
        authorized=(credentials == "with credentials") if credentials else None,
    )


FAILURES = tuple(map(_failure, rows("recorded_failures")))
REASONS = {pattern: hint or None for hint, pattern in rows("recorded_reasons")}
"""The hint of a failed job, by a pattern of its reason."""


def expected_of(recording: Recording) -> Expected:
    """Return the row of a recorded failure. Exactly one must match."""
    found = [row for row in FAILURES if row.matches(recording)]
    assert len(found) == 1, (recording.failure, found)
    return found[0]


def reason_pattern(reason: str) -> str:
    """Return the pattern of a failed job's reason. Exactly one must match."""
    patterns = [pattern for pattern in REASONS if re.search(pattern, reason)]
    assert len(patterns) == 1, (reason, patterns)
    return patterns[0]


def expected_hint(reason: str) -> str | None:
    """Return the key of the hint of a failed job, or None if it has none."""
    return REASONS[reason_pattern(reason)]
