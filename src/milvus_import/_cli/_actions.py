"""The work of the commands: requests for each job, and following jobs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import click
from rich.console import Console

from .._client import ImportClient
from .._errors import JobNotFoundError, MilvusStatusError
from ._exit import exit_code, print_errors, run_and_exit
from ._follow import JobFollower
from ._params import Targets, parse_job_ids, parse_targets
from ._settings import FollowSettings, Settings, TimeLeft, parse_follow_settings, parse_settings
from ._views import choose_view, json_line, to_json

_MAY_HAVE_RUN = (
    "the request may have taken effect: check milvus-import get, or run the command again"
)


def request_each(
    job_ids: tuple[str, ...],
    options: dict[str, Any],
    method: Callable[[ImportClient, str], Coroutine[Any, Any, None]],
    name: str,
) -> NoReturn:
    """Send a write for each job and print that it was accepted."""
    settings = parse_settings(options)

    async def request_one(client: ImportClient, time_left: TimeLeft, job_id: str) -> None:
        await time_left.wait(method(client, job_id), may_have_run=True)
        accepted = {"jobId": job_id, "accepted": name}
        click.echo(to_json(accepted) if settings.as_json else f"{job_id}  {name} accepted")

    for_each(settings, parse_job_ids(job_ids), request_one, unsure=_MAY_HAVE_RUN)


def for_each(
    settings: Settings,
    job_ids: list[str],
    request: Callable[[ImportClient, TimeLeft, str], Coroutine[Any, Any, None]],
    *,
    unsure: str = "",
) -> NoReturn:
    """Send a request for each job. A Status that Milvus returns does not stop the others."""
    client, time_left = settings.client(), TimeLeft(settings.timeout)

    async def send_all() -> int:
        errors: list[MilvusStatusError] = []
        async with client:
            for job_id in job_ids:
                try:
                    await request(client, time_left, job_id)
                except MilvusStatusError as error:
                    errors.append(error)
        print_errors(errors, debug=settings.debug)
        return exit_code(errors)

    run_and_exit(send_all, (), debug=settings.debug, unsure=unsure)


def follow_targets(arguments: tuple[str, ...], options: dict[str, Any], *, quiet: bool) -> NoReturn:
    """Follow the jobs that a command names."""
    settings = parse_settings(options)
    follow_settings = parse_follow_settings(options)
    targets = parse_targets(arguments, options["collection"], everything=options["all_databases"])
    client, time_left = settings.client(), TimeLeft(settings.timeout)
    followed = targets.job_ids

    async def follow() -> int:
        async with client:
            if not followed:
                followed.extend(await _list_ids(client, targets, time_left))
            return await follow_jobs(
                client, followed, settings, follow_settings, time_left, quiet=quiet
            )

    run_and_exit(follow, followed, debug=settings.debug)


async def _list_ids(client: ImportClient, targets: Targets, time_left: TimeLeft) -> list[str]:
    jobs = await time_left.wait(
        client.list_imports(targets.collection, all_databases=targets.all_databases)
    )
    if not jobs:
        raise JobNotFoundError(f"{targets.description} has no import jobs")
    return [job.job_id for job in jobs]


async def follow_jobs(
    client: ImportClient,
    job_ids: list[str],
    settings: Settings,
    follow_settings: FollowSettings,
    time_left: TimeLeft,
    *,
    quiet: bool = False,
    stderr: bool = False,
) -> int:
    """Follow the jobs, print how they ended, and return the exit code."""
    view = choose_view(Console(stderr=stderr), job_ids, as_json=settings.as_json, quiet=quiet)
    follower = JobFollower(client, view, job_ids, follow_settings)
    await follower.run(time_left.seconds)
    if settings.as_json and quiet:
        for progress in follower.last.values():
            click.echo(json_line(progress))
    elif follower.last and not settings.as_json:
        click.echo(follower.summary(), err=stderr)
    print_errors(follower.errors.values(), debug=settings.debug)
    return exit_code(follower.errors.values())
