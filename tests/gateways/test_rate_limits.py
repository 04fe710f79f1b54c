"""Watches behind rate limits of nginx and HAProxy."""

from __future__ import annotations

import asyncio
import time

import pytest
from gateway_process import Gateway, HAProxy, LoggedRequest, Nginx, until

from milvus_import import CallError, ImportClient, MilvusImportError
from milvus_import._hints import Hint
from milvus_import.testing import FakeMilvus

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

WATCHES = 30
WINDOW = 10.0
"""Seconds over which the requests of the watches are counted, from their start on."""
GUARD = 180.0

ZONE = "limit_req_zone $server_name zone=reads:1m rate=10r/s;"


def limited(fake: FakeMilvus, status: int) -> Nginx:
    """Return an nginx that admits 10 requests per second; rejected ones do not count."""
    return Nginx(fake, http=ZONE, location=f"limit_req zone=reads; limit_req_status {status};")


def counting(fake: FakeMilvus, requests: int, seconds: float) -> HAProxy:
    """Return a HAProxy that counts rejected requests too: their sender has to pause."""
    period = f"{round(seconds * 1000)}ms"
    frontend = f"""
  stick-table type ip size 10 expire 60s store http_req_rate({period})
  http-request track-sc0 src
  http-request return status 429 if {{ sc_http_req_rate(0) gt {requests} }}"""
    return HAProxy(fake, frontend=frontend)


async def watch_jobs(
    gateway: Gateway, fake: FakeMilvus
) -> tuple[list[LoggedRequest], list[MilvusImportError]]:
    """Start 30 watches on one client, at the default interval of 2 s, until each had a response.

    Return the requests that the gateway received in the first seconds, and the errors.
    """
    jobs = [fake.add_job(state="Importing", progress=1) for _ in range(WATCHES)]
    seen: set[str] = set()
    errors: list[MilvusImportError] = []

    async def follow(client: ImportClient, job_id: str) -> None:
        async for progress in client.watch(job_id, on_retry=lambda error, _: errors.append(error)):
            seen.add(progress.job_id)

    async with ImportClient(gateway.uri) as client:
        start = time.time()
        tasks = [asyncio.create_task(follow(client, job.job_id)) for job in jobs]
        try:
            await asyncio.sleep(WINDOW)
            await until(lambda: len(seen) == WATCHES or any(t.done() for t in tasks), GUARD)
            assert len(seen) == WATCHES
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    print(f"each of the {WATCHES} watches had a response within {time.time() - start:.0f} s")
    return [r for r in gateway.requests if r.time < start + WINDOW], errors


@pytest.mark.parametrize(
    ("status", "hint"), [(429, Hint.GATEWAY_RATE_LIMIT), (503, Hint.GATEWAY_UNAVAILABLE)]
)
async def test_a_rejected_read_is_sent_once(fake: FakeMilvus, status: int, hint: Hint) -> None:
    """503 is the default of limit_req, and means a missing backend as well."""
    job = fake.add_job(state="Importing", progress=40)
    http = ZONE.replace("10r/s", "1r/m")
    gateway = limited(fake, status)
    gateway.http = http
    async with gateway, ImportClient(gateway.uri) as client:
        await client.get_import_progress(job.job_id)
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(job.job_id)
        requests = await gateway.logged(2)
        assert [request.status for request in requests] == [200, status]
    assert (caught.value.hint, caught.value.transient) == (hint.python, True)


async def test_30_watches_do_not_multiply_their_requests(fake: FakeMilvus) -> None:
    """They want 15 requests per second; nginx admits 10."""
    async with limited(fake, 429) as gateway:
        requests, errors = await watch_jobs(gateway, fake)
    per_second = len(requests) / WINDOW
    rejected = sum(request.status == 429 for request in requests)
    print(f"nginx received {per_second:.1f} requests/s, and rejected {rejected / WINDOW:.1f}/s")
    assert rejected
    assert per_second <= 16
    assert {getattr(error, "http_status", None) for error in errors} == {429}


async def test_30_watches_make_progress_behind_a_limiter_that_counts_rejected_requests(
    fake: FakeMilvus,
) -> None:
    async with counting(fake, 10, 1.0) as gateway:
        requests, errors = await watch_jobs(gateway, fake)
    rejected = sum(request.status == 429 for request in requests)
    print(
        f"HAProxy received {len(requests) / WINDOW:.1f}/s, and rejected {rejected / WINDOW:.1f}/s"
    )
    assert rejected
    assert {getattr(error, "http_status", None) for error in errors} == {429}


async def test_one_watch_makes_progress_behind_a_limiter_that_counts_rejected_requests(
    fake: FakeMilvus,
) -> None:
    """At its interval alone the watch would be above the limit for ever."""
    job = fake.add_job(state="Importing", progress=1)
    errors: list[MilvusImportError] = []
    async with counting(fake, 3, 1.0) as gateway, ImportClient(gateway.uri) as client:
        watch = client.watch(job.job_id, interval=0.2, on_retry=lambda e, _: errors.append(e))
        async with asyncio.timeout(GUARD):
            assert (await anext(watch)).progress == 1
            for percent in range(2, 8):
                following = asyncio.ensure_future(anext(watch))
                rejected = len(errors)
                await until(lambda: len(errors) > rejected, GUARD)  # noqa: B023
                job.progress = percent
                assert (await following).progress == percent
