"""Replies that no good server sends: each is mapped or refused clearly, and never believed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import grpc
import oracle
import pytest
from google.protobuf.message import Message
from replay import PROXY, PUBLIC, Answer, Replay, ok

from milvus_import import (
    CallError,
    CallRecord,
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    JobNotFoundError,
    RefusedError,
    WaitTimeoutError,
)
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

JOB = "449839014328146739"
INT64 = 2**63 - 1

Ask = Callable[[ImportClient], Awaitable[object]]
ASKS: dict[str, Ask] = {
    PROXY + "GetImportProgress": lambda client: client.get_import_progress(JOB),
    PUBLIC + "GetImportState": lambda client: client.get_import_progress(JOB),
    PROXY + "ListImports": lambda client: client.list_imports("books"),
    PUBLIC + "ListImportTasks": lambda client: client.list_imports("books"),
    PROXY + "ImportV2": lambda client: client.create_import("books", ["a.parquet"]),
    PUBLIC + "Import": lambda client: client.create_import("books", ["a.parquet"]),
}

each_method = pytest.mark.parametrize("path", ASKS)


async def replied(path: str, reply: Message | bytes) -> object:
    """What the client makes of a reply."""
    async with Replay({path: ok(reply)}) as server, ImportClient(server.uri) as client:
        return await ASKS[path](client)


async def progress_of(reply: Message) -> ImportProgressData:
    """The progress in a reply, held against the mapping of oracle.py."""
    internal = isinstance(reply, internal_pb2.GetImportProgressResponse)
    path = PROXY + "GetImportProgress" if internal else PUBLIC + "GetImportState"
    async with Replay({path: ok(reply)}) as server, ImportClient(server.uri) as client:
        data = (await client.get_import_progress(JOB)).data
    assert asdict(data) == oracle.progress(reply, JOB)
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


@each_method
@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\xff", id="no message"),
        pytest.param(b"\x0a\x05\x08", id="cut short"),
        pytest.param(b"\x0a\x03\x12\x01\xff", id="invalid UTF-8"),
        pytest.param(b"\x0f", id="unknown wire type"),
        pytest.param(b"<html><body>502 Bad Gateway</body></html>", id="HTML"),
    ],
)
async def test_bytes_that_do_not_parse_are_an_error(path: str, garbage: bytes) -> None:
    records: list[CallRecord] = []
    async with (
        Replay({path: ok(garbage)}) as server,
        ImportClient(server.uri, on_finish=records.append) as client,
    ):
        with pytest.raises(CallError, match="the reply could not be parsed") as caught:
            await ASKS[path](client)
        assert len([call for call in server.received if call.method == path]) == 1
    assert type(caught.value) is CallError
    assert caught.value.code is grpc.StatusCode.INTERNAL
    assert caught.value.may_have_run
    assert records[-1] is caught.value.record
    assert path.endswith(records[-1].method)


@each_method
async def test_an_empty_reply_is_an_error(path: str) -> None:
    with pytest.raises(CallError, match="the reply is empty") as caught:
        await replied(path, b"")
    assert path.rpartition("/")[2] in str(caught.value)


@pytest.mark.parametrize("path", [PROXY + "ImportV2", PUBLIC + "Import"])
async def test_an_order_confirmed_without_a_job_id_is_an_error_that_may_have_run(path: str) -> None:
    with pytest.raises(CallError, match="the reply is empty") as caught:
        await replied(path, b"\x0a\x00")
    assert caught.value.may_have_run


@each_method
@pytest.mark.parametrize(
    ("code", "error_code"),
    [(0, 1), (0, 56), (0, 999), (0, -1), (65535, 0), (-7, 0), (2100, 1), (2**31 - 1, 0)],
)
async def test_a_status_that_says_no_is_a_refusal_whatever_else_is_there(
    path: str, code: int, error_code: int
) -> None:
    body = common_pb2.Status(reason="the disk is full", code=code)
    body.MergeFromString(b"\x08" + varint(error_code))
    packed = body.SerializeToString()
    # Field 2 of each reply would otherwise be good news.
    news = b"\x10\x05" if "Progress" in path else b"\x10\x06" if "State" in path else b""
    with pytest.raises(RefusedError, match="the disk is full") as caught:
        await replied(path, b"\x0a" + varint(len(packed)) + packed + news)
    assert type(caught.value) is RefusedError
    assert (caught.value.code, caught.value.error_code) == (code, error_code)
    assert str(code or error_code) in str(caught.value)


async def test_the_old_status_of_an_unknown_job_is_known_by_its_text() -> None:
    status = common_pb2.Status(
        error_code=common_pb2.UnexpectedError, reason=f"import job does not exist, jobID={JOB}"
    )
    with pytest.raises(JobNotFoundError):
        await replied(PUBLIC + "GetImportState", milvus_pb2.GetImportStateResponse(status=status))


@pytest.mark.parametrize("status", [None, common_pb2.Status()], ids=["absent", "empty"])
async def test_no_status_means_success(status: common_pb2.Status | None) -> None:
    for reply in (
        internal_pb2.GetImportProgressResponse(status=status, state=internal_pb2.Importing),
        milvus_pb2.GetImportStateResponse(status=status, state=common_pb2.ImportStarted),
    ):
        assert (await progress_of(reply)).state == "Importing"


async def test_the_word_beside_a_good_status_is_kept() -> None:
    reply = native(state=3)
    reply.status.reason = "all well"
    async with (
        Replay({PROXY + "GetImportProgress": ok(reply)}) as server,
        ImportClient(server.uri) as client,
    ):
        assert (await client.get_import_progress(JOB)).message == "all well"


@pytest.mark.parametrize("number", [-1, 3, 4, 9, 10, 11, 12, 2**31 - 1, -(2**31)])
async def test_a_state_that_has_no_name_is_kept_as_its_number(number: int) -> None:
    reply = native()
    reply.MergeFromString(b"\x10" + varint(number))
    for data in (await progress_of(reply), await progress_of(public(number, []))):
        assert data.state in oracle.INTERNAL_STATES or data.state == str(number)
        assert data.done == (data.state in {"Completed", "Failed"})


async def test_fields_of_a_newer_server_are_passed_over() -> None:
    future = b"\xc2\x0c\x0ffrom the future" + b"\xc8\x0c\x07"
    for reply in (
        native(state=3, progress=42, task_progresses=[internal_pb2.ImportTaskProgress(progress=1)]),
        public(2, [("progress_percent", "42")]),
    ):
        known = await progress_of(reply)
        reply.MergeFromString(future)
        assert await progress_of(reply) == known


@pytest.mark.parametrize("percent", [-1, -INT64 - 1, 101, INT64])
async def test_impossible_numbers_stay_raw_and_draw_within_bounds(percent: int) -> None:
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


async def test_a_job_of_20000_files() -> None:
    tasks = [
        internal_pb2.ImportTaskProgress(file_name=f"[{n}.parquet]", file_size=n, progress=n % 101)
        for n in range(20_000)
    ]
    data = await progress_of(native(state=3, task_progresses=tasks))
    assert (len(data.details), data.file_size) == (20_000, sum(range(20_000)))


async def test_a_reply_above_the_limit_says_which_limit() -> None:
    reply = native(state=3, reason="x" * 10_000)
    async with (
        Replay({PROXY + "GetImportProgress": ok(reply)}) as server,
        ImportClient(server.uri, max_receive_bytes=5_000) as client,
    ):
        with pytest.raises(CallError, match="max_receive_bytes") as caught:
            await client.get_import_progress(JOB)
        assert len(server.received) == 1
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


PERCENT, REASON = "progress_percent", "failed_reason"


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
        # no numbers
        (2, [(PERCENT, "")], ("Importing", 0, "")),
        (2, [(PERCENT, "half")], ("Importing", 0, "")),
        (2, [(PERCENT, "12.5")], ("Importing", 0, "")),
        (2, [(PERCENT, "1e3")], ("Importing", 0, "")),
        (2, [(PERCENT, "0x10")], ("Importing", 0, "")),
        (2, [(PERCENT, "1_0")], ("Importing", 0, "")),
        (2, [(PERCENT, " 50")], ("Importing", 0, "")),
        (2, [(PERCENT, "50\n")], ("Importing", 0, "")),
        (2, [(PERCENT, "\u0665\u0660")], ("Importing", 0, "")),
        (2, [(PERCENT, "\uff15\uff10")], ("Importing", 0, "")),
        (2, [(PERCENT, "\u00b2")], ("Importing", 0, "")),
        (2, [(PERCENT, "9" * 5000)], ("Importing", 0, "")),
        (2, [(PERCENT, "-5")], ("Importing", -5, "")),
        (2, [(PERCENT, str(INT64))], ("Importing", INT64, "")),
        # the last of two wins, as a Go map does
        (2, [(PERCENT, "10"), (PERCENT, "20")], ("Importing", 20, "")),
        (1, [(REASON, ""), (PERCENT, "99"), (REASON, "why")], ("Failed", 99, "why")),
        # waiting for commit is exactly one pair
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
        (0, ""),
        (1, "1970-01-01T00:00:01Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (1_795_475_972, "2026-11-23T23:19:32Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (253_402_300_800, ""),
        (-62_135_596_800, "0001-01-01T00:00:00Z"),
        (-62_135_596_801, ""),
        (INT64, ""),
        (-INT64 - 1, ""),
    ],
)
async def test_time_of_creation(seconds: int, text: str) -> None:
    data = await progress_of(public(2, [], create_ts=seconds))
    assert data.create_time == text
    assert (data.created_at is None) == (text == "")
    if data.created_at is not None:
        assert data.created_at.timestamp() == seconds


async def wait_for(reply: Message, **arguments: Any) -> ImportProgressData:
    async with (
        Replay({PUBLIC + "GetImportState": ok(reply)}) as server,
        ImportClient(server.uri) as client,
    ):
        return await client.wait(JOB, timeout=0, **arguments)


async def test_a_job_that_waits_for_its_commit_has_not_failed() -> None:
    uncommitted = public(1, [(REASON, ""), (PERCENT, "99")])
    with pytest.raises(WaitTimeoutError, match="it was Uncommitted at 99 %"):
        await wait_for(uncommitted)
    assert (await wait_for(uncommitted, until="uncommitted")).state == "Uncommitted"


@pytest.mark.parametrize("until", ["completed", "uncommitted"])
async def test_a_failure_at_99_percent_has_a_reason_and_has_failed(until: str) -> None:
    with pytest.raises(ImportFailedError, match="row 3 is bad"):
        await wait_for(public(1, [(REASON, "row 3 is bad"), (PERCENT, "99")]), until=until)


@pytest.mark.parametrize("column", ["states", "reasons", "progresses", "collection_names"])
@pytest.mark.parametrize("change", ["short", "long", "missing"])
async def test_a_ragged_job_list_is_an_error(column: str, change: str) -> None:
    reply = job_list(["1", "2"])
    values: list[Any] = list(getattr(reply, column))
    reply.ClearField(column)
    changed = {"short": values[:1], "long": values * 2, "missing": []}[change]
    getattr(reply, column).extend(changed)
    with pytest.raises(CallError, match="the reply's columns differ in length"):
        await replied(PROXY + "ListImports", reply)


def job_list(ids: list[str], **columns: Any) -> internal_pb2.ListImportsResponse:
    count = len(ids)
    filled: dict[str, Any] = {
        "states": [3] * count,
        "reasons": [""] * count,
        "progresses": [40] * count,
        "collection_names": ["books"] * count,
    }
    return internal_pb2.ListImportsResponse(
        status=common_pb2.Status(), jobIDs=ids, **(filled | columns)
    )


async def test_columns_without_ids_are_ragged_too() -> None:
    reply = job_list(["1"])
    reply.ClearField("jobIDs")
    with pytest.raises(CallError, match="differ in length"):
        await replied(PROXY + "ListImports", reply)


async def test_a_job_list_is_sorted_by_number_and_keeps_odd_values() -> None:
    ids = ["10", "9", "450000000000000000", "x", "\u0663", "9"]
    jobs: Any = await replied(
        PROXY + "ListImports",
        job_list(ids, states=[3, 77, 5, 0, 4, 8], progresses=[1, -5, INT64, 0, 0, 99]),
    )
    assert {(job.job_id, job.state, job.progress) for job in jobs} == {
        ("9", "Uncommitted", 99),  # the last of two
        ("x", "None", 0),
        ("\u0663", "Failed", 0),
        ("10", "Importing", 1),
        ("450000000000000000", "Completed", INT64),
    }
    numbers = [int(job.job_id) for job in jobs if job.job_id.isascii() and job.job_id.isdigit()]
    assert numbers == [9, 10, 450000000000000000]


async def test_an_empty_list_with_a_status_is_an_empty_list() -> None:
    for path in (PROXY + "ListImports", PUBLIC + "ListImportTasks"):
        assert await replied(path, b"\x0a\x00") == []


async def test_a_list_of_tasks_without_ids_is_refused() -> None:
    tasks = [public(2, []), public(6, [], id=7)]
    reply = milvus_pb2.ListImportTasksResponse(status=common_pb2.Status(), tasks=tasks)
    with pytest.raises(CallError, match=r"without their ids.*19529"):
        await replied(PUBLIC + "ListImportTasks", reply)


async def test_the_list_of_an_old_server_is_sorted_by_id() -> None:
    tasks = [
        public(6, [("collection", "books")], id=10),
        public(2, [("collection", "maps"), (PERCENT, "89")], id=9),
    ]
    reply = milvus_pb2.ListImportTasksResponse(tasks=tasks)
    assert await replied(PUBLIC + "ListImportTasks", reply) == oracle.jobs(reply)


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
async def test_each_grpc_code_is_a_call_error_with_the_servers_words(code: grpc.StatusCode) -> None:
    words = "the server's own words " * 50
    answers = dict.fromkeys(ASKS, Answer(code, words))
    async with Replay(answers) as server, ImportClient(server.uri, service="internal") as client:
        with pytest.raises(CallError, match="the server's own words") as caught:
            await client.get_import_progress(JOB)
    assert caught.value.code is code
    assert caught.value.details == words
    assert len(str(caught.value)) < len(words)
    assert caught.value.record is not None
    assert caught.value.record.code is code
