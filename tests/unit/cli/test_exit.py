"""Exit codes."""

from __future__ import annotations

import pytest

from milvus_import import (
    AccessDeniedError,
    CallError,
    ClientClosedError,
    DeadlineExceededError,
    ImportFailedError,
    ImportProgressData,
    ImportState,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from milvus_import._cli._run import exit_code

PROGRESS = ImportProgressData(
    "books", "7", "", ImportState.FAILED, 0, 0, 0, "", 0, [], "", "internal"
)
CODES: dict[MilvusImportError, int] = {
    ImportFailedError("failed", progress=PROGRESS): 1,
    CallError("call"): 3,
    DeadlineExceededError("deadline"): 3,
    UnavailableError("unavailable"): 3,
    UnauthenticatedError("unauthenticated"): 3,
    AccessDeniedError("denied"): 3,
    UnsupportedServerError("unsupported"): 3,
    MilvusStatusError("status"): 3,
    JobLimitError("limit"): 3,
    ClientClosedError("closed"): 3,
    JobNotFoundError("not found"): 4,
    WaitTimeoutError("timed out"): 5,
}
WORST_FIRST = (3, 1, 4, 5)


@pytest.mark.parametrize("error", CODES, ids=lambda error: type(error).__name__)
def test_each_error_has_its_exit_code(error: MilvusImportError) -> None:
    assert exit_code([error]) == CODES[error]


def test_no_error_is_0() -> None:
    assert exit_code([]) == 0


@pytest.mark.parametrize("first", WORST_FIRST)
@pytest.mark.parametrize("second", WORST_FIRST)
def test_worse_of_two_errors_is_the_exit_code(first: int, second: int) -> None:
    errors = {code: error for error, code in CODES.items()}
    worse = min(first, second, key=WORST_FIRST.index)
    assert exit_code([errors[first], errors[second]]) == worse
