"""The contents of replies, decoded on demand; the parsing of gRPC replies, which are untrusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from milvus_import_pb import internal_pb2

from .._connection._base import Method
from .._errors import ArgumentError, shorten
from .._failures._statuses import EMPTY_REPLY, reply_error, returned_error
from .._hints import Hint
from .._models import ImportJob, ImportState

if TYPE_CHECKING:
    from .._models import ImportProgressData, Service
    from ._requests import JobParams

MAX_GROUPS: Final = 100_000
"""File groups of one job; Milvus accepts 1,024 by default (maxImportFileNumPerReq)."""
MAX_LISTED_JOBS: Final = 1_000_000
"""Jobs of one list."""
MAX_PROGRESS_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the reply with the progress of one job."""
COUNTED_FROM: Final = 1024 * 1024
"""Bytes from which the entries of a reply are counted before it is parsed."""
COUNT_FACTOR: Final = 4
"""How many times the limit the count may be: it is an upper bound, texts contain the byte too."""

JobRow = tuple[str, "int | str", int, str]
"""One job of a list: collection name, state by number or name, progress, reason."""
Columns = tuple[Sequence[str], Sequence["int | str"], Sequence[int], Sequence[str]]
"""The rows of a list by column."""

STATES: Final[dict[int | str, ImportState]] = {
    number: ImportState(name) for name, number in internal_pb2.ImportJobState.items()
}

Decoder = Callable[[Any, str], "ImportProgressData"]
"""Returns the progress of a job by its id, of a message or JSON."""
_MessageT = TypeVar("_MessageT", bound=Message)


@dataclass(slots=True, repr=False, eq=False)
class Snapshot:
    """The progress of a job as it was received."""

    reply: Any
    """The reply as bytes, or as a message if the client has interceptors."""
    message: Any
    """The reply, parsed."""
    job_id: str
    decoder: Decoder
    reason: str = ""
    """The reason of the status, usually ""."""

    def decode(self) -> ImportProgressData:
        """Return a new object, which belongs to the caller."""
        return self.decoder(self.message, self.job_id)

    def is_same(self, other: Snapshot | None) -> bool:
        """Return whether another snapshot shows the same progress."""
        return other is not None and (self.reply == other.reply or self.message == other.message)


@dataclass(slots=True, repr=False, eq=False)
class JobList:
    """A list of jobs as it was received: their ids and columns, in the server's order."""

    job_ids: Sequence[str]
    columns: Columns
    pages: int = 1
    """The requests that the list took."""
    _index: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._index = dict(zip(self.job_ids, range(len(self.job_ids)), strict=True))

    def row(self, job_id: str) -> JobRow | None:
        """Return the row of a job; None if the list does not contain it."""
        index = self._index.get(job_id)
        if index is None:
            return None
        names, states, progresses, reasons = self.columns
        return names[index], states[index], progresses[index], reasons[index]

    def jobs(self) -> list[ImportJob]:
        """Return all jobs, sorted by id."""
        return [decode_row(id_, row) for id_ in sorted_ids(self._index) if (row := self.row(id_))]


def grpc_method(
    service: Service, stub: Any, name: str, build: Any, read: Any, *, is_read: bool = True
) -> Method[Any, Any]:
    """Return one method of a gRPC service, which has a generated stub."""
    path, reply_type = f"{stub.SERVICE}/{name}", stub.METHODS[name][1]
    return Method(service, name, path, build, read, is_read, reply_type)


def read_snapshot(
    reply_type: type[Any], decoder: Decoder, reply: Any, params: JobParams
) -> Snapshot:
    """Return the progress in a reply of gRPC."""
    message = parse(reply_type, reply, max_bytes=MAX_PROGRESS_BYTES)
    return Snapshot(reply, message, params.job_id, decoder, message.status.reason)


