"""Parse replies, which are untrusted: their entries are limited first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from .._failures._grpc import bad_reply
from .._failures._milvus import check_status
from .._failures._texts import EMPTY_REPLY
from .._hints import Hint
from ._limits import exceeds_limits, is_well_formed

if TYPE_CHECKING:
    from .._models import ImportProgressData

MAX_ENTRIES: Final = 100_000
"""File groups of one job; Milvus accepts 1,024 by default (maxImportFileNumPerReq)."""
MAX_LISTED_JOBS: Final = 1_000_000
"""Jobs of one list."""
MAX_PROGRESS_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one GetImportProgress or GetImportState reply."""
COUNTED_FROM: Final = 1024 * 1024
"""Bytes from which the entries are counted before the reply is parsed."""

_MessageT = TypeVar("_MessageT", bound=Message)


@dataclass(slots=True, eq=False)
class Snapshot:
    """The progress of a job as it was received, decoded on demand."""

    reply: Any
    """The reply as bytes, or as a message."""
    message: Any
    """The reply, parsed."""
    decode: Callable[[], ImportProgressData]
    """It must not refer to the previous snapshot: a watch would keep every reply."""


def take_snapshot(
    reply_type: type[_MessageT],
    reply: Any,
    previous: Snapshot | None,
    job_id: str,
    decode: Callable[[_MessageT, str], ImportProgressData],
) -> Snapshot:
    """Return the snapshot of a reply, or the previous one if the progress is the same."""
    if previous is not None and previous.reply == reply:
        return previous
    message = parse(reply_type, reply, max_bytes=MAX_PROGRESS_BYTES)
    if previous is not None and previous.message == message:
        return previous
    return Snapshot(reply, message, partial(decode, message, job_id))


def parse(
    reply_type: type[_MessageT],
    reply: Any,
    *,
    max_bytes: int | None = None,
    max_entries: int = MAX_ENTRIES,
) -> _MessageT:
    """Parse a reply. Raises ReplyError if that fails, or for a Status that is not Success."""
    message = parse_any_status(reply_type, reply, max_bytes, max_entries)
    check_status(cast("Any", message).status)
    return message


def parse_any_status(
    reply_type: type[_MessageT],
    reply: Any,
    max_bytes: int | None = None,
    max_entries: int = MAX_ENTRIES,
) -> _MessageT:
    """Parse a reply, whatever its Status. Raises ReplyError if that fails.

    ``max_entries`` limits each field. A reply is already a message, without any limit, if the
    client has interceptors.
    """
    message: Any = reply
    if not isinstance(reply, bytes):
        if not reply.ByteSize():
            raise bad_reply(EMPTY_REPLY)
    else:
        if not reply:
            raise bad_reply(EMPTY_REPLY)
        if len(reply) > COUNTED_FROM:
            _check_limits(reply_type, reply, max_bytes, max_entries)
        try:
            message = reply_type.FromString(reply)
        except DecodeError:
            message = None
    if message is None:  # outside the except block: protobuf's error may quote the reply
        # protobuf reports the encoding as the cause only in its newest versions.
        small = len(reply) <= COUNTED_FROM
        is_text = small and is_well_formed(reply, reply_type.DESCRIPTOR)
        raise bad_reply("the reply could not be parsed", Hint.INVALID_UTF8 if is_text else None)
    parsed: _MessageT = message
    return parsed


def _check_limits(
    reply_type: type[Message], reply: bytes, max_bytes: int | None, max_entries: int
) -> None:
    if max_bytes is not None and len(reply) > max_bytes:
        text = f"the reply of {len(reply):,} bytes is larger than {max_bytes:,}"
        raise bad_reply(text, Hint.REPLY_OVER_LIMIT)
    if exceeds_limits(reply, reply_type.DESCRIPTOR, max_entries):
        text = f"the reply has more than {max_entries:,} entries"
        raise bad_reply(text, Hint.REPLY_OVER_LIMIT)
