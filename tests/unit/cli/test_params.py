"""Durations, targets, and import options of the command line."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_import._cli._params import (
    Duration,
    Targets,
    parse_import_options,
    parse_job_ids,
    parse_targets,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172_800.0),
        ("1m500ms", 60.5),
        (" 10m ", 600.0),
        (7, 7.0),
        ("1000000000", 1e9),
    ],
)
def test_duration_is_seconds(text: object, seconds: float) -> None:
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "10 m", "10w", "m10", "10m5", "-1", "+1", "1e3", "nan", "inf", "1_000", "1.", ".5",
     "\u0661", "1000000001", "20000d", "0", "0ms"],
)  # fmt: skip
def test_wrong_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


@pytest.mark.parametrize("text", ["0", "0s", "0.0"])
def test_duration_of_0_is_valid_only_where_it_has_a_meaning(text: str) -> None:
    assert Duration(zero=True).convert(text, None, None) == 0


@given(st.floats(min_value=1e-3, max_value=1e9), st.sampled_from(["", "s"]))
def test_any_number_of_seconds_is_a_duration(seconds: float, unit: str) -> None:
    text = f"{seconds:.6f}{unit}"
    assert Duration().convert(text, None, None) == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "option", "targets"),
    [
        (["7", "8", "7"], None, Targets(["7", "8"], None, all_databases=False)),
        (["007"], None, Targets(["7"], None, all_databases=False)),
        (["7", "007"], None, Targets(["7"], None, all_databases=False)),
        (["books"], None, Targets([], "books", all_databases=False)),
        (["_7"], None, Targets([], "_7", all_databases=False)),
        ([], "books", Targets([], "books", all_databases=False)),
        ([], "7", Targets([], "7", all_databases=False)),
    ],
)
def test_targets_are_job_ids_or_a_collection(
    words: list[str], option: str | None, targets: Targets
) -> None:
    assert parse_targets(words, option, everything=False) == targets


def test_targets_are_all_jobs_of_all_databases() -> None:
    assert parse_targets([], None, everything=True) == Targets([], None, all_databases=True)


@pytest.mark.parametrize(
    ("words", "option", "everything"),
    [
        ([], None, False),
        ([""], None, False),
        (["7", "books"], None, False),
        (["7"], "books", False),
        (["books"], "books", False),
        (["books", "films"], None, False),
        ([str(2**63)], None, False),
        (["7"], None, True),
        (["books"], None, True),
    ],
)
def test_wrong_targets_are_a_usage_error(
    words: list[str], option: str | None, everything: bool
) -> None:
    with pytest.raises(click.UsageError):
        parse_targets(words, option, everything=everything)


def test_job_ids_are_each_taken_once() -> None:
    assert parse_job_ids(["8", "7", "08"]) == ["8", "7"]


def test_import_options_get_their_types() -> None:
    texts = ["timeout=300", "Timeout=5m", "auto_commit=False", "sep=;", "a=b=c"]
    assert parse_import_options(texts) == [
        ("timeout", 300.0),
        ("Timeout", "5m"),
        ("auto_commit", False),
        ("sep", ";"),
        ("a", "b=c"),
    ]


def test_wrong_import_option_does_not_show_its_value() -> None:
    with pytest.raises(click.UsageError) as caught:
        parse_import_options(["sep=,", "s3cret"])
    assert caught.value.message == "--option: entry 2 is not of the form KEY=VALUE"
