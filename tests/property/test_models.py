from __future__ import annotations

import json
import pickle
from dataclasses import fields
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from milvus_import import (
    GetImportProgressResponse,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
)

TEXT = st.text(max_size=20)
INT = st.integers()
STATE = st.builds(ImportState, st.sampled_from([str(state) for state in ImportState]) | TEXT)

DETAILS = st.builds(ImportProgressDetail, TEXT, INT, INT, TEXT, TEXT, INT, INT, TEXT)
DATA = st.builds(
    ImportProgressData,
    collection_name=TEXT,
    job_id=TEXT,
    complete_time=TEXT | st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat()),
    state=STATE,
    progress=INT,
    imported_rows=INT,
    total_rows=INT,
    reason=TEXT,
    file_size=INT,
    details=st.lists(DETAILS, max_size=3),
    create_time=TEXT | st.from_regex(r"[0-9TZ:.+-]{1,30}", fullmatch=True),
    service=st.sampled_from(["internal", "public", "rest"]),
)
RESPONSES = st.builds(GetImportProgressResponse, INT, TEXT, DATA)
JOBS = st.builds(ImportJob, TEXT, TEXT, STATE, INT, TEXT)


def plain(value: Any) -> Any:
    """Return what to_dict() must hold for a value: the same, names in camel case."""
    if isinstance(value, list):
        return [plain(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType]
    if hasattr(value, "to_dict"):
        return {camel(field.name): plain(getattr(value, field.name)) for field in fields(value)}
    return value


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


@given(st.one_of(RESPONSES, DATA, DETAILS, JOBS))
def test_to_dict_holds_every_field_in_order_as_json(model: Any) -> None:
    found = model.to_dict()
    expected = plain(model)
    assert found == expected
    assert json.dumps(found) == json.dumps(expected)
    assert json.loads(json.dumps(found)) == found


@given(st.one_of(RESPONSES, DATA, DETAILS, JOBS))
def test_models_survive_pickling(model: Any) -> None:
    assert pickle.loads(pickle.dumps(model)) == model  # noqa: S301


@given(DATA)
@example(ImportProgressData("", "", "", ImportState.NONE, 0, 0, 0, "", 0, [], "24:00Z", "public"))
def test_properties_never_raise(data: ImportProgressData) -> None:
    for moment in (data.created_at, data.completed_at):
        assert moment is None or moment.utcoffset() is not None
    assert 0 <= data.fraction <= 1
    assert data.done == (data.state in {"Completed", "Failed"})
    assert data.job.to_dict().items() <= data.to_dict().items()


@given(TEXT)
def test_any_text_is_a_state_and_is_kept(text: str) -> None:
    state = ImportState(text)
    assert (state, str(state), state.value, f"{state}") == (text, text, text, text)
    assert ImportState(state) == state
    assert hash(state) == hash(text)
    assert pickle.loads(pickle.dumps(state)) == state  # noqa: S301


NAMES = st.from_regex(
    r"[a-z][a-z ]{0,6}[a-z]/?[a-z]{1,4}\.(npy|csv|json|parquet|NPY)", fullmatch=True
)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_files_of_a_group_are_separated_even_if_their_names_contain_spaces(
    names: list[str],
) -> None:
    detail = ImportProgressDetail(f"[{' '.join(names)}]", 0, 0, "", "", 0, 0)
    assert detail.paths == tuple(names)


@given(st.text())
def test_paths_of_any_file_name_lose_only_spaces_and_brackets(name: str) -> None:
    paths = ImportProgressDetail(name, 0, 0, "", "", 0, 0).paths
    inner = name.removeprefix("[").removesuffix("]")
    assert "".join("".join(paths).split()) == "".join(inner.split())
