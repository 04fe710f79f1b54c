"""Processes in which a connection cannot work: forked with an open one, or patched by gevent."""

from __future__ import annotations

import os
import sys
import weakref

_OPEN: weakref.WeakSet[object] = weakref.WeakSet()

forked_with_open_channel = False
"""Whether this process was forked while a gRPC channel of this package was open."""


def channel_opened(channel: object) -> None:
    """Remember an open channel until it is closed or garbage-collected."""
    _OPEN.add(channel)


def channel_closed(channel: object) -> None:
    """Forget a channel: a later fork is harmless."""
    _OPEN.discard(channel)


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


def _after_fork_in_child() -> None:
    global forked_with_open_channel  # noqa: PLW0603 - one flag per process
    forked_with_open_channel = forked_with_open_channel or bool(_OPEN)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