def listed(job_ids: Sequence[str], columns: Columns, validate: Callable[[str], str]) -> JobList:
    """Return a list of jobs. Raises a reply error for lengths or ids that are not valid."""
    if len(job_ids) > MAX_LISTED_JOBS:
        raise reply_error(f"the reply lists more than {MAX_LISTED_JOBS:,} jobs")
    if any(len(column) != len(job_ids) for column in columns):
        raise reply_error("the reply's columns differ in length")
    with suppress(ArgumentError):  # which must not become the context
        return JobList([validate(job_id) for job_id in job_ids], columns)
    invalid = next(job_id for job_id in job_ids if not is_valid(job_id, validate))
    raise reply_error(f"the reply lists the job id {shorten(invalid)}, which is not valid")


def listed_rows(rows: Mapping[str, JobRow], validate: Callable[[str], str]) -> JobList:
    """Return a list of jobs that was received as rows by job id."""
    columns = cast("Columns", tuple(zip(*rows.values(), strict=True)) or ((), (), (), ()))
    return listed(list(rows), columns, validate)


def is_valid(job_id: str, validate: Callable[[str], str]) -> bool:
    """Return whether a server sent a valid job id."""
    with suppress(ArgumentError):
        validate(job_id)
        return True
    return False


def decode_row(job_id: str, row: JobRow) -> ImportJob:
    """Return one row as a dataclass."""
    collection_name, state, progress, reason = row
    return ImportJob(job_id, collection_name, state_of(state), progress, reason)


def state_of(state: int | str) -> ImportState:
    """Return a state by its number or name; an unknown one is kept as text."""
    return STATES.get(state) or ImportState(str(state))


def sorted_ids(job_ids: Iterable[str]) -> list[str]:
    """Return ids in order: decimal ids as numbers, others by length and text."""
    return sorted(job_ids, key=lambda job_id: (len(job_id), job_id))


def parse(
    reply_type: type[_MessageT],
    reply: Any,
    *,
    max_bytes: int | None = None,
    max_entries: int = MAX_GROUPS,
) -> _MessageT:
    """Return the message of a reply.

    A reply is already a message, without any limit, if the client has interceptors. Raises the
    error of a status that is not Success, and a reply error for what cannot be parsed.
    """
    message: Any = reply
    if not (reply if isinstance(reply, bytes) else reply.ByteSize()):
        raise reply_error(EMPTY_REPLY)
    if isinstance(reply, bytes):
        if len(reply) > COUNTED_FROM:
            check_size(len(reply), max_bytes)
            for tag in _repeated_tags(reply_type.DESCRIPTOR):
                check_count(reply.count(tag), max_entries)
        message, hint = None, None
        try:
            message = reply_type.FromString(reply)
        except DecodeError as error:
            hint = Hint.INVALID_UTF8 if "UTF-8" in str(error) else None
        if message is None:  # outside the except block: protobuf's error may quote the reply
            raise reply_error("the reply could not be parsed", hint)
    status = message.status
    if status.code or status.error_code:
        raise returned_error(status)
    return cast("_MessageT", message)


def check_size(size: int, limit: int | None) -> None:
    """Raise a reply error if a reply has more bytes than allowed."""
    if limit is not None and size > limit:
        text = f"the reply of {size:,} bytes is larger than {limit:,}"
        raise reply_error(text, Hint.REPLY_OVER_LIMIT)


def check_count(count: int, max_entries: int, factor: int = COUNT_FACTOR) -> None:
    """Raise a reply error if a reply has more entries than allowed.

    ``count`` is an upper bound that is found before parsing, which takes memory per entry.
    """
    if count > factor * max_entries:
        text = f"the reply has more than {max_entries:,} entries"
        raise reply_error(text, Hint.REPLY_OVER_LIMIT)


@lru_cache
def _repeated_tags(descriptor: Any) -> tuple[bytes, ...]:
    """Return the first byte of each repeated field of texts or messages, nested ones too."""
    tags: set[bytes] = set()
    for member in descriptor.fields:
        if member.message_type is not None:
            tags.update(_repeated_tags(member.message_type))
        # protobuf 5.27 has only the label.
        if getattr(member, "is_repeated", None) or getattr(member, "label", 0) == 3:
            tag = member.number << 3 | 2
            tags.add(bytes([tag if tag < 128 else tag & 0x7F | 0x80]))
    return tuple(sorted(tags))
