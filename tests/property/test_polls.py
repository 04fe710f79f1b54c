"""Followers share polls: random followers in virtual time, over services in memory."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Collection
from typing import Any

import grpc
import pytest
from following import Crowd, World, left_behind
from virtual_time import run_virtually

from milvus_import import (
    AccessDeniedError,
    DeadlineExceededError,
    ImportClient,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    MilvusStatusError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._services._operations import GET_PROGRESS, LIST_JOBS
from milvus_import._services._replies import JobList, Snapshot
from milvus_import._watch._polls import MAX_IN_FLIGHT, Polls

SEED = 26
FOLLOWERS = 200
JOBS = 60


def decode(message: tuple[str, int], job_id: str) -> ImportProgressData:
    state, version = message
    return ImportProgressData(
        *("books", job_id, "", ImportState(state), version, 0, 0, "", 0, [], "", "internal")
    )


class MemoryServices(World):
    """Performs the operations of a client in memory, with random delays and errors.

    A reply has the state of the moment at which its request was sent.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, 1.0)
        self.connection = self
        self.responded = False
        self.closed = False
        self.loop = None
        self.faults: Collection[str] = ()
        self.in_flight: dict[tuple[int, str], asyncio.Task[Any]] = {}
        self.sent: list[tuple[float, str]] = []
        """The time and the job of each request; "" for a list."""
        self.lists = True

    def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def add(self) -> str:
        job_id = str(len(self.states) + 1)
        self.states[job_id] = "Pending", 1
        return job_id

    def changed(self, job_id: str) -> None:
        pass

    def set_faults(self, names: Collection[str]) -> None:
        self.faults = names

    async def call(self, operation: Any, params: Any, settings: Any) -> Any:
        loop = asyncio.get_running_loop()
        job_id = getattr(params, "job_id", "")
        if operation not in (GET_PROGRESS, LIST_JOBS):
            return await self._commit(job_id)
        self.sent.append((loop.time(), job_id))
        task: Any = asyncio.current_task()
        poll = task.get_coro().cr_frame.f_locals["poll"]
        key = id(poll.group), job_id
        other = self.in_flight.get(key)
        assert other is None or other.cancelling(), f"two requests for {key} at a time"
        self.in_flight[key] = task
        assert len(self.in_flight) <= MAX_IN_FLIGHT
        outcome = self._outcome(operation, job_id)
        try:
            await asyncio.sleep(self._delay())
        finally:
            if self.in_flight.get(key) is task:
                del self.in_flight[key]
        if isinstance(outcome, Exception):
            raise outcome
        self.responded = True
        return outcome

    async def _commit(self, job_id: str) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, 0.5))
        if job_id in self.live:
            self.change(job_id, "Importing")
        self.committed[job_id] = self.states[job_id][1]

    def _delay(self) -> float:
        if "slow" in self.faults and self.rng.random() < 0.3:
            return self.rng.uniform(0.0, 12.0)
        return self.rng.choice([0.001, 0.01, 0.3, 1.0]) * self.rng.random() + 1e-6

    def _outcome(self, operation: Any, job_id: str) -> Any:
        fails = self.rng.random() < 0.5
        if "unavailable" in self.faults and fails:
            return UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE, transient=True)
        if "not-ready" in self.faults and fails:
            return MilvusStatusError("not ready", code=1, transient=True)
        if "rate-limited" in self.faults and fails:
            after = self.rng.choice([None, 3.0])
            return MilvusStatusError(
                "slow down", code=8, transient=True, rate_limited=True, retry_after=after
            )
        if operation is LIST_JOBS:
            return self._list(fails=fails)
        state = self.states.get(job_id)
        if state is None or job_id in self.deleted:
            return JobNotFoundError("no such job", code=2100, job_id=job_id, service="internal")
        return Snapshot(repr(state).encode(), state, job_id, decode)

    def _list(self, *, fails: bool) -> Any:
        if not self.lists or ("no-list" in self.faults and fails):
            return UnsupportedServerError("no list", code=grpc.StatusCode.UNIMPLEMENTED)
        if "denied-list" in self.faults and fails:
            return AccessDeniedError("denied", code=grpc.StatusCode.PERMISSION_DENIED)
        if "late-list" in self.faults and fails:
            return DeadlineExceededError("late", code=grpc.StatusCode.DEADLINE_EXCEEDED)
        ids = [job_id for job_id in self.states if job_id not in self.deleted]
        if "partial-list" in self.faults:
            ids = [job_id for job_id in ids if self.rng.random() < 0.8]
        self.rng.shuffle(ids)
        states = [self.states[job_id] for job_id in ids]
        columns = (
            ["books"] * len(ids),
            [state for state, _ in states],
            [version for _, version in states],
            [""] * len(ids),
        )
        return JobList(ids, columns)


def client_of(services: MemoryServices) -> ImportClient:
    client: Any = ImportClient("127.0.0.1:1")
    client._services = services
    client._polls = Polls(services, shared=True)  # type: ignore[arg-type]
    return client  # type: ignore[no-any-return]


class CommittingCrowd(Crowd):
    """Commits jobs as well."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.commits: set[asyncio.Task[None]] = set()

    def commit(self, job_id: str) -> None:
        task = asyncio.create_task(self.client.commit_import(job_id))
        self.commits.add(task)
        task.add_done_callback(self.commits.discard)


async def follow(seed: int, steps: int, *, lists: bool) -> None:
    rng = random.Random(seed)
    random.seed(seed)  # the jitter
    services = MemoryServices(rng)
    services.lists = lists
    client = client_of(services)
    crowd = CommittingCrowd(services, client, FOLLOWERS, JOBS)
    try:
        await crowd.steps(steps, calm_every=1000)
        await crowd.finish()
    except BaseException:
        print(f"seed {seed}; {crowd.ends}")
        raise
    await asyncio.sleep(40)
    gc.collect()
    assert left_behind(client, crowd.runs) == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    print(f"seed {seed}: {len(services.sent)} requests; {crowd.ends}")
    expected = {"end", "cancelled", "boom", "WaitTimeoutError", "JobNotFoundError"}
    assert crowd.ends.keys() >= expected


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "no-lists"])
def test_random_followers_receive_the_last_state_and_the_right_end(lists: bool) -> None:
    run_virtually(follow(SEED, 5_000, lists=lists))
