"""The commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from rich.console import Console

from .._client import ImportClient
from .._errors import JobNotFoundError, RefusedError
from ._exit import INTERRUPTED, OK, USAGE, complain, exit_code, leave_with
from ._follow import Following
from ._settings import (
    Settings,
    TimeLeft,
    check_collection,
    check_job_ids,
    connection_options,
    follow_options,
    pairs,
    take_settings,
    usage,
)
from ._tables import print_job, print_jobs
from ._view import json_line, to_json, view

EPILOG = """\b
Exit codes:
  0 completed        1 a job failed       2 wrong usage
  3 server out of reach, or it refused    4 no such job
  5 the time ran out; the job goes on     130 interrupted; the job goes on
"""

_UNSURE = "the job may have been started: see milvus-import list, or send it again with its key"


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
    invoke_without_command=True,
)
@click.version_option(package_name="milvus-import")
@click.pass_context
def cli(context: click.Context) -> None:
    """Start Milvus bulk-import jobs and follow them.

    \b
    Examples:
      milvus-import create books a.parquet --wait
      milvus-import watch 449839014328146739
      milvus-import watch --collection books --json | jq .state
      milvus-import COMMAND --help
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(USAGE)


@cli.command(epilog=EPILOG)
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@connection_options
def get(job_ids: tuple[str, ...], **options: Any) -> None:
    """Show a job and its files, once. Exits with 0 whatever the job's state.

    \b
    Examples:
      milvus-import get 449839014328146739
      milvus-import get 449839014328146739 --json | jq .progress
    """
    settings = take_settings(options)
    ids = check_job_ids(job_ids)
    client, time_left = settings.client(), TimeLeft(settings.timeout)

    async def ask() -> int:
        refusals: list[RefusedError] = []
        async with client:
            for index, job_id in enumerate(ids):
                try:
                    response = await time_left.ask(client.get_import_progress(job_id))
                except RefusedError as error:  # the others may be there
                    refusals.append(error)
                    continue
                if settings.as_json:
                    click.echo(json_line(response.data))
                    continue
                if index:
                    click.echo()
                print_job(response.data)
        complain(refusals, debug=settings.debug)
        return exit_code(refusals)

    leave_with(ask, (), debug=settings.debug)


@cli.command(epilog=EPILOG)
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@click.option("--collection", metavar="NAME", help="All jobs of a collection.")
@follow_options
@connection_options
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
@follow_options
@connection_options
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
@connection_options
def list_jobs(collection: str | None, **options: Any) -> None:
    """List the jobs of a collection, or of all.

    \b
    Examples:
      milvus-import list books
      milvus-import list --json | jq -r 'select(.state == "Failed") | .jobId'
    """
    settings = take_settings(options)
    check_collection(collection)
    client, time_left = settings.client(), TimeLeft(settings.timeout)

    async def ask() -> int:
        async with client:
            jobs = await time_left.ask(client.list_imports(collection))
        if settings.as_json:
            for job in jobs:
                click.echo(json_line(job))
        elif jobs:
            print_jobs(jobs)
        else:
            where = f"the collection {collection!r}" if collection else "the server"
            click.echo(f"milvus-import: {where} has no import jobs", err=True)
        return OK

    leave_with(ask, (), debug=settings.debug)


@cli.command(epilog=EPILOG)
@click.argument("collection")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--partition", default="", metavar="NAME", help="The partition to import into.")
@click.option("--together", is_flag=True, help="All files are one group: .npy columns.")
@click.option("--option", "pairs", multiple=True, metavar="KEY=VALUE",
              help="A Milvus import option, such as timeout=300 or auto_commit=false.")  # fmt: skip
@click.option("--idempotency-key", metavar="KEY", help="Lets the same request be sent again.")
@click.option("--wait", "follow", is_flag=True, help="Follow the job to its end, on stderr.")
@follow_options
@connection_options
def create(collection: str, files: tuple[str, ...], **options: Any) -> None:
    """Start an import of files the server can read, and print its job id.

    \b
    Examples:
      milvus-import create books a.parquet --wait
      milvus-import create books id.npy vector.npy --together
    """
    settings = take_settings(options)
    import_options = _import_options(options["pairs"])
    client, time_left = settings.client(), TimeLeft(settings.timeout)
    followed: list[str] = []

    async def start() -> int:
        async with client:
            try:
                job_id = await time_left.ask(
                    client.create_import(
                        collection,
                        [list(files)] if options["together"] else list(files),
                        partition_name=options["partition"],
                        options=import_options,
                        idempotency_key=options["idempotency_key"],
                    )
                )
            except (ValueError, TypeError) as error:
                raise usage(error) from error
            followed.append(job_id)
            click.echo(to_json({"jobId": job_id}) if settings.as_json else job_id)
            if not options["follow"]:
                return OK
            seconds = time_left.seconds
            return await _show(client, followed, settings, options, seconds=seconds, stderr=True)

    leave_with(start, followed, debug=settings.debug, unsure=_UNSURE)


def _follow(
    job_ids: Sequence[str], collection: str | None, options: dict[str, Any], *, quiet: bool
) -> NoReturn:
    settings = take_settings(options)
    if bool(job_ids) == bool(collection):
        raise usage("name job ids or --collection, one of the two")
    followed = check_job_ids(job_ids)
    check_collection(collection)
    client, time_left = settings.client(), TimeLeft(settings.timeout)

    async def follow() -> int:
        async with client:
            if collection:
                jobs = await time_left.ask(client.list_imports(collection))
                followed.extend(job.job_id for job in jobs)
                if not jobs:
                    raise JobNotFoundError(f"the collection {collection!r} has no import jobs")
            seconds = time_left.seconds
            return await _show(client, followed, settings, options, seconds=seconds, quiet=quiet)

    leave_with(follow, followed, debug=settings.debug)


async def _show(
    client: ImportClient,
    job_ids: list[str],
    settings: Settings,
    options: dict[str, Any],
    *,
    seconds: float | None,
    quiet: bool = False,
    stderr: bool = False,
) -> int:
    console = Console(stderr=stderr)
    following = Following(
        client,
        view(console, job_ids, as_json=settings.as_json, quiet=quiet),
        job_ids,
        options["until"],
        seconds,
        options["interval"],
    )
    await following.run()
    if settings.as_json and quiet:
        for progress in following.last.values():
            click.echo(json_line(progress))
    elif following.last and not settings.as_json:
        click.echo(following.summary(), err=stderr)
    complain(following.errors.values(), debug=settings.debug)
    return exit_code(following.errors.values())


def _import_options(texts: Sequence[str]) -> list[tuple[str, str | bool | float]]:
    """Text as the client wants it: auto_commit as a bool, a bare timeout as seconds."""
    options: list[tuple[str, str | bool | float]] = []
    for key, value in pairs("--option", texts):
        if key.lower() == "auto_commit" and value.lower() in {"true", "false"}:
            options.append((key, value.lower() == "true"))
        elif key.lower() == "timeout" and value.replace(".", "", 1).isdecimal():
            options.append((key, float(value)))
        else:
            options.append((key, value))
    return options


def run() -> None:
    """The console script's entry."""
    try:
        code = cli.main(prog_name="milvus-import", standalone_mode=False)
    except click.Abort:  # Ctrl-C at the prompt for the token
        code = INTERRUPTED
    except click.ClickException as error:
        click.echo(f"milvus-import: {error.format_message()}", err=True)
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"Try '{error.ctx.command_path} --help'.", err=True)
        code = error.exit_code
    sys.exit(code)
