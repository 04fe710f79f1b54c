"""Limit the entries of a reply before it is parsed: parsing may take gigabytes of memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

MAX_NESTED: Final = 100_000
"""Entries of one field of the messages inside a reply, such as the details of a Status."""
_PACKED_BYTES_PER_ENTRY: Final = 10
"""Bytes of the longest number, so of one entry of a packed field at most."""
_FIXED: Final = {1: 8, 5: 4}  # bytes of a field, by wire type
_STRING, _BYTES = 9, 12  # of FieldDescriptor.type; all other scalars may be packed


@dataclass(slots=True, frozen=True)
class _Layout:
    """The fields of a message type that may hold many entries."""

    packed: frozenset[int]
    nested: dict[int, _Layout]
    """Fields that hold messages with repeated fields."""


class _Counts:
    """The entries of each field of one message type, by tag."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: dict[int, int] = {}
        self.packed_bytes = 0
        self.nested: dict[int, _Counts] = {}


class _LimitExceededError(Exception):
    """A field has more entries than allowed."""


def exceeds_limits(data: bytes, descriptor: Any, max_entries: int) -> bool:
    """Return whether a field of a reply has more than ``max_entries`` entries.

    Skips over the fields without parsing them, and stops at the limit. A malformed reply is left
    to the parser, which stops at the same position.
    """
    try:
        _count(data, 0, len(data), _layout(descriptor), _Counts(max_entries))
    except _LimitExceededError:
        return True
    except IndexError:
        return False
    return False


@lru_cache
def _layout(descriptor: Any) -> _Layout:
    packed: set[int] = set()
    nested: dict[int, _Layout] = {}
    for field in descriptor.fields:
        if field.message_type is not None:
            inside = _layout(field.message_type)
            if inside.nested or _has_repeated(field.message_type):
                nested[field.number] = inside
        elif _is_repeated(field) and field.type not in {_STRING, _BYTES}:
            packed.add(field.number)
    return _Layout(frozenset(packed), nested)


def _has_repeated(descriptor: Any) -> bool:
    return any(_is_repeated(field) for field in descriptor.fields)


def _is_repeated(field: object) -> bool:
    repeated = getattr(field, "is_repeated", None)  # protobuf 5.27 has only the label
    return bool(getattr(field, "label", 0) == 3 if repeated is None else repeated)


def _count(data: bytes, position: int, end: int, layout: _Layout, counts: _Counts) -> None:
    """Count the entries of each field. Raises _LimitExceededError and IndexError."""
    entries, limit = counts.entries, counts.limit
    while position < end:
        start = position
        tag, position = _varint(data, position)
        count = entries[tag] = entries.get(tag, 0) + 1
        if count > limit:
            raise _LimitExceededError
        kind = tag & 7
        if kind == 2:
            position = _skip_delimited(data, start, end, layout, counts)
        elif kind == 0:
            _, position = _varint(data, position)
        elif kind in _FIXED:
            position += _FIXED[kind]
        else:
            raise _LimitExceededError  # groups: no message of Milvus has one


def _skip_delimited(data: bytes, start: int, end: int, layout: _Layout, counts: _Counts) -> int:
    """Count what a length-delimited field holds; return the position after it.

    Entries of the same field and length that follow it, the usual case, are counted in C.
    """
    tag, position = _varint(data, start)
    length, head = _varint(data, position)
    position, field = head + length, tag >> 3
    if field in layout.packed:
        counts.packed_bytes += length
        if counts.packed_bytes > counts.limit * _PACKED_BYTES_PER_ENTRY:
            raise _LimitExceededError
    elif field in layout.nested:
        inside = counts.nested.get(field)
        if inside is None:
            inside = counts.nested[field] = _Counts(min(counts.limit, MAX_NESTED))
        _count(data, head, min(position, end), layout.nested[field], inside)
    elif data[start:head] == data[position : position + head - start]:
        run = _entries(data[start:head], length, counts.limit + 1).match(data, position, end)
        if run is not None:
            counts.entries[tag] += (run.end() - position) // (head - start + length)
            position = run.end()
        if counts.entries[tag] > counts.limit:
            raise _LimitExceededError
    return position


@lru_cache(maxsize=256)
def _entries(head: bytes, length: int, most: int) -> re.Pattern[bytes]:
    entry = re.escape(head) + (b"[\\x00-\\xff]{%d}" % length if length else b"")
    return re.compile(b"(?:%b){0,%d}+" % (entry, most))


def is_well_formed(data: bytes, descriptor: Any, position: int = 0, end: int | None = None) -> bool:
    """Return whether bytes are a message of this type, apart from the encoding of its texts."""
    end = len(data) if end is None else end
    messages = {f.number: f.message_type for f in descriptor.fields if f.message_type is not None}
    try:
        while position < end:
            tag, position = _varint(data, position)
            kind = tag & 7
            if kind == 2:
                length, position = _varint(data, position)
                inside = messages.get(tag >> 3)
                if inside and not is_well_formed(data, inside, position, position + length):
                    return False
                position += length
            elif kind == 0:
                _, position = _varint(data, position)
            elif kind in _FIXED:
                position += _FIXED[kind]
            else:
                return False
    except IndexError:
        return False
    return position == end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the varint at a position, and the position after it. Raises IndexError."""
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError
