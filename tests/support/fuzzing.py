"""Random and mutated replies, read by the methods and compared with the mapping of oracle.py."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

import oracle
from google.protobuf.message import DecodeError
from recordings import OLDER, load
from replay import METHODS, PUBLIC

from milvus_import import CallError, ImportJob, MilvusImportError
from milvus_import._connection._base import Method
from milvus_import._services import _internal, _public
from milvus_import._services._operations import CREATE_JOB, GET_PROGRESS, LIST_JOBS
from milvus_import._services._replies import JobList, Snapshot
from milvus_import._services._requests import JobParams, ListParams

FUZZED: tuple[Method[Any, Any], ...] = tuple(
    service.METHODS[operation]
    for service in (_internal, _public)
    for operation in (GET_PROGRESS, LIST_JOBS, CREATE_JOB)
)
LISTS = (_internal.METHODS[LIST_JOBS], _public.METHODS[LIST_JOBS])
UNPARSEABLE = (DecodeError, UnicodeDecodeError)  # the second by the pure-Python backend
_INTERESTING = (b"\x00", b"\x7f", b"\x80", b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x10\x01", b"99")


@dataclass
class Fuzzed:
    """The outcomes, counted."""

    mapped: int = 0
    rejected: int = 0
    """Replies that parsed and ended in the error that they must end in."""
    unparseable: int = 0
    wrong: list[str] = field(default_factory=list[str])
    """Replies that were mapped in another way than the oracle's, or ended in another error."""


def fuzz(count: int, *, seed: int = 1) -> Fuzzed:
    """Read so many replies, of all methods in turn."""
    rng = random.Random(seed)
    seeds = _seeds()
    found = Fuzzed()
    for index in range(count):
        method = FUZZED[index % len(FUZZED)]
        _try(method, _made(rng, seeds[method.path]), found)
    return found


def _seeds() -> dict[str, list[bytes]]:
    """Return the recorded replies of each method; ListImportTasks lists recorded jobs."""
    seeds: dict[str, list[bytes]] = {method.path: [b""] for method in FUZZED}
    for vector in load(*OLDER):
        if vector.reply_bytes is not None:
            seeds.setdefault(vector.path.removeprefix("/"), []).append(vector.reply_bytes)
    state, jobs = METHODS[PUBLIC + "GetImportState"][1], METHODS[PUBLIC + "ListImportTasks"][1]
    states = [state.FromString(reply) for reply in seeds[_public.METHODS[GET_PROGRESS].path]]
    seeds[_public.METHODS[LIST_JOBS].path] += [
        jobs(tasks=states[start : start + 5]).SerializeToString()
        for start in range(0, len(states), 5)
    ]
    return seeds


def _made(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Return random bytes, or a recorded reply with parts changed, removed, added or repeated."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(80))
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(4)
        if how == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[at : at + rng.randrange(1, 9)]
        elif how == 2:
            data[at:at] = rng.choice(_INTERESTING)
        else:
            data += rng.choice(seeds)  # protobuf merges concatenated messages
    return bytes(data)


def _try(method: Method[Any, Any], data: bytes, found: Fuzzed) -> None:
    try:
        expected = _expected(method, data)
    except UNPARSEABLE:
        expected = None
    try:
        outcome = _outcome(method, data)
    except Exception as error:  # noqa: BLE001 - any exception is a finding
        outcome = repr(error)
    if expected is None:
        found.unparseable += 1
        expected = CallError
    elif isinstance(expected, type):
        found.rejected += 1
    else:
        found.mapped += 1
    if outcome != expected:
        found.wrong.append(f"{method.name} {data.hex()}: {outcome}")


def _outcome(method: Method[Any, Any], data: bytes) -> object:
    """Return what the client reads from a reply, in a form that can be compared."""
    params = ListParams("", "") if method in LISTS else JobParams("7", "")
    try:
        result = method.read(data, params)
    except MilvusImportError as error:
        return type(error)
    if isinstance(result, JobList):
        return _by_id(result.jobs())
    return asdict(result.decode()) if isinstance(result, Snapshot) else result


def _expected(method: Method[Any, Any], data: bytes) -> object:
    """Return what the oracle reads from a reply. Raises what protobuf raises."""
    reply: Any = METHODS["/" + method.path][1].FromString(data)
    if failure := oracle.failure(reply, data):
        return failure
    if method in LISTS:
        return _by_id(oracle.jobs(reply))
    if method is _internal.METHODS[CREATE_JOB]:
        return reply.jobID
    if method is _public.METHODS[CREATE_JOB]:
        return str(reply.tasks[0])
    return oracle.progress(reply, "7")


def _by_id(jobs: list[ImportJob]) -> dict[str, ImportJob]:
    return {job.job_id: job for job in jobs}
