"""The parameters of the methods, validated before anything is sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import Any, TypedDict, cast

from .._address import validate_text
from .._connection._base import NextPage
from .._errors import ArgumentError, shorten, wrong_type_error
from .._options import pairs_of

logger = logging.getLogger("milvus_import")

JOB_ID_LIMIT = 2**63 - 1
_DIGITS = "[0-9]{1,38}"
"""Matches the digits of a job id, with leading zeros."""
MAX_CREATE_BYTES = 1_468_006
"""The largest serialized create request, 1.4 MiB; etcd's limit is 1.5 MiB."""
# A duration of Go that is not negative.
_DURATION_PART = r"([0-9]+\.?[0-9]*|\.[0-9]+)([nu\u00b5\u03bcm]?s|m|h)"
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_WARNED_OPTIONS: set[str] = set()

FilePath = str | PathLike[str]
Files = Sequence[FilePath | Sequence[FilePath]]
"""File groups: a path is one group, a sequence is one group (one .npy file per field)."""

OptionValue = str | bool | int | float | timedelta


class ImportOptions(TypedDict, total=False):
    """The import options of Milvus 2.2 to 3.0."""

    timeout: float | str | timedelta
    """Seconds, a timedelta or a duration of Go such as "1h30m", after which Milvus ends the job."""
    auto_commit: bool
    """False stops the job before its data becomes visible, until it is committed. Milvus 3.0."""
    sep: str
    """The separator of CSV files, default ","."""
    nullkey: str
    """The text that means null in CSV files, default ""."""
    backup: bool
    """Whether the files are those of a backup."""
    l0_import: bool
    """Whether the files of the backup are deletions."""
    start_ts: int | str
    """The first Milvus timestamp of a backup to import."""
    startTs: int | str
    end_ts: int | str
    """The last Milvus timestamp of a backup to import."""
    endTs: int | str
    skip_disk_quota_check: bool
    """Whether a backup may exceed the disk quota."""
    storage_version: int | str
    """The storage version of a backup."""
    ezk: str
    """The key of an encrypted backup; a secret."""
    source_type: str
    external_spec: str


ImportOptionsLike = ImportOptions | Mapping[str, OptionValue] | Sequence[tuple[str, OptionValue]]
"""The import options by name: the known ones, or any as a mapping or pairs."""


@dataclass(slots=True, frozen=True, repr=False)
class BucketCredentials:
    """The keys with which Zilliz Cloud reads the object URLs of an import. The repr is empty."""

    access_key: str
    secret_key: str
    session_token: str = ""

    def __repr__(self) -> str:
        return "BucketCredentials(...)"

    def __post_init__(self) -> None:
        for name in ("access_key", "secret_key", "session_token"):
            text = validate_text(name, getattr(self, name), secret=True)
            if not text and name != "session_token":
                raise ArgumentError(f"{name} must not be empty")


@dataclass(slots=True, frozen=True)
class Volume:
    """A volume of Zilliz Cloud, in which the files of an import are."""

    name: str

    def __post_init__(self) -> None:
        validate_name(self.name, "the name of a Volume")


Storage = BucketCredentials | Volume


@dataclass(slots=True, repr=False, eq=False)
class JobParams:
    """One job: for get_import_progress, commit and abort."""

    job_id: str
    db_name: str


@dataclass(slots=True, repr=False, eq=False)
class ListParams(NextPage):
    """The jobs of a collection, or of all collections (""), or one page of them."""

    collection_name: str
    db_name: str
    only_one: bool = False
    """Whether one job is enough, where a list has pages."""
    page: int = 1
    records: dict[str, dict[str, Any]] | None = None
    """The records of the pages before this one, by job id."""


@dataclass(slots=True, repr=False, eq=False)
class CreateParams:
    """One import request. No repr: an option may be a secret."""

    collection_name: str
    groups: list[list[str]]
    partition_name: str
    db_name: str
    options: list[tuple[str, str]]
    storage: Storage | None = None
    """Where Zilliz Cloud reads the files; None for public or pre-signed URLs."""


def validate_job_id(job_id: str) -> str:
    """Return a job id as Milvus prints it: ASCII digits that fit int64, without leading zeros."""
    # Most ids are valid as they are; a regex takes longer.
    digits = isinstance(job_id, str) and job_id.isascii() and job_id.isdigit()
    if digits and len(job_id) < 19 and job_id[0] != "0":
        return job_id
    rule = "a decimal integer of at most 2**63-1"
    _matching("job_id", job_id, _DIGITS, rule, kind="a str of digits such as '449839014328146739'")
    if int(job_id) > JOB_ID_LIMIT:
        raise ArgumentError(f"job_id must be {rule}, got {shorten(job_id)}")
    return str(int(job_id))


def validate_cloud_job_id(job_id: str) -> str:
    """Return a job id of Zilliz Cloud, such as ``job-0123abc``, unchanged."""
    rule = "1 to 256 characters of printable ASCII without spaces"
    return _matching("job_id", job_id, r"[!-~]{1,256}", rule, kind="a str such as 'job-0123abc'")


