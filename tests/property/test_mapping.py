"""Any reply that can be built, and any bytes, are mapped as oracle.py maps them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import oracle
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import METHODS, PROXY, PUBLIC, Replay, Reply

from milvus_import import (
    GetImportProgressResponse,
    ImportClient,
    MilvusImportError,
    MilvusStatusError,
)
from milvus_import._failures import complete
from milvus_import._failures._statuses import returned_error
from milvus_import._options import CallSettings
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

UNPARSEABLE = (DecodeError, UnicodeDecodeError)  # the second by the pure-Python backend

NATIVE = internal_pb2.GetImportProgressResponse
PUBLIC_STATE = milvus_pb2.GetImportStateResponse

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=20)
ENUM = st.integers(-2, 12) | INT32


def scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    return {
        FieldDescriptor.TYPE_STRING: TEXT,
        FieldDescriptor.TYPE_INT64: st.integers(-2, 102) | INT64,
        FieldDescriptor.TYPE_INT32: st.integers(-1, 12) | st.sampled_from([100, 2100]) | INT32,
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_ENUM: ENUM,
    }[field.type]


def messages(kind: Any, **special: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return messages with any of their fields set, ``special`` ones by their own strategies."""
    singular = {
        field.name: scalar(field)
        for field in kind.DESCRIPTOR.fields
        if field.message_type is None and field.name not in special and not is_list(kind, field)
    }
    return st.fixed_dictionaries({}, optional=singular | special).map(lambda fields: kind(**fields))


def is_list(kind: Any, field: FieldDescriptor) -> bool:
    return not hasattr(kind(), field.name) or hasattr(getattr(kind(), field.name), "extend")


TEXTS = st.sampled_from(
    [
        "import job does not exist, jobID=7",
        "key not found[key=by-dev/meta/importtask/7]",
        "The number of jobs has reached the limit",
        "import task queue max size is 3, currently there are 3 tasks is pending",
        "collection not found[collection=books]",
        "partition not found",
        "service not ready[proxy=1]: Initializing",
    ]
)
STATUSES = messages(common_pb2.Status, reason=TEXT | TEXTS, detail=TEXT | TEXTS)
GOOD = messages(common_pb2.Status, code=st.just(0), error_code=st.just(0))
PERCENTS = st.one_of(
    st.sampled_from(["", "0", "98", "99", "099", "100", "-1", "\u0669\u0669", "9" * 19, "9" * 20]),
    st.integers().map(str),
    TEXT,
)
INFO = st.one_of(
    st.tuples(st.just("progress_percent"), PERCENTS),
    st.tuples(st.just("failed_reason"), st.just("") | TEXT),
    st.tuples(st.just("collection"), TEXT),
    st.tuples(TEXT, TEXT),
).map(lambda pair: common_pb2.KeyValuePair(key=pair[0], value=pair[1]))
TASKS = st.lists(messages(internal_pb2.ImportTaskProgress), max_size=4)

NATIVE_REPLIES = messages(NATIVE, status=GOOD, task_progresses=TASKS)
PUBLIC_REPLIES = messages(
    PUBLIC_STATE,
    status=GOOD | STATUSES,
    infos=st.lists(INFO, max_size=6),
    state=st.sampled_from([0, 1, 1, 1, 2, 5, 6, 7, 8]) | ENUM,
    create_ts=st.integers(0, 4_000_000_000) | INT64,
)


@given(STATUSES.filter(lambda status: status.code or status.error_code))
def test_any_status_but_success_is_an_error_of_the_right_class(status: Any) -> None:
    error: MilvusStatusError = returned_error(status)
    complete(error, "GetImportState", "public", "milvus", CallSettings(), responded=True)
    assert type(error) is oracle.refusal(status)
    assert (error.code, error.error_code) == (status.code, status.error_code)
    assert (error.reason, error.detail) == (status.reason, status.detail)
    assert len(str(error)) < 800
    assert not error.may_have_run


@st.composite
def mutated(draw: st.DrawFn, replies: st.SearchStrategy[Any]) -> bytes:
    """Return the bytes of a reply with some of them changed, removed or added."""
    data = bytearray(draw(replies).SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


PROGRESS_PATHS = [
    path for path in METHODS if path in {PROXY + "GetImportProgress", PUBLIC + "GetImportState"}
]


@pytest.mark.anyio
@settings(max_examples=120)
@given(
    mutated(NATIVE_REPLIES | PUBLIC_REPLIES) | st.binary(max_size=20),
    st.sampled_from(PROGRESS_PATHS),
)
async def test_any_bytes_from_a_server_end_in_a_response_or_a_milvus_import_error(
    data: bytes, path: str
) -> None:
    async with (
        Replay({path: Reply(reply=data)}) as server,
        ImportClient(server.uri) as client,
    ):
        try:
            outcome: Any = await client.get_import_progress("7")
        except MilvusImportError as error:
            outcome = error
    try:
        expected = oracle.failure(METHODS[path][1].FromString(data), data)
    except UNPARSEABLE:
        expected = MilvusImportError
    if expected is None:
        assert isinstance(outcome, GetImportProgressResponse)
        reply = METHODS[path][1].FromString(data)
        found = outcome.data
        assert asdict(found) == oracle.progress(reply, "7")
        assert found.done == (str(found.state) in {"Completed", "Failed"})
        assert 0 <= found.fraction <= 1
        assert found.created_at is None or found.created_at.tzinfo
    else:
        assert isinstance(outcome, expected)
