"""Which service is called, when the next one is, and what is retried. ``unary`` is replaced."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from milvus_import import (
    CallError,
    CallRecord,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._address import parse_uri
from milvus_import._connection._channel import LazyChannel
from milvus_import._errors import hint_of
from milvus_import._failures._grpc import call_error
from milvus_import._hints import Hint
from milvus_import._options import CallSettings
from milvus_import._services import _select
from milvus_import._services._requests import CreateParams, JobParams, ListParams
from milvus_import._services._select import (
    ABORT_JOB,
    COMMIT_JOB,
    CREATE_JOB,
    CREATE_JOB_OF_GROUPS,
    GET_PROGRESS,
    LIST_JOBS,
    WATCH_LIST,
    GrpcServices,
    ServiceChoice,
)
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

Code = grpc.StatusCode
JOB = JobParams("7", "")
ONE_GROUP = CreateParams("books", [["a.parquet"]], "", "", [])
TWO_GROUPS = CreateParams("books", [["a.parquet"], ["b.parquet"]], "", "", [])
UNKNOWN_SERVICE = (Code.UNIMPLEMENTED, "unknown service a.B")
NO_ROUTE = (Code.UNIMPLEMENTED, "Received http2 header with status: 404")
BROKEN = (Code.UNAVAILABLE, "Stream removed (Socket closed)")
NO_STATUS = (Code.UNKNOWN, "No status received")
PROGRESS = internal_pb2.GetImportProgressResponse(progress=1).SerializeToString()
STATE = milvus_pb2.GetImportStateResponse(row_count=1).SerializeToString()
NOT_READY = internal_pb2.GetImportProgressResponse(
    status=common_pb2.Status(code=1, reason="service not ready[proxy=1]")
).SerializeToString()
NO_JOB = internal_pb2.GetImportProgressResponse(
    status=common_pb2.Status(code=2100, reason="import job does not exist")
).SerializeToString()

Outcome = bytes | tuple[grpc.StatusCode, str]


class Server:
    """Answers ``unary`` from a script, and records what was called with how much time."""

    def __init__(self, choice: ServiceChoice = "auto") -> None:
        self.channel = LazyChannel(parse_uri("http://milvus:1"), [], None, ())
        self.services = GrpcServices(self.channel, choice)
        self.script: list[Outcome] = []
        self.elapsed = 0.1
        self.calls: list[str] = []
        self.timeouts: list[float | None] = []

    async def unary(
        self, channel: Any, method: Any, request: Any, settings: CallSettings, timeout: float | None
    ) -> bytes:
        self.calls.append(method.service)
        self.timeouts.append(timeout)
        outcome = self.script.pop(0)
        if isinstance(outcome, bytes):
            return outcome
        code, details = outcome
        record = CallRecord(method.service, method.path, code, details, (), (), self.elapsed)
        raise call_error(code, details, method.context(channel, settings), record)

    async def call(
        self,
        *script: Outcome,
        operation: Any = GET_PROGRESS,
        params: Any = JOB,
        timeout: float | None = 10.0,
    ) -> Any:
        """Return the result or the error, and what was called."""
        self.script = list(script)
        self.calls, self.timeouts = [], []
        try:
            result: Any = await self.services.call(operation, params, CallSettings(timeout=timeout))
        except MilvusImportError as error:
            result = error
        assert not self.script, "not every scripted outcome was called for"
        return result


Make = Callable[..., Server]


@pytest.fixture
def server_of(monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(choice: ServiceChoice = "auto") -> Server:
        server = Server(choice)
        monkeypatch.setattr(_select, "unary", server.unary)
        return server

    return make


# -------------------------------------------------------------------------- which service


async def test_auto_calls_the_internal_service_first_and_remembers_it(server_of: Make) -> None:
    server = server_of()
    assert (await server.call(PROGRESS)).service == "internal"
    assert (await server.call(PROGRESS)).service == "internal"
    assert server.calls == ["internal"]
    assert server.services.responded


async def test_auto_falls_back_after_unimplemented_and_remembers_the_other(
    server_of: Make,
) -> None:
    server = server_of()
    assert (await server.call(UNKNOWN_SERVICE, STATE)).service == "public"
    assert server.calls == ["internal", "public"]
    assert (await server.call(STATE)).service == "public"
    assert server.calls == ["public"]


@pytest.mark.parametrize("choice", ["internal", "public"])
async def test_explicit_service_is_the_only_one_that_is_called(
    server_of: Make, choice: ServiceChoice
) -> None:
    server = server_of(choice)
    error = await server.call(UNKNOWN_SERVICE)
    assert type(error) is UnsupportedServerError
    assert server.calls == [choice]


async def test_read_falls_back_after_a_response_without_grpc_status(server_of: Make) -> None:
    server = server_of()
    assert (await server.call(NO_STATUS, STATE)).service == "public"


async def test_write_falls_back_after_unimplemented_alone(server_of: Make) -> None:
    server = server_of()
    reply = milvus_pb2.ImportResponse(tasks=[7]).SerializeToString()
    create: dict[str, Any] = {"operation": CREATE_JOB, "params": ONE_GROUP}
    assert await server.call(UNKNOWN_SERVICE, reply, **create) == "7"
    error = await server_of().call(NO_STATUS, **create)
    assert type(error) is CallError
    assert error.may_have_run
    for code in Code:
        if code not in {Code.OK, Code.UNIMPLEMENTED}:
            server = server_of()
            await server.call((code, ""), **create)
            assert server.calls == ["internal"]


async def test_explicit_service_does_not_fall_back_without_grpc_status(server_of: Make) -> None:
    error = await server_of("internal").call(NO_STATUS)
    assert hint_of(error) is Hint.NO_GRPC_STATUS


async def test_response_without_grpc_status_from_every_service_is_raised(server_of: Make) -> None:
    server = server_of()
    error = await server.call(NO_STATUS, UNKNOWN_SERVICE)
    assert server.calls == ["internal", "public"]
    assert type(error) is UnsupportedServerError


async def test_internal_service_is_called_again_after_the_recheck_interval(
    server_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_of()
    await server.call(PROGRESS)
    await server.call(UNKNOWN_SERVICE, STATE)
    await server.call(STATE)
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    assert (await server.call(PROGRESS)).service == "internal"


async def test_public_service_is_not_left_if_the_internal_one_never_worked(
    server_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_of()
    await server.call(UNKNOWN_SERVICE, STATE)
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    assert (await server.call(STATE)).service == "public"


# ------------------------------------------------------------------------------- responded


@pytest.mark.parametrize(
    ("reply", "responded"),
    [(PROGRESS, True), (NO_JOB, True), (NOT_READY, False), (b"", False), (b"\xff", False)],
    ids=["progress", "permanent status", "transient status", "empty", "garbage"],
)
async def test_only_a_response_that_is_not_transient_counts_as_successful(
    server_of: Make, reply: bytes, responded: bool
) -> None:
    server = server_of()
    await server.call(reply)
    assert server.services.responded is responded


async def test_failed_call_does_not_count_as_successful(server_of: Make) -> None:
    server = server_of()
    await server.call((Code.UNAVAILABLE, "failed to connect"))
    assert not server.services.responded


# --------------------------------------------------------------------------------- retries


async def test_read_whose_connection_broke_is_retried_once(server_of: Make) -> None:
    server = server_of()
    assert (await server.call(BROKEN, PROGRESS)).service == "internal"
    assert server.calls == ["internal", "internal"]
    assert type(await server.call(BROKEN, BROKEN)) is UnavailableError


@pytest.mark.parametrize(
    "outcome",
    [
        (Code.UNAVAILABLE, "failed to connect to all addresses; last error: Socket closed"),
        (Code.UNAVAILABLE, "Received http2 header with status: 503"),
        (Code.UNAVAILABLE, "the server is going away"),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded"),
        (Code.CANCELLED, "Stream removed (RST_STREAM)"),
        (Code.RESOURCE_EXHAUSTED, "rate limit"),
    ],
)
async def test_read_is_not_retried_after_any_other_error(
    server_of: Make, outcome: tuple[grpc.StatusCode, str]
) -> None:
    error = await server_of().call(outcome)
    assert error.code is outcome[0]


async def test_status_is_never_retried(server_of: Make) -> None:
    assert type(await server_of().call(NOT_READY)) is MilvusStatusError


async def test_write_is_never_retried(server_of: Make) -> None:
    error = await server_of().call(BROKEN, operation=CREATE_JOB, params=ONE_GROUP)
    assert error.may_have_run


@pytest.mark.parametrize(("elapsed", "calls"), [(0.99, 2), (1.0, 1), (5.0, 1)])
async def test_read_is_retried_only_within_a_second_of_its_start(
    server_of: Make, elapsed: float, calls: int
) -> None:
    server = server_of()
    server.elapsed = elapsed
    await server.call(*[BROKEN] * calls)
    assert len(server.calls) == calls


async def test_deadline_covers_all_attempts(server_of: Make) -> None:
    server = server_of()
    await server.call(BROKEN, UNKNOWN_SERVICE, STATE, timeout=10.0)
    assert server.timeouts == pytest.approx([10.0, 9.85, 9.75])  # 0.1 s each, and the delay
    server = server_of()
    await server.call(UNKNOWN_SERVICE, STATE, timeout=None)
    assert server.timeouts == [None, None]


# ----------------------------------------------------- methods that no service implements


@pytest.mark.parametrize(
    ("choice", "script", "hint", "parts"),
    [
        (
            "auto",
            [
                (Code.UNIMPLEMENTED, "unknown method GetImportProgress for service Proxy"),
                (Code.UNIMPLEMENTED, "none"),
            ],
            Hint.USE_PUBLIC_PORT_2_3,
            ["internal service: unknown method GetImportProgress", "public service: none"],
        ),
        (
            "auto",
            [(Code.UNIMPLEMENTED, "unknown service a"), (Code.UNIMPLEMENTED, "unknown service b")],
            Hint.CHECK_IS_MILVUS,
            ["internal service: unknown service a; public service: unknown service b"],
        ),
        ("internal", [UNKNOWN_SERVICE], Hint.USE_INTERNAL_PORT, ["unknown service a.B"]),
        ("public", [UNKNOWN_SERVICE], Hint.USE_PUBLIC_PORT, ["unknown service a.B"]),
        ("internal", [NO_ROUTE], Hint.GATEWAY_ROUTE, ["404"]),
        ("auto", [NO_ROUTE, NO_ROUTE], Hint.GATEWAY_ROUTE, ["404"]),
        ("auto", [NO_ROUTE, UNKNOWN_SERVICE], Hint.CHECK_IS_MILVUS, ["404", "unknown service"]),
    ],
)
async def test_error_of_an_unimplemented_method_names_every_response(
    server_of: Make, choice: ServiceChoice, script: Any, hint: Hint, parts: list[str]
) -> None:
    error = await server_of(choice).call(*script)
    assert type(error) is UnsupportedServerError
    assert error.code is Code.UNIMPLEMENTED
    assert (error.transient, error.may_have_run, error.job_id) == (False, False, "7")
    assert hint_of(error) is hint
    assert error.target == "milvus:1"
    assert "milvus:1: UNIMPLEMENTED (" in error.message
    for part in parts:
        assert part in error.message
    for _, details in script:
        assert details in error.details


@pytest.mark.parametrize(
    ("operation", "params", "hint", "name"),
    [
        (CREATE_JOB_OF_GROUPS, TWO_GROUPS, Hint.REST_FOR_MANY_GROUPS, "several file groups"),
        (WATCH_LIST, ListParams("", ""), Hint.REST_FOR_JOB_LIST, "watch_all"),
        (COMMIT_JOB, JOB, Hint.REST_FOR_COMMIT, "commit_import"),
        (ABORT_JOB, JOB, Hint.REST_FOR_COMMIT, "abort_import"),
    ],
)
async def test_method_that_the_service_lacks_names_rest_and_sends_nothing(
    server_of: Make, operation: Any, params: Any, hint: Hint, name: str
) -> None:
    server = server_of("public")
    error = await server.call(operation=operation, params=params)
    assert type(error) is UnsupportedServerError
    assert hint_of(error) is hint
    assert name in error.message
    assert "the public service has no such method" in error.message
    assert server.calls == []


async def test_many_file_groups_are_sent_to_the_internal_service_alone(server_of: Make) -> None:
    server = server_of()
    error = await server.call(UNKNOWN_SERVICE, operation=CREATE_JOB_OF_GROUPS, params=TWO_GROUPS)
    assert server.calls == ["internal"]
    assert hint_of(error) is Hint.REST_FOR_MANY_GROUPS


# ----------------------------------------------------------------- what the error knows


@pytest.mark.parametrize(
    "outcome", [NO_JOB, NOT_READY, b"", b"\xff", (Code.INTERNAL, "x"), BROKEN, UNKNOWN_SERVICE]
)
async def test_error_has_the_job_id_method_service_and_target(
    server_of: Make, outcome: Outcome
) -> None:
    server = server_of("internal")
    error = await server.call(*[outcome] * (2 if outcome is BROKEN else 1))
    assert isinstance(error, MilvusImportError)
    assert (error.job_id, error.method) == ("7", "GetImportProgress")
    assert (error.service, error.target) == ("internal", "milvus:1")
    assert error.__context__ is None or not isinstance(outcome, bytes)


async def test_error_of_a_call_about_no_job_has_no_job_id(server_of: Make) -> None:
    error = await server_of().call(
        NO_STATUS, BROKEN, BROKEN, operation=LIST_JOBS, params=ListParams("", "")
    )
    assert error.job_id is None
    assert type(await server_of().call(NO_JOB)) is JobNotFoundError
