"""Replies that a correct server never sends: each is mapped, or raises a documented error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import grpc
import oracle
import pytest
from google.protobuf.message import Message
from replay import PROXY, PUBLIC, Replay, Reply, ok

from milvus_import import (
    CallError,
    CallRecord,
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    MilvusStatusError,
    WaitTimeoutError,
)
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

JOB = "449839014328146739"
INT64 = 2**63 - 1

Call = Callable[[ImportClient], Awaitable[object]]
PROGRESS, STATE = PROXY + "GetImportProgress", PUBLIC + "GetImportState"
CALLS: dict[str, Call] = {
    PROGRESS: lambda client: client.get_import_progress(JOB),
    STATE: lambda client: client.get_import_progress(JOB),
    PROXY + "ListImports": lambda client: client.list_imports("books"),
    PUBLIC + "ListImportTasks": lambda client: client.list_imports("books"),
    PROXY + "ImportV2": lambda client: client.create_import("books", ["a.parquet"]),
    PUBLIC + "Import": lambda client: client.create_import("books", ["a.parquet"]),
}
CREATES = [PROXY + "ImportV2", PUBLIC + "Import"]


async def replied(path: str, reply: Message | bytes) -> Any:
    """Return what the client makes of a reply."""
    async with Replay({path: ok(reply)}) as server, ImportClient(server.uri) as client:
        return await CALLS[path](client)


async def progress_of(reply: Message) -> ImportProgressData:
    """Return the progress in a reply, compared with the mapping of oracle.py."""
    internal = isinstance(reply, internal_pb2.GetImportProgressResponse)
    response = await replied(PROGRESS if internal else STATE, reply)
    assert asdict(response.data) == oracle.progress(reply, JOB)
    data: ImportProgressData = response.data
    return data


def native(**fields: Any) -> internal_pb2.GetImportProgressResponse:
    return internal_pb2.GetImportProgressResponse(status=common_pb2.Status(), **fields)


def public(state: int, infos: list[tuple[str, str]], **fields: Any) -> Any:
    reply = milvus_pb2.GetImportStateResponse(status=common_pb2.Status(), **fields)
    reply.MergeFromString(b"\x10" + varint(state))
    reply.infos.extend(common_pb2.KeyValuePair(key=key, value=value) for key, value in infos)
    return reply


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    parts: list[int] = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


MALFORMED = {
    "no message": b"\xff",
    "cut short": b"\x0a\x05\x08",
    "invalid UTF-8": b"\x0a\x03\x12\x01\xff",
    "unknown wire type": b"\x0f",
    "HTML": b"<html><body>502 Bad Gateway</body></html>",
}


@pytest.mark.parametrize(
    ("path", "kind"),
    # All methods parse in one place: each method once, and each kind once.
    [(path, "no message") for path in CALLS]
    + [(PROGRESS, kind) for kind in MALFORMED if kind != "no message"],
)
async def test_a_reply_that_cannot_be_parsed_raises_call_error(path: str, kind: str) -> None:
    records: list[CallRecord] = []
    async with (
        Replay({path: ok(MALFORMED[kind])}) as server,
        ImportClient(server.uri, on_finish=records.append) as client,
    ):
        with pytest.raises(CallError, match="the reply could not be parsed") as caught:
            await CALLS[path](client)
        assert len([call for call in server.received if call.method == path]) == 1
    assert type(caught.value) is CallError
    assert caught.value.code is grpc.StatusCode.INTERNAL
    assert caught.value.may_have_run == (path in CREATES)
    assert not caught.value.transient
    assert path.endswith(records[-1].method)  # gRPC itself reported OK
    assert records[-1].code is grpc.StatusCode.OK
    assert caught.value.record is None


async def test_a_reply_with_invalid_utf8_has_its_own_hint() -> None:
    with pytest.raises(CallError, match="the reply could not be parsed") as caught:
        await replied(PROGRESS, b"\x1a\x01\xff")
    assert caught.value.hint.startswith("Check the job's files")


@pytest.mark.parametrize(
    ("path", "reply"),
    [(path, b"") for path in CALLS] + [(path, b"\x0a\x00") for path in CREATES],
)
async def test_a_reply_that_is_empty_or_without_the_created_job_raises_call_error(
    path: str, reply: bytes
) -> None:
    with pytest.raises(CallError, match="the reply is empty") as caught:
        await replied(path, reply)
    assert path.rpartition("/")[2] in str(caught.value)
    assert caught.value.may_have_run == (path in CREATES)


CODES = [(0, 1), (0, 56), (0, 999), (0, -1), (65535, 0), (-7, 0), (2100, 1), (2**31 - 1, 0)]


@pytest.mark.parametrize(
    ("path", "code", "error_code"),
    # All methods check the Status in one place: each method once, and each pair of codes once.
    [(path, 65535, 0) for path in CALLS]
    + [(PROGRESS, *codes) for codes in CODES if codes != (65535, 0)],
)
async def test_a_status_that_is_not_success_raises_whatever_else_the_reply_holds(
    path: str, code: int, error_code: int
) -> None:
    body = common_pb2.Status(reason="the disk is full", code=code)
    body.MergeFromString(b"\x08" + varint(error_code))
    packed = body.SerializeToString()
    # Field 2 of each progress reply would otherwise report Completed.
    state = b"\x10\x05" if "Progress" in path else b"\x10\x06" if "State" in path else b""
    with pytest.raises(MilvusStatusError, match="the disk is full") as caught:
        await replied(path, b"\x0a" + varint(len(packed)) + packed + state)
    assert type(caught.value) is MilvusStatusError
    assert (caught.value.code, caught.value.error_code) == (code, error_code)
    assert str(code or error_code) in str(caught.value)


@pytest.mark.parametrize("status", [None, common_pb2.Status()], ids=["absent", "empty"])
async def test_a_reply_without_a_status_is_success(status: common_pb2.Status | None) -> None:
    for reply in (
        internal_pb2.GetImportProgressResponse(status=status, state=internal_pb2.Importing),
        milvus_pb2.GetImportStateResponse(status=status, state=common_pb2.ImportStarted),
    ):
        assert (await progress_of(reply)).state == "Importing"


async def test_the_reason_of_a_success_status_is_the_message() -> None:
    reply = native(state=3)
    reply.status.reason = "accepted"
    assert (await replied(PROGRESS, reply)).message == "accepted"


@pytest.mark.parametrize("number", [-1, 3, 4, 9, 10, 11, 12, 2**31 - 1, -(2**31)])
async def test_an_unknown_state_is_kept_as_its_number(number: int) -> None:
    reply = native()
    reply.MergeFromString(b"\x10" + varint(number))
    for data in (await progress_of(reply), await progress_of(public(number, []))):
        assert data.state in oracle.INTERNAL_STATES or data.state == str(number)
        assert data.done == (data.state in {"Completed", "Failed"})


async def test_unknown_fields_are_ignored() -> None:
    future = b"\xc2\x0c\x0ffrom the future" + b"\xc8\x0c\x07"
    for reply in (
        native(state=3, progress=42, task_progresses=[internal_pb2.ImportTaskProgress(progress=1)]),
        public(2, [("progress_percent", "42")]),
    ):
        known = await progress_of(reply)
        reply.MergeFromString(future)
        assert await progress_of(reply) == known


@pytest.mark.parametrize("percent", [-1, -INT64 - 1, 101, INT64])
async def test_out_of_range_numbers_stay_raw_and_fraction_is_clamped(percent: int) -> None:
    detail = internal_pb2.ImportTaskProgress(
        progress=percent, file_size=percent, imported_rows=percent, total_rows=-percent - 1
    )
    reply = native(state=3, progress=percent, total_rows=percent, task_progresses=[detail] * 2)
    for data in (
        await progress_of(reply),
        await progress_of(public(2, [("progress_percent", str(percent))], row_count=percent)),
    ):
        assert data.progress == percent
        assert data.fraction == (0.0 if percent < 0 else 1.0)
        assert [detail.fraction for detail in data.details] == [data.fraction] * len(data.details)


PERCENT, REASON = "progress_percent", "failed_reason"
DIGITS = ("\u0665\u0660", "\uff15\uff10", "\u00b2")  # that int() or str.isdigit() accepts
NOT_NUMBERS = (*DIGITS, "", "half", "12.5", "1e3", "0x10", "1_0", " 50", "50\n", "9" * 5000)


@pytest.mark.parametrize(
    ("state", "infos", "expected"),
    [
        (0, [], ("Pending", 0, "")),
        (2, [], ("Importing", 0, "")),
        (5, [(PERCENT, "90")], ("Importing", 90, "")),
        (8, [(PERCENT, "95")], ("Importing", 95, "")),
        (6, [], ("Completed", 100, "")),
        (6, [(PERCENT, "37")], ("Completed", 37, "")),
        (7, [(REASON, "cleaned up")], ("Failed", 0, "cleaned up")),
        (1, [], ("Failed", 0, "")),
        *((2, [(PERCENT, text)], ("Importing", 0, "")) for text in NOT_NUMBERS),
        (2, [(PERCENT, "-5")], ("Importing", -5, "")),
        (2, [(PERCENT, str(INT64))], ("Importing", INT64, "")),
        # the last of two is kept, as in a Go map
        (2, [(PERCENT, "10"), (PERCENT, "20")], ("Importing", 20, "")),
        (1, [(REASON, ""), (PERCENT, "99"), (REASON, "why")], ("Failed", 99, "why")),
        # Uncommitted is exactly one combination
        (1, [(REASON, ""), (PERCENT, "99")], ("Uncommitted", 99, "")),
        (1, [(PERCENT, "99")], ("Uncommitted", 99, "")),
        (1, [(REASON, "bad row"), (PERCENT, "99")], ("Failed", 99, "bad row")),
        (1, [(REASON, " "), (PERCENT, "99")], ("Failed", 99, " ")),
        (1, [(REASON, ""), (PERCENT, "98")], ("Failed", 98, "")),
        (1, [(REASON, ""), (PERCENT, "100")], ("Failed", 100, "")),
        (1, [(REASON, ""), (PERCENT, "099")], ("Failed", 99, "")),
        (1, [(REASON, ""), (PERCENT, "99 ")], ("Failed", 0, "")),
        (1, [(REASON, ""), (PERCENT, "\uff19\uff19")], ("Failed", 0, "")),
        (7, [(REASON, ""), (PERCENT, "99")], ("Failed", 99, "")),
        (2, [(REASON, ""), (PERCENT, "99")], ("Importing", 99, "")),
        (9, [(REASON, ""), (PERCENT, "99")], ("9", 99, "")),
    ],
)
async def test_state_and_infos_of_the_public_service(
    state: int, infos: list[tuple[str, str]], expected: tuple[str, int, str]
) -> None:
    data = await progress_of(public(state, infos))
    assert (data.state, data.progress, data.reason) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((moment, "") for moment in (0, INT64, -INT64 - 1)),
        (1, "1970-01-01T00:00:01Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (1_795_475_972, "2026-11-23T23:19:32Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (253_402_300_800, ""),
        (-62_135_596_800, "0001-01-01T00:00:00Z"),
        (-62_135_596_801, ""),
    ],
)
async def test_create_ts_becomes_an_rfc_3339_time(seconds: int, text: str) -> None:
    data = await progress_of(public(2, [], create_ts=seconds))
    assert data.create_time == text
    assert (data.created_at is None) == (text == "")
    if data.created_at is not None:
        assert data.created_at.timestamp() == seconds


@pytest.mark.parametrize(
    ("reason", "until", "error", "message"),
    [
        ("", "completed", WaitTimeoutError, "its last state was Uncommitted at 99 %"),
        ("", "uncommitted", None, ""),
        ("row 3 is bad", "completed", ImportFailedError, "row 3 is bad"),
        ("row 3 is bad", "uncommitted", ImportFailedError, "row 3 is bad"),
    ],
)
async def test_wait_does_not_take_an_uncommitted_job_for_failed(
    reason: str, until: Any, error: type[Exception] | None, message: str
) -> None:
    reply = ok(public(1, [(REASON, reason), (PERCENT, "99")]))
    async with Replay({STATE: reply}) as server, ImportClient(server.uri) as client:
        if error is None:
            assert (await client.wait(JOB, timeout=0, until=until)).state == "Uncommitted"
        else:
            with pytest.raises(error, match=message):
                await client.wait(JOB, timeout=0, until=until)


COLUMNS = {"states": 3, "reasons": "", "progresses": 40, "collection_names": "books"}


def job_list(ids: list[str], **columns: Any) -> internal_pb2.ListImportsResponse:
    filled: dict[str, Any] = {name: [value] * len(ids) for name, value in COLUMNS.items()}
    columns = filled | {"jobIDs": ids} | columns
    return internal_pb2.ListImportsResponse(status=common_pb2.Status(), **columns)


@pytest.mark.parametrize("column", ["jobIDs", *COLUMNS])
@pytest.mark.parametrize("change", ["short", "long", "missing"])
async def test_list_imports_with_columns_of_different_length_raises_call_error(
    column: str, change: str
) -> None:
    values: list[Any] = list(getattr(job_list(["1", "2"]), column))
    changed = {"short": values[:1], "long": values * 2, "missing": []}[change]
    reply = job_list(["1", "2"], **{column: changed})
    with pytest.raises(CallError, match="the reply's columns differ in length"):
        await replied(PROXY + "ListImports", reply)


async def test_list_imports_sorts_by_number_and_keeps_unusual_values() -> None:
    ids = ["10", "9", "450000000000000000", "007", "9"]
    reply = job_list(ids, states=[3, 77, 5, 4, 8], progresses=[1, -5, INT64, 0, 99])
    jobs = await replied(PROXY + "ListImports", reply)
    assert [(job.job_id, job.state, job.progress) for job in jobs] == [
        ("7", "Failed", 0),  # as the server prints it everywhere else
        ("9", "Uncommitted", 99),  # the last of two
        ("10", "Importing", 1),
        ("450000000000000000", "Completed", INT64),
    ]


@pytest.mark.parametrize("job_id", ["x", "\u0663", "", "-1", str(2**63), "9" * 5000])
async def test_list_imports_with_an_invalid_job_id_raises_call_error(job_id: str) -> None:
    with pytest.raises(CallError, match=r"lists the job id .*, which is not valid") as caught:
        await replied(PROXY + "ListImports", job_list(["1", job_id]))
    assert len(str(caught.value)) < 1000


async def test_list_imports_returns_an_empty_list_for_an_empty_success() -> None:
    for path in (PROXY + "ListImports", PUBLIC + "ListImportTasks"):
        assert await replied(path, b"\x0a\x00") == []


async def test_call_error_keeps_the_whole_status_text_and_quotes_its_beginning() -> None:
    details = "the text of the server " * 50
    replies = dict.fromkeys(CALLS, Reply(grpc.StatusCode.DATA_LOSS, details))
    async with Replay(replies) as server, ImportClient(server.uri, service="internal") as client:
        with pytest.raises(CallError, match="the text of the server") as caught:
            await client.get_import_progress(JOB)
    assert caught.value.code is grpc.StatusCode.DATA_LOSS
    assert caught.value.details == details
    assert len(str(caught.value)) < len(details)
    assert caught.value.record is not None
    assert caught.value.record.code is grpc.StatusCode.DATA_LOSS
