"""The commands."""

from __future__ import annotations

import json
import platform
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from .. import ImportJob, JobNotFoundError, MilvusStatusError
from ._follow import follow
from ._options import (
    CONNECTION,
    CREATE,
    FOLLOW,
    TARGETS,
    is_given,
    parse_import_options,
    parse_storage,
    usage_error,
)
from ._output import print_job, print_jobs, print_message, print_warnings, write
from ._run import OK, USAGE, Session, execute, exit_code

EPILOG = """\b
Exit codes:
  0 success          1 a job failed       2 wrong usage
  3 the connection failed, or Milvus rejected the request
  4 no such job      5 timed out; the job continues
  70 an unexpected error, see --debug     74 the output was lost
  130, 143, 129 interrupted (SIGINT, SIGTERM, SIGHUP); the job continues
  141 standard output was closed
"""
_MAY_EXIST = (
    "the job may have been started: check milvus-import list, or resend the request with its "
    "--idempotency-key"
)
_MAY_HAVE_RUN = (
    "the request may have taken effect: check milvus-import get, or run the command again"
)
_Work = Callable[[Session], Awaitable[int]]
_IDS = click.Argument(["job_ids"], nargs=-1, required=True, metavar="JOB_ID...")
_TARGETS = click.Argument(["targets"], nargs=-1, metavar="[JOB_ID... | COLLECTION]")


