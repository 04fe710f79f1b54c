from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict, astuple, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import grpc
import pytest
from certificates import make_certificates

from milvus_import import (
    CallRecord,
    GetImportProgressOption,
    GetImportProgressResponse,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
    TLSConfig,
)

DETAIL = ImportProgressDetail(
    "[id.npy v.npy]", 2048, 40, "2026-01-02T03:05:06Z", "InProgress", 10, 20, "slow"
)
JOB_ID, CREATED = "449839014328146739", "2026-01-02T03:04:05Z"
DATA = ImportProgressData(
    "books", JOB_ID, "", ImportState.IMPORTING, 40, 10, 20, "", 2048, [DETAIL], CREATED, "internal"
)
RESPONSE = GetImportProgressResponse(0, "", DATA)
JOB = ImportJob(JOB_ID, "books", ImportState.IMPORTING, 40, "")
RECORD = CallRecord("internal", "a.B/C", grpc.StatusCode.OK, "", (("k", "v"),), (), 0.5)
MODELS = [DETAIL, DATA, RESPONSE, JOB, RECORD, replace(DATA, state=ImportState("11"))]


def test_fields_and_to_dict_have_the_names_and_the_order_of_the_go_structs() -> None:
    assert json.dumps(RESPONSE.to_dict()) == (
        '{"status": 0, "message": "", "data": {"collectionName": "books", '
        '"jobId": "449839014328146739", "completeTime": "", "state": "Importing", "progress": 40, '
        '"importedRows": 10, "totalRows": 20, "reason": "", "fileSize": 2048, "details": '
        '[{"fileName": "[id.npy v.npy]", "fileSize": 2048, "progress": 40, '
        '"completeTime": "2026-01-02T03:05:06Z", "state": "InProgress", "importedRows": 10, '
        '"totalRows": 20, "reason": "slow"}], "createTime": "2026-01-02T03:04:05Z", '
        '"service": "internal"}}'
    )
    assert json.dumps(JOB.to_dict()) == (
        '{"jobId": "449839014328146739", "collectionName": "books", "state": "Importing", '
        '"progress": 40, "reason": ""}'
    )


def test_to_dict_and_deep_copies_share_no_detail() -> None:
    DATA.to_dict()["details"].clear()
    copy.deepcopy(DATA).details[0].progress = 99
    assert (DATA.details, DETAIL.progress) == ([DETAIL], 40)
    assert type(DATA.to_dict()["state"]) is str


def test_response_names_the_service_that_responded() -> None:
    assert RESPONSE.service == "internal"
    assert DATA.job == JOB
    assert DATA.detailed
    assert replace(DATA, service="rest").detailed
    assert not replace(DATA, service="public").detailed


@pytest.mark.parametrize("model", MODELS, ids=[str(n) for n in range(len(MODELS))])
def test_models_survive_copying_and_pickling(model: Any) -> None:
    pickled = pickle.loads(pickle.dumps(model))  # noqa: S301
    for twin in (copy.copy(model), copy.deepcopy(model), replace(model), pickled):
        assert twin == model
        assert twin is not model
    with pytest.raises(AttributeError):
        model.percent = 1


# ------------------------------------------------------------------------------------ states


def test_states_are_strings() -> None:
    assert " ".join(ImportState) == (
        "None Pending PreImporting Importing Failed Completed IndexBuilding Sorting Uncommitted "
        "Committing"
    )
    assert f"{ImportState.COMPLETED}" == "Completed"
    assert {ImportState.COMPLETED: 1}["Completed"] == 1  # type: ignore[index]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", ["11", "-1", "", "Paused"])
def test_unknown_state_is_kept_and_is_not_done(value: str) -> None:
    state = ImportState(value)
    assert state == value
    assert (str(state), state.value, state.name) == (value, value, value)
    assert json.dumps(state) == json.dumps(value)
    assert not state.done
    assert value in repr(state)
    assert {state: 1}[ImportState(value)] == 1
    assert value not in list(ImportState)


