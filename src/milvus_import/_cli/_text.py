"""Numbers, times, states and errors in words."""

from __future__ import annotations

from datetime import datetime

from .._models import ImportJob, ImportProgressData, ImportState

Progress = ImportProgressData | ImportJob

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_WORDS = {
    ImportState.PRE_IMPORTING: "Pre-importing",
    ImportState.INDEX_BUILDING: "Building index",
    ImportState.UNCOMMITTED: "Waits for commit",
}
# What the library's advice says in Python, and what it is here. The longer comes first.
_OPTIONS = (
    ("pass token='user:password', or user= and password=", "set MILVUS_TOKEN=user:password"),
    ("pass user= and password=, or token=", "set MILVUS_TOKEN=user:password"),
    ("or the API key", "or the API key, in MILVUS_TOKEN or --token"),
    ("in a list, [[...]]", "by --together"),
    ("token begins", "the token begins"),
    ("as token=, without 'Bearer'", "in MILVUS_TOKEN or --token, without 'Bearer'"),
    (", or pass channel_options=[('grpc.enable_http_proxy', 0)]", ""),
    ("tls=TLSConfig(cert=..., key=...)", "--cert FILE --key FILE"),
    ("TLSConfig(cert=..., key=...)", "--cert FILE --key FILE"),
    ("tls=TLSConfig(ca=...)", "--ca FILE"),
    ("TLSConfig(ca=...)", "--ca FILE"),
    ("TLSConfig(server_name=...)", "--server-name NAME"),
    (", or drop tls=", ""),
    ("but tls= was given", "but --ca, --cert, --key or --server-name was given"),
    ("TLSConfig: ", ""),
    ("service='auto'", "--service auto"),
    ("pass the database as db_name=", "pass the database as --db"),
    ("check the collection's name and db_name", "check the collection's name and --db"),
    ("Check the collection's name and db_name", "Check the collection's name and --db"),
    ("heck db_name", "heck --db"),
    ("heck partition_name", "heck --partition"),
)


def state(value: ImportState) -> str:
    """A state as a person reads it."""
    return _WORDS.get(value, clean(value))


def size(count: int) -> str:
    """Bytes with a unit: ``1.5 MB``."""
    value, units = float(max(count, 0)), list(_UNITS)
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        del units[0]
    whole = value >= 99.95 or len(units) == len(_UNITS)
    return f"{value:.0f} {units[0]}" if whole else f"{value:.1f} {units[0]}"


def rows(imported: int, total: int, *, brief: bool = False) -> str:
    """``400/1,000 rows``, or ``400 rows`` where the total is not known; "" before there are any."""
    if total > 0:
        return f"{imported:,}/{total:,}" + ("" if brief else " rows")
    return f"{imported:,} rows" if imported else ""


def duration(seconds: float) -> str:
    """``0:42``, ``1:02:03``."""
    minutes, second = divmod(int(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def local(moment: datetime | None, raw: str = "") -> str:
    """A time in this machine's zone, or what the server wrote."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else clean(raw)


def line(progress: Progress) -> str:
    """One job's progress on one line."""
    parts = [progress.job_id, state(progress.state), f"{progress.fraction:.0%}"]
    if isinstance(progress, ImportProgressData):
        parts += [rows(progress.imported_rows, progress.total_rows), f"({progress.service})"]
    else:
        parts.append(clean(progress.collection_name))
    return "  ".join(part for part in parts if part)


def error(trouble: BaseException) -> str:
    """An error on one line, with the names of the options where the library has Python's."""
    text = clean(str(trouble))
    for python, option in _OPTIONS:
        text = text.replace(python, option)
    return text


def clean(text: str) -> str:
    """Somebody else's words on one line, without what would steer the terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
