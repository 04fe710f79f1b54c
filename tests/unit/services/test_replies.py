"""Replies are untrusted: their size and their entries are limited before they are parsed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from leaks import alive

from milvus_import import CallError, ImportState, MilvusImportError
from milvus_import._errors import hint_of
from milvus_import._failures._context import CallContext, ReplyError
from milvus_import._failures._texts import EMPTY_REPLY
from milvus_import._hints import Hint
from milvus_import._services import _internal, _public, _replies
from milvus_import._services._replies import (
    MAX_ENTRIES,
    MAX_LISTED_JOBS,
    MAX_PROGRESS_BYTES,
    Snapshot,
    parse,
)
from milvus_import._services._requests import JobParams, ListParams
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

NATIVE = internal_pb2.GetImportProgressResponse
LIST = internal_pb2.ListImportsResponse
MIB = 1024 * 1024
CONTEXT = CallContext("GetImportProgress", "internal", True, "milvus:1", False, 10.0, True, False)
JOB = JobParams("7", "")
ALL = ListParams("", "")


def error_of(read: Any, *arguments: Any) -> MilvusImportError:
    """Return the error that reading a reply ends in."""
    with pytest.raises(ReplyError) as caught:
        read(*arguments)
    assert caught.value.__context__ is None  # protobuf's error may quote the reply
    return caught.value.make(CONTEXT)


def message_of(read: Any, *arguments: Any) -> str:
    error = error_of(read, *arguments)
    assert type(error) is CallError
    return error.details


# ------------------------------------------------------------------------------ what parses


def test_reply_is_parsed_from_bytes_or_taken_as_a_message() -> None:
    reply = NATIVE(state=internal_pb2.Importing, progress=40)
    assert parse(NATIVE, reply.SerializeToString()) == reply
    assert parse(NATIVE, reply) is reply  # interceptors receive messages


@pytest.mark.parametrize("reply", [b"", NATIVE()])
def test_empty_reply_is_transient(reply: Any) -> None:
    error = error_of(lambda: parse(NATIVE, reply))
    assert isinstance(error, CallError)
    assert (error.details, error.transient, error.hint) == (EMPTY_REPLY, True, "")


def test_reply_that_does_not_parse_is_not_transient() -> None:
    error = error_of(lambda: parse(NATIVE, b"\xff\xff\xff\xff"))
    assert isinstance(error, CallError)
    assert (error.details, error.transient) == ("the reply could not be parsed", False)


def test_reply_with_invalid_utf8_gets_its_hint() -> None:
    reply = NATIVE(reason="xx").SerializeToString().replace(b"xx", b"\xff\xfe")
    error = error_of(lambda: parse(NATIVE, reply))
    assert hint_of(error) is Hint.INVALID_UTF8


# ----------------------------------------------------------------------------------- limits


def many_tasks(count: int) -> bytes:
    return b"\x3a\x00" * count  # field 7, empty


def many_ids(count: int) -> bytes:
    return b"\x12\x00" * count  # field 2, empty


PROGRESS = [
    _internal.GET_IMPORT_PROGRESS,
    _internal.WATCH_PROGRESS,
    _public.GET_IMPORT_STATE,
    _public.WATCH_STATE,
]
each_progress = pytest.mark.parametrize(
    "method", PROGRESS, ids=["internal", "internal watch", "public", "public watch"]
)


@each_progress
def test_progress_reply_of_more_than_16_mib_is_not_parsed(method: Any) -> None:
    assert MAX_PROGRESS_BYTES == 16 * MIB
    unknown_field = b"\xfa\x7f"  # field 2047, length-delimited
    largest = unknown_field + b"\xfa\xff\xff\x07" + b"x" * (MAX_PROGRESS_BYTES - 6)
    assert len(largest) == MAX_PROGRESS_BYTES
    method.read_reply(largest, JOB)
    error = error_of(method.read_reply, b"\x1a\x00" * (MAX_PROGRESS_BYTES // 2 + 1), JOB)
    assert isinstance(error, CallError)
    assert error.details == "the reply of 16,777,218 bytes is larger than 16,777,216"
    assert (hint_of(error), error.transient) == (Hint.REPLY_OVER_LIMIT, False)


@each_progress
def test_progress_reply_of_more_than_100_000_entries_is_not_parsed(method: Any) -> None:
    field = 7 if method.service == "internal" else 5
    entry = bytes([field << 3 | 2, 10]) + b"\x0a\x08" + b"x" * 8  # 1.2 MB of them
    assert MAX_ENTRIES == 100_000
    method.read_reply(entry * MAX_ENTRIES, JOB)
    error = error_of(method.read_reply, entry * (MAX_ENTRIES + 1), JOB)
    assert isinstance(error, CallError)
    assert error.details == "the reply has more than 100,000 entries"
    assert (hint_of(error), error.transient) == (Hint.REPLY_OVER_LIMIT, False)


def test_list_of_more_than_a_million_jobs_is_not_parsed() -> None:
    assert MAX_LISTED_JOBS == 1_000_000

    def read(data: bytes) -> object:
        return _internal.LIST_IMPORTS.read_reply(data, ALL)

    assert message_of(read, many_ids(MAX_LISTED_JOBS)) == "the reply's columns differ in length"
    error = error_of(read, many_ids(MAX_LISTED_JOBS + 1))
    assert isinstance(error, CallError)
    assert error.details == "the reply has more than 1,000,000 entries"
    assert hint_of(error) is Hint.REPLY_OVER_LIMIT


def test_list_that_interceptors_have_parsed_is_limited_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_internal, "MAX_LISTED_JOBS", 2)
    reply = LIST(jobIDs=["1", "2", "3"])
    assert message_of(_internal.LIST_IMPORTS.read_reply, reply, ALL) == (
        "the reply lists more than 2 jobs"
    )


def test_entries_of_a_small_reply_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_replies, "exceeds_limits", None)
    assert len(parse(NATIVE, many_tasks(9), max_entries=3).task_progresses) == 9


# ------------------------------------------------------- replies that a watch has already


@pytest.mark.parametrize(
    ("method", "reply", "other"),
    [
        (
            _internal.WATCH_PROGRESS,
            NATIVE(state=internal_pb2.Importing, progress=40),
            NATIVE(state=internal_pb2.Importing, progress=41),
        ),
        (
            _public.WATCH_STATE,
            milvus_pb2.GetImportStateResponse(state=common_pb2.ImportStarted, row_count=1),
            milvus_pb2.GetImportStateResponse(state=common_pb2.ImportStarted, row_count=2),
        ),
    ],
)
def test_unchanged_reply_returns_the_previous_snapshot(method: Any, reply: Any, other: Any) -> None:
    first = method.read_reply(reply.SerializeToString(), JOB)
    assert method.read_reply(reply.SerializeToString(), replace(JOB, previous=first)) is first
    assert method.read_reply(reply, replace(JOB, previous=first)) is first
    second = method.read_reply(other.SerializeToString(), replace(JOB, previous=first))
    assert second is not first
    assert (first.decode().state, first.decode().job_id) == (ImportState.IMPORTING, "7")
    assert first.decode() != second.decode()
    assert first.decode() is not first.decode()  # the caller owns what it receives


@pytest.mark.parametrize(
    ("method", "replies"),
    [
        (_internal.WATCH_PROGRESS, [NATIVE(progress=n) for n in range(1, 20)]),
        (
            _public.WATCH_STATE,
            [milvus_pb2.GetImportStateResponse(row_count=n) for n in range(1, 20)],
        ),
    ],
)
def test_a_snapshot_does_not_keep_the_previous_ones(method: Any, replies: list[Any]) -> None:
    before = alive(Snapshot)
    last = None
    for reply in replies:
        last = method.read_reply(reply.SerializeToString(), replace(JOB, previous=last))
    assert last is not None
    assert alive(Snapshot) - before == 1


def test_status_is_checked_before_a_reply_is_taken_for_unchanged() -> None:
    first = _internal.WATCH_PROGRESS.read_reply(NATIVE(progress=1), JOB)
    failed = NATIVE(progress=1, status=common_pb2.Status(code=1))
    error_of(_internal.WATCH_PROGRESS.read_reply, failed, replace(JOB, previous=first))


# -------------------------------------------------------------------- ids of a new job


@pytest.mark.parametrize(
    ("method", "reply", "job_id"),
    [
        (_internal.IMPORT_V2, internal_pb2.ImportResponse(jobID="7"), "7"),
        (_public.IMPORT, milvus_pb2.ImportResponse(tasks=[7, 8]), "7"),
    ],
)
def test_job_id_of_a_new_job_is_returned(method: Any, reply: Any, job_id: str) -> None:
    assert method.read_reply(reply.SerializeToString(), None) == job_id


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        (_internal.IMPORT_V2, internal_pb2.ImportResponse(status=common_pb2.Status(reason="ok"))),
        (_public.IMPORT, milvus_pb2.ImportResponse(status=common_pb2.Status(reason="ok"))),
    ],
)
def test_reply_without_a_job_id_is_an_error(method: Any, reply: Any) -> None:
    assert message_of(method.read_reply, reply.SerializeToString(), None) == EMPTY_REPLY
