"""Watches behind rate limits of nginx and HAProxy."""

from __future__ import annotations

import asyncio
import time

import pytest
from gateway_process import Gateway, HAProxy, LoggedRequest, Nginx
from times import until
from watching import FaultLog

from milvus_import import CallError, ImportClient, UnavailableError
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


async def watch_jobs(gateway: Gateway, fake: FakeMilvus) -> tuple[list[LoggedRequest], FaultLog]:
    """Start 30 watches on one client, at the default interval of 2 s, until each had a response.

    Return the requests that the gateway received in the first seconds, and the errors.
    """
    jobs = [fake.add_job(state="Importing", progress=1) for _ in range(WATCHES)]
    seen: set[str] = set()
    errors = FaultLog()

    async def follow(client: ImportClient, job_id: str) -> None:
        async for progress in client.watch(job_id, on_retry=errors):
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
    gateway = limited(fake, status)
    gateway.http = ZONE.replace("10r/s", "1r/m")
    async with gateway, ImportClient(gateway.uri) as client:
        await client.get_import_progress(job.job_id)
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(job.job_id)
        requests = await gateway.logged(2)
        assert [request.status for request in requests] == [200, status]
    assert (caught.value.hint, caught.value.transient) == (hint.python, True)


@pytest.mark.parametrize("counts_rejected", [False, True])
async def test_30_watches_make_progress_and_do_not_multiply_their_requests(
    fake: FakeMilvus, counts_rejected: bool
) -> None:
    """They want 15 requests per second; the gateway admits 10."""
    async with counting(fake, 10, 1.0) if counts_rejected else limited(fake, 429) as gateway:
        requests, errors = await watch_jobs(gateway, fake)
    per_second = len(requests) / WINDOW
    rejected = sum(request.status == 429 for request in requests)
    print(f"{gateway.name} received {per_second:.1f}/s, and rejected {rejected / WINDOW:.1f}/s")
    assert rejected
    assert counts_rejected or per_second <= 16
    assert {getattr(error, "http_status", None) for error, _ in errors} == {429}


async def test_one_watch_makes_progress_behind_a_limiter_that_counts_rejected_requests(
    fake: FakeMilvus,
) -> None:
    """At its interval alone the watch would be above the limit for ever."""
    job = fake.add_job(state="Importing", progress=1)
    errors = FaultLog()
    async with counting(fake, 3, 1.0) as gateway, ImportClient(gateway.uri) as client:
        watch = client.watch(job.job_id, interval=0.2, on_retry=errors)
        async with asyncio.timeout(GUARD):
            assert (await anext(watch)).progress == 1
            for percent in range(2, 8):
                following = asyncio.ensure_future(anext(watch))
                rejected = len(errors)
                await until(lambda: len(errors) > rejected, GUARD)  # noqa: B023
                job.progress = percent
                assert (await following).progress == percent


async def test_retry_after_of_nginx_delays_the_next_poll_of_rest(fake: FakeMilvus) -> None:
    fake.version = "3.0"
    job, errors = fake.add_job(state="Importing", progress=40), FaultLog()
    limit = "add_header Retry-After 2 always; return 429;"
    async with (
        Nginx(fake, http2=False, flagged=limit) as gateway,
        ImportClient(gateway.uri, service="rest") as client,
    ):
        await client.get_import_progress(job.job_id)
        gateway.flag.touch()
        waiting = asyncio.ensure_future(client.wait(job.job_id, interval=0.05, on_retry=errors))
        await until(lambda: bool(errors), GUARD)
        gateway.flag.unlink()
        job.state = "Completed"
        await asyncio.wait_for(waiting, GUARD)
        requests = await gateway.logged(3)
    assert [request.status for request in requests] == [200, 429, 200]
    assert requests[2].time - requests[1].time >= 1.9
    assert [error.retry_after for error, _ in errors] == [2.0]


async def test_retry_after_of_haproxy_is_in_the_error_of_rest(fake: FakeMilvus) -> None:
    rule = "http-request return status 429 hdr Retry-After 2"
    async with (
        HAProxy(fake, frontend=rule) as gateway,
        ImportClient(gateway.uri, service="rest") as client,
    ):
        with pytest.raises(UnavailableError) as caught:
            await client.get_import_progress("1")
    assert (caught.value.retry_after, caught.value.rate_limited) == (2.0, True)
