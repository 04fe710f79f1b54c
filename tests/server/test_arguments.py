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


@pytest.mark.parametrize("method", one_call())
async def test_invalid_call_option_sends_nothing(method: str) -> None:
    call = one_call(metadata={"note": f"{SECRET}\n"})[method]
    error = await sends_nothing(call, ArgumentError, "metadata 'note': the value must be printable")
    assert SECRET not in f"{error} {error!r}"
    call = one_call(timeot=1)[method]
    await sends_nothing(call, TypeError, "unexpected keyword argument 'timeot': did you mean time")
    call = one_call(rpc_timeout=1)[method]
    await sends_nothing(call, TypeError, "use timeout= for the deadline of each RPC")


@pytest.mark.parametrize("method", many_calls())
async def test_invalid_watch_option_sends_nothing(method: str) -> None:
    call = many_calls(metadata={"note": f"{SECRET}\n"})[method]
    error = await sends_nothing(call, ArgumentError, "metadata 'note': the value must be printable")
    assert SECRET not in f"{error} {error!r}"
    call = many_calls(rpc_timeot=1)[method]
    await sends_nothing(call, TypeError, "unexpected keyword argument 'rpc_timeot': did you mean")
    call = many_calls(on_fault=print)[method]
    await sends_nothing(call, TypeError, "'on_fault': it is now on_retry=")
    call = many_calls(call={"timeout": 1})[method]
    await sends_nothing(call, TypeError, "pass the call options directly, such as metadata=...")


INVALID_TIMES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeout": math.nan}, ArgumentError, "timeout must be seconds, or None for no limit, got Na"),
    ({"timeout": 1e10}, ArgumentError, "timeout must be at most 1e9 seconds"),
    ({"timeout": "1"}, TypeError, "timeout must be seconds, an int or a float, got '1'"),
    ({"interval": 0}, ArgumentError, "interval must be above 0 seconds, got 0"),
    ({"interval": -1}, ArgumentError, "interval must be above 0 seconds, got -1"),
    ({"interval": math.nan}, ArgumentError, "interval must be seconds"),
    ({"interval": math.inf}, ArgumentError, "interval must be finite"),
    ({"interval": None}, TypeError, "interval must be seconds, an int or a float, got None"),
    ({"max_outage": -0.5}, ArgumentError, "max_outage must be 0 or more seconds, got -0.5"),
    ({"max_outage": True}, TypeError, "max_outage must be seconds, an int or a float, got True"),
]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    INVALID_TIMES,
    ids=[f"{index}-{next(iter(row[0]))}" for index, row in enumerate(INVALID_TIMES)],
)
async def test_invalid_time_of_a_watch_sends_nothing(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    for call in many_calls(**options).values():
        await sends_nothing(call, error, message)


async def test_until_must_be_completed_or_uncommitted() -> None:
    bad: Any = "done"
    calls: list[Call] = [
        lambda client, _: client.wait(JOB, until=bad),
        lambda client, _: client.wait_all([JOB], until=bad),
    ]
    for call in calls:
        await sends_nothing(
            call, ArgumentError, "until must be 'completed' or 'uncommitted', got 'done'"
        )


@pytest.mark.parametrize(("job_id", "error"), [("abc", ArgumentError), (7, TypeError)])
async def test_invalid_job_id_sends_nothing(job_id: Any, error: type[Exception]) -> None:
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
        await sends_nothing(call, error, "job_id must be a ")


async def test_jobs_of_a_watch_are_ids_or_a_collection() -> None:
    untyped: Any = None
    calls: list[tuple[Call, type[Exception], str]] = [
        (
            lambda client, _: anext(client.watch_all("books")),
            TypeError,
            "write ['books'], or pass collection_name='books'",
        ),
        (
            lambda client, _: client.wait_all(JOB),
            TypeError,
            f"job_ids must be a list, got '{JOB}'; write ['{JOB}']",
        ),
        (
            lambda client, _: client.wait_all(untyped),
            TypeError,
            "job_ids must be a list of job ids, got None; watch_all follows all jobs",
        ),
        (
            lambda client, _: anext(client.watch_all(collection_name="")),
            ArgumentError,
            "collection_name must not be empty; leave it out for all collections",
        ),
        (
            lambda client, _: anext(client.watch_all([JOB], "books")),
            ArgumentError,
            "job_ids must be None if collection_name is passed",
        ),
    ]
    for call, error, message in calls:
        await sends_nothing(call, error, message)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"collection_name": ""}, ArgumentError, "collection_name must not be empty"),
        ({"db_name": 5}, TypeError, "db_name must be a str, got 5"),
        ({"db_name": "d\u00e4"}, ArgumentError, "db_name must be printable ASCII"),
        ({"db_name": "shop"}, ArgumentError, "pass all_databases=True to list them all"),
    ],
)
async def test_invalid_argument_of_a_list_sends_nothing(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    await sends_nothing(lambda client, _: client.list_imports(**arguments), error, message)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"files": []}, ArgumentError, "files must name at least one file"),
        ({"options": {"ezk": [SECRET]}}, TypeError, "option 'ezk' must be a str, a bool or an int"),
        ({"collection_name": "books\n"}, ArgumentError, "collection_name must not begin or end wi"),
        ({"idempotency_key": "a\nb"}, ArgumentError, "idempotency_key must be 1 to 256"),
    ],
)
async def test_invalid_import_request_sends_nothing(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {"collection_name": "books", "files": ["a.parquet"]} | arguments
    raised = await sends_nothing(lambda client, _: client.create_import(**given), error, message)
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


@pytest.mark.parametrize(("job_id", "sent"), [("0", "0"), ("007", "7"), (str(2**63 - 1),) * 2])
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


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_names_and_idempotency_key_of_an_import_request_arrive(service: Any) -> None:
    unimplemented = {
        PROXY + "ImportV2": ok(internal_pb2.ImportResponse(jobID=JOB)),
        PUBLIC + "Import": ok(milvus_pb2.ImportResponse(tasks=[int(JOB)])),
    }
    key = "".join(map(chr, range(0x20, 0x7F))) + "k" * 161
    async with Replay(unimplemented) as server, ImportClient(server.uri, service=service) as client:
        created = await client.create_import(
            "books",
            ["a.parquet"],
            partition_name="p",
            db_name="shop",
            idempotency_key=key,
            metadata={"x-id": "1"},
        )
        await client.create_import("books", ["a.parquet"])
    assert created == JOB
    call, without = server.received
    request = call.message()
    assert (request.collection_name, request.partition_name) == ("books", "p")
    assert request.db_name == "shop"
    assert call.values("dbname") == ["shop"]
    assert call.values("idempotency-key") == [key]
    assert call.values("x-id") == ["1"]
    assert without.values("idempotency-key") == []


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
