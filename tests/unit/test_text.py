"""Texts of a server in messages: short, on one line, printable."""

from __future__ import annotations

import pytest

from milvus_import._errors import quote


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("one  two\n\tthree ", "one two three"),
        ("\x1b[31mred\x00", " [31mred "),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 500 + "..."),
        ("x" * 8192 + "y", "x" * 500 + "..."),
        (" " * 8192 + "unseen", "..."),
    ],
)
def test_text_of_a_server_is_quoted_as_one_short_printable_line(text: str, expected: str) -> None:
    assert quote(text) == expected
