"""The options that every command takes, and the client they make."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import click

from .._auto import ServiceChoice
from .._client import ImportClient
from .._endpoint import TLSConfig
from .._errors import WaitTimeoutError
from .._options import LONGEST_TIMEOUT, CallOptions
from .._request import check_job_id, check_name
from . import _text

_F = TypeVar("_F", bound=Callable[..., object])
_T = TypeVar("_T")


@dataclass(slots=True)
class Settings:
    """What every command takes."""

    uri: str
    token: str | None = field(repr=False)
    ask_token: bool
    db: str
    timeout: float | None
    rpc_timeout: float
    metadata: tuple[str, ...] = field(repr=False)
    ca: str | None
    cert: str | None
    key: str | None
    server_name: str | None
    service: ServiceChoice
    as_json: bool
    debug: bool

    def client(self) -> ImportClient:
        """The client. Raises UsageError."""
        token = self.token
        if self.ask_token:
            token = click.prompt("Token", hide_input=True, err=True)
        options: CallOptions = {
            "timeout": self.rpc_timeout,
            "metadata": pairs("--metadata", self.metadata),
        }
        names = (self.ca, self.cert, self.key, self.server_name)
        try:
            tls = TLSConfig(*names) if any(names) else None
            return ImportClient(
                self.uri, token=token, db_name=self.db, tls=tls, service=self.service, **options
            )
        except (ValueError, TypeError) as error:
            raise usage(error) from error


class TimeLeft:
    """How long the whole command may take. None: no limit; 0: each thing is asked once."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self.seconds = limit
        """What is left of it."""

    async def ask(self, question: Awaitable[_T]) -> _T:
        """The answer to one question. Raises WaitTimeoutError when the time is over."""
        if not self._limit or self.seconds is None:
            return await question
        start = time.monotonic()
        with anyio.move_on_after(self.seconds):
            answer = await question
            self.seconds = max(0.0, round(self.seconds - (time.monotonic() - start), 1))
            return answer
        raise WaitTimeoutError(f"no answer within the {self._limit:g} s of --timeout")


def connection_options(command: _F) -> _F:
    """Give a command the options that become its Settings."""
    options = [
        click.option("--uri", envvar="MILVUS_URI", default="http://localhost:19530",
                     show_default=True, show_envvar=True, help="The server."),
        click.option("--token", envvar="MILVUS_TOKEN", show_envvar=True,
                     help="user:password or an API key. Better in the environment than here."),
        click.option("--ask-token", is_flag=True, help="Ask for the token; it is not shown."),
        click.option("--db", default="", metavar="NAME", help="The database."),
        click.option("--timeout", type=float, callback=_seconds, metavar="SECONDS",
                     help="How long the whole command may take; 0 asks once."),
        click.option("--rpc-timeout", type=float, callback=_seconds, default=10,
                     show_default=True, metavar="SECONDS", help="How long each call may take."),
        click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Sent with each call."),
        click.option("--ca", metavar="FILE", help="PEM file of the CAs to trust."),
        click.option("--cert", metavar="FILE", help="PEM file of the client's certificate."),
        click.option("--key", metavar="FILE", help="PEM file of the client's key."),
        click.option("--server-name", metavar="NAME", help="The name in the server's certificate."),
        click.option("--service", type=click.Choice(["auto", "internal", "public"]),
                     default="auto", show_default=True, help="Which service to ask."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    ]  # fmt: skip
    return _with(options, command)


def follow_options(command: _F) -> _F:
    """Give a command the options of following a job."""
    options = [
        click.option("--interval", type=float, callback=_seconds, default=2,
                     show_default=True, metavar="SECONDS", help="Between two looks."),
        click.option("--until", type=click.Choice(["completed", "uncommitted"]),
                     default="completed", show_default=True, help="Where a job counts as done."),
    ]  # fmt: skip
    return _with(options, command)


def take_settings(options: dict[str, Any]) -> Settings:
    """Take the Settings out of a command's options."""
    return Settings(**{name: options.pop(name) for name in Settings.__slots__})


def usage(fault: Exception | str) -> click.UsageError:
    """A wrong argument, in the library's words or ours, as click reports it."""
    text = fault if isinstance(fault, str) else _text.error(fault)
    return click.UsageError(text, click.get_current_context(silent=True))


def check_job_ids(job_ids: Sequence[str]) -> list[str]:
    """The job ids, each once. Raises UsageError."""
    try:
        return [check_job_id(job_id) for job_id in dict.fromkeys(job_ids)]
    except ValueError as error:
        raise usage(error) from error


def check_collection(name: str | None) -> None:
    """Refuse what is no text. Raises UsageError."""
    try:
        if name is not None:
            check_name(name, "collection")
    except ValueError as error:
        raise usage(error) from error


def pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """KEY=VALUE texts, taken apart. Raises UsageError, without the text: it may be a secret."""
    split = [text.partition("=") for text in texts]
    for index, (key, equals, _) in enumerate(split):
        if not (key and equals):
            raise usage(f"{option}: entry {index + 1} is not of the form KEY=VALUE")
    return [(key, value) for key, _, value in split]


def _seconds(_: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Check a time as the library does; only --timeout may be 0."""
    if value is None or 0 < value <= LONGEST_TIMEOUT or (value == 0 and option.name == "timeout"):
        return value
    least = "0 or more" if option.name == "timeout" else "above 0"
    raise click.BadParameter(f"{value:g} is not {least} seconds, and at most 1e9.")


def _with(options: Sequence[Callable[[_F], _F]], command: _F) -> _F:
    for option in reversed(options):
        command = option(command)
    return command
