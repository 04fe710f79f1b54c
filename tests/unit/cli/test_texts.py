"""Numbers, times, states, errors and exit codes as text, and what the options are parsed to."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import product

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_import import (
    AccessDeniedError,
    CallError,
    ClientClosedError,
    DeadlineExceededError,
    ImportFailedError,
    ImportJob,
    ImportProgressData,
    ImportState,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from milvus_import._cli import _output
from milvus_import._cli._commands import cli
from milvus_import._cli._options import parse_duration, parse_import_option
from milvus_import._cli._run import exit_code
from milvus_import._hints import Hint

COUNTS = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def progress(rows: int = 0, total: int = 0, state: str = "Importing") -> ImportProgressData:
    return ImportProgressData(
        "books", "7", "", ImportState(state), 40, rows, total, "", 0, [], "", "internal"
    )


# ------------------------------------------------------------------------------------ exit codes

REQUEST_ERRORS: list[type[MilvusImportError]] = [
    *(CallError, DeadlineExceededError, UnavailableError, UnauthenticatedError, AccessDeniedError),
    *(UnsupportedServerError, MilvusStatusError, JobLimitError, ClientClosedError),
]
CODES: list[tuple[MilvusImportError, int]] = [
    *((error("text"), 3) for error in REQUEST_ERRORS),
    (ImportFailedError("failed", progress=progress(state="Failed")), 1),
    (JobNotFoundError("not found"), 4),
    (WaitTimeoutError("timed out"), 5),
]
WORST_FIRST = (3, 1, 4, 5)


def test_the_worst_of_the_errors_is_the_exit_code() -> None:
    assert exit_code([]) == 0
    for error, code in CODES:
        assert exit_code([error]) == code
    for (first, one), (second, other) in product(CODES, repeat=2):
        assert exit_code([first, second]) == min(one, other, key=WORST_FIRST.index)


# --------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("90", 90.0), ("0.5", 0.5), ("500ms", 0.5), ("30s", 30.0), ("10m", 600.0)],
        *[("1h30m", 5400.0), ("1.5h", 5400.0), ("2d", 172_800.0), ("1m500ms", 60.5)],
        *[(" 10m ", 600.0), ("1000000000", 1e9)],
    ],
)
def test_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "10 m", "10w", "m10", "10m5", "-1", "+1", "1e3", "nan", "inf", "1_000", "1.", ".5",
     "\u0661", "1000000001", "20000d"],
)  # fmt: skip
def test_wrong_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_duration(text)


@given(st.floats(min_value=1e-3, max_value=1e9), st.sampled_from(["", "s"]))
def test_any_number_of_seconds_is_a_duration(seconds: float, unit: str) -> None:
    assert parse_duration(f"{seconds:.6f}{unit}") == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("timeout=300", ("timeout", 300.0)),
        ("Timeout=5m", ("Timeout", "5m")),
        ("auto_commit=False", ("auto_commit", False)),
        ("sep=;", ("sep", ";")),
        ("a=b=c", ("a", "b=c")),
    ],
)
def test_import_option_gets_its_type(text: str, option: tuple[str, object]) -> None:
    assert parse_import_option(text) == option


# ----------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *[(0, "0 B"), (-1, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (99_949, "99.9 kB")],
        *[(99_950, "100 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (1_500_000, "1.5 MB")],
        (2**63 - 1, "9223 PB"),
    ],
)
def test_a_size_has_a_unit_and_at_most_three_digits(count: int, text: str) -> None:
    assert _output.size(count) == text


@given(COUNTS)
def test_a_size_of_any_number_is_short(count: int) -> None:
    assert len(_output.size(count)) <= len("9223 PB")


@given(COUNTS, COUNTS)
def test_rows_are_never_out_of_nothing(imported: int, total: int) -> None:
    assert not re.search("/[0-]", _output.rows(progress(imported, total)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0:00"), (0.9, "0:00"), (42, "0:42"), (3599.9, "59:59"), (3723, "1:02:03")],
)
def test_a_duration_is_shown_like_a_clock(seconds: float, text: str) -> None:
    assert _output.duration(seconds) == text


def test_a_time_is_shown_in_the_local_zone_or_as_received() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert _output.local(moment) == moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert _output.local(None, "yesterday") == "yesterday"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (progress(400, 1_000), "7  Importing  40%  400/1,000 rows  (internal)"),
        (progress(0, 1_000), "7  Importing  40%  0/1,000 rows  (internal)"),
        (progress(0, 1), "7  Importing  40%  0/1 row  (internal)"),
        (progress(1_000), "7  Importing  40%  1,000 rows  (internal)"),
        (progress(5, -1), "7  Importing  40%  5 rows  (internal)"),
        (progress(1), "7  Importing  40%  1 row  (internal)"),
        (progress(state="Pending"), "7  Pending  40%  (internal)"),
        (progress(state="PreImporting"), "7  Pre-importing  40%  (internal)"),
        (progress(state="Uncommitted"), "7  Waits for commit  40%  (internal)"),
        (progress(state="11"), "7  11  40%  (internal)"),
        (progress(state="Completed"), "7  Completed  40%  0 rows  (internal)"),
        (progress(0, 1_000, "Completed"), "7  Completed  40%  0/1,000 rows  (internal)"),
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


# ---------------------------------------------------------------------------------------- errors


def test_command_line_wording_of_a_hint_names_options_that_exist_and_no_argument() -> None:
    commands = (cli, *cli.commands.values())
    known = {option for command in commands for p in command.params for option in p.opts}
    for hint in Hint:
        assert set(re.findall(r"--[a-z-]+", hint.cli)) <= known, hint.name
        assert not re.search(
            r"\w=\.\.\.|\b\w+='|\b(tls|token|user|password)=|"
            r"db_name|partition_name|_key|TLSConfig|channel_options|list_imports",
            hint.cli,
        )


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
