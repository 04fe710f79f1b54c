"""The commands."""

from __future__ import annotations

import json
import platform
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import anyio
import click

from .. import (
    ImportJob,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    WaitTimeoutError,
)
from .._errors import quote
from ._bars import ProgressBars, make_console
from ._options import CONNECTION, CREATE, FOLLOW, TARGETS, is_given, make_storage, usage_error
from ._output import count, job_text, jobs_text, print_message, print_warnings, write
from ._run import ENDINGS, OK, USAGE, Session, ending_of, execute, exit_code

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
_MAY_HAVE_RUN = "the request may have taken effect: check milvus-import get, or run it again"
_TEXTS = """
milvus-import  Start Milvus bulk-import jobs and follow them.
  The options may be given before or after the command; after it they take precedence.
  $ create books a.parquet --wait
  $ watch 449839014328146739
  $ watch books --json | jq .state
  $ COMMAND --help
watch   Follow jobs with progress bars until they have ended.
  $ watch 449839014328146739
  $ watch books --json | jq .state
wait    Wait until jobs have ended, and show only their outcome.
  $ wait 449839014328146739 --timeout 1h && echo imported
  $ wait books
list    List the jobs of a collection, or all jobs.
  $ list books
  $ list --json | jq -r 'select(.state == "Failed") | .jobId'
create  Start an import job and print its job id.
  Each FILE is a key in Milvus' own bucket, or an absolute path on its disk. On Zilliz Cloud it
  is the URL of an object, or with --volume a path. The server reads it; nothing is uploaded.
  $ create books a.parquet --wait
  $ create books id.npy vector.npy --together
get     Show jobs and their files, once. Exits with 0 for every job state.
  $ get 449839014328146739
  $ get 449839014328146739 --json | jq .progress
commit  Commit jobs that are Uncommitted: created with auto_commit=false.
  Needs --service rest and Milvus 3.0. It returns when the server has accepted the commit. Use
  milvus-import wait to wait for the jobs.
  $ commit 449839014328146739 --service rest
abort   Abort jobs that were created with auto_commit=false, before they are committed.
  Needs --service rest and Milvus 3.0. The jobs are Failed afterwards.
  $ abort 449839014328146739 --service rest
"""
"""The help of each command: a sentence, a paragraph, and examples."""
_MOST_WATCHED = 64
"""The number of jobs that are watched individually, which shows their files too."""
_Work = Callable[[Session], Awaitable[int]]
_COLLECTION = click.Argument(["collection_name"], metavar="COLLECTION")
_FILES = click.Argument(["files"], nargs=-1, required=True, metavar="FILE...")
_IDS = click.Argument(["job_ids"], nargs=-1, required=True, metavar="JOB_ID...")
_LISTED = click.Argument(["targets"], nargs=-1, metavar="[COLLECTION]")
_TARGETS = click.Argument(["targets"], nargs=-1, metavar="[JOB_ID... | COLLECTION]")


