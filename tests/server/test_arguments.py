"""Arguments of the methods: invalid ones send nothing, valid ones arrive as they are."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import web
from replay import PROXY, PUBLIC, Replay, ok

from milvus_import import (
    ArgumentError,
    ClientClosedError,
    DeadlineExceededError,
    GetImportProgressOption,
    ImportClient,
    get_import_progress,
)
from milvus_import.testing import FakeMilvus
from milvus_import_pb import internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

JOB = "449839014328146739"
SECRET = "s3cr3t-Milvus"
Call = Callable[[ImportClient, str], Awaitable[object]]


def raises(error: type[Exception], message: str) -> Any:
    return pytest.raises(error, match=re.escape(message))


async def sends_nothing(call: Call, error: type[Exception], message: str) -> BaseException:
    """Call a method at a port that counts connections; return what it raised."""
    async with web.serving(web.CLOSE) as listener, ImportClient(listener.uri) as client:
        with pytest.raises(error, match=re.escape(message)) as caught:
            await call(client, listener.uri)
        assert listener.open == 0
    return caught.value


def one_call(**options: Any) -> dict[str, Call]:
    """Return each method of one RPC, with call options."""
    return {
        "get_import_progress": lambda client, _: client.get_import_progress(JOB, **options),
        "check": lambda client, _: client.check(**options),
        "list_imports": lambda client, _: client.list_imports(**options),
        "create_import": lambda client, _: client.create_import("books", ["a.parquet"], **options),
        "commit_import": lambda client, _: client.commit_import(JOB, **options),
        "abort_import": lambda client, _: client.abort_import(JOB, **options),
        "function": lambda _, uri: get_import_progress(
            GetImportProgressOption(uri, JOB), **options
        ),
    }


def many_calls(**options: Any) -> dict[str, Call]:
    """Return each method of many RPCs, with watch options."""
    return {
        "watch": lambda client, _: anext(client.watch(JOB, **options)),
        "watch_all": lambda client, _: anext(client.watch_all([JOB], **options)),
        "wait": lambda client, _: client.wait(JOB, **options),
        "wait_all": lambda client, _: client.wait_all([JOB], **options),
    }


NOTE = {"note": f"{SECRET}\n"}
NOTE_RULE = "metadata 'note': the value must be printable"
Methods = Callable[..., dict[str, Call]]
INVALID_OPTIONS: list[tuple[Methods, dict[str, Any], type[Exception], str]] = [
    (one_call, {"metadata": NOTE}, ArgumentError, NOTE_RULE),
    (one_call, {"timeot": 1}, TypeError, "keyword argument 'timeot': did you mean timeout=?"),
    (one_call, {"rpc_timeout": 1}, TypeError, "use timeout= for the deadline of each RPC"),
    (many_calls, {"metadata": NOTE}, ArgumentError, NOTE_RULE),
    (many_calls, {"rpc_timeot": 1}, TypeError, "'rpc_timeot': did you mean rpc_timeout=?"),
    (many_calls, {"on_fault": print}, TypeError, "'on_fault': it is now on_retry="),
    (many_calls, {"call": {}}, TypeError, "pass the call options directly, such as metadata=..."),
    (many_calls, {"timeout": math.nan}, ArgumentError, "timeout must be seconds, or None for no l"),
    (many_calls, {"timeout": 1e10}, ArgumentError, "timeout must be at most 1e9 seconds"),
    (
        many_calls,
        {"timeout": "1"},
        TypeError,
        "timeout must be seconds, an int or a float, got '1'",
    ),
    (many_calls, {"rpc_timeout": 2e9}, ArgumentError, "rpc_timeout must be at most 1e9 seconds"),
    (many_calls, {"interval": 0}, ArgumentError, "interval must be above 0 seconds, got 0"),
    (many_calls, {"interval": -1}, ArgumentError, "interval must be above 0 seconds, got -1"),
    (many_calls, {"interval": math.nan}, ArgumentError, "interval must be seconds"),
    (many_calls, {"interval": math.inf}, ArgumentError, "interval must be finite"),
    (many_calls, {"interval": None}, TypeError, "interval must be seconds, an int or a float, got"),
    (many_calls, {"max_outage": -0.5}, ArgumentError, "max_outage must be 0 or more seconds, got "),
    (many_calls, {"max_outage": True}, TypeError, "max_outage must be seconds, an int or a float"),
]


@pytest.mark.parametrize(
    ("methods", "options", "error", "message"),
    INVALID_OPTIONS,
    ids=[f"{index}-{next(iter(row[1]))}" for index, row in enumerate(INVALID_OPTIONS)],
)
async def test_invalid_option_sends_nothing(
    methods: Methods, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    for call in methods(**options).values():
        raised = await sends_nothing(call, error, message)
        assert SECRET not in f"{raised} {raised!r}"


@pytest.mark.parametrize(
    ("method", "name", "suggested"),
    [
        ("create_import", "partition", "partition_name"),
        ("create_import", "option", "options"),
        ("create_import", "collection", "collection_name"),
        ("create_import", "file", "files"),
        ("create_import", "db", "db_name"),
        ("create_import", "idempotency", "idempotency_key"),
        ("create_import", "metdata", "metadata"),
        ("list_imports", "collection", "collection_name"),
        ("list_imports", "all_database", "all_databases"),
        ("wait", "untill", "until"),
        ("wait", "on_progres", "on_progress"),
        ("wait", "max_outages", "max_outage"),
        ("wait_all", "intervall", "interval"),
        ("wait_all", "onretry", "on_retry"),
        ("watch_all", "job_id", "job_ids"),
    ],
)
async def test_misspelt_keyword_suggests_a_parameter_of_the_method(
    method: str, name: str, suggested: str
) -> None:
    call = (one_call(**{name: 1}) | many_calls(**{name: 1}))[method]
    message = f"unexpected keyword argument {name!r}: did you mean {suggested}=?"
    assert str(await sends_nothing(call, TypeError, message)) == message


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("wait", "job_id, until, on_progress, call_cred"),
        ("create_import", "collection_name, files, partition_name, db_name, options, idempotency_"),
    ],
)
async def test_keyword_without_a_similar_one_lists_the_parameters_of_the_method_first(
    method: str, parameters: str
) -> None:
    call = (one_call(xyzzy=1) | many_calls(xyzzy=1))[method]
    await sends_nothing(call, TypeError, f"use one of {parameters}")


INVALID_JOB_IDS: list[tuple[Any, type[Exception], str]] = [
    ("abc", ArgumentError, "job_id must be a decimal integer of at most 2**63-1, got 'abc'"),
    (7, TypeError, "job_id must be a str of digits such as '449839014328146739', got 7"),
]


@pytest.mark.parametrize(("job_id", "error", "message"), INVALID_JOB_IDS)
async def test_invalid_job_id_sends_nothing(
    job_id: Any, error: type[Exception], message: str
) -> None:
    calls: list[Call] = [
        lambda client, _: client.get_import_progress(job_id),
        lambda client, _: client.commit_import(job_id),
        lambda client, _: client.abort_import(job_id),
        lambda client, _: client.wait(job_id),
        lambda client, _: client.wait_all([JOB, job_id]),
        lambda client, _: anext(client.watch(job_id)),
        lambda client, _: anext(client.watch_all([JOB, job_id])),
        lambda _, uri: get_import_progress(GetImportProgressOption(uri, job_id)),
    ]
    for call in calls:
        await sends_nothing(call, error, message)


KEY_RULE = "idempotency_key must be 1 to 256 characters of printable ASCII, got "
NO_LIST = f"job_ids must be a list, got '{JOB}'; write ['{JOB}']"
INVALID: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("wait", {"job_id": JOB, "until": "x"}, ArgumentError,
     "until must be 'completed' or 'uncommitted', got 'x'"),
    ("wait_all", {"job_ids": [JOB], "until": "x"}, ArgumentError,
     "until must be 'completed' or 'uncommitted', got 'x'"),
    ("wait_all", {"job_ids": JOB}, TypeError, NO_LIST),
    ("wait_all", {"job_ids": 5}, TypeError, "job_ids must be a list of job ids, got 5"),
    ("wait_all", {"job_ids": None}, TypeError,
     "job_ids must be a list of job ids, got None; watch_all follows all jobs"),
    ("watch_all", {"job_ids": JOB}, TypeError, f"{NO_LIST}, or pass collection_name='{JOB}'"),
    ("watch_all", {"job_ids": 5}, TypeError, "job_ids must be a list of job ids, got 5"),
    ("watch_all", {"collection_name": ""}, ArgumentError,
     "collection_name must not be empty; leave it out for all collections"),
    ("watch_all", {"job_ids": [JOB], "collection_name": "books"}, ArgumentError,
     "job_ids must be None if collection_name is passed"),
    ("list_imports", {"collection_name": ""}, ArgumentError,
     "collection_name must not be empty; leave it out for all collections"),
    ("list_imports", {"collection_name": 5}, TypeError, "collection_name must be a str, got 5"),
    ("list_imports", {"collection_name": "\udc80"}, ArgumentError,
     "collection_name must be valid Unicode text"),
    ("list_imports", {"db_name": 5}, TypeError, "db_name must be a str, got 5"),
    ("list_imports", {"db_name": "\udc80"}, ArgumentError, "db_name must be valid Unicode text"),
    ("list_imports", {"db_name": "d\u00e4"}, ArgumentError,
     "db_name must be printable ASCII, got 'd\u00e4'"),
    ("list_imports", {"db_name": "a\nb"}, ArgumentError,
     r"db_name must be printable ASCII, got 'a\nb'"),
    ("list_imports", {"db_name": "shop"}, ArgumentError, "pass all_databases=True to list them al"),
    ("create_import", {"files": []}, ArgumentError, "files must name at least one file"),
    ("create_import", {"options": {"ezk": [SECRET]}}, TypeError,
     "option 'ezk' must be a str, a bool or an int"),
    ("create_import", {"idempotency_key": ""}, ArgumentError, KEY_RULE + "''"),
    ("create_import", {"idempotency_key": "k" * 257}, ArgumentError, KEY_RULE + "'kkk"),
    ("create_import", {"idempotency_key": "a\nb"}, ArgumentError, KEY_RULE + r"'a\nb'"),
    ("create_import", {"idempotency_key": "schl\u00fcssel"}, ArgumentError, KEY_RULE + "'schl"),
    ("create_import", {"idempotency_key": 5}, TypeError, "idempotency_key must be a str, got 5"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "arguments", "error", "message"),
    INVALID,
    ids=[f"{index}-{row[0]}" for index, row in enumerate(INVALID)],
)
async def test_invalid_argument_sends_nothing(
    method: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = arguments
    if method == "create_import":
        given = {"collection_name": "books", "files": ["a.parquet"]} | arguments

    def call(client: ImportClient, _: str) -> Awaitable[object]:
        called: Any = getattr(client, method)(**given)
        return anext(called) if method == "watch_all" else called

    raised = await sends_nothing(call, error, message)
    assert SECRET not in f"{raised} {raised!r} {raised.__cause__!r}"


async def test_function_needs_its_option() -> None:
    untyped: Any = get_import_progress
    with raises(TypeError, "option must be a GetImportProgressOption, got str"):
        await untyped("localhost")


async def test_closed_client_raises_client_closed_error() -> None:
    client = ImportClient("localhost")
    await client.close()
    with raises(ClientClosedError, "this client is closed; create a new client") as caught:
        await client.get_import_progress(JOB)
    assert not caught.value.may_have_run


# --------------------------------------------------------------------------------- deadlines


@pytest.mark.parametrize("timeout", [0, -1e-9, -math.inf, -(10**400)])
async def test_call_with_an_expired_timeout_is_not_sent(timeout: float) -> None:
    for method, call in one_call(timeout=timeout).items():
        if method in {"commit_import", "abort_import"}:
            continue  # gRPC has no such methods
        error = await sends_nothing(call, DeadlineExceededError, "has already expired")
        assert isinstance(error, DeadlineExceededError)
        assert (error.may_have_run, error.transient, error.record) == (False, False, None)


# ------------------------------------------------------------------------------ what arrives


@pytest.mark.parametrize(
    ("job_id", "sent"),
    [
        *(("0", "0"), ("007", "7"), ("000", "0"), (JOB, JOB), (str(2**63 - 1), str(2**63 - 1))),
        ("0" * 19 + str(2**63 - 1), str(2**63 - 1)),
    ],
)
async def test_job_id_is_sent_as_milvus_prints_it(job_id: str, sent: str) -> None:
    replies = {
        PROXY + "GetImportProgress": ok(internal_pb2.GetImportProgressResponse(progress=5)),
        PUBLIC + "GetImportState": ok(milvus_pb2.GetImportStateResponse(row_count=5)),
    }
    for path, reply in replies.items():
        async with Replay({path: reply}) as server, ImportClient(server.uri) as client:
            response = await client.get_import_progress(job_id)
        request = server.received[-1].message()
        assert response.data.job_id == sent
        assert request.jobID == sent if "Progress" in path else request.task == int(sent)


# ------------------------------------------------------------------------------- the function


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_the_method_and_the_function_return_the_same(fake: FakeMilvus, service: str) -> None:
    fake.add_job(job_id=JOB, state="Importing", progress=40)
    uri = fake.internal_uri if service == "internal" else fake.public_uri
    async with ImportClient(uri) as client:
        response = await client.get_import_progress(JOB)
    assert response == await get_import_progress(GetImportProgressOption(uri, JOB))
    assert (response.service, response.data.state) == (service, "Importing")
    assert (response.data.progress, response.data.detailed) == (40, service == "internal")
    paths = [detail.paths for detail in response.data.details]
    assert paths == ([("a.parquet",)] if service == "internal" else [])


async def test_the_function_sends_its_options(fake: FakeMilvus) -> None:
    fake.add_job(job_id=JOB, db_name="shop")
    option = GetImportProgressOption(fake.public_uri, JOB, token="root:Milvus", db_name="shop")
    await get_import_progress(option, timeout=45, metadata={"x-request-id": "7f3a"})
    for received in (*fake.unimplemented, *fake.received):
        assert received.values("x-request-id") == ["7f3a"]
        assert received.values("dbname") == ["shop"]
        assert received.values("authorization") == [base64.b64encode(b"root:Milvus").decode()]
        assert 20 < (received.time_remaining or 0) < 46
