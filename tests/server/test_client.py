"""ImportClient as an object: keywords, callbacks, warnings, copies, reprs, the version."""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib.metadata
import logging
import pickle
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

import milvus_import
from milvus_import import (
    CallRecord,
    GetImportProgressOption,
    ImportClient,
    ImportProgressData,
    MilvusImportError,
    _client,  # pyright: ignore[reportPrivateUsage]
    get_import_progress,
)
from milvus_import.testing import FakeFile, FakeMilvus, Fault

pytestmark = pytest.mark.anyio

JOB = "449839014328146739"


@pytest.fixture
async def client(fake: FakeMilvus) -> AsyncIterator[Any]:
    """A client of a server with one completed job; untyped, because the tests misuse it."""
    fake.add_job(job_id=JOB, state="Completed", progress=100)
    async with ImportClient(fake.internal_uri) as client:
        yield client


# ---------------------------------------------------------------------------------- keywords

ONE_RPC: dict[str, Callable[[Any, dict[str, Any]], Awaitable[object]]] = {
    "check": lambda client, options: client.check(**options),
    "get_import_progress": lambda client, options: client.get_import_progress(JOB, **options),
    "list_imports": lambda client, options: client.list_imports("books", **options),
    "create_import": lambda client, options: client.create_import("books", ["a.csv"], **options),
    "commit_import": lambda client, options: client.commit_import(JOB, **options),
    "abort_import": lambda client, options: client.abort_import(JOB, **options),
}


async def _now(call: Callable[[], object]) -> object:
    return call()


MANY_RPCS: dict[str, Callable[[Any, dict[str, Any]], Awaitable[object]]] = {
    "watch": lambda client, options: _now(lambda: client.watch(JOB, **options)),
    "wait": lambda client, options: client.wait(JOB, **options),
    "watch_all": lambda client, options: _now(lambda: client.watch_all([JOB], **options)),
    "wait_all": lambda client, options: client.wait_all([JOB], **options),
}


@pytest.mark.parametrize("method", ONE_RPC)
@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("rpc_timeout", "timeout="),
        ("time_out", "timeout="),
        ("meta_data", "metadata="),
        ("call", "pass the call options directly"),
        ("onfinish", "on_finish="),
    ],
)
async def test_a_wrong_keyword_of_a_method_of_one_rpc_names_the_right_one(
    fake: FakeMilvus, client: Any, method: str, keyword: str, hint: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(hint)) as caught:
        await ONE_RPC[method](client, {keyword: 30})
    assert repr(keyword) in str(caught.value)
    assert list(fake.received) == []


@pytest.mark.parametrize("method", MANY_RPCS)
@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("rpctimeout", "rpc_timeout="),
        ("meta_data", "metadata="),
        ("call", "pass the call options directly"),
    ],
)
async def test_a_wrong_keyword_of_a_method_of_many_rpcs_names_the_right_one(
    fake: FakeMilvus, client: Any, method: str, keyword: str, hint: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(hint)) as caught:
        await MANY_RPCS[method](client, {keyword: {"timeout": 30}})
    assert repr(keyword) in str(caught.value)
    assert list(fake.received) == []


@pytest.mark.parametrize("method", MANY_RPCS)
async def test_the_old_name_of_on_retry_names_the_new_one(client: Any, method: str) -> None:
    with pytest.raises(TypeError, match="'on_fault': it is now on_retry="):
        await MANY_RPCS[method](client, {"on_fault": print})


@pytest.mark.parametrize("keyword", ["intervall", "max_outages", "onretry"])
@pytest.mark.parametrize("method", MANY_RPCS)
async def test_a_misspelt_option_of_a_watch_names_the_right_one(
    client: Any, method: str, keyword: str
) -> None:
    right = {"intervall": "interval", "max_outages": "max_outage", "onretry": "on_retry"}[keyword]
    with pytest.raises(TypeError, match=rf"did you mean {right}=\?"):
        await MANY_RPCS[method](client, {keyword: 2})


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("timeout", "rpc_timeout="),
        ("url", "uri="),
        ("tokens", "token="),
        ("channel_option", "channel_options="),
        ("call", "pass the call options directly"),
    ],
)
def test_a_wrong_keyword_of_the_constructor_names_the_right_one(keyword: str, hint: str) -> None:
    make: Any = ImportClient
    with pytest.raises(TypeError, match=re.escape(hint)):
        make("http://localhost:19530", **{keyword: 10})


