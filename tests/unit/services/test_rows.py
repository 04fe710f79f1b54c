"""The rows of a job list: picked, validated, decoded and sorted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from milvus_import import CallError, ImportJob, ImportState, UnsupportedServerError
from milvus_import._errors import hint_of
from milvus_import._failures._context import CallContext, ReplyError
from milvus_import._hints import Hint
from milvus_import._services import _internal, _public
from milvus_import._services._requests import ListParams
from milvus_import._services._rows import JobRow, decode_jobs, pick_rows, sorted_ids, state_of
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

CONTEXT = CallContext("ListImports", "internal", True, "milvus:1", False, 10.0, True, False)
COLUMNS = (["books", "songs"], [3, 4], [40, 0], ["", "bad file"])
ROWS: dict[str, JobRow] = {"10": ("books", 3, 40, ""), "9": ("songs", 4, 0, "bad file")}


def test_rows_are_picked_in_the_order_of_the_server() -> None:
    assert pick_rows(["10", "9"], COLUMNS, None) == ROWS
    assert list(pick_rows(["10", "9"], COLUMNS, None)) == ["10", "9"]


def test_only_the_wanted_rows_are_picked() -> None:
    assert pick_rows(["10", "9"], COLUMNS, {"9", "11"}) == {"9": ROWS["9"]}
    assert pick_rows(["10", "not valid"], COLUMNS, {"10"}) == {"10": ROWS["10"]}


@pytest.mark.parametrize("job_id", ["", "abc", "-1", "9223372036854775808", "\u0663"])
def test_listed_id_that_is_not_valid_is_an_error(job_id: str) -> None:
    with pytest.raises(ReplyError) as caught:
        pick_rows(["10", job_id], COLUMNS, None)
    error = caught.value.make(CONTEXT)
    assert isinstance(error, CallError)
    assert error.details == f"the reply lists the job id {job_id!r}, which is not valid"


def test_listed_id_loses_its_leading_zeros() -> None:
    assert list(pick_rows(["007", "9"], COLUMNS, None)) == ["7", "9"]


def test_jobs_are_decoded_and_sorted_by_number() -> None:
    assert decode_jobs(ROWS) == [
        ImportJob("9", "songs", ImportState.FAILED, 0, "bad file"),
        ImportJob("10", "books", ImportState.IMPORTING, 40, ""),
    ]
    assert sorted_ids(["100", "20", "3"]) == ["3", "20", "100"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (0, "None"),
        (3, "Importing"),
        (9, "Committing"),
        (11, "11"),
        (-1, "-1"),
        ("Paused", "Paused"),
    ],
)
def test_state_is_known_by_number_or_kept_as_it_is(state: int | str, expected: str) -> None:
    assert state_of(state) == ImportState(expected)


def listed(**columns: Any) -> bytes:
    fields: dict[str, Any] = {
        "jobIDs": ["10", "9"],
        "states": [3, 4],
        "reasons": ["", "bad file"],
        "progresses": [40, 0],
        "collection_names": ["books", "songs"],
    }
    reply = internal_pb2.ListImportsResponse(**(fields | columns))
    return reply.SerializeToString()


def test_list_of_the_internal_service_becomes_rows_or_jobs() -> None:
    params = ListParams("", "")
    assert _internal.WATCH_LIST.read_reply(listed(), params) == ROWS
    assert _internal.WATCH_LIST.read_reply(listed(), replace(params, wanted={"9"})) == {
        "9": ROWS["9"]
    }
    assert _internal.LIST_IMPORTS.read_reply(listed(), params) == decode_jobs(ROWS)


@pytest.mark.parametrize("column", ["states", "reasons", "progresses", "collection_names"])
@pytest.mark.parametrize("wanted", [None, {"9"}])
def test_columns_of_different_length_are_an_error(column: str, wanted: Any) -> None:
    for method in (_internal.LIST_IMPORTS, _internal.WATCH_LIST):
        with pytest.raises(ReplyError) as caught:
            method.read_reply(listed(**{column: []}), ListParams("", "", wanted))
        error = caught.value.make(CONTEXT)
        assert isinstance(error, CallError)
        assert error.details == "the reply's columns differ in length"


def tasks(*ids: int) -> bytes:
    reply = milvus_pb2.ListImportTasksResponse(
        tasks=[
            milvus_pb2.GetImportStateResponse(
                id=number,
                state=common_pb2.ImportCompleted,
                infos=[common_pb2.KeyValuePair(key="collection", value="books")],
            )
            for number in ids
        ]
    )
    return reply.SerializeToString()


def test_list_of_the_public_service_is_sorted_by_id() -> None:
    jobs = _public.LIST_IMPORT_TASKS.read_reply(tasks(10, 9), ListParams("", ""))
    assert jobs == [
        ImportJob(job_id, "books", ImportState.COMPLETED, 100, "") for job_id in ("9", "10")
    ]


def test_negative_id_in_a_list_of_the_public_service_is_an_error() -> None:
    with pytest.raises(ReplyError) as caught:
        _public.LIST_IMPORT_TASKS.read_reply(tasks(9, -5), ListParams("", ""))
    error = caught.value.make(CONTEXT)
    assert isinstance(error, CallError)
    assert error.details == "the reply lists the job id '-5', which is not valid"


def test_public_list_without_ids_is_not_supported_and_names_rest() -> None:
    with pytest.raises(ReplyError) as caught:
        _public.LIST_IMPORT_TASKS.read_reply(tasks(9, 0), ListParams("", ""))
    error = caught.value.make(CONTEXT)
    assert type(error) is UnsupportedServerError
    assert error.message == "ListImports at milvus:1: the listed tasks have no ids"
    assert hint_of(error) is Hint.REST_FOR_JOB_LIST
    assert (error.service, error.transient, error.may_have_run) == ("public", False, False)
