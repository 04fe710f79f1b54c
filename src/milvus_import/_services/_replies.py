"""Reading replies, which are untrusted: entries are limited before they are parsed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from .._hints import Hint
from .._rpc._classify import bad_reply
from .._rpc._texts import EMPTY_REPLY

if TYPE_CHECKING:
    from .._models import ImportProgressData, Service

MAX_ENTRIES: Final = 100_000
"""File groups of one job; Milvus accepts 1,024 by default (maxImportFileNumPerReq)."""
MAX_LISTED_JOBS: Final = 1_000_000
"""Jobs of one list."""
MAX_PROGRESS_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one GetImportProgress or GetImportState reply."""
_LENGTH_DELIMITED: Final = 2
_FIELDS_PER_ENTRY: Final = 3
COUNTED_FROM: Final = 1024 * 1024
"""Bytes from which the entries are counted before the reply is parsed."""

_MessageT = TypeVar("_MessageT", bound=Message)


@dataclass(slots=True, eq=False)
class Snapshot:
    """The progress of a job as it was received. It is decoded only where it is needed."""

    reply: Any
    """The reply as bytes, or as a message."""
    message: Any
    """The reply, parsed."""
    decode: Callable[[], ImportProgressData]
    service: Service


def parse(
    reply_type: type[_MessageT],
    reply: Any,
    *,
    repeated: int,
    max_bytes: int | None = None,
    max_entries: int = MAX_ENTRIES,
) -> _MessageT:
    """Parse a reply, or raise ReplyError.

    ``repeated`` is the number of the repeated field whose entries are limited. A reply is already
    a message if the client has interceptors.
    """
    if not isinstance(reply, bytes):
        if not reply.ByteSize():
            raise bad_reply(EMPTY_REPLY)
        return cast("_MessageT", reply)
    size = len(reply)
    if not size:
        raise bad_reply(EMPTY_REPLY)
    if max_bytes is not None and size > max_bytes:
        text = f"the reply of {size:,} bytes is larger than {max_bytes:,}"
        raise bad_reply(text, Hint.REPLY_OVER_LIMIT)
    if size > COUNTED_FROM and has_more_entries(reply, repeated, max_entries):
        text = f"the reply has more than {max_entries:,} entries"
        raise bad_reply(text, Hint.REPLY_OVER_LIMIT)
    try:
        return reply_type.FromString(reply)
    except DecodeError as error:
        hint = Hint.INVALID_UTF8 if "UTF-8" in str(error) else None
    # Outside the except block: protobuf's error may quote the reply.
    raise bad_reply("the reply could not be parsed", hint)


def has_more_entries(data: bytes, field: int, limit: int) -> bool:
    """Return whether a message has more than ``limit`` entries of one repeated field.

    Walks over the top-level fields without parsing them, and stops at the limit. A malformed
    message is left to the parser.
    """
    if data.count(field << 3 | _LENGTH_DELIMITED) <= limit:
        return False  # each entry begins with this byte, so there cannot be more
    position, size, fields, entries = 0, len(data), 0, 0
    try:
        while position < size:
            tag, position = _varint(data, position)
            fields += 1
            entries += tag >> 3 == field
            if entries > limit or fields > _FIELDS_PER_ENTRY * limit:
                return True
            match tag & 7:
                case 2:
                    length, position = _varint(data, position)
                    position += length
                case 0:
                    _, position = _varint(data, position)
                case 1:
                    position += 8
                case 5:
                    position += 4
                case _:
                    return False
    except IndexError:
        return False
    return False


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the varint at a position, and the position after it. Raises IndexError."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError
