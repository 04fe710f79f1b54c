"""The parameters of the methods, validated before anything is sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, cast

from .._errors import ArgumentError
from .._text import shorten

if TYPE_CHECKING:
    from ._replies import Snapshot

logger = logging.getLogger("milvus_import")

JOB_ID_LIMIT = 2**63 - 1
_MAX_DIGITS = 38
"""Digits of a job id, leading zeros included."""
_USUAL_JOB_ID = re.compile("[1-9][0-9]{0,17}").fullmatch
"""Matches an id that fits int64 and has no leading zeros."""
_MAX_KEY_LENGTH = 256
# The import options of Milvus 2.2 to 3.0.
_KNOWN_OPTIONS = frozenset(
    {
        "auto_commit",
        "backup",
        "end_ts",
        "ezk",
        "l0_import",
        "nullkey",
        "sep",
        "skip_disk_quota_check",
        "start_ts",
        "storage_version",
        "timeout",
    }
)
_WARNED_OPTIONS: set[str] = set()

Files = Sequence[str | Sequence[str]]
"""File groups: a str is one group, a sequence is one group (one .npy file per field)."""

OptionValue = str | bool | int | float | timedelta
ImportOptions = Mapping[str, OptionValue] | Sequence[tuple[str, OptionValue]]
"""Milvus' import options by name: a mapping, or pairs."""


@dataclass(slots=True)
class JobParams:
    """One job: for get_import_progress, commit and abort."""

    job_id: str
    db_name: str
    previous: Snapshot | None = None
    """The last snapshot of a watch; an equal reply is not decoded again."""


@dataclass(slots=True)
class ListParams:
    """The jobs of a collection, or of all collections ("")."""

    collection_name: str
    db_name: str
    wanted: Container[str] | None = None
    """The jobs whose rows a watch needs; None for all."""


@dataclass(slots=True, repr=False, eq=False)
class CreateParams:
    """One import request. No repr: an option may be a secret."""

    collection_name: str
    groups: list[list[str]]
    partition_name: str
    db_name: str
    options: list[tuple[str, str]]


def validate_job_id(job_id: str) -> str:
    """Return a job id as Milvus prints it: ASCII digits that fit int64, without leading zeros."""
    if not isinstance(job_id, str):
        raise TypeError(
            f"job_id must be a str of digits such as '449839014328146739', got {shorten(job_id)}"
        )
    if _USUAL_JOB_ID(job_id):
        return job_id
    digits = job_id.isdigit() and job_id.isascii() and len(job_id) <= _MAX_DIGITS
    if not digits or int(job_id) > JOB_ID_LIMIT:
        raise ArgumentError(
            f"job_id must be a decimal integer of at most 2**63-1, got {shorten(job_id)}"
        )
    return job_id if job_id[0] != "0" else str(int(job_id))


def validate_job_ids(job_ids: Iterable[str], *, or_collection: bool) -> list[str]:
    """Return job ids. Raises TypeError for a str, which would be read digit by digit."""
    if isinstance(job_ids, str):
        collection = f", or pass collection_name={shorten(job_ids)}" if or_collection else ""
        raise TypeError(
            f"job_ids must be a list, got {shorten(job_ids)}; "
            f"write [{shorten(job_ids)}]{collection}"
        )
    if not isinstance(job_ids, Iterable):
        raise TypeError(f"job_ids must be a list of job ids, got {shorten(job_ids)}")
    return [validate_job_id(job_id) for job_id in job_ids]


def validate_name(name: str, argument: str, *, empty: bool = False) -> str:
    """Return a collection, partition or database name. Milvus validates the rest."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} must be a str, got {shorten(name)}")
    if not name and not empty:
        raise ArgumentError(f"{argument} must not be empty")
    return _encodable(name, argument)


def validate_collection(name: str | None) -> str:
    """Return a collection's name; "" for all collections."""
    if name == "":
        raise ArgumentError("collection_name must not be empty; leave it out for all collections")
    return "" if name is None else validate_name(name, "collection_name")


def validate_database(db_name: str) -> str:
    """Return a database's name, which is also sent as the metadata value ``dbname``."""
    validate_name(db_name, "db_name", empty=True)
    if not (db_name.isascii() and db_name.isprintable()):
        raise ArgumentError(f"db_name must be printable ASCII, got {shorten(db_name)}")
    return db_name


def create_params(
    collection_name: str,
    files: Files,
    *,
    partition_name: str,
    db_name: str,
    options: ImportOptions | None,
) -> CreateParams:
    """Validate every part of an import request."""
    return CreateParams(
        validate_name(collection_name, "collection_name"),
        _validate_files(files),
        validate_name(partition_name, "partition_name", empty=True),
        validate_name(db_name, "db_name", empty=True),
        _validate_options(options),
    )


