"""The errors: their classes, their text, what programs read from them, copies and pickles."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
import pytest

import milvus_import
from milvus_import import (
    AccessDeniedError,
    ArgumentError,
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
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from milvus_import._errors import ErrorContext, set_hint
from milvus_import._hints import Hint

SECRET = "s3cr3t-Milvus"
CODE = grpc.StatusCode.UNAVAILABLE
METADATA = ((("server", SECRET),), (("key-bin", SECRET.encode()),))
RECORD = CallRecord("internal", "Proxy/GetImportProgress", CODE, "Socket closed", *METADATA, 0.25)
DETAIL = ImportProgressDetail("[a.parquet]", 3, 40, "", "InProgress", 1, 2)
STATE = ImportState("11")
PROGRESS = ImportProgressData(
    "books", "7", "", STATE, 40, 1, 2, "why", 3, [DETAIL], "2026-01-02T03:04:05Z", "internal"
)
CALL = {"code": CODE, "details": "Socket closed", "record": RECORD, "http_status": 503}
TEXTS = {"reason": "no", "detail": "a chain of causes"}
STATUS = TEXTS | {"code": 2100, "error_code": 1, "retriable": True, "http_status": 200}
FLAGS = ("transient", "may_have_run", "rate_limited")
CALLED = {"job_id": "7", "method": "GetImportProgress", "service": "internal", "target": "m:19530"}
CONTEXT = CALLED | dict.fromkeys(FLAGS, True) | {"hint": Hint.RECONNECT, "retry_after": 8.0}


class Row(NamedTuple):
    """What an error class is, and what it accepts."""

    bases: tuple[type[Exception], ...]
    transient: bool = False
    """Unless it is given."""
    own: Mapping[str, Any] = MappingProxyType({})
    """The arguments that only this class accepts."""
    context: Mapping[str, Any] = CONTEXT
    code: str | int | None = None
    """The code in to_dict()."""


TREE: dict[type[MilvusImportError], Row] = {
    MilvusImportError: Row((Exception,)),
    ArgumentError: Row((MilvusImportError, ValueError)),
    CallError: Row((MilvusImportError,), own=CALL, code="UNAVAILABLE"),
    DeadlineExceededError: Row((CallError, TimeoutError), True, CALL, code="UNAVAILABLE"),
    UnavailableError: Row((CallError,), True, CALL, code="UNAVAILABLE"),
    UnauthenticatedError: Row((CallError,), own=CALL, code="UNAVAILABLE"),
    AccessDeniedError: Row((CallError,), own=CALL, code="UNAVAILABLE"),
    UnsupportedServerError: Row((CallError,), own=CALL, code="UNAVAILABLE"),
    MilvusStatusError: Row((MilvusImportError,), own=STATUS, code=2100),
    JobNotFoundError: Row((MilvusStatusError,), own=STATUS, code=2100),
    JobLimitError: Row((MilvusStatusError,), True, STATUS, code=2100),
    ImportFailedError: Row(
        (MilvusImportError,), own={"progress": PROGRESS}, context={"hint": Hint.JOB_FILE_PATH}
    ),
    WaitTimeoutError: Row((MilvusImportError, TimeoutError), True, {"progress": PROGRESS}),
    ClientClosedError: Row((MilvusImportError,)),
}
KEYS = [
    *("type", "message", "hint", "transient", "may_have_run", "rate_limited", "retry_after"),
    *("job_id", "method", "service", "target", "outage", "code", "error_code", "http_status"),
    *("details", "reason", "detail", "retriable", "elapsed", "progress"),
]

each_error = pytest.mark.parametrize("kind", TREE)


def made(kind: type[MilvusImportError]) -> Any:
    """Return an error with everything that its class accepts."""
    row = TREE[kind]
    return kind("what was tried", **row.own, **row.context)


def bare(kind: type[MilvusImportError]) -> Any:
    """Return an error with its message alone, or with what it needs besides."""
    if kind is ImportFailedError:
        return ImportFailedError("what was tried", progress=PROGRESS)
    return kind("what was tried")


def pickled(error: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301


def test_class_tree_is_the_documented_one() -> None:
    public = {value for value in vars(milvus_import).values() if isinstance(value, type)}
    assert {kind for kind in public if issubclass(kind, BaseException)} == set(TREE)
    for kind, row in TREE.items():
        assert kind.__bases__ == row.bases


@each_error
def test_error_needs_only_its_message(kind: type[MilvusImportError]) -> None:
    error = bare(kind)
    assert str(error) == error.message == "what was tried"
    assert error.args == ("what was tried",)
    assert error.hint == ""
    assert error.transient is TREE[kind].transient
    assert error.may_have_run is False
    assert (error.outage, error.rate_limited, error.retry_after) == (None, False, None)
    assert (error.method, error.target) == (None, None)
    if kind is not ImportFailedError:
        assert (error.job_id, error.service) == (None, None)
        assert kind("x", transient=False).transient is False


@each_error
def test_error_keeps_everything_that_it_is_made_with(kind: type[MilvusImportError]) -> None:
    row, error = TREE[kind], made(kind)
    for name, value in {**row.own, **row.context}.items():
        assert getattr(error, name) == (value.python if name == "hint" else value)


def test_error_context_names_exactly_what_every_constructor_accepts() -> None:
    assert ErrorContext.__optional_keys__ == set(CONTEXT)
    assert not ErrorContext.__required_keys__
    error = ImportFailedError("x", progress=PROGRESS)
    assert (error.job_id, error.service) == ("7", "internal")  # of the progress


@each_error
def test_to_dict_has_the_same_keys_for_every_error_and_is_json(
    kind: type[MilvusImportError],
) -> None:
    for error in (made(kind), bare(kind)):
        found = error.to_dict()
        assert list(found) == KEYS
        assert json.loads(json.dumps(found)) == found
        assert SECRET not in json.dumps(found)


@each_error
def test_to_dict_holds_what_the_error_knows(kind: type[MilvusImportError]) -> None:
    row, error = TREE[kind], made(kind)
    error.outage = 1.5
    context: dict[str, Any] = dict.fromkeys(CONTEXT) | dict.fromkeys(FLAGS, False)
    context |= {"job_id": "7", "service": "internal", **row.context}
    own = {name: row.own.get(name) for name in (*CALL, *STATUS) if name != "record"}
    assert error.to_dict() == own | context | {
        "type": kind.__name__,
        "message": "what was tried",
        "hint": row.context["hint"].python,
        "outage": 1.5,
        "code": row.code,
        "elapsed": 0.25 if "record" in row.own else None,
        "progress": PROGRESS.to_dict() if "progress" in row.own else None,
    }


def test_to_dict_cuts_long_texts_of_the_server() -> None:
    error = MilvusStatusError("", reason="r" * 9000, detail="d" * 9000)
    assert error.to_dict() | {"reason": "r" * 8192, "detail": "d" * 8192} == error.to_dict()


# ------------------------------------------------------------------------------------ the text


@each_error
def test_text_is_the_message_followed_by_the_hint_without_metadata(
    kind: type[MilvusImportError],
) -> None:
    error = made(kind)
    assert str(error) == f"what was tried. {TREE[kind].context['hint'].python}"
    assert error.message == "what was tried"
    shown = "".join(traceback.format_exception(error))
    assert SECRET not in f"{error} {error!r} {shown} {vars(error)!r}"


def test_text_names_the_outage_between_message_and_hint() -> None:
    error = UnavailableError("no connection", hint=Hint.CHECK_ADDRESS)
    error.outage = 301.25
    retried = "(retried for 301 s without a successful response; the import itself may continue)"
    assert str(error) == f"no connection {retried}. {Hint.CHECK_ADDRESS.python}"
    assert str(pickled(error)) == str(error)
    error.outage = None
    assert str(error) == f"no connection. {Hint.CHECK_ADDRESS.python}"


def test_text_of_a_job_that_no_longer_exists_names_its_last_state() -> None:
    error = JobNotFoundError("gone", code=2100, hint=Hint.CHECK_JOB_ID)
    assert str(error) == f"gone. {Hint.CHECK_JOB_ID.python}"
    error.progress = PROGRESS
    assert str(error) == f"gone; its last state was 11 at 40 %. {Hint.CHECK_JOB_ID.python}"
    assert pickled(error).progress == PROGRESS
    assert error.to_dict()["progress"] == PROGRESS.to_dict()
    assert JobNotFoundError("gone").to_dict()["progress"] is None
    set_hint(error, None)
    assert str(error) == "gone; its last state was 11 at 40 %"


# ------------------------------------------------------------------------- copies and pickles


@each_error
def test_error_survives_copying_and_pickling(kind: type[MilvusImportError]) -> None:
    error = made(kind)
    error.outage = 1.5
    error.add_note("a note")
    pickles = (pickled(error, protocol) for protocol in (2, pickle.HIGHEST_PROTOCOL))
    for twin in (copy.copy(error), copy.deepcopy(error), *pickles):
        assert type(twin) is kind
        assert sorted(twin.__dict__) == sorted(error.__dict__)
        assert (str(twin), twin.args, twin.__notes__) == (str(error), error.args, ["a note"])
        assert twin.to_dict() == error.to_dict()
        assert twin.outage == 1.5
        for name, value in TREE[kind].own.items():
            assert getattr(twin, name) == value


def test_import_failed_error_requires_its_progress() -> None:
    untyped: Any = ImportFailedError
    with pytest.raises(TypeError, match="progress"):
        untyped("failed")