class _Group(click.Group):
    """A group whose options may also follow the command; there they take precedence."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember all arguments, then parse those before the command."""
        ctx.meta[__name__] = list(args)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Pass the arguments before the command to the command."""
        everything: list[str] = ctx.meta[__name__]
        before = everything[: len(everything) - len(args)]
        name, command, after = super().resolve_command(ctx, args)
        return name, command, [*(word for word in before if word != "--"), *after]


def _help(text: str, *examples: str) -> str:
    return "\n".join([text, "", "\b", "Examples:", *(f"  milvus-import {e}" for e in examples)])


def _print_versions(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    for name in ("milvus-import", "Python", "grpcio", "protobuf", "anyio", "aiohttp"):
        try:
            number = platform.python_version() if name == "Python" else version(name)
        except PackageNotFoundError:  # aiohttp is an extra
            continue
        write(f"{name} {number}")
    context.exit()


def _group(**_: object) -> int:
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        write(context.get_help(), err=True)
        return USAGE
    return OK


def _print_help(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        write(context.get_help())
        context.exit()


def _text_option(names: list[str], text: str, print_text: Callable[..., None]) -> click.Option:
    return click.Option(
        names, is_flag=True, is_eager=True, expose_value=False, callback=print_text, help=text
    )


# click's own option does not handle an output that is lost.
_HELP = _text_option(["-h", "--help"], "Show this message and exit.", _print_help)
_VERSION = _text_option(["--version"], "Show the installed versions and exit.", _print_versions)
cli = _Group(
    "milvus-import",
    callback=_group,
    params=[*CONNECTION, _VERSION, _HELP],
    context_settings={"help_option_names": [], "max_content_width": 100},
    epilog=EPILOG,
    invoke_without_command=True,
    help=_help(
        "Start Milvus bulk-import jobs and follow them.\n\n"
        "The options may be given before or after the command; after it they take precedence.",
        "create books a.parquet --wait",
        "watch 449839014328146739",
        "watch books --json | jq .state",
        "COMMAND --help",
    ),
)


def _command(
    name: str, text: str, *examples: str, parameters: Sequence[click.Parameter], unsure: str = ""
) -> Callable[[_Work], _Work]:
    """Make an async function a command. ``unsure``: see Session."""

    def decorate(work: _Work) -> _Work:
        def run(**options: Any) -> int:
            with print_warnings(silent=options["no_warnings"]):
                return execute(Session(name, options, unsure), work)

        params = [*parameters, *CONNECTION, _HELP]
        text_ = _help(text, *examples)
        cli.add_command(click.Command(name, callback=run, params=params, help=text_, epilog=EPILOG))
        return work

    return decorate


@_command(
    "get",
    "Show jobs and their files, once. Exits with 0 for every job state.",
    "get 449839014328146739",
    "get 449839014328146739 --json | jq .progress",
    parameters=[_IDS],
)
async def _get(session: Session) -> int:
    shown: list[str] = []

    async def get_one(job_id: str) -> None:
        data = (await session.within(session.client.get_import_progress(job_id))).data
        if session.as_json:
            write(json.dumps(data.to_dict()))
            return
        if shown:
            write("")
        shown.append(job_id)
        print_job(data)

    return await _for_each(session, get_one)


@_command(
    "watch",
    "Follow jobs with progress bars until they have ended.",
    "watch 449839014328146739",
    "watch books --json | jq .state",
    parameters=[_TARGETS, *TARGETS, *FOLLOW],
)
@_command(
    "wait",
    "Wait until jobs have ended, and show only their outcome.",
    "wait 449839014328146739 --timeout 1h && echo imported",
    "wait books",
    parameters=[_TARGETS, *TARGETS, *FOLLOW],
)
async def _follow(session: Session) -> int:
    session.followed += await _find_targets(session)
    return await follow(session, quiet=session.name == "wait")


@_command(
    "list",
    "List the jobs of a collection, or all jobs.",
    "list books",
    "list --json | jq -r 'select(.state == \"Failed\") | .jobId'",
    parameters=[click.Argument(["targets"], nargs=-1, metavar="[COLLECTION]"), *TARGETS],
)
async def _list(session: Session) -> int:
    jobs, what = await _list_jobs(session)
    if session.as_json:
        for job in jobs:
            write(json.dumps(job.to_dict()))
    elif jobs:
        print_jobs(jobs)
    else:
        print_message(f"{what} has no import jobs")
    return OK


@_command(
    "create",
    "Start an import job and print its job id.\n\n"
    "Each FILE is a key in Milvus' own bucket, or an absolute path on its disk. On Zilliz Cloud it "
    "is the URL of an object, or with --volume a path. The server reads it; nothing is uploaded.",
    "create books a.parquet --wait",
    "create books id.npy vector.npy --together",
    parameters=[
        click.Argument(["collection_name"], metavar="COLLECTION"),
        click.Argument(["files"], nargs=-1, required=True, metavar="FILE..."),
        *CREATE,
        *FOLLOW,
    ],
    unsure=_MAY_EXIST,
)
async def _create(session: Session) -> int:
    options = session.options
    for name in () if options["wait"] else ("interval", "until", "max_outage"):
        if is_given(name):
            raise usage_error(f"--{name.replace('_', '-')} needs --wait")
    files = list(options["files"])
    job_id = await session.within(
        session.client.create_import(
            options["collection_name"],
            [files] if options["together"] else files,
            partition_name=options["partition_name"],
            options=parse_import_options(options["option"]),
            idempotency_key=options["idempotency_key"],
            **parse_storage(options),
        )
    )
    session.followed.append(job_id)
    write(json.dumps({"jobId": job_id}) if session.as_json else job_id, keep=True)
    return await follow(session, err=True) if options["wait"] else OK


@_command(
    "commit",
    "Commit jobs that are Uncommitted: created with auto_commit=false.\n\n"
    "Needs --service rest and Milvus 3.0. It returns when the server has accepted the commit. Use "
    "milvus-import wait to wait for the jobs.",
    "commit 449839014328146739 --service rest",
    parameters=[_IDS],
    unsure=_MAY_HAVE_RUN,
)
@_command(
    "abort",
    "Abort jobs that were created with auto_commit=false, before they are committed.\n\n"
    "Needs --service rest and Milvus 3.0. The jobs are Failed afterwards.",
    "abort 449839014328146739 --service rest",
    parameters=[_IDS],
    unsure=_MAY_HAVE_RUN,
)
async def _request_each(session: Session) -> int:
    """Send a write for each job and print that it was accepted."""
    name, client = session.name, session.client
    method = client.commit_import if name == "commit" else client.abort_import

    async def request_one(job_id: str) -> None:
        await session.within(method(job_id))
        accepted = {"jobId": job_id, "accepted": name}
        write(json.dumps(accepted) if session.as_json else f"{job_id}  {name} accepted", keep=True)

    return await _for_each(session, request_one)


async def _for_each(session: Session, request: Callable[[str], Awaitable[None]]) -> int:
    """Send a request for each job. A Status that Milvus returns does not stop the others."""
    errors: list[MilvusStatusError] = []
    for job_id in session.validated(session.options["job_ids"]):
        try:
            await request(job_id)
        except MilvusStatusError as error:
            errors.append(error)
            session.errors.print(error)
    return exit_code(errors)


async def _find_targets(session: Session) -> list[str]:
    """Return the jobs of a command that takes job ids or a collection.

    An argument that starts with a digit or contains "-" is a job id: names of collections do not.
    """
    words: tuple[str, ...] = session.options["targets"]
    collection, everything = session.options["collection_name"], session.options["all_databases"]
    job_ids = [word for word in words if word[:1].isdigit() or "-" in word]
    if not (any(words) or collection or everything):
        raise usage_error("name job ids or a collection, or pass --all-databases")
    if not job_ids:
        jobs, what = await _list_jobs(session)
        if not jobs:
            raise JobNotFoundError(f"{what} has no import jobs")
        return [job.job_id for job in jobs]
    if len(job_ids) < len(words) or collection is not None:
        raise usage_error("name either job ids or a collection, not both")
    if everything:
        raise usage_error("--all-databases cannot be combined with job ids")
    return session.validated(job_ids)


async def _list_jobs(session: Session) -> tuple[list[ImportJob], str]:
    """Return the jobs of a collection or of the server, and the name of that."""
    option, everything = session.options["collection_name"], session.options["all_databases"]
    names = [*session.options["targets"], *([] if option is None else [option])]
    if len(names) > 1:
        raise usage_error("name one collection, as COLLECTION or by --collection")
    if names and everything:
        raise usage_error("--all-databases cannot be combined with a collection")
    name = names[0] if names else None
    jobs = await session.within(session.client.list_imports(name, all_databases=everything))
    return jobs, f"the collection {name!r}" if name else "the server"
