"""What a code and a text of a failure mean, as the rows of a table; and ``Retry-After``."""

from __future__ import annotations

import re
import time
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, NamedTuple

from .._errors import MilvusImportError
from .._hints import Hint

if TYPE_CHECKING:
    from .._models import CallRecord


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
    """Return for each column the value of the first matching row that decides it."""
    matching = [
        row
        for row in rows
        if (row.codes is None or code in row.codes) and re.search(row.text, text)
    ]
    columns = zip(*(row[2:] for row in matching), strict=True)
    return Row(None, "", *(next((v for v in c if v is not None), None) for c in columns))


def retry_after(record: CallRecord | None) -> float | None:
    """Return the seconds of ``retry-after`` in the metadata or the headers, or None."""
    if record is None:
        return None
    for key, value in (*record.initial_metadata, *record.trailing_metadata):
        if key.lower() == "retry-after":
            return _seconds(value if isinstance(value, str) else value.decode("latin-1"))
    return None


def _seconds(value: str) -> float | None:
    """Return the seconds of a number or of a date; None if it is neither, or in the past."""
    text = value.strip()[:64]
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    if not re.match(r"[A-Z][a-z]{2}", text):
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import

    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None