def validate_idempotency_key(key: str) -> str:
    """Return a key that Milvus 2.6.24 and 3.0.2 accept: printable ASCII of at most 256 bytes."""
    if not isinstance(key, str):
        raise TypeError(f"idempotency_key must be a str, got {shorten(key)}")
    if not 0 < len(key) <= _MAX_KEY_LENGTH or not (key.isascii() and key.isprintable()):
        raise ArgumentError(
            f"idempotency_key must be 1 to {_MAX_KEY_LENGTH} characters of printable ASCII, "
            f"got {shorten(key)}"
        )
    return key


def _validate_files(files: Files) -> list[list[str]]:
    if isinstance(files, (str, PathLike)):
        path = shorten(str(files))
        raise TypeError(f"files must be a list of paths, got {path}; write files=[{path}]")
    if isinstance(files, bytes) or not isinstance(files, Sequence):
        hint = "; write files=list(...)" if isinstance(files, Iterable) else ""
        raise TypeError(f"files must be a list of paths, got {type(files).__name__}{hint}")
    if not files:
        raise ArgumentError("files must name at least one file")
    return [
        _validate_group(f"files[{index}]", [file] if isinstance(file, str) else file)
        for index, file in enumerate(files)
    ]


def _validate_group(name: str, group: Sequence[str]) -> list[str]:
    if isinstance(group, PathLike):
        raise TypeError(f"{name} must be a str; write {shorten(str(group))}")
    if isinstance(group, bytes) or not isinstance(group, Sequence):
        raise TypeError(f"{name} must be a str or a sequence of str, got {shorten(group)}")
    if not group:
        raise ArgumentError(f"{name} must not be an empty group")
    for path in group:
        if not isinstance(path, str):
            raise TypeError(f"{name} must hold str paths, got {shorten(path)}; write str(path)")
        if not path:
            raise ArgumentError(f"{name} must not hold an empty path")
        _encodable(path, name)
    return list(group)


def _validate_options(options: ImportOptions | None) -> list[tuple[str, str]]:
    if options is None:
        return []
    if isinstance(options, (str, bytes)) or not isinstance(options, Iterable):
        kind = type(options).__name__  # the value may hold a secret
        raise TypeError(f"options must be a mapping such as {{'timeout': 300}}, got {kind}")
    validated: dict[str, tuple[str, str]] = {}
    entries = cast("Iterable[object]", options.items() if isinstance(options, Mapping) else options)
    for entry in entries:
        if not isinstance(entry, (tuple, list)) or len(cast("Sequence[object]", entry)) != 2:
            raise TypeError("options must hold pairs of name and value; one entry is not a pair")
        name, value = cast("tuple[object, object]", entry)
        if not isinstance(name, str) or not name:
            raise TypeError(f"the name of an option must be a str, got {shorten(name)}")
        if name.lower() in validated:
            raise ArgumentError(f"option {shorten(name)} is given twice")
        text = _option_text(name, value)
        validated[name.lower()] = (_encodable(name, "the name of an option"), text)
    _warn_of_unknown(validated)
    return list(validated.values())


def _warn_of_unknown(options: Iterable[str]) -> None:
    """Log each unknown option once per process: a misspelt ``auto_commit`` would commit."""
    for name in options:
        if name not in _KNOWN_OPTIONS and name not in _WARNED_OPTIONS:
            _WARNED_OPTIONS.add(name)
            logger.warning("import option %s is unknown to this client; Milvus may ignore it", name)


def _option_text(name: str, value: object) -> str:
    """Return the text that Milvus reads. Errors do not show the value: ``ezk`` is a secret."""
    kind = type(value).__name__
    if name.lower() == "timeout":
        return _duration_text(value)
    if name.lower() == "auto_commit" and not isinstance(value, bool):
        raise TypeError(f"option 'auto_commit' must be True or False, got {kind}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return _encodable(str(value), f"option {name!r}")
    raise TypeError(f"option {name!r} must be a str, a bool or an int, got {kind}")


def _duration_text(value: object) -> str:
    """Return seconds or a timedelta as Go's duration text; text is not converted."""
    if isinstance(value, str) and value:
        return _encodable(value, "option 'timeout'")
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(
            "option 'timeout' must be seconds, a timedelta or text such as '300s', "
            f"got {shorten(value)}"
        )
    if not 1e-6 <= seconds <= 1e9:
        raise ArgumentError(f"option 'timeout' must be 1e-6 to 1e9 seconds, got {shorten(value)}")
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def _encodable(text: str, argument: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"{argument} must be valid Unicode text") from None
    return text