def _matching(name: str, value: str, pattern: str, rule: str, *, kind: str = "a str") -> str:
    """Return a str that matches a pattern. ``kind`` and ``rule``: what errors say that it is."""
    if not isinstance(value, str):
        raise wrong_type_error(name, kind, value)
    if not re.fullmatch(pattern, value):
        raise ArgumentError(f"{name} must be {rule}, got {shorten(value)}")
    return value


def validate_job_ids(
    job_ids: Iterable[str],
    *,
    or_collection: bool,
    validate: Callable[[str], str] = validate_job_id,
) -> list[str]:
    """Return job ids. Raises TypeError for a str, which would be read digit by digit."""
    if isinstance(job_ids, str):
        shown = shorten(job_ids)
        collection = f", or pass collection_name={shown}" if or_collection else ""
        raise TypeError(f"job_ids must be a list, got {shown}; write [{shown}]{collection}")
    if not isinstance(job_ids, Iterable):
        raise wrong_type_error("job_ids", "a list of job ids", job_ids)
    return [validate(job_id) for job_id in job_ids]


def validate_name(name: str, argument: str, *, empty: bool = False) -> str:
    """Return a collection, partition or database name. Milvus validates the rest."""
    if not validate_text(argument, name) and not empty:
        raise ArgumentError(f"{argument} must not be empty")
    return name


def validate_identifier(argument: str, value: str) -> str:
    """Return an identifier of Zilliz Cloud; "" for none."""
    rule = "at most 256 characters of printable ASCII without spaces"
    return _matching(argument, value, r"[!-~]{0,256}", rule)


def validate_collection(name: str | None) -> str:
    """Return a collection's name; "" for all collections."""
    if name == "":
        raise ArgumentError("collection_name must not be empty; leave it out for all collections")
    return "" if name is None else validate_text("collection_name", name)


def validate_database(db_name: str) -> str:
    """Return a database's name, which is also sent as the metadata value ``dbname``."""
    return _matching("db_name", validate_text("db_name", db_name), "[ -~]*", "printable ASCII")


def _validate_sources(params: CreateParams) -> None:
    """Raise ArgumentError unless the files are paths in the volume, or else URLs of objects."""
    in_volume = isinstance(params.storage, Volume)
    rule = "URLs of objects, such as 's3://bucket/a.parquet', unless storage is a Volume"
    if in_volume:
        rule = "paths in the volume if storage is a Volume"
    for path in (path for group in params.groups for path in group):
        if ("://" in path) is in_volume:
            raise ArgumentError(f"files must be {rule}, got {shorten(without_query(path))}")


def without_query(url: str) -> str:
    """Return a URL or path for an error or a log, without its secrets: the query and the user."""
    return re.sub("//[^/?]*@", "//", url.partition("?")[0])


def create_params(
    collection_name: str,
    files: Files,
    *,
    partition_name: str,
    db_name: str,
    options: ImportOptionsLike | None,
    storage: Storage | None = None,
    cloud: bool = False,
) -> CreateParams:
    """Validate every part of an import request. ``cloud``: to Zilliz Cloud."""
    if not isinstance(storage, (BucketCredentials, Volume, type(None))):  # it may be a secret
        rule = "BucketCredentials, a Volume or None"
        raise wrong_type_error("storage", rule, storage, secret=True)
    params = CreateParams(
        validate_name(collection_name, "collection_name"),
        _validate_files(files),
        validate_name(partition_name, "partition_name", empty=True),
        validate_name(db_name, "db_name", empty=True),
        _validate_options(options),
        storage,
    )
    if cloud:
        _validate_sources(params)
    elif storage is not None:
        raise ArgumentError("storage must be None unless service='cloud'")
    return params


def validate_create_size(size: int) -> None:
    """Raise ArgumentError for a serialized create request above ``MAX_CREATE_BYTES``."""
    if size > MAX_CREATE_BYTES:
        raise ArgumentError(
            f"files must make a request of at most {MAX_CREATE_BYTES} bytes (1.4 MiB), got {size}: "
            "Milvus does not respond to larger ones (the limit of its etcd), and then accepts no "
            "import and no drop of the collection until it is restarted; start several jobs"
        )


def validate_idempotency_key(key: str) -> str:
    """Return a key that Milvus 2.6.24 and 3.0.2 accept: printable ASCII of at most 256 bytes."""
    rule = "1 to 256 characters of printable ASCII"
    return _matching("idempotency_key", key, "[ -~]{1,256}", rule)


def _validate_files(files: Files) -> list[list[str]]:
    if isinstance(files, (str, PathLike)):
        path = shorten(without_query(str(files)))
        raise TypeError(f"files must be a list of paths, got {path}; write files=[{path}]")
    if isinstance(files, bytes) or not isinstance(files, Sequence):
        hint = "; write files=list(...)" if isinstance(files, Iterable) else ""
        raise TypeError(f"files must be a list of paths, got {type(files).__name__}{hint}")
    if not files:
        raise ArgumentError("files must name at least one file")
    groups = [
        _validate_group(f"files[{index}]", [group] if isinstance(group, (str, PathLike)) else group)
        for index, group in enumerate(files)
    ]
    _reject_separate_columns(groups)
    return groups


