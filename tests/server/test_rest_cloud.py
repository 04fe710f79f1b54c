"""service="cloud": the import API of Zilliz Cloud, against the simulated one and canned replies."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import interceptors
import pytest
import web
from command_line import FAST, Ended, run, screen
from traces import frames
from watching import changes
from web import error_of, success

from milvus_import import (
    ArgumentError,
    BucketCredentials,
    CallRecord,
    GetImportProgressOption,
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    Volume,
    get_import_progress,
)
from milvus_import._errors import hint_of
from milvus_import._hints import Hint
from milvus_import.testing import FAULTS, FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio

KEY = "ap1-key-4711"
CLUSTER = "in01-1"
TARGET = {"clusterId": CLUSTER}
URL = "https://bucket.example/a.parquet"
SIGNATURE = "s1gnature"
SIGNED = f"{URL}?X-Amz-Signature={SIGNATURE}"
BUCKET = BucketCredentials("acc3ss-key", "s3cret-key", "s3ssion-token")
KEYS = {"accessKey": "acc3ss-key", "secretKey": "s3cret-key"}
URLS: dict[str, Any] = {"objectUrls": [[URL]]}
NUMPY = ["s3://b/id.npy", "s3://b/v.npy"]
JOB = "job-00000000000000000000a"


def connect(uri: str, **arguments: Any) -> ImportClient:
    given: dict[str, Any] = {"token": KEY, "cluster_id": CLUSTER} | arguments
    return ImportClient(uri, service="cloud", **given)


@pytest.fixture
async def cloud(fake: FakeMilvus) -> AsyncGenerator[ImportClient, None]:
    fake.token, fake.cloud.clusters = KEY, {CLUSTER, "proj-1"}
    async with connect(fake.cloud_uri) as client:
        yield client


def canned(*replies: bytes) -> AbstractAsyncContextManager[tuple[ImportClient, web.Web]]:
    """Serve the replies to a client of the cloud."""
    return web.connected(*replies, service="cloud", token=KEY, cluster_id=CLUSTER)


def sent(fake: FakeMilvus) -> Any:
    """Return the body of the last request, without the cluster."""
    received = fake.received[-1]
    assert received.service == "cloud"
    assert received.values("authorization") == [f"Bearer {KEY}"]
    return {name: value for name, value in received.request.items() if name not in TARGET}


def methods(fake: FakeMilvus) -> list[str]:
    return [received.method for received in fake.received]


@pytest.mark.parametrize(
    ("files", "arguments", "body"),
    [
        ([SIGNED], {}, {"objectUrls": [[SIGNED]]}),
        (
            [URL, NUMPY, "s3://b/folder/"],
            {"storage": BUCKET},
            {"objectUrls": [[URL], NUMPY, ["s3://b/folder/"]], "token": "s3ssion-token"} | KEYS,
        ),
        ([URL], {"storage": BucketCredentials(*KEYS.values())}, URLS | KEYS),
        (
            ["1/", "b.json"],
            {"storage": Volume("v")},
            {"volumeName": "v", "dataPaths": [["1/"], ["b.json"]]},
        ),
        (
            [URL],
            {"db_name": "shop", "partition_name": "p", "options": {"timeout": 300}},
            URLS | {"dbName": "shop", "partitionName": "p", "options": {"timeout": "300s"}},
        ),
    ],
    ids=["URL", "credentials", "no session token", "volume", "database, partition and options"],
)
async def test_create_sends(
    fake: FakeMilvus, cloud: ImportClient, files: Any, arguments: Any, body: dict[str, Any]
) -> None:
    job_id = await cloud.create_import("books", files, **arguments)
    assert list(fake.jobs) == [job_id]
    assert job_id.startswith("job-")
    assert sent(fake) == {"collectionName": "books"} | body


async def test_project_and_region_replace_the_cluster(
    fake: FakeMilvus, cloud: ImportClient
) -> None:
    fake.add_job(job_id=JOB)
    project: dict[str, Any] = {"project_id": "proj-1", "region_id": "aws-1"}
    async with connect(fake.cloud_uri, cluster_id="", **project) as client:
        await client.get_import_progress(JOB)
    assert fake.received[-1].request == {"projectId": "proj-1", "regionId": "aws-1", "jobId": JOB}
    option = GetImportProgressOption(fake.cloud_uri, JOB, token=KEY, service="cloud", **project)
    assert (await get_import_progress(option)).service == "cloud"


async def test_check_lists_one_row(fake: FakeMilvus, cloud: ImportClient) -> None:
    for _ in range(3):
        fake.add_job()
    assert await cloud.check() == "cloud"
    assert sent(fake) == {"pageSize": 1, "currentPage": 1}
    assert len(fake.received) == 1


# ----------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cluster_id": ""}, "exactly one of cluster_id, or project_id with region_id"),
        ({"project_id": "p", "region_id": "r"}, "exactly one of cluster_id"),
        ({"cluster_id": "", "project_id": "p"}, "exactly one of cluster_id"),
        ({"cluster_id": "", "region_id": "r"}, "exactly one of cluster_id"),
        ({"region_id": "r"}, "exactly one of cluster_id"),
        ({"cluster_id": "in01 1"}, "cluster_id must be at most 256 characters of printable"),
        ({"token": None}, "token must be an API key with service='cloud'"),
        ({"token": ""}, "token must be an API key with service='cloud'"),
        ({"token": "k\u00e4y:x"}, "token must be printable ASCII .* if service is 'cloud'"),
        ({"token": None, "user": "u", "password": "p"}, "user and password must be None"),
        ({"interceptors": [interceptors.Raise(LookupError())]}, "interceptors must be empty"),
        ({"channel_options": [("a", 1)]}, "channel_options must be empty"),
        ({"wait_for_ready": True}, "wait_for_ready must be .* with service='cloud'"),
        ({"metadata": {"a-bin": b"1"}}, "must not end in -bin with service='cloud'"),
    ],
)
def test_constructor_rejects(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        connect("https://api.cloud.zilliz.com", **arguments)


@pytest.mark.parametrize("service", ["auto", "internal", "public", "rest"])
@pytest.mark.parametrize("name", ["cluster_id", "project_id", "region_id"])
def test_other_services_reject_the_cluster(service: Any, name: str) -> None:
    value: dict[str, Any] = {name: "x"}
    with pytest.raises(ArgumentError, match=f"{name} must be empty unless service='cloud'"):
        ImportClient("localhost", service=service, **value)
    with pytest.raises(TypeError, match="cluster_id must be a str, got 7"):
        connect("localhost", cluster_id=7)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"files": ["a.json"]}, ArgumentError, "files must be URLs of objects, .* got 'a.json'"),
        ({"storage": Volume("v")}, ArgumentError, f"files must be paths in the volume.* '{URL}'"),
        ({"idempotency_key": "7"}, ArgumentError, "idempotency_key must be None .*'cloud'"),
        ({"storage": "v"}, TypeError, "storage must be BucketCredentials, a Volume or None"),
        ({"storge": None}, TypeError, "did you mean storage="),
    ],
)
async def test_create_rejects(
    fake: FakeMilvus, cloud: ImportClient, arguments: Any, error: type[Exception], message: str
) -> None:
    call = cloud.create_import("books", **{"files": [SIGNED]} | arguments)
    raised = await error_of(call, error, message)
    assert SIGNATURE not in "".join([repr(raised), *frames(raised)])
    assert not fake.received


async def test_storage_is_for_the_cloud_only(fake: FakeMilvus) -> None:
    async with ImportClient(fake.rest_uri, service="rest") as client:
        call = client.create_import("books", ["a.json"], storage=BUCKET)
        await error_of(call, ArgumentError, "storage must be None unless service='cloud'")
        await client.create_import("books", ["a.json"], storage=None)
    assert len(fake.received) == 1


async def test_commit_and_abort_are_rejected(fake: FakeMilvus, cloud: ImportClient) -> None:
    for method, name in ((cloud.commit_import, "commit"), (cloud.abort_import, "abort")):
        message = f"{name}_import cannot be called with service='cloud'"
        await error_of(method(JOB), ArgumentError, message)
    assert not fake.received


@pytest.mark.parametrize("job_id", ["", "a b", "j" * 257, "\u00e4"])
async def test_job_id_that_is_not_valid(fake: FakeMilvus, cloud: ImportClient, job_id: str) -> None:
    message = "job_id must be 1 to 256 characters of printable"
    for call in (cloud.get_import_progress(job_id), cloud.wait(job_id), cloud.wait_all([job_id])):
        await error_of(call, ArgumentError, message)
    for watch in (lambda: cloud.watch(job_id), lambda: cloud.watch_all([job_id])):
        with pytest.raises(ArgumentError, match=message):
            watch()
    assert not fake.received


# ------------------------------------------------------------------------------ progress


@pytest.mark.parametrize("as_text", [False, True])
async def test_progress_maps_numbers_as_text_nulls_and_states(
    fake: FakeMilvus, cloud: ImportClient, *, as_text: bool
) -> None:
    fake.cloud.numbers_as_text, fake.cloud.imported_rows = as_text, True
    fake.add_job(
        job_id=JOB, state="Importing", progress=40, files=[FakeFile("a.json", size=30, rows=6)]
    )
    data = (await cloud.get_import_progress(JOB)).data
    assert (data.state, data.progress, data.complete_time) == ("Importing", 40, "")
    assert (data.job_id, data.service, data.file_size) == (JOB, "cloud", 30)
    assert (data.total_rows, data.details[0].state) == (6, "InProgress")
    assert data.detailed


async def test_job_without_rows_and_reason() -> None:
    data = {"jobId": JOB, "state": "Completed", "progress": None, "completeTime": None}
    async with canned(success(data)) as (client, _):
        progress = await client.wait(JOB)
    assert (progress.progress, progress.imported_rows, progress.reason) == (0, 0, "")


async def test_get_progress_is_called_where_describe_is_missing() -> None:
    data = {"jobId": JOB, "state": "Completed"}
    async with canned(web.NO_ROUTE, success(data)) as (client, server):
        for _ in range(2):
            await client.get_import_progress(JOB)
    names = ["describe", "get_progress", "get_progress"]
    assert [request.method for request in server.requests] == names


async def test_failed_job_hints_at_the_storage(fake: FakeMilvus, cloud: ImportClient) -> None:
    fake.import_seconds, fake.missing_files = 0, {URL}
    job_id = await cloud.create_import("books", [SIGNED])
    assert hint_of(await error_of(cloud.wait(job_id), ImportFailedError)) is Hint.CLOUD_FILES


# --------------------------------------------------------------------------------- lists


def page(*job_ids: str, **members: object) -> bytes:
    job = {"collectionName": "books", "state": "InProgress"}
    return success({"records": [job | {"jobId": job_id} for job_id in job_ids], **members})


async def test_list_over_three_pages(fake: FakeMilvus, cloud: ImportClient) -> None:
    for _ in range(205):
        fake.add_job()
    records: list[CallRecord] = []
    started = time.monotonic()
    jobs = await cloud.list_imports(on_finish=records.append)
    assert time.monotonic() - started >= 0.19  # the pages are 0.1 s apart
    assert [job.job_id for job in jobs] == sorted(fake.jobs, key=lambda id_: (len(id_), id_))
    pages = [received.request["currentPage"] for received in fake.received]
    assert pages == [1, 2, 3]
    assert {received.request["pageSize"] for received in fake.received} == {100}
    assert len(records) == 3


@pytest.mark.parametrize(
    ("pages", "job_ids", "requests"),
    [
        ([page("a", "b", count=2)], "ab", 1),
        ([page("a", "b", count="2")], "ab", 1),
        ([page("a", count=3), page("b", count=3), page("c", count=3)], "abc", 3),  # short pages
        ([page("a", "b"), page("c"), page()], "abc", 3),  # without a count
        ([page("a", "b", count=3), page("b", "c", count=3)], "abc", 2),  # a job moved
        ([page("a", "b", count=9), page("a", "b", count=9)], "ab", 2),  # nothing new
        ([page("a", count=9), page(count=9)], "a", 2),
        ([page(count=0)], "", 1),
        ([page(*"abcd", count=8), page("e", count=8), page(*"fgh", count=8)], "abcdefgh", 3),
        ([page(*"abcd"), page("e"), page(*"fgh"), page()], "abcdefgh", 4),
        ([success({"records": None, "count": None})], "", 1),
    ],
)
async def test_end_of_the_pages(pages: list[bytes], job_ids: str, requests: int) -> None:
    async with canned(*pages) as (client, server):
        assert [job.job_id for job in await client.list_imports()] == list(job_ids)
        numbers = [request.json["currentPage"] for request in server.requests]
        assert numbers == list(range(1, requests + 1))


async def test_list_filters_by_the_collection_and_completes_the_progress() -> None:
    records = [
        {"jobId": "a", "collectionName": "books", "state": "Completed"},
        {"jobId": "b", "collectionName": "films", "state": "Completed"},
        {"jobId": "c", "state": "Failed", "progress": None, "reason": None},
    ]
    async with canned(success({"records": records, "count": 3})) as (client, server):
        jobs = await client.list_imports("books", db_name="shop")
        assert server.requests[0].json["dbName"] == "shop"
    found = [(job.job_id, job.progress, job.reason) for job in jobs]
    assert found == [("a", 100, ""), ("c", 0, "")]


async def test_timeout_bounds_all_pages() -> None:
    async with canned(page("a", count=3), web.HANG) as (client, server):
        await error_of(client.list_imports(timeout=0.5), match=r"no response within 0\.5 s")
        assert len(server.requests) == 2


async def test_error_of_a_later_page(fake: FakeMilvus, cloud: ImportClient) -> None:
    for _ in range(150):
        fake.add_job()
    fault = FAULTS["http-502-html"]
    fake.choose_fault = lambda received: fault if received.request["currentPage"] == 2 else None
    await error_of(cloud.list_imports(), UnavailableError, r"^list at .*HTTP 502")


# ------------------------------------------------------------------------------ following


async def test_wait_all_of_250_jobs_lists_pages(fake: FakeMilvus, cloud: ImportClient) -> None:
    job_ids = [fake.add_job(state="Importing").job_id for _ in range(250)]
    lists: list[int] = []

    def complete(_: object) -> None:
        lists.append(methods(fake).count("list"))
        for job in fake.jobs.values():
            job.state, job.progress = "Completed", 100

    outcomes = await cloud.wait_all(job_ids[:20], interval=0.3, on_progress=complete)
    assert all(isinstance(outcome, ImportProgressData) for outcome in outcomes.values())
    assert lists[0] == 3
    assert methods(fake).count("describe") == 20


async def test_single_polls_replace_too_many_pages(fake: FakeMilvus, cloud: ImportClient) -> None:
    """17 jobs of 950: ten pages cost more than half of the polls."""
    job_ids = [fake.add_job(state="Importing").job_id for _ in range(950)][-17:]

    def end(received: Any) -> None:
        if received.method == "describe":
            fake.jobs[received.request["jobId"]].state = "Completed"

    fake.choose_fault = end
    outcomes = await cloud.wait_all(job_ids, interval=0.05)
    assert all(isinstance(outcome, ImportProgressData) for outcome in outcomes.values())
    assert methods(fake).count("list") == 10
    assert methods(fake).count("describe") >= 17


async def test_polling_starts_at_ten_per_second(fake: FakeMilvus, cloud: ImportClient) -> None:
    job_ids = [fake.add_job(state="Completed", progress=100).job_id for _ in range(8)]
    started = time.monotonic()
    await cloud.wait_all(job_ids)
    assert time.monotonic() - started >= 0.6
    assert len(fake.received) == 8


async def test_watch_and_watch_all(fake: FakeMilvus, cloud: ImportClient) -> None:
    fake.add_job(job_id=JOB, script=[("Importing", 40), ("Completed", 100)])
    watch = cloud.watch(JOB, interval=0.05)
    assert await changes(watch) == [("Importing", 40), ("Completed", 100)]
    fake.add_job(state="Failed", reason="no such file")
    jobs = [job async for job in cloud.watch_all(collection_name="books", interval=0.05)]
    ends = sorted((str(job.state), job.progress) for job in jobs)
    assert ends == [("Completed", 100), ("Failed", 0)]


# --------------------------------------------------------------------------------- errors

Call = Callable[[ImportClient], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "check": lambda client: client.check(),
    "get_import_progress": lambda client: client.get_import_progress(JOB),
    "list_imports": lambda client: client.list_imports("books"),
    "create_import": lambda client: client.create_import("books", [SIGNED], storage=BUCKET),
    "wait": lambda client: client.wait(JOB, timeout=1),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
async def test_wrong_key_and_unknown_cluster(fake: FakeMilvus, call: Call) -> None:
    fake.token, fake.cloud.clusters = KEY, {CLUSTER}
    async with connect(fake.cloud_uri, token="wr0ng-key") as client:
        error = await error_of(call(client), UnauthenticatedError, "code 21119: The apikey")
    assert hint_of(error) is Hint.CLOUD_API_KEY
    assert (error.transient, error.may_have_run) == (False, False)
    async with connect(fake.cloud_uri, cluster_id="in01-2") as client:
        error = await error_of(call(client), MilvusStatusError)
    assert hint_of(error) is Hint.CLOUD_CLUSTER
    assert (error.code, error.transient, error.may_have_run) == (80020, False, False)
    assert ".." not in str(error)


async def test_rate_limit(fake: FakeMilvus, cloud: ImportClient) -> None:
    fake.add_job(job_id=JOB)
    fake.cloud.requests_per_second = 0
    error = await error_of(cloud.get_import_progress(JOB), UnavailableError, "HTTP 429")
    assert (error.rate_limited, error.retry_after) == (True, 1.0)
    error = await error_of(cloud.create_import("books", [URL]), UnavailableError)
    assert not error.may_have_run


async def test_unknown_job(cloud: ImportClient) -> None:
    error = await error_of(cloud.get_import_progress("job-unknown"), JobNotFoundError)
    assert (error.job_id, error.service) == ("job-unknown", "cloud")


async def test_create_without_a_response_hints_at_the_list(
    fake: FakeMilvus, cloud: ImportClient
) -> None:
    fake.inject("http-close")
    error = await error_of(cloud.create_import("books", [URL]), UnavailableError)
    assert (error.may_have_run, hint_of(error)) == (True, Hint.CLOUD_REPEAT)


async def test_address_of_something_else(fake: FakeMilvus) -> None:
    at_the_cloud = "Zilliz Cloud is at https://api"
    async with connect("http://127.0.0.1:1") as client:
        await error_of(client.check(), UnavailableError, at_the_cloud)
    async with connect(fake.rest_uri) as client:
        await error_of(client.create_import("books", [URL]), MilvusStatusError, at_the_cloud)
    async with ImportClient(fake.cloud_uri, service="rest", token=KEY) as client:
        hint = "Create the client with service='cloud'"
        await error_of(client.check(), MilvusStatusError, hint)


# -------------------------------------------------------------------------------- secrets


SECRETS = (KEY, "wr0ng-key", "acc3ss-key", "s3cret-key", "s3ssion-token", SIGNATURE)


@pytest.mark.parametrize(
    "fault", ["", "denied", "not-ready", "garbage", "job-limit", "http-429", "http-502-html"]
)
@each_call
async def test_no_output_contains_a_secret(
    fake: FakeMilvus, cloud: ImportClient, caplog: pytest.LogCaptureFixture, call: Call, fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.add_job(job_id=JOB, state="Failed", reason=f"cannot read {SIGNED}")
    if fault:
        fake.inject(fault, times=None)
    records: list[CallRecord] = []
    shown = [repr(BUCKET), str(BUCKET)]
    async with connect(fake.cloud_uri, on_finish=records.append) as client:
        try:
            result = await call(client)
            shown += [str(result), repr(result)]
        except MilvusImportError as error:
            shown += [str(error), repr(error), str(error.to_dict()), *frames(error)]
        shown.append(repr(client))
    assert records
    shown += [*map(repr, records), caplog.text]
    assert [secret for secret in SECRETS if secret in "\n".join(shown)] == []


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a?b", "a?b"),
        ("why? https://h/p?k=v, then", "why? https://h/p, then"),
        ('paths:"s3://b/a?k=v&t=u"', 'paths:"s3://b/a"'),
        ("[https://h/a?k=v https://h/b?k=v]", "[https://h/a https://h/b]"),
        (f"bad url {SIGNED}, user://u:pw@h/x", f"bad url {URL}, user://h/x"),
    ],
)
async def test_urls_in_an_error_lose_their_queries(status: int, text: str, expected: str) -> None:
    async with canned(web.reply({"code": 1100, "message": text}, status)) as (client, _):
        error = await error_of(client.create_import("books", [SIGNED]))
    assert expected in error.message
    shown = "".join([repr(error), str(error.to_dict()), repr(getattr(error, "record", None))])
    assert not [secret for secret in ("k=v", SIGNATURE, "pw@") if secret in shown]


# --------------------------------------------------------------------------- command line


VARIABLES = {"MILVUS_SERVICE": "cloud", "MILVUS_CLUSTER_ID": CLUSTER, "MILVUS_TOKEN": KEY}


async def command(fake: FakeMilvus, *arguments: str, **variables: str) -> Ended:
    ended = await run(*arguments, "--uri", fake.cloud_uri, **(VARIABLES | variables))
    assert not any(secret in ended.out + ended.err for secret in SECRETS)
    return ended


async def test_create_get_list_and_wait_on_the_command_line(fake: FakeMilvus) -> None:
    fake.token, fake.import_seconds = KEY, 0
    keys = {"MILVUS_ACCESS_KEY": "acc3ss-key", "MILVUS_SECRET_KEY": "s3cret-key"}
    created = await command(fake, "create", "books", SIGNED, "--wait", *FAST, **keys)
    assert created.code == 0
    job_id = created.out.strip()
    assert sent(fake) == {"jobId": job_id}
    assert fake.received[0].request["secretKey"] == "s3cret-key"
    volume = await command(fake, "create", "books", "1/", "--volume", "v", "--json")
    assert sent(fake) == {"collectionName": "books", "volumeName": "v", "dataPaths": [["1/"]]}
    other = volume.objects[0]["jobId"]
    shown = await command(fake, "get", job_id, "--json")
    assert shown.objects[0]["service"] == "cloud"
    listed = await command(fake, "list", "books", "--json")
    assert [job["jobId"] for job in listed.objects] == [job_id, other]
    ended = await command(fake, "wait", job_id, other, *FAST)
    assert (ended.code, ended.out) == (0, "2 jobs completed\n")


async def test_ids_that_are_no_numbers_on_the_command_line(fake: FakeMilvus) -> None:
    other = f"{JOB[:-1]}b"
    for job_id in (other, JOB):
        fake.add_job(job_id=job_id, script=[("Importing", 40), ("Completed", 100)])
    lines = await command(fake, "watch", JOB, *FAST, "--json")
    assert [(line["jobId"], line["progress"]) for line in lines.objects] == [(JOB, 40), (JOB, 100)]
    bars = await command(fake, "watch", JOB, other, *FAST)
    assert (bars.code, bars.out.splitlines()[-1]) == (0, "2 jobs completed")
    listed = await command(fake, "list")
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == [JOB, other]
    cloud: Any = VARIABLES
    async with screen("watch", JOB, "--uri", fake.cloud_uri, *FAST, **cloud) as running:
        assert await running.end() == 0
    assert JOB in running.screen.text()


async def test_errors_on_the_command_line(fake: FakeMilvus) -> None:
    fake.token = KEY
    ended = await command(fake, "list", MILVUS_TOKEN="wr0ng-key")
    hint = "Check the API key in MILVUS_TOKEN or --token: Zilliz Cloud does not accept it.\n"
    assert (ended.code, ended.err[-len(hint) :]) == (3, hint)
    ended = await command(fake, "create", "books", SIGNED, "--volume", "v")
    assert (ended.code, f"got '{URL}'" in ended.err) == (2, True)
    ended = await command(fake, "commit", JOB)
    assert (ended.code, "commit_import cannot be called" in ended.err) == (2, True)


async def test_variables_of_the_cloud_do_not_concern_other_services(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7")
    rest = {"MILVUS_SERVICE": "rest", "MILVUS_CLUSTER_ID": CLUSTER}
    ended = await run("get", "7", "--uri", fake.rest_uri, **rest)
    assert ended.code == 0
    ended = await run("get", "7", "--uri", fake.rest_uri, "--cluster-id", "x", **rest)
    assert (ended.code, "" if "must be empty" in ended.err else ended.err) == (2, "")
