"""What older versions of grpcio and protobuf cannot do, and their faults that affect no call."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import google.protobuf
import grpc

if TYPE_CHECKING:
    import pytest


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".")[:2])


GRPCIO = _numbers(grpc.__version__)
PROTOBUF = _numbers(google.protobuf.__version__)

UNRAISABLE = (
    "ignore:Exception ignored in. <function InterceptedCall.__del__"
    ":pytest.PytestUnraisableExceptionWarning"
)
"""A warning filter. Below 1.83 a call whose interceptor raised an error raises it again when it is
freed."""


class Limit(NamedTuple):
    """Tests that cannot hold, and why."""

    applies: bool
    reason: str
    tests: str
    """A regular expression of their node ids."""


LIMITS = (
    Limit(
        GRPCIO < (1, 80),
        "below grpcio 1.80, the event loop of a test reports BlockingIOError while FakeMilvus runs "
        "in a thread, so `with FakeMilvus()` and the fixture fake_milvus refuse to start",
        r"tests/testing/test_plugin\.py"
        r"|::test_server_in_a_thread_serves_synchronous_code"
        r"|::test_failed_start_in_a_thread_ends_the_thread"
        r"|::test_code_blocks_of_the_docs_pass",
    ),
    Limit(
        GRPCIO < (1, 80),
        "below grpcio 1.80, the text for a web page is that of a broken connection, Stream removed",
        r"::test_fault_shows_what_its_row_states\[web-page-"
        r"|::test_response_of_a_gateway\[a web page-"
        r"|::test_auto_reads_from_the_public_service_if_the_internal_one_is_not_routed\["
        r"|::test_response_that_is_not_of_milvus_is_an_outage_of_a_known_server"
        r"\[grpc-(page|other JSON)-",
    ),
    Limit(
        PROTOBUF < (5, 28),
        "below protobuf 5.28, the error of a message does not name invalid UTF-8",
        r"::test_a_reply_with_invalid_utf8_has_its_own_hint",
    ),
)


def deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that cannot hold on the installed versions."""
    patterns = [limit.tests for limit in LIMITS if limit.applies]
    if not patterns:
        return
    found = [item for item in items if re.search("|".join(patterns), item.nodeid)]
    items[:] = [item for item in items if item not in {*found}]
    config.hook.pytest_deselected(items=found)


def report() -> list[str]:
    """Return a line for each reason why tests are deselected."""
    return [f"deselected: {limit.tests} ({limit.reason})" for limit in LIMITS if limit.applies]


def text_of_unknown_code(code: int, text: str) -> str:
    """Return the text of a call whose status code has no name; below 1.80 its own text is lost."""
    return text if GRPCIO >= (1, 80) else f"status code {code}"


def filters() -> list[str]:
    """Return the warning filters for the installed version."""
    return [UNRAISABLE] if GRPCIO < (1, 83) else []


def ignore_spurious_wake_ups() -> None:
    """Keep one error of grpcio below 1.80 away from the exception handlers of event loops.

    Several event loops of a process read the same socket; those that find it empty log a
    BlockingIOError (https://github.com/grpc/grpc/issues/25364).
    """
    if GRPCIO >= (1, 80):
        return
    usual = asyncio.BaseEventLoop.call_exception_handler

    def call_exception_handler(loop: asyncio.BaseEventLoop, context: dict[str, Any]) -> None:
        spurious = isinstance(context.get("exception"), BlockingIOError)
        if not (spurious and "PollerCompletionQueue" in context["message"]):
            usual(loop, context)

    asyncio.BaseEventLoop.call_exception_handler = call_exception_handler  # type: ignore[assignment,method-assign]  # pyright: ignore[reportAttributeAccessIssue]
