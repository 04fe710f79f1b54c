"""Processes in which gRPC cannot work: forked with an open channel, or patched by gevent."""

from __future__ import annotations

import gc
import os
import sys
import time
import weakref

_SETTLING = 0.2
"""Seconds after the close of a channel within which a fork waits."""

_OPEN_CHANNELS: weakref.WeakSet[object] = weakref.WeakSet()
_last_closed = -_SETTLING

forked_with_open_channel = False
"""Whether this process was forked while a channel of this package was open."""


def channel_opened(connection: object) -> None:
    """Remember an open channel until it is closed or garbage-collected."""
    _OPEN_CHANNELS.add(connection)


def channel_closed(connection: object) -> None:
    """Remove a channel: a fork is harmless as soon as gRPC's threads have ended."""
    global _last_closed  # noqa: PLW0603 - one time per process
    _OPEN_CHANNELS.discard(connection)
    _last_closed = time.monotonic()


def fork_error(consequence: str) -> RuntimeError:
    """Return the error of a call in a child that inherited an open client."""
    return RuntimeError(
        f"this process was forked while an ImportClient was open; {consequence}. "
        "Close the client before the fork, or start the process with spawn or forkserver"
    )


def check_gevent() -> None:
    """Raise RuntimeError in a process patched by gevent, where asyncio and gRPC hang."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        raise RuntimeError(
            "this process is patched by gevent, in which gRPC's asyncio API hangs; "
            "use milvus-import in a process without gevent.monkey.patch_all()"
        )


def _before_fork() -> None:
    """Let gRPC's threads end: a child that is forked while they do hangs in 2 of 100 cases."""
    remaining = _last_closed + _SETTLING - time.monotonic()
    if remaining > 0:
        gc.collect()  # ended calls and the channel are reference cycles
        time.sleep(remaining)


def _after_fork_in_child() -> None:
    global forked_with_open_channel  # noqa: PLW0603 - one flag per process
    forked_with_open_channel = forked_with_open_channel or bool(_OPEN_CHANNELS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
