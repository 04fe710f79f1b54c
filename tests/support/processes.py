"""A FakeMilvus in its own process, which can be killed, stopped, frozen and restarted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Self

import anyio.to_thread

from milvus_import.testing import FakeMilvus

_GRACE = 1.0


class FakeProcess:
    """``async with FakeProcess({"job_id": "1", "seconds": 5}) as server``.

    A job is given as the fields of a FakeJob. It advances with the wall clock from the first start,
    also while the server is down. The ports stay the same over all starts.
    """

    def __init__(self, *jobs: dict[str, Any]) -> None:
        from network import server_ports

        self._jobs = jobs
        self._ports: list[int] = list(server_ports().values())[:2]
        self._epoch = 0.0
        self._process: subprocess.Popen[str] | None = None

    @property
    def internal_port(self) -> int:
        return self._ports[0]

    @property
    def internal_uri(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def public_uri(self) -> str:
        return f"http://127.0.0.1:{self._ports[1]}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await self.kill()

    async def start(self) -> None:
        """Start the process; return when the server accepts calls."""
        await anyio.to_thread.run_sync(self._spawn)

    def _spawn(self) -> None:
        arguments = json.dumps({"ports": self._ports, "epoch": self._epoch, "jobs": self._jobs})
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, arguments], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise RuntimeError("the server did not start; its stderr says why")
        self._epoch = json.loads(line)

    async def kill(self) -> None:
        """SIGKILL: connections break."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM: the server sends GOAWAY, and calls in flight may end."""
        await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing responds."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            await anyio.to_thread.run_sync(process.wait)
            assert process.stdout is not None
            process.stdout.close()


async def _serve(ports: list[int], epoch: float, jobs: list[dict[str, Any]]) -> None:
    server = FakeMilvus(clock=time.time, internal_port=ports[0], public_port=ports[1])
    epoch = epoch or time.time()
    for fields in jobs:
        server.add_job(**fields).started = epoch
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await server.start()
    print(json.dumps(epoch), flush=True)
    await stopped.wait()
    await server.stop(_GRACE)


if __name__ == "__main__":
    asyncio.run(_serve(**json.loads(sys.argv[1])))
