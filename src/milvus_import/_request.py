"""What is asked of a server, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import cast

JOB_ID_LIMIT = 2**63 - 1
_MOST_DIGITS = 19
_KEY_LIMIT = 256

Files = Sequence[str | Sequence[str]]
"""File groups: a str is a group of its own, a sequence is one group (the .npy files of its
columns)."""

OptionValue = str | bool | int | float | timedelta
ImportOptions = Mapping[str, OptionValue] | Sequence[tuple[str, OptionValue]]
"""Milvus' import options by name: a mapping, or pairs."""


@dataclass(slots=True, repr=False, eq=False)
class ImportJobRequest:
    """A checked order for an import."""

    collection_name: str
    groups: list[list[str]]
    partition_name: str
    db_name: str
    options: list[tuple[str, str]]


def check_job_id(job_id: str) -> str:
    """A job id as Milvus prints it: ASCII digits that fit int64."""
    if not isinstance(job_id, str):
        raise TypeError(f"job_id is a str of digits such as '449839014328146739', not {job_id!r}")
    digits = job_id.isdigit() and job_id.isascii() and len(job_id) <= _MOST_DIGITS
    if not digits or (len(job_id) == _MOST_DIGITS and int(job_id) > JOB_ID_LIMIT):
        raise ValueError(
            f"job_id {_short(job_id)} is no job id: Milvus' are decimal digits, at most 2**63-1"
        )
    return job_id


def check_name(name: str, argument: str, *, empty: bool = False) -> str:
    """A collection, partition or database name; only that it is text, the rest is Milvus' rule."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} is a str, not {name!r}")
    if not name and not empty:
        raise ValueError(f"{argument} is empty")
    return _encodable(name, argument)


def check_collection(name: str | None) -> str:
    """A collection's name; "" where all are meant."""
    if name == "":
        raise ValueError("collection_name is empty; leave it out for all collections")
    return "" if name is None else check_name(name, "collection_name")


def import_job_request(
    collection_name: str,
    files: Files,
    *,
    partition_name: str,
    db_name: str,
    options: ImportOptions | None,
) -> ImportJobRequest:
    """Check every part of an order. Raises TypeError or ValueError that names the part."""
    return ImportJobRequest(
        check_name(collection_name, "collection_name"),
        _check_files(files),
        check_name(partition_name, "partition_name", empty=True),
        check_name(db_name, "db_name", empty=True),
        _check_options(options),
    )


def check_idempotency_key(key: str) -> str:
    """Milvus 2.6.24 and 3.0.2 take printable ASCII of at most 256 bytes."""
    if not isinstance(key, str):
        raise TypeError(f"idempotency_key is a str, not {key!r}")
    if not 0 < len(key) <= _KEY_LIMIT or not (key.isascii() and key.isprintable()):
        raise ValueError(
            f"idempotency_key {_short(key)} is not 1 to {_KEY_LIMIT} characters of printable ASCII"
        )
    return key


def _check_files(files: Files) -> list[list[str]]:
    if isinstance(files, (str, PathLike)):
        raise TypeError(f"files is a list of paths; write files=[{str(files)!r}]")
    if isinstance(files, bytes) or not isinstance(files, Sequence):
        mend = "; write files=list(...)" if isinstance(files, Iterable) else ""
        raise TypeError(f"files is a list of paths, not {type(files).__name__}{mend}")
    if not files:
        raise ValueError("files is empty; name at least one file")
    return [
        _check_group(f"files[{index}]", [file] if isinstance(file, str) else file)
        for index, file in enumerate(files)
    ]


def _check_group(name: str, group: Sequence[str]) -> list[str]:
    if isinstance(group, PathLike):
        raise TypeError(f"{name} is {group!r}; write {str(group)!r}")
    if isinstance(group, bytes) or not isinstance(group, Sequence):
        raise TypeError(f"{name} is {group!r}, not a str or a sequence of str")
    if not group:
        raise ValueError(f"{name} is an empty group")
    for path in group:
        if not isinstance(path, str):
            raise TypeError(f"{name} holds {path!r}; write str(path)")
        if not path:
            raise ValueError(f"{name} holds an empty path")
        _encodable(path, name)
    return list(group)


def _check_options(options: ImportOptions | None) -> list[tuple[str, str]]:
    if options is None:
        return []
    if isinstance(options, (str, bytes)) or not isinstance(options, Iterable):
        kind = type(options).__name__  # the value may hold a secret
        raise TypeError(f"options is a mapping such as {{'timeout': 300}}, not {kind}")
    checked: dict[str, tuple[str, str]] = {}
    entries = cast("Iterable[object]", options.items() if isinstance(options, Mapping) else options)
    for entry in entries:
        if not isinstance(entry, (tuple, list)) or len(cast("Sequence[object]", entry)) != 2:
            raise TypeError("options holds an entry that is no pair of name and value")
        name, value = cast("tuple[object, object]", entry)
        if not isinstance(name, str) or not name:
            raise TypeError(f"an option's name is a str, not {name!r}")
        if name.lower() in checked:
            raise ValueError(f"option {name!r} is given twice")
        checked[name.lower()] = (_encodable(name, "an option's name"), _option(name, value))
    return list(checked.values())


def _option(name: str, value: object) -> str:
    """The string Milvus reads. A value is not shown in errors: ``ezk`` is a secret."""
    kind = type(value).__name__
    if name.lower() == "timeout":
        return _duration(value)
    if name.lower() == "auto_commit" and not isinstance(value, bool):
        raise TypeError(f"option 'auto_commit' is True or False, not a {kind}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return _encodable(str(value), f"option {name!r}")
    raise TypeError(f"option {name!r} is a str, a bool or an int, not a {kind}")


def _duration(value: object) -> str:
    """Seconds or a timedelta as Go's duration text; text is left to Milvus."""
    if isinstance(value, str) and value:
        return _encodable(value, "option 'timeout'")
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(
            f"option 'timeout' is seconds, a timedelta or text such as '300s': {value!r}"
        )
    if not 1e-6 <= seconds <= 1e9:
        raise ValueError(f"option 'timeout' is {value!r}; it must be 1e-6 to 1e9 seconds")
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def _encodable(text: str, argument: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{argument} holds a lone surrogate, which is no text") from None
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")
