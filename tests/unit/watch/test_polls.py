"""Polls: when each job is polled, how many at once, and what a poll that hangs delays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from times import until

from milvus_import import ImportProgressData, ImportState
from milvus_import._services._replies import Snapshot
from milvus_import._watch._polls import CONCURRENT_POLLS, MAX_IN_FLIGHT, Polls

pytestmark = pytest.mark.anyio

PROGRESS = ImportProgressData(
    collection_name="books",
    job_id="7",
    complete_time="",
    state=ImportState.IMPORTING,
    progress=50,
    imported_rows=7,
    total_rows=9,
    reason="",
    file_size=0,
    details=[],
    create_time="",
    service="internal",
)
SNAPSHOT = Snapshot(b"", None, lambda: PROGRESS)


class Server:
    """Polls that end when the test says so."""

    def __init__(self, interval: float = 10.0) -> None:
        self.started: list[str] = []
        self.calls: dict[str, asyncio.Future[Any]] = {}
        self.wake_ups = 0
        self.polls = Polls(self.fetch, interval, self.wake_up)

    async def fetch(self, job_id: str) -> Snapshot:
        self.started.append(job_id)
        self.calls[job_id] = asyncio.get_running_loop().create_future()
        await self.calls[job_id]
        return SNAPSHOT

    def wake_up(self) -> None:
        self.wake_ups += 1

    async def start(self, now: float, wanted: set[str]) -> float:
        due = self.polls.start_due(now, wanted)
        await asyncio.sleep(0)
        return due


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def test_a_job_is_polled_when_it_is_due_and_not_before() -> None:
    server = Server()
    for job_id, due in (("b", 5.0), ("a", 3.0), ("a", 1.0)):
        server.polls.schedule(job_id, due)
    assert await server.start(2.0, {"a", "b"}) == 3.0  # "a" is scheduled already
    assert await server.start(3.0, {"a", "b"}) == 5.0
    assert server.started == ["a"]
    assert await server.start(9.0, {"a", "b"}) == float("inf")
    assert server.started == ["a", "b"]
    server.polls.cancel()


async def test_a_finished_poll_can_be_scheduled_again() -> None:
    server = Server()
    server.polls.schedule("a", 0.0)
    await server.start(0.0, {"a"})
    server.polls.schedule("a", 0.0)  # it is running
    server.calls["a"].set_result(None)
    await until(lambda: bool(server.polls.finished))
    [(job_id, started, task)] = server.polls.finished
    assert (job_id, started, task.result()) == ("a", 0.0, SNAPSHOT)
    assert server.wake_ups == 1
    assert server.polls.start_due(100.0, {"a"}) == float("inf")
    server.polls.schedule("a", 0.0)
    await server.start(100.0, {"a"})
    assert server.started == ["a", "a"]
    server.polls.cancel()


async def test_a_job_that_is_not_wanted_any_more_is_not_polled() -> None:
    server = Server()
    server.polls.schedule("a", 0.0)
    await server.start(1.0, set())
    assert server.started == []
    server.polls.schedule("a", 0.0)
    await server.start(1.0, {"a"})
    assert server.started == ["a"]
    server.polls.cancel()


async def test_64_polls_run_at_once_until_they_are_older_than_one_interval() -> None:
    server, wanted = Server(interval=10.0), set(names(400))
    for job_id in names(400):
        server.polls.schedule(job_id, 0.0)
    assert await server.start(0.0, wanted) == 10.0
    assert len(server.started) == CONCURRENT_POLLS == 64
    assert await server.start(9.9, wanted) == 10.0
    assert len(server.started) == 64
    assert await server.start(10.0, wanted) == 20.0
    assert len(server.started) == 128
    due = 0.0
    for now in (20.0, 30.0, 40.0, 50.0):
        due = await server.start(now, wanted)
    assert len(server.started) == MAX_IN_FLIGHT == 256
    assert due == float("inf")  # the next poll that ends makes room
    server.calls["0"].set_result(None)
    await until(lambda: server.wake_ups == 1)
    await server.start(50.0, wanted)
    assert len(server.started) == 257
    server.polls.cancel()


async def test_a_poll_that_ends_gives_its_place_to_the_next_one() -> None:
    server, wanted = Server(), set(names(70))
    for job_id in names(70):
        server.polls.schedule(job_id, 0.0)
    await server.start(0.0, wanted)
    server.calls["3"].set_result(None)
    await until(lambda: server.wake_ups == 1)
    await server.start(0.1, wanted)
    assert len(server.started) == 65
    server.polls.cancel()


async def test_cancelled_poll_is_rescheduled() -> None:
    server = Server(interval=10.0)
    server.polls.schedule("a", 0.0)
    await server.start(5.0, {"a"})
    server.calls["a"].cancel()
    await until(lambda: server.wake_ups == 1)
    assert not server.polls.finished
    assert await server.start(6.0, {"a"}) == 15.0


async def test_cancel_stops_every_poll_and_forgets_the_schedule() -> None:
    server = Server()
    server.polls.schedule("a", 0.0)
    server.polls.schedule("b", 50.0)
    await server.start(0.0, {"a", "b"})
    server.polls.cancel()
    await until(server.calls["a"].cancelled)
    assert not server.polls.finished
    assert server.polls.abandon() == []
    assert server.wake_ups == 0
    assert await server.start(100.0, {"a", "b"}) == float("inf")


async def test_abandon_returns_what_was_scheduled_or_running() -> None:
    server = Server()
    for job_id, due in (("a", 0.0), ("b", 50.0)):
        server.polls.schedule(job_id, due)
    await server.start(0.0, {"a", "b"})
    assert sorted(server.polls.abandon()) == ["a", "b"]
    assert not server.polls.finished
    assert server.polls.abandon() == []
    server.calls["a"].cancel()
