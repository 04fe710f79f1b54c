from __future__ import annotations

import pytest

from milvus_import._connection import _throttle
from milvus_import._connection._throttle import PollThrottle


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_throttle, "time", clock)
    return clock


def test_polls_start_immediately_without_a_rate_limit(clock: Clock) -> None:
    throttle = PollThrottle()
    assert [throttle.reserve() for _ in range(3)] == [0.0, 0.0, 0.0]
    throttle.on_success()
    assert throttle.reserve() == 0.0


def test_polls_are_spaced_after_a_rate_limit(clock: Clock) -> None:
    throttle = PollThrottle()
    throttle.on_rate_limit()
    assert [throttle.reserve() for _ in range(3)] == [0.0, throttle.spacing, 2 * throttle.spacing]
    clock.now += 10
    assert throttle.reserve() == 0.0  # an unused reservation expires


def test_rate_limits_of_overlapping_polls_count_as_one(clock: Clock) -> None:
    throttle = PollThrottle()
    throttle.on_rate_limit()
    first = throttle.spacing
    for _ in range(100):
        throttle.on_rate_limit()
    assert throttle.spacing == first
    clock.now += 0.25
    throttle.on_rate_limit()
    assert throttle.spacing == pytest.approx(1.2 * first)


def test_spacing_is_at_most_2_seconds(clock: Clock) -> None:
    throttle = PollThrottle()
    for _ in range(100):
        clock.now += 10
        throttle.on_rate_limit()
    assert throttle.spacing == 2.0


def test_successes_end_the_spacing(clock: Clock) -> None:
    throttle = PollThrottle()
    throttle.on_rate_limit()
    for _ in range(1_000):
        throttle.on_success()
    assert throttle.spacing == 0.0
