from __future__ import annotations

import json
import pickle

from hypothesis import example, given
from hypothesis import strategies as st

from milvus_import import (
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


@given(DATA)
@example(ImportProgressData("", "", "", ImportState.NONE, 0, 0, 0, "", 0, [], "24:00Z", "public"))
def test_properties_never_raise(data: ImportProgressData) -> None:
    for moment in (data.created_at, data.completed_at):
        assert moment is None or moment.utcoffset() is not None
    assert 0 <= data.fraction <= 1
    assert data.done == (data.state in {"Completed", "Failed"})
    assert json.loads(json.dumps(data.to_dict())) == data.to_dict()
    assert pickle.loads(pickle.dumps(data)) == data  # noqa: S301


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
