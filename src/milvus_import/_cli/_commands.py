"""The commands."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from .._client import ImportClient
from ._actions import follow_jobs, follow_targets, for_each, request_each
from ._exit import OK, USAGE, print_message, run_and_exit
from ._params import parse_collection, parse_import_options, parse_job_ids
from ._settings import (
    TimeLeft,
    connection_options,
    follow_options,
    parse_follow_settings,
    parse_settings,
    reject_follow_options,
    target_options,
)
from ._signals import Signals
from ._tables import print_job, print_jobs
from ._views import json_line, to_json

EPILOG = """\b
Exit codes:
  0 success          1 a job failed       2 wrong usage
  3 the connection failed, or Milvus rejected the request
  4 no such job      5 timed out; the job continues
  130, 143, 129 interrupted (SIGINT, SIGTERM, SIGHUP); the job continues
  141 standard output was closed
"""

_MAY_EXIST = (
    "the job may have been started: check milvus-import list, or resend the request with its "
    "--idempotency-key"
)


def _print_versions(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    for name in ("milvus-import", "Python", "grpcio", "protobuf", "anyio", "httpx2"):
        try:
            number = platform.python_version() if name == "Python" else version(name)
        except PackageNotFoundError:  # httpx2 is an extra
            continue
        click.echo(f"{name} {number}")
    context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
    invoke_without_command=True,
)
@connection_options
@click.option("--version", is_flag=True, is_eager=True, expose_value=False,
              callback=_print_versions, help="Show the installed versions and exit.")  # fmt: skip
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> None:
    """Start Milvus bulk-import jobs and follow them.

    The options may be given before or after the command; after it they take precedence.

    \b
    Examples:
      milvus-import create books a.parquet --wait
      milvus-import watch 449839014328146739
      milvus-import watch books --json | jq .state
      milvus-import COMMAND --help
    """
    del options  # parse_settings reads them from the context
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(USAGE)


@cli.command(epilog=EPILOG)
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@connection_options
def get(job_ids: tuple[str, ...], **options: Any) -> None:
    """Show jobs and their files, once. Exits with 0 whatever the jobs' states.

    \b
    Examples:
      milvus-import get 449839014328146739
      milvus-import get 449839014328146739 --json | jq .progress
    """
    settings = parse_settings(options)
    shown = False

    async def get_one(client: ImportClient, time_left: TimeLeft, job_id: str) -> None:
        nonlocal shown
        response = await time_left.wait(client.get_import_progress(job_id))
        if settings.as_json:
            click.echo(json_line(response.data))
            return
        if shown:
            click.echo()
        shown = True
        print_job(response.data)

    for_each(settings, parse_job_ids(job_ids), get_one)


@cli.command(epilog=EPILOG)
@click.argument("targets", nargs=-1, metavar="[JOB_ID... | COLLECTION]")
@target_options
@follow_options
@connection_options
def watch(targets: tuple[str, ...], **options: Any) -> None:
    """Follow jobs with progress bars until they have ended.

    \b
    Examples:
      milvus-import watch 449839014328146739
      milvus-import watch books --json | jq .state
    """
    follow_targets(targets, options, quiet=False)


@cli.command(epilog=EPILOG)
@click.argument("targets", nargs=-1, metavar="[JOB_ID... | COLLECTION]")
@target_options
@follow_options
@connection_options
def wait(targets: tuple[str, ...], **options: Any) -> None:
    """Wait until jobs have ended, and show only their outcome.

    \b
    Examples:
      milvus-import wait 449839014328146739 --timeout 1h && echo imported
      milvus-import wait books
    """
    follow_targets(targets, options, quiet=True)


@cli.command("list", epilog=EPILOG)
@click.argument("names", nargs=-1, metavar="[COLLECTION]")
@target_options
@connection_options
def list_jobs(
    names: tuple[str, ...], collection: str | None, all_databases: bool, **options: Any
) -> None:
    """List the jobs of a collection, or all jobs.

    \b
    Examples:
      milvus-import list books
      milvus-import list --json | jq -r 'select(.state == "Failed") | .jobId'
    """
    settings = parse_settings(options)
    targets = parse_collection(names, collection, everything=all_databases)
    client, time_left = settings.client(), TimeLeft(settings.timeout)

    async def list_all() -> int:
        async with client:
            jobs = await time_left.wait(
                client.list_imports(targets.collection, all_databases=targets.all_databases)
            )
        if settings.as_json:
            for job in jobs:
                click.echo(json_line(job))
        elif jobs:
            print_jobs(jobs)
        else:
            print_message(f"{targets.description} has no import jobs")
        return OK

    run_and_exit(list_all, (), debug=settings.debug)


@cli.command(epilog=EPILOG)
@click.argument("collection")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--partition", default="", metavar="NAME", help="The partition to import into.")
@click.option("--together", is_flag=True,
              help="All files are one group, such as one .npy file per field.")  # fmt: skip
@click.option("--option", "pairs", multiple=True, metavar="KEY=VALUE",
              help="A Milvus import option, such as timeout=300 or auto_commit=false.")  # fmt: skip
@click.option("--idempotency-key", metavar="KEY",
              help="Makes resending safe (Milvus 2.6.24, 3.0.2 and newer).")  # fmt: skip
@click.option("--wait", "follow", is_flag=True, help="Follow the job to its end, on stderr.")
@follow_options
@connection_options
def create(collection: str, files: tuple[str, ...], **options: Any) -> None:
    """Start an import job and print its job id.

    Each FILE is a key in Milvus' own bucket, or an absolute path on its disk. The server reads it;
    nothing is uploaded.

    \b
    Examples:
      milvus-import create books a.parquet --wait
      milvus-import create books id.npy vector.npy --together
    """
    settings = parse_settings(options)
    if not options["follow"]:
        reject_follow_options()
    follow_settings = parse_follow_settings(options)
    import_options = parse_import_options(options["pairs"])
    client, time_left = settings.client(), TimeLeft(settings.timeout)
    followed: list[str] = []

    async def start() -> int:
        async with client:
            request = client.create_import(
                collection,
                [list(files)] if options["together"] else list(files),
                partition_name=options["partition"],
                options=import_options,
                idempotency_key=options["idempotency_key"],
            )
            followed.append(await time_left.wait(request, may_have_run=True))
            click.echo(to_json({"jobId": followed[0]}) if settings.as_json else followed[0])
            if not options["follow"]:
                return OK
            return await follow_jobs(
                client, followed, settings, follow_settings, time_left, stderr=True
            )

    run_and_exit(start, followed, debug=settings.debug, unsure=_MAY_EXIST)


@cli.command(epilog=EPILOG)
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@connection_options
def commit(job_ids: tuple[str, ...], **options: Any) -> None:
    """Commit jobs that are Uncommitted: created with auto_commit=false.

    Needs --service rest and Milvus 3.0. It returns when the server has accepted the commit. Use
    milvus-import wait to wait for the jobs.

    \b
    Examples:
      milvus-import commit 449839014328146739 --service rest
    """
    request_each(job_ids, options, ImportClient.commit_import, "commit")


@cli.command(epilog=EPILOG)
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@connection_options
def abort(job_ids: tuple[str, ...], **options: Any) -> None:
    """Abort jobs that were created with auto_commit=false, before they are committed.

    Needs --service rest and Milvus 3.0. The jobs are Failed afterwards.

    \b
    Examples:
      milvus-import abort 449839014328146739 --service rest
    """
    request_each(job_ids, options, ImportClient.abort_import, "abort")


def main(arguments: Sequence[str] | None = None, signals: Signals | None = None) -> int:
    """Run a command and return its exit code, or raise SystemExit with it."""
    try:
        code: int = cli.main(arguments, "milvus-import", standalone_mode=False, obj=signals)
    except (click.Abort, KeyboardInterrupt):  # Ctrl-C at the prompt for the token
        return (signals or Signals()).exit_code
    except click.ClickException as error:
        print_message(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"Try '{error.ctx.command_path} --help'.", err=True)
        return error.exit_code
    return code


def run() -> None:
    """Run the command line in its own process; the entry point of the console script."""
    with Signals() as signals:
        code = main(signals=signals)
    sys.exit(code)