def _validate_group(name: str, group: Sequence[FilePath]) -> list[str]:
    if isinstance(group, bytes) or not isinstance(group, Sequence):
        got = without_query(shorten(group))
        raise TypeError(f"{name} must be a path or a sequence of paths, got {got}")
    if not group:
        raise ArgumentError(f"{name} must not be an empty group")
    return [_validate_path(name, path) for path in group]


def _validate_path(name: str, path: FilePath) -> str:
    text = path
    if isinstance(path, PathLike):
        posix = cast("str", getattr(path, "as_posix", path.__fspath__)())
        text = "" if posix == "." else posix  # pathlib has "." for an empty path
        if ":/" in posix.removeprefix(getattr(path, "drive", "")):
            raise ArgumentError(
                f"{name} must be a str if it is a URL: a path keeps only one of its slashes, "
                f"got {shorten(without_query(posix))}"
            )
    if not isinstance(text, str):
        got = without_query(shorten(path))
        raise TypeError(f"{name} must hold paths, each a str or a PurePath, got {got}")
    if not validate_text(name, text, secret=True):
        raise ArgumentError(f"{name} must not hold an empty path")
    return text


def _reject_separate_columns(groups: list[list[str]]) -> None:
    """Raise if the .npy files of several columns are groups of their own.

    Each group must have all columns, so groups of one file each must name the same column.
    """
    single = [without_query(group[0]) for group in groups if len(group) == 1]
    paths = [path for path in single if path.lower().endswith(".npy")]
    if len({path.rpartition("/")[2] for path in paths}) > 1:
        folders: dict[str, list[str]] = {}
        for path in paths:
            folders.setdefault(path.rpartition("/")[0], []).append(path)
        shown = shorten(list(folders.values()))
        raise ArgumentError(f"files must hold all .npy columns in one group, as in {shown}")


def _validate_options(options: ImportOptionsLike | None) -> list[tuple[str, str]]:
    validated: dict[str, tuple[str, str]] = {}
    for name, value in pairs_of("options", {} if options is None else options):
        if not isinstance(name, str) or not name:
            raise wrong_type_error("the name of an option", "a str", name)
        validate_text("the name of an option", name)
        if name not in _KNOWN_OPTIONS:
            _reject_misspelt(name)
        plain = _plain_name(name)
        if plain in validated:
            raise ArgumentError(f"option {shorten(name)} is given twice")
        validated[plain] = (name, _option_text(name, value))
    return list(validated.values())


def _reject_misspelt(name: str) -> None:
    """Raise for a name close to a known one, and log others once: Milvus ignores both."""
    import difflib  # noqa: PLC0415 - most calls have no option

    close = difflib.get_close_matches(_plain_name(name), _KNOWN_OPTIONS_BY_PLAIN_NAME, 1, 0.85)
    if close:
        known = _KNOWN_OPTIONS_BY_PLAIN_NAME[close[0]]
        raise ArgumentError(
            f"option {shorten(name)} is unknown, and Milvus would ignore it: write {known!r}"
        )
    if name not in _WARNED_OPTIONS:
        _WARNED_OPTIONS.add(name)
        logger.warning("import option %s is unknown to this client; Milvus may ignore it", name)


def _plain_name(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


_KNOWN_OPTIONS = ImportOptions.__optional_keys__
_KNOWN_OPTIONS_BY_PLAIN_NAME = {_plain_name(name): name for name in sorted(_KNOWN_OPTIONS)}


def _option_text(name: str, value: object) -> str:
    """Return the text that Milvus reads. Errors do not show the value: ``ezk`` is a secret."""
    if name == "timeout":
        return _duration_text(value)
    if name == "auto_commit" and not isinstance(value, bool):
        raise wrong_type_error("option 'auto_commit'", "True or False", value, secret=True)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int)):
        raise wrong_type_error(f"option {name!r}", "a str, a bool or an int", value, secret=True)
    if re.search("[\ud800-\udfff]", text := str(value)):
        raise ArgumentError(f"option {name!r} must be valid Unicode text")
    return text


def _duration_text(value: object) -> str:
    """Return seconds or a timedelta as Go's duration text; such text is not converted."""
    name, shown = "option 'timeout'", shorten(value)
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(value, str):
        if not re.fullmatch(f"({_DURATION_PART})+", value):
            raise ArgumentError(
                f"{name} must be seconds, such as 300, a timedelta or a duration of Go, "
                f"such as '300s' or '1h30m', got {shown}"
            )
        parts = re.findall(_DURATION_PART, re.sub("[\u00b5\u03bc]", "u", value))
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise wrong_type_error(name, "seconds, a timedelta or text such as '300s'", value)
    if not 1e-6 <= seconds <= 1e9:
        raise ArgumentError(f"{name} must be 1e-6 to 1e9 seconds, got {shown}")
    return value if isinstance(value, str) else f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