async def test_wait_all_without_job_ids_names_watch_all(client: Any) -> None:
    with pytest.raises(TypeError, match="watch_all follows all jobs"):
        await client.wait_all(None)


# --------------------------------------------------------------------------------- callbacks


async def _do_nothing(*_: object) -> None:
    """Do nothing; a lambda that calls it returns an awaitable."""


@pytest.mark.parametrize("method", ["wait", "wait_all"])
async def test_on_progress_that_returns_an_awaitable_is_rejected_at_its_first_call(
    client: Any, method: str
) -> None:
    calls: list[object] = []

    def on_progress(progress: object) -> object:
        calls.append(progress)
        return _do_nothing(progress)

    with pytest.raises(
        TypeError, match=r"on_progress must be a plain function, got one that returned corou"
    ):
        await MANY_RPCS[method](client, {"on_progress": on_progress})
    assert len(calls) == 1
    gc.collect()  # a coroutine that is never awaited would warn here


@pytest.mark.parametrize("method", ["wait", "wait_all"])
async def test_on_retry_that_returns_an_awaitable_is_rejected_at_its_first_call(
    fake: FakeMilvus, client: Any, method: str
) -> None:
    fake.inject("not-ready", times=None)
    with pytest.raises(TypeError, match="on_retry must be a plain function"):
        await MANY_RPCS[method](client, {"on_retry": _returns_a_future})
    gc.collect()


def _returns_a_coroutine(*_: object) -> object:
    return _do_nothing()


def _returns_a_future(*_: object) -> object:
    return asyncio.get_running_loop().create_future()


async def test_on_finish_that_returns_an_awaitable_is_logged(
    client: ImportClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "milvus_import"):
        response = await client.get_import_progress(JOB, on_finish=_returns_a_coroutine)
    assert response.data.done
    assert "on_finish returned an awaitable" in caplog.text
    gc.collect()


async def test_an_async_callback_is_rejected_before_anything_is_sent(
    fake: FakeMilvus, client: Any
) -> None:
    for name in ("on_progress", "on_retry", "on_finish"):
        with pytest.raises(TypeError, match=f"{name} must be a plain function"):
            await client.wait(JOB, **{name: _do_nothing})
    assert list(fake.received) == []


# ------------------------------------------------------------------- warnings of the lifetime


@pytest.fixture
def no_targets_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "_warned_targets", set[str]())


@pytest.mark.usefixtures("no_targets_warned")
def test_a_plaintext_token_is_logged_once_per_target(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "milvus_import"):
        for _ in range(2):
            ImportClient("http://milvus.example:19530", token="root:S3cret")
        ImportClient("http://milvus.example:19531", user="root", password="S3cret")
        ImportClient("http://milvus.example:19532")
        ImportClient("http://127.0.0.1:19530", token="root:S3cret")
        ImportClient("https://milvus.example:19530", token="root:S3cret")
    targets = [record.getMessage() for record in caplog.records]
    assert [re.findall(r"milvus\.example:\d+", text) for text in targets] == [
        ["milvus.example:19530"],
        ["milvus.example:19531"],
    ]
    assert "S3cret" not in caplog.text


@pytest.mark.usefixtures("no_targets_warned")
async def test_the_function_logs_a_plaintext_token_once_per_target(
    fake: FakeMilvus, caplog: pytest.LogCaptureFixture
) -> None:
    job = fake.add_job()
    uri = fake.internal_uri.replace("127.0.0.1", "0.0.0.0")  # this machine, but no loopback address
    with caplog.at_level(logging.WARNING, "milvus_import"):
        for _ in range(3):
            await get_import_progress(
                GetImportProgressOption(uri, job.job_id, token="root:S3cret"),
            )
    assert len(caplog.records) == 1


