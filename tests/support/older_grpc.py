"""Faults of older versions of grpcio that do not affect a call, but end in a warning or a log."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

VERSION = tuple(int(number) for number in grpc.__version__.split(".")[:2])

UNRAISABLE = (
    "ignore:Exception ignored in. <function InterceptedCall.__del__"
    ":pytest.PytestUnraisableExceptionWarning"
)
"""A warning filter. Below 1.83 a call whose interceptor raised an error raises it again when it is
freed."""


def filters() -> list[str]:
    """Return the warning filters for the installed version."""
    return [UNRAISABLE] if VERSION < (1, 83) else []


def ignore_spurious_wake_ups() -> None:
    """Keep one error of grpcio below 1.80 away from the exception handlers of event loops.

    Several event loops of a process read the same socket; those that find it empty log a
    BlockingIOError (https://github.com/grpc/grpc/issues/25364).
    """
    if VERSION >= (1, 80):
        return
    usual = asyncio.BaseEventLoop.call_exception_handler

    def call_exception_handler(loop: asyncio.BaseEventLoop, context: dict[str, Any]) -> None:
        spurious = isinstance(context.get("exception"), BlockingIOError)
        if not (spurious and "PollerCompletionQueue" in context["message"]):
            usual(loop, context)

    asyncio.BaseEventLoop.call_exception_handler = call_exception_handler  # type: ignore[assignment,method-assign]  # pyright: ignore[reportAttributeAccessIssue]
