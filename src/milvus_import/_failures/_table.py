"""What a code and a text of a failure mean, as the rows of a table."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import NamedTuple

from .._errors import MilvusImportError
from .._hints import Hint


class Row(NamedTuple):
    """One row: the codes and the text that it matches, and what they mean.

    None in a column: this row does not decide it.
    """

    codes: Container[object] | None
    """None is every code."""
    text: str
    """A pattern; "" is every text."""
    hint: Hint | None = None
    transient: bool | None = None
    may_have_run: bool | None = None
    kind: type[MilvusImportError] | None = None
    """The class of the error."""
    responded: bool | None = None
    """Whether only a reachable server or gateway can have caused it."""
    broke: bool | None = None
    """Whether an established connection broke."""
    limited: bool | None = None
    """Whether the server or a gateway limits the request rate."""


def meaning(rows: Iterable[Row], code: object, text: str) -> Row:
    """Return what the table says: for each column, the first row that matches and decides it."""
    matching = [
        row
        for row in rows
        if (row.codes is None or code in row.codes) and re.search(row.text, text)
    ]
    columns = zip(*(row[2:] for row in matching), strict=True)
    return Row(None, "", *(next((v for v in c if v is not None), None) for c in columns))
