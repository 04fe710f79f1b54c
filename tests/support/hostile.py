"""Hostile replies, and what they cost: ``python hostile.py NAME`` prints one JSON object.

The server runs in another process (``python hostile.py NAME serve``), so that the memory of the
client can be measured.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import grpc
from replay import PROXY, PUBLIC, Replay, ok

from milvus_import import ImportClient, MilvusImportError
from milvus_import_pb import internal_pb2, milvus_pb2

_MB = 1_000_000
_PROGRESS = PROXY + "GetImportProgress"
_STATE = PUBLIC + "GetImportState"
_LIST = PROXY + "ListImports"


class Hostile(NamedTuple):
    """One reply."""

    path: str
    reply: Callable[[], bytes]
    gzip: bool = False


def _length_delimited(field: int, payload: bytes) -> bytes:
    length, size = bytearray(), len(payload)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([field << 3 | 2, *length, size]) + payload


def _failed(reason: str) -> bytes:
    return internal_pb2.GetImportProgressResponse(
        state=internal_pb2.Failed, reason=reason
    ).SerializeToString()


def _status_details() -> bytes:
    entries = b"".join(
        _length_delimited(6, _length_delimited(1, b"%06x" % number)) for number in range(1_200_000)
    )
    return _length_delimited(1, entries)


REPLIES: dict[str, Hostile] = {
    "2 million empty details": Hostile(_PROGRESS, lambda: b"\x3a\x00" * 2_000_000),
    "2 million empty details, gzip": Hostile(_PROGRESS, lambda: b"\x3a\x00" * 2_000_000, gzip=True),
    "64 MB of empty details, gzip": Hostile(_PROGRESS, lambda: b"\x3a\x00" * 32 * _MB, gzip=True),
    "a reason of 30 MB": Hostile(_PROGRESS, lambda: _failed("x" * 30 * _MB)),
    "a reason of 15 MB": Hostile(_PROGRESS, lambda: _failed("no such file " * (15 * _MB // 13))),
    "a million status details": Hostile(_PROGRESS, _status_details),
    "2 million empty infos": Hostile(_STATE, lambda: b"\x2a\x00" * 2_000_000),
    "64 MB of empty reasons, gzip": Hostile(_LIST, lambda: b"\x22\x00" * 32 * _MB, gzip=True),
    "15 MB of packed percentages, gzip": Hostile(
        _LIST, lambda: _length_delimited(5, bytes(15 * _MB)), gzip=True
    ),
    "15 MB of packed states, gzip": Hostile(
        _LIST, lambda: _length_delimited(3, bytes(15 * _MB)), gzip=True
    ),
}


async def serve(name: str) -> None:
    """Serve one reply; print the port and the size."""
    hostile = REPLIES[name]
    reply = hostile.reply()
    gzip = grpc.Compression.Gzip if hostile.gzip else None
    async with Replay({hostile.path: ok(reply)}, compression=gzip) as server:
        print(json.dumps([server.port, len(reply)]), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _longest_pause(stop: asyncio.Event) -> float:
    """Return the longest time for which the event loop was blocked, as CPU time of its thread."""
    longest, last = 0.0, time.thread_time()
    while not stop.is_set():
        await asyncio.sleep(0.001)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return longest


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def measure(name: str) -> dict[str, Any]:
    """Call the server and return the result of the call and its cost."""
    # Memory that the process needs in any case: the modules and gRPC's threads.
    internal_pb2.ListImportsResponse().SerializeToString()
    milvus_pb2.GetImportStateResponse().SerializeToString()
    command = [sys.executable, __file__, name, "serve"]
    with subprocess.Popen(  # noqa: ASYNC220 - nothing is measured yet
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port, size = json.loads(server.stdout.readline())
        try:
            return await _measured_call(name, port, size)
        finally:
            server.stdin.close()


async def _measured_call(name: str, port: int, size: int) -> dict[str, Any]:
    path = REPLIES[name].path
    calls: dict[str, Callable[[ImportClient], Awaitable[object]]] = {
        _PROGRESS: lambda client: client.wait("7", timeout=20),
        _STATE: lambda client: client.get_import_progress("7"),
        _LIST: lambda client: client.list_imports(),
    }
    service: Any = "public" if path == _STATE else "internal"
    async with ImportClient(
        f"127.0.0.1:{port}", service=service, rpc_timeout=30, max_receive_bytes=2**26
    ) as client:
        with suppress(MilvusImportError):  # UNIMPLEMENTED: only opens the connection
            await client.create_import("books", ["a.parquet"])
        stop = asyncio.Event()
        pause = asyncio.create_task(_longest_pause(stop))
        await asyncio.sleep(0.01)
        before = _peak()
        try:
            result = repr(await calls[path](client))
        except MilvusImportError as error:
            result = f"{type(error).__name__}: {error}"
        stop.set()
        return {
            "result": result[:2_000],
            "length": len(result),
            "blocked": await pause,
            "memory": max(_peak() - before - size, 0),
            "size": size,
        }


if __name__ == "__main__":
    if sys.argv[2:] == ["serve"]:
        asyncio.run(serve(sys.argv[1]))
    else:
        print(json.dumps(asyncio.run(measure(sys.argv[1]))))
