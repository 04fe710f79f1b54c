"""Durations and import options of the command line."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_import._cli._options import parse_duration, parse_import_option


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
        ("1000000000", 1e9),
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
    text = f"{seconds:.6f}{unit}"
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-5)


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
