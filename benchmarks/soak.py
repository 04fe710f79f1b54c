"""Make many calls through a faulty relay to a faulty server: make soak.

Before them, many random and mutated replies are decoded. ARGS="--calls 5000" is a shorter run,
--uvloop one on uvloop. --rest 0.5 makes half of the calls over REST; --instrument opentelemetry
makes a second run of the same length with every channel of grpc.aio instrumented. A run ends after
--seconds in any case.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from fuzzing import Fuzzed, fuzz
from instrumenting import INSTRUMENTATIONS, instrument
from soaking import Outcome, soak


def describe_fuzzing(fuzzed: Fuzzed) -> str:
    """Return the figures of the decoders as one line."""
    count = fuzzed.mapped + fuzzed.rejected + fuzzed.unparseable + len(fuzzed.wrong)
    return (
        f"{count:,} random and mutated replies: {fuzzed.mapped:,} mapped, "
        f"{fuzzed.rejected:,} ended in documented errors, "
        f"{fuzzed.unparseable:,} are not a message; "
        f"wrong: {len(fuzzed.wrong)} {fuzzed.wrong[:3] or ''}"
    )


def describe(outcome: Outcome) -> list[str]:
    """Return the figures as lines."""
    ended = sum(outcome.calls.values())
    lines = [f"{ended:,} calls in {outcome.seconds:.0f} s, 64 concurrently"]
    lines += [f"  {what}: {count:,}" for what, count in outcome.calls.most_common()]
    lines.append("broken: " + ", ".join(f"{w} {n}" for w, n in outcome.breaks.most_common()))
    lines.append(f"wrong outcomes: {len(outcome.wrong)} {outcome.wrong[:3] or ''}")
    lines.append(f"open after close: {len(outcome.left_behind)} {outcome.left_behind[:3] or ''}")
    lines.append(
        f"memory: {outcome.grown_undisturbed:+.1f} MB over {outcome.undisturbed:,} undisturbed "
        f"calls ({outcome.per_call:+.1f} bytes per call), {outcome.grown_disturbed:+.1f} MB over "
        f"{outcome.disturbed:,} calls and {outcome.connections:,} connections "
        f"({outcome.per_connection:+,.0f} bytes per broken connection)"
    )
    return lines


def main() -> None:
    """Run it and print the figures; exit with 1 if a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--replies", type=int, default=600_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop")
    parser.add_argument("--rest", type=float, default=0.0, help="the share of the calls over REST")
    parser.add_argument("--instrument", choices=INSTRUMENTATIONS, help="and as many instrumented")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="stop each run after this time"
    )
    parser.add_argument(
        "--pause", type=float, default=0.0, help="the longest pause of a caller between two calls"
    )
    arguments = parser.parse_args()
    fuzzed = fuzz(arguments.replies, seed=arguments.seed)
    print(describe_fuzzing(fuzzed), flush=True)
    run = import_module("uvloop").run if arguments.uvloop else asyncio.run
    failed = bool(fuzzed.wrong)
    for name in filter(None, ("nothing", arguments.instrument)):
        print(f"instrumented: {name}, over REST: {arguments.rest:.0%}")
        instrument(name)
        outcome = run(
            soak(
                arguments.calls,
                seed=arguments.seed,
                rest=arguments.rest,
                seconds=arguments.seconds,
                pause=arguments.pause,
            )
        )
        print("\n".join(describe(outcome)), flush=True)
        short = sum(outcome.calls.values()) < arguments.calls
        failed |= bool(outcome.wrong or outcome.left_behind or short)
    sys.exit(failed)


if __name__ == "__main__":
    main()