async def test_a_client_that_is_collected_open_emits_resource_warning(fake: FakeMilvus) -> None:
    clients = [ImportClient(fake.internal_uri)]
    await clients[0].check()
    with pytest.warns(ResourceWarning, match=rf"ImportClient 127\.0\.0\.1:{fake.internal_port}"):
        clients.clear()


async def test_a_client_that_is_closed_or_was_never_used_emits_no_warning(
    fake: FakeMilvus,
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clients = [ImportClient(fake.internal_uri), ImportClient(fake.internal_uri)]
        await clients[0].check()
        await clients[0].close()
        clients.clear()
    assert not [warning for warning in caught if warning.category is ResourceWarning]


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"]
)
def test_copying_or_pickling_a_client_raises_type_error(
    duplicate: Callable[[object], object],
) -> None:
    with pytest.raises(TypeError, match="cannot be copied or pickled: it holds an open connection"):
        duplicate(ImportClient("http://localhost"))


# ------------------------------------------------------------------------------------- reprs


async def test_repr_of_a_client_shows_its_target_and_whether_it_is_closed(
    fake: FakeMilvus,
) -> None:
    client = ImportClient(fake.internal_uri, token="root:S3cret")
    target = f"127.0.0.1:{fake.internal_port}"
    assert repr(client) == f"<ImportClient {target}>"
    await client.close()
    assert repr(client) == f"<ImportClient {target} (closed)>"


async def test_repr_of_a_response_with_many_files_is_short(fake: FakeMilvus) -> None:
    files = [FakeFile(f"part-{number}.parquet") for number in range(1000)]
    fake.add_job(job_id=JOB, state="Importing", progress=40, files=files)
    fake.add_job(job_id="7", state="Importing", progress=40, files=files[:3])
    async with ImportClient(fake.internal_uri) as client:
        many = await client.get_import_progress(JOB)
        few = await client.get_import_progress("7")
    assert "... 997 more]" in repr(many)
    assert len(repr(many)) < 1500
    assert "part-2.parquet" in repr(few)
    assert len(many.data.to_dict()["details"]) == 1000


async def test_repr_of_a_response_cuts_long_texts(fake: FakeMilvus) -> None:
    fake.add_job(job_id=JOB, state="Failed", reason="x" * 1_000_000)
    records: list[CallRecord] = []
    async with ImportClient(fake.internal_uri, on_finish=records.append) as client:
        data = (await client.get_import_progress(JOB)).data
        fake.inject(Fault(grpc.StatusCode.PERMISSION_DENIED, "x" * 20_000))
        with pytest.raises(MilvusImportError):
            await client.get_import_progress(JOB)
    assert len(data.reason) == 1_000_000
    assert len(repr(data)) < 10_000
    assert len(repr(data.job)) < 10_000
    assert len(repr(records)) < 10_000


async def test_a_response_survives_copying_and_pickling(fake: FakeMilvus) -> None:
    fake.add_job(job_id=JOB, state="Importing", progress=40)
    async with ImportClient(fake.internal_uri) as client:
        response = await client.get_import_progress(JOB)
    assert pickle.loads(pickle.dumps(response)) == copy.deepcopy(response) == response  # noqa: S301
    assert isinstance(response.data, ImportProgressData)


# ------------------------------------------------------------------------------- the version


def test_version_is_that_of_the_distribution() -> None:
    try:
        expected = importlib.metadata.version("milvus-import")
    except importlib.metadata.PackageNotFoundError:  # run from the sources
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            _ = milvus_import.__version__
    else:
        assert milvus_import.__version__ == expected
    with pytest.raises(AttributeError, match="nonexistent"):
        _ = getattr(milvus_import, "nonexistent")  # noqa: B009 - that is what is tested
