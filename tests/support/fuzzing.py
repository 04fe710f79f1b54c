"""Random and mutated replies to the decoders, each held against the mapping of oracle.py."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

import oracle
from google.protobuf.message import DecodeError
from replay import METHODS, PUBLIC
from vectors import load

from milvus_import import ImportJob, MilvusImportError
from milvus_import._call import Rpc
from milvus_import._internal import GET_IMPORT_PROGRESS, IMPORT_V2, LIST_IMPORTS
from milvus_import._public import GET_IMPORT_STATE, IMPORT, LIST_IMPORT_TASKS
from milvus_import._status import refusal

RPCS: tuple[Rpc[Any, Any, Any, Any], ...] = (
    GET_IMPORT_PROGRESS,
    LIST_IMPORTS,
    IMPORT_V2,
    GET_IMPORT_STATE,
    LIST_IMPORT_TASKS,
    IMPORT,
)
UNPARSEABLE = (DecodeError, UnicodeDecodeError)  # the second by the pure-Python backend
_INTERESTING = (b"\x00", b"\x7f", b"\x80", b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x10\x01", b"99")


@dataclass
class Fuzzed:
    """What came of it."""

    answers: int = 0
    refused: int = 0
    """Parsed, and ended in one of our errors, as it must."""
    unparseable: int = 0
    wrong: list[str] = field(default_factory=list[str])
    """Bytes that were mapped in another way than the oracle's, or ended in a foreign error."""


def fuzz(count: int, *, seed: int = 1) -> Fuzzed:
    """So many messages, over all methods."""
    rng = random.Random(seed)
    seeds = _seeds()
    found = Fuzzed()
    for index in range(count):
        rpc = RPCS[index % len(RPCS)]
        _try(rpc, _made(rng, seeds[rpc.path]), found)
    return found


def _seeds() -> dict[str, list[bytes]]:
    """The recorded replies of each method; ListImportTasks, never recorded, lists what was."""
    seeds: dict[str, list[bytes]] = {rpc.path: [b""] for rpc in RPCS}
    for vector in load():
        if vector.reply_bytes is not None:
            seeds.setdefault(vector.method.removeprefix("/"), []).append(vector.reply_bytes)
    kind = METHODS[PUBLIC + "ListImportTasks"][1]
    states = [
        METHODS[PUBLIC + "GetImportState"][1].FromString(state)
        for state in seeds[GET_IMPORT_STATE.path]
    ]
    seeds[LIST_IMPORT_TASKS.path] += [
        kind(tasks=states[start : start + 5]).SerializeToString()
        for start in range(0, len(states), 5)
    ]
    return seeds


def _made(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Random bytes, or a recorded reply with some of it changed, dropped, added or repeated."""
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
            data += rng.choice(seeds)  # protobuf merges messages that stand in a row
    return bytes(data)


def _try(rpc: Rpc[Any, Any, Any, Any], data: bytes, found: Fuzzed) -> None:
    try:
        reply = METHODS["/" + rpc.path][1].FromString(data)
    except UNPARSEABLE:
        found.unparseable += 1
        return
    try:
        said: object = _answer(rpc, reply)
    except MilvusImportError as error:
        said = type(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        said = repr(error)
    if said != _expected(rpc, reply):
        found.wrong.append(f"{rpc.name} {data.hex()}: {said}")
    elif isinstance(said, type):
        found.refused += 1
    else:
        found.answers += 1


def _answer(rpc: Rpc[Any, Any, Any, Any], reply: Any) -> object:
    """What the client makes of a reply, in a form that can be compared."""
    if reply.status.code or reply.status.error_code:
        raise refusal(reply.status, rpc.name, "milvus:19530", rpc.service)
    answer = rpc.answer(reply, ("7", ""), "milvus:19530")
    if rpc in {LIST_IMPORTS, LIST_IMPORT_TASKS}:
        return _by_id(answer)
    return answer if isinstance(answer, str) else asdict(answer.data)


def _expected(rpc: Rpc[Any, Any, Any, Any], reply: Any) -> object:
    if failure := oracle.failure(reply):
        return failure
    if rpc in {LIST_IMPORTS, LIST_IMPORT_TASKS}:
        return _by_id(oracle.jobs(reply))
    if rpc is IMPORT_V2:
        return reply.jobID
    if rpc is IMPORT:
        return str(reply.tasks[0])
    return oracle.progress(reply, "7")


def _by_id(jobs: list[ImportJob]) -> dict[str, ImportJob]:
    return {job.job_id: job for job in jobs}
