"""The key of an error's hint."""

from __future__ import annotations

from milvus_import import MilvusImportError
from milvus_import._errors import hint_of


def hint_key(error: MilvusImportError) -> str | None:
    """Return the name of the error's hint in ``_hints.py``, or None if it has no hint."""
    hint = hint_of(error)
    return None if hint is None else hint.name