class _Group(click.Group):
    """A group whose options may also follow the command; there they take precedence."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember all arguments, then parse those before the command."""
        ctx.meta[__name__] = list(args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Pass the arguments before the command to the command."""
        everything: list[str] = ctx.meta[__name__]
        before = everything[: len(everything) - len(args)]
        name, command, after = super().resolve_command(ctx, args)
        return name, command, [*(word for word in before if word != "--"), *after]


def _help(name: str) -> str:
    [found] = re.findall(rf"(?m)^{name}  +(.+(?:\n  .+)*)", _TEXTS)
    text, *examples = found.replace("\n  ", "\n").replace("\n", "\n\n", 1).split("\n$ ")
    return "\n".join([text, "", "\b", "Examples:", *(f"  milvus-import {e}" for e in examples)])


def _versions(_: click.Context) -> str:
    lines: list[str] = []
    for name in ("milvus-import", "Python", "grpcio", "protobuf", "anyio", "aiohttp"):
        with suppress(PackageNotFoundError):  # aiohttp is an extra
            number = platform.python_version() if name == "Python" else version(name)
            lines.append(f"{name} {number}")
    return "\n".join(lines)


def _text_option(names: list[str], text: str, of: Callable[[click.Context], str]) -> click.Option:
    """Return an option that prints a text. click's own do not handle an output that is lost."""

    def show(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            write(of(context))
            context.exit()

    flag: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False}
    return click.Option(names, callback=show, help=text, **flag)


def _group(**_: object) -> int:
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        write(context.get_help(), err=True)
    return USAGE  # that of a command replaces it


_HELP = _text_option(["-h", "--help"], "Show this message and exit.", click.Context.get_help)
_VERSION = _text_option(["--version"], "Show the installed versions and exit.", _versions)
cli = _Group(
    "milvus-import",
    callback=_group,
    params=[*CONNECTION, _VERSION, _HELP],
    context_settings={"help_option_names": [], "max_content_width": 100, "show_default": True},
    epilog=EPILOG,
    invoke_without_command=True,
    help=_help("milvus-import"),
)


def _command(name: str, *parameters: click.Parameter, unsure: str = "") -> Callable[[_Work], _Work]:
    """Make an async function a command. ``unsure``: see Session."""

    def decorate(work: _Work) -> _Work:
        def run(**options: Any) -> int:
            with print_warnings(silent=options["no_warnings"]):
                return execute(Session(name, options, unsure), work)

        params, text = [*parameters, *CONNECTION, _HELP], _help(name)
        cli.add_command(click.Command(name, callback=run, params=params, help=text, epilog=EPILOG))
        return work

    return decorate


@_command("watch", _TARGETS, *TARGETS, *FOLLOW)
@_command("wait", _TARGETS, *TARGETS, *FOLLOW)
async def _follow_targets(session: Session) -> int:
    session.followed += await _find_targets(session)
    return await _Follower(session, quiet=session.name == "wait", err=False).run()


@_command("list", _LISTED, *TARGETS)
async def _list(session: Session) -> int:
    jobs, nothing = await _list_jobs(session)
    if session.as_json:
        for job in jobs:
            write(json.dumps(job.to_dict()))
    elif jobs:
        write(jobs_text(jobs))
    else:
        print_message(nothing)
    return OK


@_command("create", _COLLECTION, _FILES, *CREATE, *FOLLOW, unsure=_MAY_EXIST)
async def _create(session: Session) -> int:
    options = session.options
    for option in FOLLOW:
        if is_given(option.name or "") and not options["wait"]:
            raise usage_error(f"{option.opts[0]} needs --wait")
    files = list(options["files"])
    request = session.client.create_import(
        options["collection_name"],
        [files] if options["together"] else files,
        partition_name=options["partition_name"] or "",
        options=options["option"],
        idempotency_key=options["idempotency_key"],
        storage=make_storage(options),
    )
    job_id = await session.within(request)
    session.followed.append(job_id)
    session.write({"jobId": job_id}, job_id, keep=True)
    return await _Follower(session, quiet=False, err=True).run() if options["wait"] else OK


@_command("get", _IDS)
@_command("commit", _IDS, unsure=_MAY_HAVE_RUN)
@_command("abort", _IDS, unsure=_MAY_HAVE_RUN)
async def _request_each(session: Session) -> int:
    """Send a request for each job. A Status that Milvus returns does not stop the others."""
    name, client = session.name, session.client
    change = client.commit_import if name == "commit" else client.abort_import
    errors: list[MilvusStatusError] = []
    between = ""
    for job_id in session.validated(session.options["job_ids"]):
        try:
            if name == "get":
                job = (await session.within(client.get_import_progress(job_id))).data
                session.write(job.to_dict(), between + job_text(job))
                between = "\n"
            else:
                await session.within(change(job_id))
                accepted = {"jobId": job_id, "accepted": name}
                session.write(accepted, f"{job_id}  {name} accepted", keep=True)
        except MilvusStatusError as error:
            errors.append(error)
            session.print_error(error)
    return exit_code(errors)


class _Follower(ProgressBars):
    """Follows the jobs of a session, shows their progress, and records how they end.

    At a terminal it draws bars; else it writes a line per change; nothing if ``quiet``.
    """

    def __init__(self, session: Session, *, quiet: bool, err: bool) -> None:
        super().__init__(make_console(err=err), job_ids=session.followed)
        if quiet or session.as_json:
            self._live = None
        self._session, self._quiet, self._err = session, quiet, err
        self._completed = session.options["until"] == "completed"
        self._individually = len(session.followed) <= _MOST_WATCHED
        self._errors: dict[str, MilvusImportError] = {}
        """The error of each job that has not completed."""
        self._printed: set[str] = set()
        self._warned = False

    async def run(self) -> int:
        """Follow the jobs, print how they ended, and return the exit code."""
        with self:
            await self._wait()
        last = [job.progress for job in self._jobs.values() if job.progress]
        if self._session.as_json and self._quiet:
            for progress in last:
                write(json.dumps(progress.to_dict()))
        elif last and not self._session.as_json:
            write(self._summary(last), err=self._err)
        return exit_code(self._errors.values())

    async def _wait(self) -> None:
        session = self._session
        options = {name: session.options[name] for name in ("until", "interval", "max_outage")}
        options |= {"on_progress": self, "on_retry": self.on_retry, "on_finish": self.on_finish}
        options["timeout"] = session.time_left()
        if not self._individually:
            outcomes = await session.client.wait_all(session.followed, **options)
            for job_id, outcome in outcomes.items():
                self._ended(job_id, outcome)
            return

        async def wait(job_id: str) -> None:
            try:
                await session.client.wait(job_id, **options)
            except MilvusImportError as error:
                self._ended(job_id, error)

        try:
            async with anyio.create_task_group() as group:
                for job_id in session.followed:
                    group.start_soon(wait, job_id)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # a closed output, or a bug

    def __call__(self, progress: ImportProgressData | ImportJob) -> None:
        """Show and record a change."""
        super().__call__(progress)
        job_id = progress.job_id
        if progress.state is ImportState.FAILED and not self._individually:
            # Its outcome, with a hint, is known only when all jobs have ended.
            self._printed.add(job_id)
            reason = quote(progress.reason) or "no reason given"
            self._session.print_error(MilvusImportError(f"import job {job_id} failed: {reason}"))
        waits = progress.state is ImportState.UNCOMMITTED
        if waits and self._completed and not self._warned:
            self._warned = True
            command = f"milvus-import commit {job_id} --service rest"
            print_message(f"import job {job_id} waits for its commit: run {command}")

    def _ended(self, job_id: str, outcome: ImportProgressData | MilvusImportError) -> None:
        if isinstance(outcome, ImportProgressData):
            self._jobs[job_id] = self._jobs[job_id]._replace(progress=outcome)
            return
        self._errors[job_id] = outcome
        if isinstance(outcome, WaitTimeoutError):  # it names the time that was left for the wait
            limit = f"after {self._session.timeout:g} s"
            outcome.message = re.sub(r"after [\d.e+-]+ s", limit, outcome.message, count=1)
        if job_id not in self._printed:
            self._session.print_error(outcome)

    def _summary(self, last: Sequence[ImportProgressData | ImportJob]) -> str:
        """Return ``2 jobs completed, 2,000 rows; 1 failed``."""
        succeeded = [job for job in last if job.job_id not in self._errors]
        full = [job for job in succeeded if isinstance(job, ImportProgressData)]
        # Zilliz Cloud may report no rows.
        rows = [job.imported_rows for job in full if job.service != "cloud" or job.imported_rows]
        parts: list[str] = []
        if succeeded:
            ending = "completed" if self._completed else "completed or waiting for commit"
            parts.append(f"{count(len(succeeded), 'job')} {ending}")
            if any(rows) or (self._completed and rows):
                parts[0] += f", {count(sum(rows), 'row')}"
        endings = Counter(map(ending_of, self._errors.values()))
        parts += [f"{endings[each]} {each[1]}" for each in ENDINGS.values() if each in endings]
        return "; ".join(parts)

    def _line(self, progress: ImportProgressData | ImportJob) -> str:
        return json.dumps(progress.to_dict()) if self._session.as_json else super()._line(progress)

    def _print(self, line: str, *, note: bool = False) -> None:
        if not self._quiet:
            write(line, err=self._err or note)


async def _find_targets(session: Session) -> list[str]:
    """Return the jobs of a command that takes job ids or a collection.

    An argument that starts with a digit or contains "-" is a job id: names of collections do not.
    """
    words: tuple[str, ...] = session.options["targets"]
    job_ids = [word for word in words if word[:1].isdigit() or "-" in word]
    others = [session.options[name] for name in ("collection_name", "all_databases")]
    if not any((*words, *others)):
        raise usage_error("name job ids or a collection, or pass --all-databases")
    if not job_ids:
        jobs, nothing = await _list_jobs(session)
        if not jobs:
            raise JobNotFoundError(nothing)
        return [job.job_id for job in jobs]
    if len(job_ids) < len(words) or others != [None, False]:
        raise usage_error("job ids cannot be combined with a collection or --all-databases")
    return session.validated(job_ids)


async def _list_jobs(session: Session) -> tuple[list[ImportJob], str]:
    """Return the jobs of a collection or of the server, and the message if it has none."""
    option, everything = session.options["collection_name"], session.options["all_databases"]
    names = [*session.options["targets"], *([] if option is None else [option])]
    if len(names) + everything > 1:
        raise usage_error("name one collection, as COLLECTION or --collection, or --all-databases")
    name = names[0] if names else None
    jobs = await session.within(session.client.list_imports(name, all_databases=everything))
    return jobs, f"{f'the collection {name!r}' if name else 'the server'} has no import jobs"