@pytest.mark.parametrize("value", ["11", "", "Paused", *ImportState])
def test_states_survive_copying_and_pickling(value: str) -> None:
    state = ImportState(value)
    pickled = [pickle.dumps(state, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    twins = [pickle.loads(data) for data in pickled]  # noqa: S301
    for twin in (copy.copy(state), copy.deepcopy(state), *twins):
        assert type(twin) is ImportState
        assert (twin, twin.value, twin.name) == (state, state.value, state.name)
        assert value not in list(ImportState) or twin is state


def test_model_with_an_unknown_state_can_be_made_a_dict_and_a_tuple() -> None:
    model = replace(DATA, state=ImportState("11"))
    assert asdict(model)["state"] == astuple(model)[3] == ImportState("11")
    assert asdict(replace(RESPONSE, data=model))["data"]["details"] == [asdict(DETAIL)]


@pytest.mark.parametrize("value", [11, None, b"Failed"])
def test_state_of_wrong_type_raises_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid ImportState"):
        ImportState(value)


def test_only_completed_and_failed_are_done() -> None:
    ended = {state for state in ImportState if state.done}
    assert ended == {ImportState.COMPLETED, ImportState.FAILED}
    for state in ImportState:
        assert replace(DATA, state=state).done == replace(JOB, state=state).done == state.done


# ----------------------------------------------------------------------------------- helpers


@pytest.mark.parametrize(
    ("percent", "fraction"),
    [(0, 0.0), (1, 0.01), (50, 0.5), (100, 1.0), (101, 1.0), (-1, 0.0), (2**63 - 1, 1.0)],
)
def test_fraction_is_clamped_and_progress_is_raw(percent: int, fraction: float) -> None:
    for model in (DATA, JOB, DETAIL):
        changed = replace(model, progress=percent)
        assert (changed.progress, changed.fraction) == (percent, fraction)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("", None),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+08:00",
         datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=8)))),
        ("2026-01-02T03:04:05-03:30",
         datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(-timedelta(hours=3, minutes=30)))),
        ("2026-01-02T03:04:05.25Z", datetime(2026, 1, 2, 3, 4, 5, 250_000, UTC)),
        ("2026-01-02T03:04:05", None),  # no time zone
        *((text, None) for text in ("2026-01-02", "yesterday", "2026-13-01T00:00:00Z", "0")),
    ],
)  # fmt: skip
def test_times_are_aware_datetimes_or_none(text: str, moment: datetime | None) -> None:
    data = replace(DATA, create_time=text, complete_time=text)
    assert data.created_at == data.completed_at == moment
    if moment is not None:
        assert data.created_at is not None
        assert data.created_at.utcoffset() == moment.utcoffset()


@pytest.mark.parametrize(
    ("file_name", "paths"),
    [
        ("[a.parquet]", ("a.parquet",)),
        ("[ID.NPY v.npy]", ("ID.NPY", "v.npy")),
        ("[my id.npy my vectors.npy]", ("my id.npy", "my vectors.npy")),
        ("[my books.parquet]", ("my books.parquet",)),
        ("[a.json b.csv c.parquet]", ("a.json", "b.csv", "c.parquet")),
        ("[x[1].npy y[2].npy]", ("x[1].npy", "y[2].npy")),
        ("[s3/a.npy.bak/b.npy c.npy]", ("s3/a.npy.bak/b.npy", "c.npy")),
        ("[insert_log/1 delta_log/1]", ("insert_log/1", "delta_log/1")),
        ("a.parquet", ("a.parquet",)),
        ("[]", ()),
        ("", ()),
    ],
)
def test_paths_are_the_files_of_a_group(file_name: str, paths: tuple[str, ...]) -> None:
    assert replace(DETAIL, file_name=file_name).paths == paths


# -------------------------------------------------------------------------------------- reprs


def test_repr_is_the_one_of_a_dataclass() -> None:
    assert repr(JOB) == (
        "ImportJob(job_id='449839014328146739', collection_name='books', "
        "state=<ImportState.IMPORTING: 'Importing'>, progress=40, reason='')"
    )
    for model in (JOB, DETAIL, DATA, replace(DATA, details=[DETAIL] * 3)):
        assert eval(repr(model).replace("<ImportState.IMPORTING: 'Importing'>", "'Importing'"))  # noqa: S307
    assert repr(DATA).count("ImportProgressDetail(") == 1


def test_repr_cuts_long_lists_and_texts() -> None:
    many = replace(RESPONSE, data=replace(DATA, details=[DETAIL] * 100_000))
    assert len(repr(many)) < 1_200
    assert "[ImportProgressDetail(file_name='[id.npy v.npy]', " in repr(many)
    assert ", ... 99,997 more]" in repr(many)
    reason = "x" * 1_000_000
    assert len(repr(replace(RECORD, details=reason))) < 10_000
    for model in (JOB, DATA, DETAIL):
        cut, whole = (repr(replace(model, reason=text)) for text in (reason, reason[:8192]))
        assert len(cut) < 10_000
        assert f"reason={'x' * 8192!r}..." in cut
        assert f"reason={'x' * 8192!r}" in whole
        assert "..." not in whole


def test_repr_shows_no_secret() -> None:
    secret = "s3cr3t-Milvus"
    option = GetImportProgressOption("host", "7", token=secret, password=secret)
    key, cert = make_certificates().client
    tls = TLSConfig(cert=cert, key=secret.encode() + b"\n" + key)
    record = replace(
        RECORD, initial_metadata=(("k", secret),), trailing_metadata=(("k-bin", secret.encode()),)
    )
    option.tls = tls
    for model in (option, tls, record):
        assert secret not in f"{model!r} {model}"
