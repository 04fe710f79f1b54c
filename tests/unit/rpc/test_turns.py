from __future__ import annotations

import pytest

from milvus_import._rpc import _turns
from milvus_import._rpc._turns import Turns


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_turns, "time", clock)
    return clock


def test_polls_start_immediately_without_a_rate_limit(clock: Clock) -> None:
    turns = Turns()
    assert [turns.reserve() for _ in range(3)] == [0.0, 0.0, 0.0]
    turns.on_success()
    assert turns.reserve() == 0.0


def test_polls_take_turns_after_a_rate_limit(clock: Clock) -> None:
    turns = Turns()
    turns.on_rate_limit()
    assert [turns.reserve() for _ in range(3)] == [0.0, turns.spacing, 2 * turns.spacing]
    clock.now += 10
    assert turns.reserve() == 0.0  # a turn that nobody took is not kept


def test_rate_limits_of_overlapping_polls_count_as_one(clock: Clock) -> None:
    turns = Turns()
    turns.on_rate_limit()
    first = turns.spacing
    for _ in range(100):
        turns.on_rate_limit()
    assert turns.spacing == first
    clock.now += 0.25
    turns.on_rate_limit()
    assert turns.spacing == pytest.approx(1.2 * first)


def test_spacing_is_at_most_2_seconds(clock: Clock) -> None:
    turns = Turns()
    for _ in range(100):
        clock.now += 10
        turns.on_rate_limit()
    assert turns.spacing == 2.0


def test_successes_end_the_spacing(clock: Clock) -> None:
    turns = Turns()
    turns.on_rate_limit()
    for _ in range(1_000):
        turns.on_success()
    assert turns.spacing == 0.0
