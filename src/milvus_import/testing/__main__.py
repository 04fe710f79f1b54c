"""Run a simulated Milvus on 127.0.0.1 until SIGINT or SIGTERM.

It serves the import methods only, reads no files and stores no rows. Jobs that are created complete
by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import get_args

from ._server import FakeMilvus
from ._store import Version

_MISSING = "not served: pip install 'milvus-import[rest]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    name, formatter = "python -m milvus_import.testing", argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(name, description=__doc__, formatter_class=formatter)
    add, free = parser.add_argument, "; 0 takes a free port"
    add("--version", choices=get_args(Version), default="2.6", help="Milvus version")
    add("--token", help="required credentials, as 'root:Milvus'; without it none are required")
    add("--port", type=_port, default=19530, help=f"port of the public gRPC service{free}")
    add("--internal-port", type=_port, default=19529, help=f"port of the internal service{free}")
    add("--rest-port", type=_port, default=9091, help=f"port of the REST API{free}")
    add("--cloud-port", type=_port, default=0, help=f"port of the simulated Zilliz Cloud{free}")
    add("--import-seconds", type=float, default=10.0, help="duration of created jobs")
    add("--fail-imports", metavar="REASON", help="let created jobs fail with this reason")
    add("--max-jobs", type=int, metavar="N", help="job limit: the number of unfinished jobs")
    settings = vars(parser.parse_args(arguments))
    return asyncio.run(_serve(FakeMilvus(public_port=settings.pop("port"), **settings)))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:  # gRPC would take another port
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, got {text!r}")
    return int(text)


async def _serve(server: FakeMilvus) -> int:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop(*_: object) -> None:
        loop.call_soon_threadsafe(stopped.set)

    for number in (signal.SIGINT, signal.SIGTERM):  # Windows has no loop.add_signal_handler
        signal.signal(number, stop)
    try:
        await server.start()
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"The server cannot listen: {error}. Choose other ports.\n")
        return 1
    for name in ("public", "internal", "rest", "cloud"):
        uri = getattr(server, f"{name}_uri") if getattr(server, f"{name}_port") else _MISSING
        sys.stdout.write(f"{name:<8} {uri}\n")
    sys.stdout.write("Press Ctrl-C to stop.\n")
    sys.stdout.flush()
    await stopped.wait()
    await server.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
