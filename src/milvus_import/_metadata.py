"""Metadata of a call, validated: gRPC rejects or drops parts of it without a clear error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import cast

from ._errors import ArgumentError
from ._text import shorten

MetadataValue = str | bytes
Metadata = Mapping[str, MetadataValue | None] | Sequence[tuple[str, MetadataValue | None]]
"""A mapping, or pairs if a key is sent more than once."""

_KEY = r"[0-9a-z_.-]+"
# gRPC rejects, replaces or silently drops these.
_RESERVED = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "endpoint-load-metrics-bin",
        "host",
        "lb-cost-bin",
        "te",
        "user-agent",
        "x-envoy-peer-metadata",
    }
)


def validate_metadata(metadata: object) -> dict[str, tuple[MetadataValue, ...]]:
    """Return the values of each key; an empty tuple marks a key that is not sent."""
    values: dict[str, tuple[MetadataValue, ...]] = {}
    for index, entry in enumerate(_pairs(metadata)):
        if not isinstance(entry, (tuple, list)) or len(entry) != 2:
            raise TypeError(
                f"metadata must hold pairs of key and value; entry {index} is not a pair"
            )
        key, value = entry
        if not isinstance(key, str):
            raise TypeError(f"a metadata key must be a str, got {shorten(key)}")
        name, binary = _validate_key(key)
        if value is None:
            values[name] = ()
            continue
        value = _validate_value(name, value, binary=binary)
        values[name] = (*values[name], value) if name in values else (value,)
    return values


def _pairs(metadata: object) -> Iterable[tuple[object, object]]:
    if not isinstance(metadata, (tuple, list)):
        if isinstance(metadata, Mapping):
            return cast("Mapping[object, object]", metadata).items()
        if isinstance(metadata, (str, bytes)) or not isinstance(metadata, Iterable):
            kind = type(metadata).__name__
            raise TypeError(f"metadata must be a mapping or pairs of key and value, got {kind}")
    return cast("Iterable[tuple[object, object]]", metadata)


@lru_cache(maxsize=128)
def _validate_key(key: str) -> tuple[str, bool]:
    """Return the key as it is sent, and whether its values are bytes. Calls repeat few keys."""
    name = key.lower()
    if not (key.isascii() and re.fullmatch(_KEY, name)):
        raise ArgumentError(
            f"a metadata key must consist of letters, digits, '_', '.' and '-', got {shorten(key)}"
        )
    if name.startswith("grpc-") or name in _RESERVED:
        raise ArgumentError(f"metadata key {shorten(key)} is reserved for gRPC")
    return name, name.endswith("-bin")


def _validate_value(name: str, value: object, *, binary: bool) -> MetadataValue:
    """Never put the value itself in an error: it may be a secret."""
    kind = type(value).__name__
    if binary:
        if not isinstance(value, bytes):
            raise TypeError(f"metadata {name!r} ends in -bin: its value must be bytes, got {kind}")
        return value
    if not isinstance(value, str):
        raise TypeError(
            f"metadata {name!r}: the value must be a str (bytes go under a -bin key), got {kind}"
        )
    if not (value.isascii() and value.isprintable()):
        index = next(i for i, c in enumerate(value) if not (c.isascii() and c.isprintable()))
        raise ArgumentError(
            f"metadata {name!r}: the value must be printable ASCII, but its character at index "
            f"{index} is not; encode it, or send bytes under the key {name + '-bin'!r}"
        )
    return value
