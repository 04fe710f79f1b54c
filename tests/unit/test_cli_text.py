"""The words of the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_import import ImportJob, ImportProgressData, ImportState
from milvus_import._cli import _text

COUNTS = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def progress(*, rows: int = 0, total: int = 0, state: str = "Importing") -> ImportProgressData:
    return ImportProgressData(
        "books", "7", "", ImportState(state), 40, rows, total, "", 0, [], "", "internal"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (-1, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_500_000, "1.5 MB"),
        (2**63 - 1, "9223 PB"),
    ],
)
def test_a_size_has_a_unit_and_at_most_three_digits(count: int, text: str) -> None:
    assert _text.size(count) == text


@given(COUNTS)
def test_a_size_of_any_number_is_short(count: int) -> None:
    assert len(_text.size(count)) <= len("9223 PB")


@pytest.mark.parametrize(
    ("imported", "total", "text"),
    [
        (0, 0, ""),
        (1_000, 0, "1,000 rows"),
        (0, 1_000, "0/1,000 rows"),
        (400, 1_000, "400/1,000 rows"),
        (5, -1, "5 rows"),
    ],
)
def test_rows_are_told_with_their_total_where_it_is_known(
    imported: int, total: int, text: str
) -> None:
    assert _text.rows(imported, total) == text


@given(COUNTS, COUNTS)
def test_rows_are_never_out_of_nothing(imported: int, total: int) -> None:
    assert "/0" not in _text.rows(imported, total)
    assert "/-" not in _text.rows(imported, total)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0:00"), (0.9, "0:00"), (42, "0:42"), (3599.9, "59:59"), (3723, "1:02:03")],
)
def test_a_duration_is_told_like_a_clock(seconds: float, text: str) -> None:
    assert _text.duration(seconds) == text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("Completed", "Completed"),
        ("PreImporting", "Pre-importing"),
        ("Uncommitted", "Waits for commit"),
        ("11", "11"),
    ],
)
def test_a_state_is_told_in_words(state: str, text: str) -> None:
    assert _text.state(ImportState(state)) == text


def test_a_time_is_told_in_the_local_zone_or_as_the_server_wrote_it() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert _text.local(moment) == moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert _text.local(None, "yesterday") == "yesterday"


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (progress(rows=400, total=1_000), "7  Importing  40%  400/1,000 rows  (internal)"),
        (progress(rows=400), "7  Importing  40%  400 rows  (internal)"),
        (progress(state="Pending"), "7  Pending  40%  (internal)"),
        (ImportJob("7", "books", ImportState.FAILED, 0, "broken"), "7  Failed  0%  books"),
        (ImportJob("7", "", ImportState.PENDING, 0, ""), "7  Pending  0%"),
    ],
)
def test_a_job_is_told_on_one_line(told: ImportProgressData | ImportJob, text: str) -> None:
    assert _text.line(told) == text


@given(st.text())
def test_what_a_server_says_cannot_steer_the_terminal(text: str) -> None:
    assert _text.clean(text).isprintable()
    assert "  " not in _text.clean(text)


@pytest.mark.parametrize(
    ("python", "text"),
    [
        ("Write http://, or drop tls=", "Write http://"),
        ("pass tls=TLSConfig(ca=...)", "pass --ca FILE"),
        ("use that, or TLSConfig(server_name=...)", "use that, or --server-name NAME"),
        ("use that, or service='auto'", "use that, or --service auto"),
        ("Check db_name", "Check --db"),
        ("no\nnew\x1b[31m lines", "no new [31m lines"),
    ],
)
def test_advice_names_options_and_not_arguments(python: str, text: str) -> None:
    assert _text.error(ValueError(python)) == text
