from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import pytest

import milvus_import
from milvus_import import (
    AccessDeniedError,
    CallError,
    CallRecord,
    ClientClosedError,
    DeadlineExceededError,
    ImportFailedError,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)

SECRET = "s3cr3t-Milvus"
RECORD = CallRecord(
    "internal",
    "milvus.proto.proxy.Proxy/GetImportProgress",
    grpc.StatusCode.UNAVAILABLE,
    "Socket closed",
    (("server", SECRET),),
    (("key-bin", SECRET.encode()),),
    0.25,
)
PROGRESS = ImportProgressData(
    "books",
    "7",
    "",
    ImportState("11"),
    40,
    1,
    2,
    "why",
    3,
    [ImportProgressDetail("[a.parquet]", 3, 40, "", "InProgress", 1, 2)],
    "2026-01-02T03:04:05Z",
    "internal",
)
OF_A_CALL: dict[str, Any] = {
    "code": grpc.StatusCode.UNAVAILABLE,
    "details": "Socket closed",
    "record": RECORD,
    "may_have_run": True,
}
OF_A_REFUSAL: dict[str, Any] = {
    "code": 2100,
    "error_code": 1,
    "reason": "no",
    "detail": "a chain of causes",
    "retriable": True,
    "service": "public",
}
TREE: dict[type[MilvusImportError], tuple[tuple[type[Exception], ...], dict[str, Any]]] = {
    MilvusImportError: ((Exception,), {}),
    CallError: ((MilvusImportError,), OF_A_CALL),
    DeadlineExceededError: ((CallError, TimeoutError), OF_A_CALL),
    UnavailableError: ((CallError,), OF_A_CALL),
    UnauthenticatedError: ((CallError,), OF_A_CALL),
    AccessDeniedError: ((CallError,), OF_A_CALL),
    UnsupportedServerError: ((CallError,), OF_A_CALL),
    RefusedError: ((MilvusImportError,), OF_A_REFUSAL),
    JobNotFoundError: ((RefusedError,), OF_A_REFUSAL),
    JobLimitError: ((RefusedError,), OF_A_REFUSAL),
    ImportFailedError: ((MilvusImportError,), {"progress": PROGRESS}),
    WaitTimeoutError: ((MilvusImportError, TimeoutError), {"progress": PROGRESS}),
    ClientClosedError: ((MilvusImportError,), {}),
}


def pickled(error: Any, protocol: int) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301


each_error = pytest.mark.parametrize("kind", TREE)


def test_the_tree_is_the_one_drawn() -> None:
    public = {value for value in vars(milvus_import).values() if isinstance(value, type)}
    assert {kind for kind in public if issubclass(kind, BaseException)} == set(TREE)
    for kind, (bases, _) in TREE.items():
        assert kind.__bases__ == bases


@each_error
@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        partial(pickled, protocol=2),
        partial(pickled, protocol=pickle.HIGHEST_PROTOCOL),
    ],
)
def test_an_error_survives_copies_and_pickles_with_all_it_knows(
    kind: type[MilvusImportError], again: Callable[[Any], Any]
) -> None:
    attributes = TREE[kind][1]
    error = kind("what was tried", **attributes)
    error.add_note("a note")
    twin = again(error)
    assert type(twin) is kind
    assert (str(twin), twin.args, twin.__notes__) == (str(error), error.args, ["a note"])
    for name, value in attributes.items():
        assert getattr(twin, name) == getattr(error, name) == value


@each_error
def test_an_error_needs_only_its_message(kind: type[MilvusImportError]) -> None:
    error = kind("what was tried")
    assert str(error) == "what was tried"
    for name, value in TREE[kind][1].items():
        assert getattr(error, name) != value
    with pytest.raises(MilvusImportError, match="what was tried"):
        raise error


def test_a_vanished_job_keeps_its_last_progress_when_pickled() -> None:
    error = JobNotFoundError("gone", code=2100)
    assert error.progress is None
    error.progress = PROGRESS
    assert pickled(error, pickle.DEFAULT_PROTOCOL).progress == PROGRESS


@pytest.mark.parametrize("kind", [DeadlineExceededError, WaitTimeoutError])
def test_what_ran_out_of_time_is_a_timeout_error(kind: type[MilvusImportError]) -> None:
    with pytest.raises(TimeoutError, match="too late"):
        raise kind("too late")


@each_error
def test_no_text_of_an_error_shows_metadata(kind: type[MilvusImportError]) -> None:
    error = kind("what was tried", **TREE[kind][1])
    shown = "".join(traceback.format_exception(error))
    assert SECRET not in f"{error} {error!r} {shown} {vars(error)!r}"
