"""Replies that a server built to exhaust its clients, and replies that are only large."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

import anyio
import pytest
from hostile import REPLIES
from replay import PROXY, Replay, ok
from times import TICK, until

from milvus_import import ImportClient, WaitTimeoutError
from milvus_import._services import _internal
from milvus_import_pb import common_pb2, internal_pb2

pytestmark = pytest.mark.anyio

MOST_MEMORY = 300_000_000
"""Bytes above the size of the reply."""
LONGEST_PAUSE = 2.0
"""Seconds of CPU time for which the event loop may be blocked; 0.5 on an idle machine."""


@pytest.mark.parametrize("name", REPLIES)
async def test_a_hostile_reply_costs_little_memory_and_does_not_block_the_event_loop(
    name: str, guard: float
) -> None:
    hostile = sys.modules["hostile"].__file__
    assert hostile is not None
    with anyio.fail_after(2 * guard):
        done = await anyio.run_process([sys.executable, hostile, name])
    measured: dict[str, Any] = json.loads(done.stdout)
    print(measured)
    assert measured["length"] < 2_000  # as a message
    if name == "a reason of 15 MB":
        assert "no such file" in measured["result"]
    else:
        assert "CallError" in measured["result"]
        entries = "larger than any reply of Milvus" in measured["result"]
        assert entries or "columns differ in length" in measured["result"]
    assert measured["memory"] < MOST_MEMORY
    assert measured["blocked"] < LONGEST_PAUSE


def large_list(count: int) -> internal_pb2.ListImportsResponse:
    ids = [str(450_000_000_000_000_000 + number) for number in range(count)]
    random.Random(1).shuffle(ids)
    return internal_pb2.ListImportsResponse(
        status=common_pb2.Status(),
        jobIDs=ids,
        states=[internal_pb2.Importing] * count,
        reasons=[""] * count,
        progresses=[7] * count,
        collection_names=[f"c{number % 100}" for number in range(count)],
    )


async def test_one_job_of_a_list_of_100_000_is_followed(guard: float) -> None:
    reply = large_list(100_000)
    job_id = reply.jobIDs[77_777]
    async with (
        Replay({f"{PROXY}ListImports": ok(reply)}) as server,
        ImportClient(server.uri, service="internal") as client,
    ):
        ids = [job_id, *(reply.jobIDs[index] for index in range(15))]
        watch = client.watch_all(ids, interval=TICK, timeout=guard)
        seen = [await anext(watch) for _ in ids]
        assert (seen[0].job_id, seen[0].collection_name) == (job_id, "c77")
        step = asyncio.ensure_future(anext(watch))
        await until(lambda: len(server.received) >= 4)
        assert not step.done()  # an unchanged list is no change
        step.cancel()


async def test_an_unchanged_job_of_10_000_files_is_not_decoded_at_each_poll(
    guard: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [
        internal_pb2.ImportTaskProgress(file_name=f"[{number}.parquet]", file_size=10**6)
        for number in range(10_000)
    ]
    reply = internal_pb2.GetImportProgressResponse(
        status=common_pb2.Status(), state=internal_pb2.Importing, task_progresses=tasks
    )
    async with (
        Replay({f"{PROXY}GetImportProgress": ok(reply)}) as server,
        ImportClient(server.uri, service="internal") as client,
    ):
        watch = client.watch("7", interval=TICK, timeout=guard)
        progress = await anext(watch)
        assert len(progress.details) == 10_000
        decoded: list[object] = []

        def decode(reply: object, job_id: str) -> None:
            decoded.append(reply)

        monkeypatch.setattr(_internal, "decode_progress", decode)
        step = asyncio.ensure_future(anext(watch))
        before = len(server.received)
        await until(lambda: len(server.received) >= before + 3)
        assert not decoded
        assert not step.done()
        step.cancel()


async def test_a_list_beyond_max_receive_bytes_falls_back_to_polling(guard: float) -> None:
    """wait_all of two ids does not need the list of all jobs."""
    done = internal_pb2.GetImportProgressResponse(
        status=common_pb2.Status(), state=internal_pb2.Completed
    )
    table = {
        f"{PROXY}ListImports": ok(large_list(5_000)),
        f"{PROXY}GetImportProgress": ok(done),
    }
    async with (
        Replay(table) as server,
        ImportClient(server.uri, service="internal", max_receive_bytes=10_000) as client,
    ):
        outcomes = await client.wait_all(["7", "8"], interval=TICK, timeout=guard)
    assert [getattr(outcome, "done", outcome) for outcome in outcomes.values()] == [True, True]


async def test_texts_are_kept_as_received_and_cut_in_messages(guard: float) -> None:
    reason = "disk quota exceeded " * 100_000
    reply = internal_pb2.GetImportProgressResponse(state=internal_pb2.Importing, reason=reason)
    async with (
        Replay({f"{PROXY}GetImportProgress": ok(reply)}) as server,
        ImportClient(server.uri, service="internal") as client,
    ):
        started = time.monotonic()
        with pytest.raises(WaitTimeoutError) as raised:
            await client.wait("7", timeout=0)
        assert time.monotonic() - started < guard
    progress = raised.value.progress
    assert progress is not None
    assert progress.reason == reason
    assert len(str(raised.value)) < 1_000
