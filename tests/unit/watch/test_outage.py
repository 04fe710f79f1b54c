"""OutagePolicy: which errors are retried, when the next poll is, and when an outage is too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from milvus_import import (
    CallError,
    DeadlineExceededError,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._hints import Hint
from milvus_import._options import MAX_OUTAGE, WatchSettings, parse_watch_options
from milvus_import._watch._outage import FIRST_RETRY, OutagePolicy

pytestmark = pytest.mark.anyio

Code = grpc.StatusCode


def unavailable() -> CallError:
    return UnavailableError("away", code=Code.UNAVAILABLE, details="failed to connect")


def rate_limited() -> MilvusStatusError:
    return MilvusStatusError("slow", code=8, transient=True, hint=Hint.SERVER_RATE_LIMIT)


def exhausted() -> CallError:
    return CallError("slow", code=Code.RESOURCE_EXHAUSTED, transient=True)


def too_many_requests() -> CallError:
    return CallError("slow", code=Code.UNKNOWN, http_status=429, transient=True)


def policy(
    *, responded: bool = True, interval: float = 100.0, max_outage: float | None = 1e6, **more: Any
) -> OutagePolicy:
    settings = WatchSettings(
        timeout=1e9, interval=interval, max_outage=max_outage, on_retry=more.get("on_retry")
    )
    return OutagePolicy(settings, lambda: responded)


def delays(policy: OutagePolicy, error: Callable[[], MilvusImportError], count: int) -> list[float]:
    now = asyncio.get_running_loop().time()
    return [policy.on_error(error(), now) for _ in range(count)]


async def test_retries_start_after_a_quarter_of_a_second_and_double_up_to_the_interval() -> None:
    for _ in range(50):
        for index, delay in enumerate(delays(policy(interval=100), unavailable, 30)):
            full = min(100, 0.25 * 2**index)
            assert 0.5 * full <= delay <= full
    assert FIRST_RETRY == 0.25


async def test_the_first_retry_is_not_later_than_the_interval() -> None:
    assert all(0.01 <= delay <= 0.02 for delay in delays(policy(interval=0.02), unavailable, 100))


async def test_no_retry_is_immediate() -> None:
    assert min(delays(policy(interval=2), unavailable, 100)) >= 0.125


async def test_retries_of_many_clients_are_spread() -> None:
    first = [delays(policy(), unavailable, 1)[0] for _ in range(200)]
    assert min(first) < 0.15
    assert max(first) > 0.22
    assert len(set(first)) > 150


async def test_a_success_resets_the_delay_and_the_outage() -> None:
    outages: list[float] = []

    def on_retry(error: MilvusImportError, outage: float) -> None:
        outages.append(outage)

    tested = policy(on_retry=on_retry)
    now = asyncio.get_running_loop().time()
    assert delays(tested, unavailable, 6)[-1] > 2
    tested.on_success()
    assert tested.last_error is None
    assert tested.on_error(unavailable(), now - 1000) <= 0.25
    assert outages[-1] >= 1000
    tested.on_success()
    tested.on_error(unavailable(), now)
    assert outages[-1] < 100


@pytest.mark.parametrize("error", [rate_limited, exhausted, too_many_requests])
async def test_a_rate_limit_waits_at_least_the_interval_doubling_three_times(
    error: Callable[[], MilvusImportError],
) -> None:
    for _ in range(50):
        tested = policy(interval=2)
        for index, delay in enumerate(delays(tested, error, 6)):
            least = 2 * 2 ** min(index, 3)
            assert least <= delay <= 1.5 * least
        tested.on_success()
        assert 2 <= delays(tested, error, 1)[0] <= 3


async def test_rate_limited_clients_are_spread() -> None:
    first = [delays(policy(interval=2), rate_limited, 1)[0] for _ in range(200)]
    assert min(first) < 2.2
    assert max(first) > 2.8


async def test_an_outage_starts_with_its_first_poll_and_ends_at_max_outage() -> None:
    loop = asyncio.get_running_loop()
    tested = policy(max_outage=10)
    tested.on_error(unavailable(), loop.time() - 9)
    tested.on_error(unavailable(), loop.time())
    assert tested.last_error is not None
    tested = policy(max_outage=10)
    error = unavailable()
    with pytest.raises(UnavailableError) as raised:
        tested.on_error(error, loop.time() - 10)
    assert raised.value is error
    assert raised.value.outage is not None
    assert 10 <= raised.value.outage < 20
    assert "retried for 10" in str(raised.value)


async def test_interval_is_two_seconds_by_default() -> None:
    assert parse_watch_options({}).interval == 2.0


async def test_max_outage_is_300_seconds_by_default() -> None:
    loop = asyncio.get_running_loop()
    assert MAX_OUTAGE == 300
    policy(max_outage=None).on_error(unavailable(), loop.time() - 290)
    with pytest.raises(UnavailableError):
        policy(max_outage=None).on_error(unavailable(), loop.time() - 300)


async def test_an_error_of_max_outage_0_mentions_no_retries() -> None:
    with pytest.raises(UnavailableError) as raised:
        policy(max_outage=0).on_error(unavailable(), asyncio.get_running_loop().time())
    assert raised.value.outage is None


async def test_an_error_that_is_not_transient_is_raised() -> None:
    error = CallError("denied", code=Code.PERMISSION_DENIED)
    with pytest.raises(CallError) as raised:
        policy().on_error(error, 0)
    assert raised.value is error


@pytest.mark.parametrize("responded", [True, False])
async def test_unimplemented_is_retried_only_after_a_successful_response(responded: bool) -> None:
    error = UnsupportedServerError("no method", code=Code.UNIMPLEMENTED)
    tested, now = policy(responded=responded), asyncio.get_running_loop().time()
    if responded:
        assert tested.on_error(error, now) > 0
    else:
        with pytest.raises(UnsupportedServerError):
            tested.on_error(error, now)


FROM_A_SERVER: list[tuple[Callable[[], MilvusImportError], bool]] = [
    (lambda: MilvusStatusError("not ready", code=1, transient=True), True),
    (rate_limited, True),
    (exhausted, True),
    (too_many_requests, True),
    (lambda: CallError("502", code=Code.UNAVAILABLE, http_status=502, transient=True), True),
    (lambda: CallError("503", code=Code.UNAVAILABLE, http_status=503, transient=True), True),
    (
        lambda: CallError(
            "not ready", code=Code.UNKNOWN, details="Milvus Proxy is not ready", transient=True
        ),
        True,
    ),
    (unavailable, False),
    (lambda: DeadlineExceededError("slow", code=Code.DEADLINE_EXCEEDED), False),
    (lambda: CallError("500", code=Code.UNKNOWN, http_status=500, transient=True), False),
]


@pytest.mark.parametrize(
    ("error", "retried"), FROM_A_SERVER, ids=[str(number) for number in range(len(FROM_A_SERVER))]
)
async def test_before_the_first_response_only_errors_of_a_server_are_retried(
    error: Callable[[], MilvusImportError], retried: bool
) -> None:
    now = asyncio.get_running_loop().time()
    tested = policy(responded=False, max_outage=None)
    if retried:
        tested.on_error(error(), now)
    else:
        with pytest.raises(MilvusImportError):
            tested.on_error(error(), now)
    policy(responded=False, max_outage=60).on_error(error(), now)  # a number counts from the start
    policy(responded=True, max_outage=None).on_error(error(), now)


async def test_on_retry_is_called_with_each_retried_error_only() -> None:
    seen: list[MilvusImportError] = []

    def on_retry(error: MilvusImportError, outage: float) -> None:
        seen.append(error)

    tested = policy(max_outage=10, on_retry=on_retry)
    now = asyncio.get_running_loop().time()
    error = unavailable()
    tested.on_error(error, now)
    with pytest.raises(UnavailableError):
        policy(max_outage=10, on_retry=on_retry).on_error(unavailable(), now - 11)
    assert seen == [error]
