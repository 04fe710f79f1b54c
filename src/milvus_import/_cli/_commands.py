"""The commands and their options."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import anyio
import click
from rich.console import Console
from rich.table import Table

from .._client import ImportClient
from .._endpoint import TLSConfig
from .._errors import MilvusImportError
from .._models import ImportJob, ImportProgressData
from .._options import CallOptions
from . import _text
from ._follow import CLOSED_PIPE, INTERRUPTED, OK, RAN_OUT, USAGE, Following, exit_code
from ._view import print_json, view

_F = TypeVar("_F", bound=Callable[..., object])

EPILOG = """\b
Exit codes:
  0 completed        1 a job failed       2 wrong usage
  3 server out of reach, or it refused    4 no such job
  5 the time ran out; the job goes on     130 interrupted; the job goes on
"""


@dataclass(slots=True)
class Settings:
    """What every command takes."""

    uri: str
    token: str | None
    ask_token: bool
    db: str
    timeout: float | None
    rpc_timeout: float
    metadata: tuple[str, ...]
    ca: str | None
    cert: str | None
    key: str | None
    server_name: str | None
    service: Any
    as_json: bool
    debug: bool

    def client(self, *, whole: bool = False) -> ImportClient:
        """The client; with ``whole`` its calls keep to --timeout too. Raises UsageError."""
        token = self.token
        if self.ask_token:
            token = click.prompt("Token", hide_input=True, err=True)
        limits = [self.rpc_timeout] + ([self.timeout] if whole and self.timeout is not None else [])
        options: CallOptions = {"timeout": min(limits), "metadata": _pairs(self.metadata)}
        names = (self.ca, self.cert, self.key, self.server_name)
        try:
            tls = TLSConfig(*names) if any(names) else None
            return ImportClient(
                self.uri, token=token, db_name=self.db, tls=tls, service=self.service, **options
            )
        except (ValueError, TypeError) as error:
            raise click.UsageError(str(error)) from error


def _connection_options(command: _F) -> _F:
    options = [
        click.option("--uri", envvar="MILVUS_URI", default="http://localhost:19530",
                     show_default=True, show_envvar=True, help="The server."),
        click.option("--token", envvar="MILVUS_TOKEN", show_envvar=True,
                     help="user:password or an API key. Better in the environment than here."),
        click.option("--ask-token", is_flag=True, help="Ask for the token; it is not shown."),
        click.option("--db", default="", metavar="NAME", help="The database."),
        click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS",
                     help="How long the whole command may take."),
        click.option("--rpc-timeout", type=click.FloatRange(min=0, min_open=True), default=10.0,
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
    for option in reversed(options):
        command = option(command)
    return command


def _follow_options(command: _F) -> _F:
    options = [
        click.option("--interval", type=click.FloatRange(min=0, min_open=True), default=2.0,
                     show_default=True, metavar="SECONDS", help="Between two looks."),
        click.option("--until", type=click.Choice(["completed", "uncommitted"]),
                     default="completed", show_default=True, help="Where a job counts as done."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _take(options: dict[str, Any]) -> Settings:
    return Settings(**{name: options.pop(name) for name in Settings.__slots__})


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
@click.version_option(package_name="milvus-import")
def cli() -> None:
    """Start Milvus bulk-import jobs and follow them.

    \b
    Examples:
      milvus-import create books a.parquet --wait
      milvus-import watch 449839014328146739
      milvus-import watch --collection books --json | jq .state
      milvus-import --help; milvus-import watch --help
    """


@cli.command(epilog=EPILOG)
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@_connection_options
def get(job_ids: tuple[str, ...], **options: Any) -> None:
    """Show a job and its files, once.

    \b
    Examples:
      milvus-import get 449839014328146739
      milvus-import get 449839014328146739 --json | jq .progress
    """
    settings = _take(options)

    async def ask() -> int:
        code = OK
        async with settings.client(whole=True) as client:
            for job_id in job_ids:
                data = (await client.get_import_progress(job_id)).data
                if settings.as_json:
                    print_json(data.to_dict())
                else:
                    _print_job(data)
        return code

    _execute(ask, settings)


@cli.command(epilog=EPILOG)
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@click.option("--collection", metavar="NAME", help="All jobs of a collection.")
@_follow_options
@_connection_options
def watch(job_ids: tuple[str, ...], collection: str | None, **options: Any) -> None:
    """Follow jobs with bars until they have ended.

    \b
    Examples:
      milvus-import watch 449839014328146739
      milvus-import watch --collection books --json | jq .state
    """
    _follow(job_ids, collection, options, quiet=False)


@cli.command(epilog=EPILOG)
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@click.option("--collection", metavar="NAME", help="All jobs of a collection.")
@_follow_options
@_connection_options
def wait(job_ids: tuple[str, ...], collection: str | None, **options: Any) -> None:
    """Wait until jobs have ended, and show only what they ended in.

    \b
    Examples:
      milvus-import wait 449839014328146739 --timeout 3600 && echo imported
      milvus-import wait --collection books
    """
    _follow(job_ids, collection, options, quiet=True)


@cli.command("list", epilog=EPILOG)
@click.argument("collection", required=False)
@_connection_options
def list_jobs(collection: str | None, **options: Any) -> None:
    """List the jobs of a collection, or of all.

    \b
    Examples:
      milvus-import list books
      milvus-import list --json | jq -r 'select(.state == "Failed") | .jobId'
    """
    settings = _take(options)

    async def ask() -> int:
        async with settings.client(whole=True) as client:
            jobs = await client.list_imports(collection)
        if settings.as_json:
            for job in jobs:
                print_json(job.to_dict())
        else:
            _print_jobs(jobs)
        return OK

    _execute(ask, settings)


@cli.command(epilog=EPILOG)
@click.argument("collection")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--partition", default="", metavar="NAME", help="The partition to import into.")
@click.option("--together", is_flag=True, help="All files are one group: .npy columns.")
@click.option("--option", "pairs", multiple=True, metavar="KEY=VALUE",
              help="A Milvus import option, such as timeout=300 or auto_commit=false.")  # fmt: skip
@click.option("--idempotency-key", metavar="KEY", help="Lets the same request be sent again.")
@click.option("--wait", "follow", is_flag=True, help="Follow the job to its end.")
@_follow_options
@_connection_options
def create(collection: str, files: tuple[str, ...], **options: Any) -> None:
    """Start an import of files the server can read, and print its job id.

    \b
    Examples:
      milvus-import create books a.parquet --wait
      milvus-import create books id.npy vector.npy --together
    """
    settings = _take(options)

    async def start() -> int:
        async with settings.client(whole=not options["follow"]) as client:
            job_id = await client.create_import(
                collection,
                [list(files)] if options["together"] else list(files),
                partition_name=options["partition"],
                options=_import_options(options["pairs"]),
                idempotency_key=options["idempotency_key"],
            )
            if settings.as_json:
                print_json({"jobId": job_id})
            else:
                click.echo(job_id)
            if not options["follow"]:
                return OK
            console = Console(stderr=True)
            return await _show(client, [job_id], settings, options, console, quiet=False)

    _execute(start, settings)


def _follow(
    job_ids: Sequence[str], collection: str | None, options: dict[str, Any], *, quiet: bool
) -> None:
    settings = _take(options)
    if bool(job_ids) == bool(collection):
        raise click.UsageError("name job ids or --collection, one of the two")

    async def follow() -> int:
        async with settings.client() as client:
            ids = list(dict.fromkeys(job_ids))
            if collection:
                ids = [job.job_id for job in await client.list_imports(collection)]
            return await _show(client, ids, settings, options, Console(), quiet=quiet)

    _execute(follow, settings, job_ids)


async def _show(
    client: ImportClient,
    job_ids: list[str],
    settings: Settings,
    options: dict[str, Any],
    console: Console,
    *,
    quiet: bool,
) -> int:
    following = Following(
        client,
        view(console, as_json=settings.as_json, quiet=quiet),
        options["until"],
        settings.timeout,
        options["interval"],
    )
    with following.view:
        await following.jobs(job_ids)
    if settings.as_json and quiet:
        for progress in following.last.values():
            print_json(progress.to_dict())
    elif not settings.as_json:
        click.echo(_summary(following), err=console.stderr)
    for error in following.errors.values():
        _complain(error, settings)
    return following.exit_code


def _summary(following: Following) -> str:
    ended = [p for p in following.last.values() if p.job_id not in following.errors]
    rows = sum(p.imported_rows for p in ended if isinstance(p, ImportProgressData))
    word = "completed" if following.until == "completed" else "completed or waiting for commit"
    told = f", {rows:,} rows" if rows else ""
    failed = f"; {len(following.errors)} not" if following.errors else ""
    return f"{len(ended)} {'job' if len(ended) == 1 else 'jobs'} {word}{told}{failed}"


def _print_job(data: ImportProgressData) -> None:
    console = Console()
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in (
        ("Job", data.job_id),
        ("Collection", data.collection_name),
        ("State", f"{_text.state(data.state)}, {data.fraction:.0%}"),
        ("Rows", _text.rows(data.imported_rows, data.total_rows)),
        ("Size", _text.size(data.file_size) if data.detailed and data.file_size else ""),
        ("Reason", data.reason),
        ("Created", _text.local(data.created_at, data.create_time)),
        ("Completed", _text.local(data.completed_at, data.complete_time)),
        ("Answered by", f"{data.service} service"),
    ):
        if value:
            table.add_row(name, value)
    console.print(table, markup=False, highlight=False)
    if not data.details:
        return
    files = Table("File", "State", "%", "Rows", "Size", "Reason", box=None, pad_edge=False)
    for detail in data.details:
        files.add_row(
            ", ".join(detail.paths),
            detail.state,
            f"{detail.fraction:.0%}",
            _text.rows(detail.imported_rows, detail.total_rows),
            _text.size(detail.file_size),
            detail.reason,
        )
    console.print()
    console.print(files, markup=False, highlight=False)


def _print_jobs(jobs: list[ImportJob]) -> None:
    table = Table("Job", "Collection", "State", "%", "Reason", box=None, pad_edge=False)
    for job in jobs:
        state = _text.state(job.state)
        table.add_row(job.job_id, job.collection_name, state, f"{job.fraction:.0%}", job.reason)
    Console().print(table, markup=False, highlight=False)


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for index, text in enumerate(texts):
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"entry {index + 1} of KEY=VALUE has no '='")
        pairs.append((key, value))
    return pairs


def _import_options(texts: Sequence[str]) -> list[tuple[str, str | bool | float]]:
    """Text as the client wants it: auto_commit as a bool, a bare timeout as seconds."""
    options: list[tuple[str, str | bool | float]] = []
    for key, value in _pairs(texts):
        if key == "auto_commit" and value.lower() in {"true", "false"}:
            options.append((key, value.lower() == "true"))
        elif key == "timeout" and value.replace(".", "", 1).isdecimal():
            options.append((key, float(value)))
        else:
            options.append((key, value))
    return options


def _complain(error: BaseException, settings: Settings) -> None:
    click.echo(f"milvus-import: {error}", err=True)
    if settings.debug:
        click.echo("".join(traceback.format_exception(error)), err=True)


def _execute(
    command: Callable[[], Awaitable[int]], settings: Settings, job_ids: Sequence[str] = ()
) -> NoReturn:
    """Run a command and leave with its exit code."""
    try:
        code = anyio.run(command)
    except MilvusImportError as error:
        _complain(error, settings)
        code = exit_code(error)
        if settings.timeout == 0 and isinstance(error, TimeoutError):
            code = RAN_OUT
    except (ValueError, TypeError) as error:
        _complain(error, settings)
        code = USAGE
    except KeyboardInterrupt:
        again = f"; again: milvus-import watch {' '.join(job_ids)}" if job_ids else ""
        click.echo(f"\nmilvus-import: interrupted; what was started goes on{again}", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has left. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = CLOSED_PIPE
    sys.exit(code)


def run() -> None:
    """The console script's entry."""
    cli(prog_name="milvus-import")
