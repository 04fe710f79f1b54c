"""The options of every command, and the client that they configure."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

import click
from click.core import ParameterSource

from .._address import TLSConfig
from .._client import ImportClient
from .._errors import WaitTimeoutError
from .._options import INTERVAL, Until
from .._services._select import ServiceChoice
from .._watch._time import TimeExpired, await_within
from ._params import Duration, parse_pairs, usage

_F = TypeVar("_F", bound=Callable[..., object])
_T = TypeVar("_T")


@dataclass(slots=True)
class Settings:
    """The options of every command. They may be given before or after the command."""

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
        """Return the client. Raises UsageError."""
        if "@" in self.uri:
            raise usage("--uri must not contain '@': set MILVUS_TOKEN=user:password")
        token = self.token
        if self.ask_token:
            token = click.prompt("Token", hide_input=True, err=True)
        metadata = parse_pairs("--metadata", self.metadata)
        names = (self.ca, self.cert, self.key, self.server_name)
        try:
            return ImportClient(
                self.uri,
                token=token,
                db_name=self.db,
                tls=TLSConfig(*names) if any(name is not None for name in names) else None,
                service=self.service,
                rpc_timeout=self.rpc_timeout,
                metadata=metadata,
            )
        except (ValueError, TypeError, ImportError) as error:
            raise usage(error) from error


@dataclass(slots=True)
class FollowSettings:
    """The options of following jobs."""

    interval: float
    until: Until
    max_outage: float | None


class TimeLeft:
    """The remaining seconds of --timeout. None: no limit; 0: each request is sent once."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self.seconds = limit

    async def wait(self, request: Coroutine[Any, Any, _T], *, may_have_run: bool = False) -> _T:
        """Return the response to a request. Raises WaitTimeoutError when --timeout expires.

        ``may_have_run``: whether the request may then have taken effect.
        """
        if not self._limit or self.seconds is None:
            return await request
        start = time.monotonic()
        try:
            return await await_within(request, self.seconds)
        except TimeExpired:
            raise WaitTimeoutError(
                f"timed out: no response within {self._limit:g} s (--timeout)",
                may_have_run=may_have_run,
            ) from None
        finally:
            self.seconds = max(0.0, round(self.seconds - (time.monotonic() - start), 1))


def connection_options(command: _F) -> _F:
    """Add the options that become Settings."""
    path = click.Path()  # completes file names; the library reports a file that is missing
    options = [
        click.option("--uri", envvar="MILVUS_URI", default="http://localhost:19530",
                     show_default=True, show_envvar=True, help="The address of Milvus."),
        click.option("--token", envvar="MILVUS_TOKEN", show_envvar=True,
                     help="user:password or an API key; the variable is safer than the option."),
        click.option("--ask-token", is_flag=True, help="Prompt for the token."),
        click.option("--db", envvar="MILVUS_DB", show_envvar=True, default="", metavar="NAME",
                     help="The database."),
        click.option("--timeout", type=Duration(zero=True), metavar="DURATION",
                     help="Limit of the whole command, such as 90, 10m or 1h30m; 0 polls once."),
        click.option("--rpc-timeout", type=Duration(), default="10s", show_default=True,
                     metavar="DURATION", help="Limit of each request."),
        click.option("--metadata", multiple=True, metavar="KEY=VALUE",
                     help="Metadata of each request; may be repeated."),
        click.option("--ca", type=path, metavar="FILE", help="PEM file of the CAs to trust."),
        click.option("--cert", type=path, metavar="FILE", help="PEM file of the client's "
                     "certificate."),
        click.option("--key", type=path, metavar="FILE", help="PEM file of the client's key."),
        click.option("--server-name", metavar="NAME", help="The name in the server's certificate."),
        click.option("--service", type=click.Choice(get_args(ServiceChoice)), default="auto",
                     show_default=True, help="The service of Milvus to call."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line."),
        click.option("--debug", is_flag=True, help="Show the traceback of errors."),
    ]  # fmt: skip
    return _with(options, command)


def follow_options(command: _F) -> _F:
    """Add the options that become FollowSettings."""
    options = [
        click.option("--interval", type=Duration(), default=f"{INTERVAL:g}s", show_default=True,
                     metavar="DURATION", help="Polling interval."),
        click.option("--until", type=click.Choice(get_args(Until)), default="completed",
                     show_default=True, help="The state to wait for."),
        click.option("--max-outage", type=Duration(zero=True), metavar="DURATION",
                     help="The longest outage to retry, also before the first response. Default: "
                     "5m, but only once a response has arrived."),
    ]  # fmt: skip
    return _with(options, command)


def target_options(command: _F) -> _F:
    """Add the options that name jobs other than by id."""
    options = [
        click.option("--collection", metavar="NAME", help="The jobs of a collection."),
        click.option("--all-databases", is_flag=True, help="The jobs of every database."),
    ]
    return _with(options, command)


def parse_settings(options: dict[str, Any]) -> Settings:
    """Remove the Settings from a command's options. Raises UsageError.

    Options after the command override options before it.
    """
    context = click.get_current_context()
    before = context.parent or context
    given: dict[str, Any] = {}
    sources: dict[str, ParameterSource | None] = {}
    for name in Settings.__slots__:
        given[name], sources[name] = options.pop(name), context.get_parameter_source(name)
        if (
            sources[name] is not ParameterSource.COMMANDLINE
            and before.get_parameter_source(name) is ParameterSource.COMMANDLINE
        ):
            given[name], sources[name] = before.params[name], ParameterSource.COMMANDLINE
    from_environment = sources["uri"] is not ParameterSource.COMMANDLINE
    if not given["uri"] or (from_environment and os.environ.get("MILVUS_URI") == ""):
        raise usage("MILVUS_URI is empty" if from_environment else "--uri must not be empty")
    return Settings(**given)


def parse_follow_settings(options: dict[str, Any]) -> FollowSettings:
    """Remove the FollowSettings from a command's options."""
    return FollowSettings(**{name: options.pop(name) for name in FollowSettings.__slots__})


def reject_follow_options() -> None:
    """Raise UsageError for options of following in a command that follows nothing."""
    context = click.get_current_context()
    for name in FollowSettings.__slots__:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise usage(f"--{name.replace('_', '-')} needs --wait")


def _with(options: Sequence[Callable[[_F], _F]], command: _F) -> _F:
    for option in reversed(options):
        command = option(command)
    return command
