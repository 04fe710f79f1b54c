"""When a server or a gateway allows the next request."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._models import CallRecord


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
