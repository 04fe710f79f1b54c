"""Random followers of random jobs, each checked against the states that the server has had.

The progress of a job is its version: it grows with each change, so that each state is different
and a state that is older than one delivered shows.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from milvus_import import (
    AccessDeniedError,
    ImportClient,
    ImportFailedError,
    ImportJob,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    UnsupportedServerError,
    WaitTimeoutError,
)

KINDS = (
    *("watch", "wait", "wait", "wait", "wait-progress"),
    *("wait_all", "wait_all-progress", "watch_all", "all"),
)
RUNNING = ("Pending", "Importing", "IndexBuilding", "Uncommitted")
ENDS = ("Completed", "Completed", "Completed", "Failed")


class CallbackError(Exception):
    """Raised by a callback of one follower."""


class LeftError(Exception):
    """Raised by a follower that stops iterating."""


class World(ABC):
    """The jobs of a server, and what may happen to it."""

    def __init__(self, rng: random.Random, unit: float) -> None:
        """``unit``: seconds of half a polling interval."""
        self.rng = rng
        self.unit = unit
        self.calm_seconds = 70 * unit
        """The time within which each follower must have the last state without faults."""
        self.end_seconds = 150 * unit
        """The time within which each follower must end when all jobs have ended."""
        self.states: dict[str, tuple[str, int]] = {}
        """The last state and version of each job; of those deleted as well."""
        self.deleted: set[str] = set()
        self.committed: dict[str, int] = {}
        """The version of a job when its last commit ended."""

    @property
    def live(self) -> list[str]:
        """The jobs that have not ended."""
        return [
            job_id
            for job_id, (state, _) in self.states.items()
            if state in RUNNING and job_id not in self.deleted
        ]

    def change(self, job_id: str, state: str) -> None:
        """Let a job have another state."""
        self.states[job_id] = state, self.states[job_id][1] + 1
        self.changed(job_id)

    def delete(self, job_id: str) -> None:
        """Let the server have a job no longer."""
        self.deleted.add(job_id)
        self.changed(job_id)

    @abstractmethod
    def add(self) -> str:
        """Add a job; return its id."""

    @abstractmethod
    def changed(self, job_id: str) -> None:
        """Let the server report the state of a job."""

    @abstractmethod
    def set_faults(self, names: Collection[str]) -> None:
        """Let some requests fail, each in one of these ways; none ends that."""


FAULTS = (
    *("unavailable", "not-ready", "rate-limited", "slow"),
    *("no-list", "denied-list", "late-list", "partial-list"),
)


class Run:
    """One follower: what it has seen, and how it ends."""

    def __init__(self, world: World, client: ImportClient, kind: str) -> None:
        rng = world.rng
        self.world = world
        self.client = client
        self.kind = kind
        self.job_ids: list[str] = []
        self.last: dict[str, ImportProgressData | ImportJob] = {}
        """The last state that it has seen of each job."""
        self.awaited = True
        """Whether it is not pausing between two steps."""
        self.cancelled = False
        self.floor = dict(world.committed)
        self.started = asyncio.get_running_loop().time()
        self.timeout: float | None = None
        self.retries = 0
        live = world.live
        if kind in {"watch", "wait", "wait-progress"}:
            self.job_ids = [rng.choice(live)]
        elif kind != "all":
            self.job_ids = rng.sample(live, min(len(live), rng.choice([2, 4, 20])))
        if rng.random() < 0.2:
            self.timeout = rng.choice([0.0, *(rng.uniform(0.5, 60.0) for _ in range(4))])
            self.timeout *= world.unit
        self.raises_at = rng.randrange(1, 4) if rng.random() < 0.1 else -1
        self.until: Any = "completed" if rng.random() < 0.8 else "uncommitted"
        self.max_outage = None if rng.random() < 0.8 else 3.0 * world.unit
        self.task = asyncio.create_task(self._run())

    def see(self, job: ImportProgressData | ImportJob) -> None:
        """Check one state that the follower delivers."""
        version, before = job.progress, self.last.get(job.job_id)
        state, newest = self.world.states[job.job_id]
        assert version <= newest
        assert before is None or version > before.progress, f"{self.kind}: {job} after {before}"
        assert before is None or not before.state.done, f"{self.kind}: a state after the end"
        assert version >= self.floor.get(job.job_id, 0), f"{self.kind}: older than its commit"
        if version == newest:  # the public service reports fewer states
            assert job.state.done == (state not in RUNNING)
        self.last[job.job_id] = job
        if 0 <= self.raises_at <= len(self.last):
            raise CallbackError

    def check_is_current(self) -> None:
        """Check in a calm moment that the last state of each job has been delivered."""
        if self.kind in {"wait", "wait_all"} or not self.awaited or self.task.done():
            return
        if self.max_outage is not None:
            return  # some jobs may have ended with an error, which is raised at the end
        for job_id in self.job_ids or self.last:
            last = self.last.get(job_id)
            waits = self.kind == "wait_all-progress" and self.until == "uncommitted"
            ended = waits and last is not None and last.state is ImportState.UNCOMMITTED
            if job_id not in self.world.deleted and not ended:
                newest = self.world.states[job_id][1]
                assert last is not None, f"{self.kind} has lost {newest}"
                assert last.progress == newest, f"{self.kind} has lost {newest}"

    def _on_retry(self, error: MilvusImportError, outage: float) -> None:
        assert error.__traceback__ is None
        elapsed = asyncio.get_running_loop().time() - self.started
        assert outage <= elapsed + self.world.unit * 2, f"{self.kind}: {outage} of {elapsed}"
        self.retries += 1
        if self.raises_at == 3 and self.retries >= 3:
            raise CallbackError

    async def _run(self) -> str:
        """Follow until the end; return how it ended."""
        try:
            await self._follow()
        except CallbackError:
            assert self.raises_at >= 0
            return "callback"
        except LeftError:
            return "left"
        except asyncio.CancelledError:
            assert self.cancelled
            raise
        except MilvusImportError as error:
            self._check_error(error)
            return type(error).__name__
        return "end"

    async def _follow(self) -> None:
        client, ids = self.client, self.job_ids
        options: dict[str, Any] = {"interval": self.world.unit * 2, "on_retry": self._on_retry}
        if self.timeout is not None:
            options["timeout"] = self.timeout
        if self.max_outage is not None:
            options["max_outage"] = self.max_outage
        if self.kind in {"watch", "watch_all", "all"}:
            await self._iterate(
                client.watch(ids[0], **options)
                if self.kind == "watch"
                else client.watch_all(ids or None, **options)
            )
            for job_id in ids:
                last = self.last.get(job_id)
                if self.kind == "watch" or job_id not in self.world.deleted:
                    assert last is not None
                    assert last.state.done
                    assert last.progress == self.world.states[job_id][1]
            return
        options["until"] = self.until
        options["on_progress"] = self.see if self.kind.endswith("progress") else None
        if len(ids) == 1 and "all" not in self.kind:
            outcomes: Any = {ids[0]: await client.wait(ids[0], **options)}
        else:
            outcomes = await client.wait_all(ids, **options)
        assert list(outcomes) == ids
        for outcome in outcomes.values():
            if isinstance(outcome, ImportProgressData):
                self._check_result(outcome)
            else:
                self._check_error(outcome)

    async def _iterate(self, watch: Any) -> None:
        """Iterate with pauses; leave some watches to the garbage collector, at any step."""
        rng = self.world.rng
        leaves_at = rng.randrange(1, 6) if rng.random() < 0.2 else 0
        steps = 0
        while (job := await anext(watch, None)) is not None:
            self.see(job)
            steps += 1
            if steps == leaves_at:
                raise LeftError
            if rng.random() < 0.05:
                self.awaited = False
                await asyncio.sleep(rng.uniform(0.0, 8.0) * self.world.unit)
                self.awaited = True

    def _check_result(self, progress: ImportProgressData) -> None:
        reached = {"Completed"} if self.until == "completed" else {"Completed", "Uncommitted"}
        assert str(progress.state) in reached
        state, version = self.world.states[progress.job_id]
        assert self.floor.get(progress.job_id, 0) <= progress.progress <= version
        if progress.state is ImportState.COMPLETED:
            assert (state, version) == ("Completed", progress.progress)

    def _check_error(self, error: MilvusImportError) -> None:
        """Check that an error is true."""
        world = self.world
        elapsed = asyncio.get_running_loop().time() - self.started
        if isinstance(error, WaitTimeoutError):
            assert self.timeout is not None
            assert elapsed >= self.timeout - 1e-6
            # In virtual time, without pauses, time limits expire exactly.
            exact = world.unit == 1.0 and "wait" in self.kind and self.timeout > 0
            assert not exact or elapsed <= self.timeout + 1e-6
        elif isinstance(error, ImportFailedError):
            assert error.job_id is not None
            assert world.states[error.job_id] == ("Failed", error.progress.progress)
        elif isinstance(error, JobNotFoundError):
            assert error.job_id in world.deleted
        elif isinstance(error, (AccessDeniedError, UnsupportedServerError)):
            assert self.kind == "all"  # only its jobs are those of the list
        else:
            assert self.max_outage is not None, repr(error)
            assert error.outage is not None
            assert error.outage >= self.max_outage


class Crowd:
    """Keeps a number of followers while jobs, faults and followers change at random."""

    def __init__(
        self, world: World, client: ImportClient, *, followers: int, jobs: int, commits: bool
    ) -> None:
        """``commits``: the client commits jobs as well."""
        self.commits: set[asyncio.Task[None]] | None = set() if commits else None
        self.world = world
        self.client = client
        self.followers = followers
        self.jobs = jobs
        self.runs: list[Run] = []
        self.ends: dict[str, int] = {}

    async def steps(self, count: int, calm_every: int) -> None:
        """Take this many random steps."""
        world, rng = self.world, self.world.rng
        faults_until = 0
        for step in range(count):
            self._collect()
            if len(self.runs) < self.followers:
                while len(world.live) < self.jobs:
                    world.add()
                self.runs.append(Run(world, self.client, rng.choice(KINDS)))
            self._one_step(rng.random())
            if step == faults_until:
                count_of_faults = rng.choice([0, 0, 1, 2, 3])
                world.set_faults(rng.sample(FAULTS, count_of_faults))
                faults_until = step + rng.randrange(5, 60)
            if rng.random() < 0.7:
                await asyncio.sleep(rng.expovariate(8.0) * world.unit)
            if step % calm_every == calm_every - 1:
                await self.calm()
                faults_until = step + 1

    def _one_step(self, chance: float) -> None:
        world, rng = self.world, self.world.rng
        if chance < 0.5 and world.live:
            ends = rng.random() < 0.15
            world.change(rng.choice(world.live), rng.choice(ENDS if ends else RUNNING))
        elif chance < 0.56 and self.runs:
            run = rng.choice(self.runs)
            run.cancelled = run.cancelled or run.task.cancel()
        elif chance < 0.57 and len(world.live) > 1:
            world.delete(rng.choice(world.live))
        elif chance < 0.60 and world.live and self.commits is not None:
            commit = asyncio.create_task(self.client.commit_import(rng.choice(world.live)))
            self.commits.add(commit)
            commit.add_done_callback(self.commits.discard)
        elif chance < 0.61:
            cancel_one_request(rng)

    async def calm(self) -> None:
        """End all faults and changes; then each follower must have the last state."""
        self.world.set_faults(())
        await asyncio.sleep(self.world.calm_seconds)
        self._collect()
        for run in self.runs:
            run.check_is_current()

    async def finish(self) -> None:
        """End all jobs; then all followers must end."""
        self.world.set_faults(())
        for job_id in self.world.live:
            self.world.change(job_id, self.world.rng.choice(ENDS))
        if self.runs:
            tasks = [run.task for run in self.runs]
            _, pending = await asyncio.wait(tasks, timeout=self.world.end_seconds)
            stuck = [run for run in self.runs if run.task in pending]
            assert not stuck, [(run.kind, run.job_ids, run.last) for run in stuck]
        self._collect()

    def _collect(self) -> None:
        """Remove the followers that have ended, and raise what they found."""
        for run in [run for run in self.runs if run.task.done()]:
            self.runs.remove(run)
            end = "cancelled" if run.task.cancelled() else run.task.result()
            self.ends[end] = self.ends.get(end, 0) + 1


def cancel_one_request(rng: random.Random | None = None) -> bool:
    """Cancel the task of one poll, as asyncio.run does with all tasks at its end."""
    polls = [task for task in asyncio.all_tasks() if "Services.call" in repr(task.get_coro())]
    chosen = sorted(polls, key=lambda task: task.get_name())
    return bool(chosen) and (rng or random).choice(chosen).cancel()


def left_behind(client: ImportClient, runs: Sequence[Run] = ()) -> dict[str, Any]:
    """Return what the polls of a client still hold although nobody follows."""
    polls: Any = vars(client)["_polls"]
    polls.start_due()  # the watches that were garbage-collected leave now
    groups = list(polls._groups.values())
    lists = [shared for group in groups for shared in group._lists.values()]
    followed = [
        poll
        for group in groups
        for poll in (*group._by_job.values(), *(shared.poll for shared in lists))
        if poll.followers or poll.request
    ]
    held = {
        "active": polls._active,
        "running": polls._running,
        "leaving": polls.leaving,
        "followed": followed,
        "members": [m for shared in lists for m in shared._members],
        "jobs": [dict(shared._jobs) for shared in lists if shared._jobs],
        "queued": [entry for entry in polls._queue if entry[2].queued_for is not None],
        "timer": polls._timer,
        "runs": runs,
    }
    return {name: value for name, value in held.items() if value}
