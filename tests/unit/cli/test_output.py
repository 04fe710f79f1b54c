"""Numbers, times, states and errors as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_import import (
    ImportJob,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
)
from milvus_import._cli import _output
from milvus_import._cli._commands import cli
from milvus_import._hints import Hint

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
    assert _output.size(count) == text


@given(COUNTS)
def test_a_size_of_any_number_is_short(count: int) -> None:
    assert len(_output.size(count)) <= len("9223 PB")


@pytest.mark.parametrize(
    ("imported", "total", "text"),
    [
        (0, 0, ""),
        (1_000, 0, "1,000 rows"),
        (0, 1_000, "0/1,000 rows"),
        (400, 1_000, "400/1,000 rows"),
        (5, -1, "5 rows"),
        (1, 0, "1 row"),
        (0, 1, "0/1 row"),
    ],
)
def test_rows_are_shown_with_their_total_if_it_is_known(
    imported: int, total: int, text: str
) -> None:
    assert _output.rows(progress(rows=imported, total=total), brief=False) == text


def test_0_rows_of_a_completed_import_are_shown_apart_from_unknown_rows() -> None:
    assert _output.rows(progress(state="Completed")) == "0 rows"
    assert _output.rows(progress(total=1_000, state="Completed")) == "0/1,000"


@given(COUNTS, COUNTS)
def test_rows_are_never_out_of_nothing(imported: int, total: int) -> None:
    assert "/0" not in _output.rows(progress(rows=imported, total=total))
    assert "/-" not in _output.rows(progress(rows=imported, total=total))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0:00"), (0.9, "0:00"), (42, "0:42"), (3599.9, "59:59"), (3723, "1:02:03")],
)
def test_a_duration_is_shown_like_a_clock(seconds: float, text: str) -> None:
    assert _output.duration(seconds) == text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("Completed", "Completed"),
        ("PreImporting", "Pre-importing"),
        ("Uncommitted", "Waits for commit"),
        ("11", "11"),
    ],
)
def test_a_state_is_shown_in_words(state: str, text: str) -> None:
    assert _output.state(ImportState(state)) == text


def test_a_time_is_shown_in_the_local_zone_or_as_received() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert _output.local(moment) == moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert _output.local(None, "yesterday") == "yesterday"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (progress(rows=400, total=1_000), "7  Importing  40%  400/1,000 rows  (internal)"),
        (progress(rows=400), "7  Importing  40%  400 rows  (internal)"),
        (progress(state="Pending"), "7  Pending  40%  (internal)"),
        (progress(state="Completed"), "7  Completed  40%  0 rows  (internal)"),
        (progress(state="Failed"), "7  Failed  40%  (internal)"),
        (ImportJob("7", "books", ImportState.FAILED, 0, "broken"), "7  Failed  0%  books"),
        (ImportJob("7", "", ImportState.PENDING, 0, ""), "7  Pending  0%"),
    ],
)
def test_a_job_is_shown_on_one_line(shown: ImportProgressData | ImportJob, text: str) -> None:
    assert _output.job_line(shown) == text


@given(st.text())
def test_text_of_a_server_cannot_control_the_terminal(text: str) -> None:
    assert _output.clean(text).isprintable()
    assert "  " not in _output.clean(text)


@pytest.mark.parametrize("hint", Hint, ids=lambda hint: hint.name)
def test_every_hint_has_both_wordings(hint: Hint) -> None:
    assert hint.python
    assert hint.cli
    assert hint.python[0].isupper()
    assert hint.cli[0].isupper()
    assert hint.cli.endswith(".")


@pytest.mark.parametrize("hint", Hint, ids=lambda hint: hint.name)
def test_command_line_wording_of_a_hint_names_no_argument(hint: Hint) -> None:
    assert not re.search(r"\w=\.\.\.|\b\w+='|\b(tls|token|user|password)=", hint.cli)
    assert not re.search(
        r"db_name|partition_name|_key|TLSConfig|channel_options|list_imports", hint.cli
    )


def test_options_that_hints_name_exist() -> None:
    known = {
        option
        for command in (cli, *cli.commands.values())
        for p in command.params
        for option in p.opts
    }
    for hint in Hint:
        assert set(re.findall(r"--[a-z-]+", hint.cli)) <= known, hint.name


def test_an_error_is_shown_with_the_command_line_wording_of_its_hint() -> None:
    error = MilvusImportError("it failed", hint=Hint.CHECK_DATABASE)
    assert "Check --db" in Hint.CHECK_DATABASE.cli
    assert _output.error_text(error) == f"it failed. {Hint.CHECK_DATABASE.cli}"
    assert str(error) == f"it failed. {Hint.CHECK_DATABASE.python}"


def test_an_error_without_a_hint_is_shown_as_it_is() -> None:
    assert _output.error_text(MilvusImportError("it failed")) == "it failed"
    assert _output.error_text(ValueError("no\nnew\x1b[31m lines")) == "no new [31m lines"


def test_a_forgotten_job_is_shown_with_its_last_progress() -> None:
    error = JobNotFoundError("no job 7", hint=Hint.CHECK_DATABASE)
    error.progress = progress()
    state = "its last state was Importing at 40 %"
    assert _output.error_text(error) == f"no job 7; {state}. {Hint.CHECK_DATABASE.cli}"
