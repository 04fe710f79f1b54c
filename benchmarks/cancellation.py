"""Cancel wait, watch, wait_all and watch_all at random moments: python cancellation.py --help."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from cancelling import CONTROL, METHODS, Result, cancel_at_random


async def measure(count: int, seed: int, *, eager: bool) -> list[Result]:
    """Run all methods; print one line for each of them."""
    if eager:
        factory: Any = getattr(asyncio, "eager_task_factory", None)
        asyncio.get_running_loop().set_task_factory(factory)
    results: list[Result] = []
    for method in (*METHODS, CONTROL):
        for service in ("internal", "public")[: 1 if method == CONTROL else 2]:
            start = time.monotonic()
            result = await cancel_at_random(method, count // 2, service=service, seed=seed)
            results.append(result)
            print(
                f"{method} ({service}): {sum(result.ended.values()):,} cancelled in "
                f"{time.monotonic() - start:.0f} s, lost: {len(result.lost)} {result.lost[:3]}, "
                f"foreign errors: {len(result.foreign)} {result.foreign[:3]}",
                flush=True,
            )
    return results


def main() -> None:
    """Print the figures; exit with 1 if a cancellation was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3_000, help="cancellations of each method")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop")
    parser.add_argument("--eager", action="store_true", help="with eager tasks (Python 3.12+)")
    arguments = parser.parse_args()
    run = import_module("uvloop").run if arguments.uvloop else asyncio.run
    versions = ", ".join(f"{name} {version(name)}" for name in ("anyio", "grpcio"))
    loop = "uvloop" if arguments.uvloop else "asyncio"
    print(f"Python {sys.version.split()[0]}, {versions}, {loop}{', eager' * arguments.eager}")
    results: list[Result] = run(measure(arguments.count, arguments.seed, eager=arguments.eager))
    sys.exit(any(result.lost or result.foreign for result in results))


if __name__ == "__main__":
    main()
