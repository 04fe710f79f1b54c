"""The values of parameters: durations, pairs, job ids and collections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from .._options import MAX_TIMEOUT
from .._services._requests import validate_collection, validate_job_id
from . import _text

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = rf"({_NUMBER})(ms|[smhd])"

if TYPE_CHECKING:
    _FloatParam = click.ParamType[float]
else:
    _FloatParam = click.ParamType  # generic since click 8.2


class Duration(_FloatParam):
    """Seconds, or numbers with units: ``90``, ``500ms``, ``10m``, ``1h30m``."""

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        text = str(value).strip()
        if re.fullmatch(_NUMBER, text):
            seconds = float(text)
        elif re.fullmatch(f"(?:{_PART})+", text):
            seconds = sum(
                float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, text)
            )
        else:
            self.fail(f"{text!r} is not a duration such as 90, 500ms, 10m or 1h30m", param, ctx)
        if seconds > MAX_TIMEOUT or (seconds <= 0 and not (self._zero and seconds == 0)):
            least = "0 or more" if self._zero else "above 0"
            self.fail(f"{text!r} must be {least}, and at most 1e9 seconds", param, ctx)
        return seconds


@dataclass(slots=True)
class Targets:
    """The jobs of a command: by id, of a collection, or all."""

    job_ids: list[str]
    collection: str | None
    all_databases: bool

    @property
    def description(self) -> str:
        """What is listed: ``the collection 'books'``."""
        return f"the collection {self.collection!r}" if self.collection else "the server"


def usage(fault: Exception | str) -> click.UsageError:
    """Return the usage error for a wrong argument."""
    text = fault if isinstance(fault, str) else _text.error(fault)
    return click.UsageError(text, click.get_current_context(silent=True))


def parse_job_ids(arguments: Sequence[str]) -> list[str]:
    """Return the job ids, each once. Raises UsageError."""
    try:
        return list(dict.fromkeys(validate_job_id(text) for text in arguments))
    except ValueError as error:
        raise usage(error) from error


def parse_collection(arguments: Sequence[str], option: str | None, *, everything: bool) -> Targets:
    """Return the targets of a command that takes one collection or none. Raises UsageError."""
    names = [*arguments, *([] if option is None else [option])]
    if len(names) > 1:
        raise usage("name one collection, as COLLECTION or by --collection")
    if names and everything:
        raise usage("--all-databases cannot be combined with a collection")
    name = names[0] if names else None
    try:
        validate_collection(name)
    except ValueError as error:
        raise usage(error) from error
    return Targets([], name, everything)


def parse_targets(arguments: Sequence[str], option: str | None, *, everything: bool) -> Targets:
    """Return the targets of a command that takes job ids or a collection. Raises UsageError.

    An argument that starts with a digit is a job id: names of collections never do.
    """
    job_ids = [text for text in arguments if text[:1].isdigit()]
    others = [text for text in arguments if not text[:1].isdigit()]
    if job_ids and (others or option is not None):
        raise usage("name either job ids or a collection, not both")
    if job_ids and everything:
        raise usage("--all-databases cannot be combined with job ids")
    if job_ids:
        return Targets(parse_job_ids(job_ids), None, all_databases=False)
    if not others and option is None and not everything:
        raise usage("name job ids or a collection")
    return parse_collection(others, option, everything=everything)


def parse_pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return KEY=VALUE texts as pairs. Raises UsageError without the text: it may be a secret."""
    split = [text.partition("=") for text in texts]
    for index, (key, equals, _) in enumerate(split):
        if not (key and equals):
            raise usage(f"{option}: entry {index + 1} is not of the form KEY=VALUE")
    return [(key, value) for key, _, value in split]


def parse_import_options(texts: Sequence[str]) -> list[tuple[str, str | bool | float]]:
    """Return import options: auto_commit as a bool, a timeout without unit as seconds."""
    options: list[tuple[str, str | bool | float]] = []
    for key, value in parse_pairs("--option", texts):
        if key.lower() == "auto_commit":
            if value.lower() not in {"true", "false"}:
                raise usage(f"--option {key} must be true or false")
            options.append((key, value.lower() == "true"))
        elif key.lower() == "timeout" and re.fullmatch(_NUMBER, value):
            options.append((key, float(value)))
        else:
            options.append((key, value))
    return options
