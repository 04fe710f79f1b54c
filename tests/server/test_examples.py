"""The programs in examples/, run against FakeMilvus."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import leaks
import pytest
import uvicorn
from times import GUARD, SCALE, until

from milvus_import import ImportClient, UnavailableError
from milvus_import.testing import FakeMilvus, Fault, HttpResponse

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples"
BOOKS = {"collection": "books", "files": ["a.parquet"]}


# submit_and_wait.py


async def submit_and_wait(*arguments: str, token: str = "") -> tuple[int, str]:
    """Return the exit code and the output."""
    with anyio.fail_after(GUARD):
        done = await anyio.run_process(
            [sys.executable, str(EXAMPLES / "submit_and_wait.py"), *arguments],
            env=os.environ | {"MILVUS_TOKEN": token},
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_submit_and_wait_follows_its_import_to_the_end(
    fake: FakeMilvus, service: str
) -> None:
    fake.token = "root:Milvus"
    fake.import_seconds = 0.0
    uri = {"internal": fake.internal_uri, "public": fake.public_uri}[service]
    code, output = await submit_and_wait(uri, "books", "a.parquet", token=fake.token)
    assert (code, output) == (0, "Completed 100%\n1,000 rows imported\n")
    assert {call.service for call in fake.received} == {service}
    (job,) = fake.jobs.values()
    assert (job.collection_name, job.files[0].name) == ("books", "a.parquet")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-collection", "collection not found[collection=nosuch]"),
        (None, "the file 'a' is empty"),
    ],
)
async def test_submit_and_wait_prints_the_status_or_the_reason(
    fake: FakeMilvus, fault: str | None, words: str
) -> None:
    fake.import_seconds, fake.fail_imports = 0.0, words
    if fault:
        fake.inject(fault)
    code, output = await submit_and_wait(fake.public_uri, "books", "a.csv")
    assert code == 1
    assert words in output
    assert "Traceback" not in output


# service.py


class Service:
    """The example in uvicorn on its own port, and an HTTP client."""

    def __init__(
        self, server: uvicorn.Server, http: httpx.AsyncClient, names: dict[str, Any]
    ) -> None:
        self.server = server
        self.http = http
        self.names = names
        """The global names of the example."""

    async def post(self, body: Any = None, **arguments: Any) -> tuple[int, Any]:
        reply = await self.http.post("/imports", json=body, **arguments)
        return reply.status_code, reply.json()

    async def get(self, job_id: str, **arguments: Any) -> tuple[int, Any]:
        """Request the events when no stream is expected."""
        reply = await self.http.get(f"/imports/{job_id}/events", **arguments)
        return reply.status_code, reply.json()

    @asynccontextmanager
    async def stream(
        self, job_id: str, **arguments: Any
    ) -> AsyncGenerator[AsyncIterator[tuple[str, Any]], None]:
        async with self.http.stream("GET", f"/imports/{job_id}/events", **arguments) as reply:
            assert reply.status_code == 200
            assert reply.headers["content-type"].startswith("text/event-stream")
            yield server_sent_events(reply)


async def server_sent_events(reply: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """Yield the name and the data of each event, and ":" for each comment."""
    event = ""
    async for line in reply.aiter_lines():
        field, _, value = line.partition(": ")
        if line.startswith(":"):
            yield ":", line
        if field == "event":
            event = value
        elif field == "data":
            yield event, json.loads(value)


@pytest.fixture(autouse=True)
def milvus_uri(fake: FakeMilvus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MILVUS_TOKEN", raising=False)
    monkeypatch.setenv("MILVUS_URI", fake.internal_uri)


@asynccontextmanager
async def serving() -> AsyncGenerator[Service, None]:
    """Run the service; afterwards nothing of it is left, including its client."""
    spec = importlib.util.spec_from_file_location("service", EXAMPLES / "service.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    config = uvicorn.Config(
        example.app, port=0, ws="none", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    async with leaks.nothing_left():
        running = asyncio.create_task(server.serve())
        await until(lambda: server.started or running.done())
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=GUARD, trust_env=False
            ) as http_client:
                yield Service(server, http_client, vars(example))
        finally:
            server.should_exit = True
            await asyncio.wait_for(running, GUARD)


def sent_with(fake: FakeMilvus, request_id: str) -> list[str]:
    """Return the methods that were called for a request."""
    return [call.method for call in fake.received if call.values("x-request-id") == [request_id]]


async def test_post_passes_on_the_deadline_the_id_and_the_idempotency_key(fake: FakeMilvus) -> None:
    headers = {"X-Timeout-Seconds": "500", "X-Request-Id": "r-1", "Idempotency-Key": "k-1"}
    async with serving() as service:
        status, body = await service.post(BOOKS, headers=headers)
    assert (status, list(fake.jobs)) == (202, [body["jobId"]])
    (call,) = fake.received
    assert call.method == "ImportV2"
    assert call.values("x-request-id") == ["r-1"]
    assert call.values("idempotency-key") == ["k-1"]
    assert call.time_remaining is not None
    assert 400 < call.time_remaining < 600


async def test_concurrent_requests_share_the_client_and_keep_their_ids(fake: FakeMilvus) -> None:
    ids = [f"r-{number}" for number in range(20)]
    async with serving() as service:
        replies = await asyncio.gather(
            *(service.post(BOOKS, headers={"X-Request-Id": request_id}) for request_id in ids)
        )
    assert [status for status, _ in replies] == [202] * 20
    assert len({body["jobId"] for _, body in replies}) == 20
    assert [sent_with(fake, request_id) for request_id in ids] == [["ImportV2"]] * 20


async def test_events_sends_each_change_and_ends_with_the_job(fake: FakeMilvus) -> None:
    job = fake.add_job(script=[("Importing", 40), ("Importing", 40), ("Completed", 100)])
    headers = {"X-Timeout-Seconds": "500", "X-Request-Id": "r-1"}
    async with serving() as service, service.stream(job.job_id, headers=headers) as events:
        *progress, last = [event async for event in events]
    changes = [(event, data["state"], data["jobId"]) for event, data in progress]
    assert changes == [
        ("progress", "Importing", job.job_id),
        ("progress", "Completed", job.job_id),
    ]
    assert last == ("end", {"state": "Completed", "error": None})
    assert sent_with(fake, "r-1") == ["GetImportProgress"]
    assert len(fake.received) == 3
    assert 400 < (fake.received[0].time_remaining or 0) < 600


async def test_events_of_an_idle_job_are_comments(
    fake: FakeMilvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    async with serving() as service:
        monkeypatch.setitem(service.names, "HEARTBEAT", 0.05)
        async with service.stream(job.job_id) as events:
            first = [(await anext(events))[0] for _ in range(4)]
            job.state, job.progress = "Completed", 100
            rest = [event async for event, _ in events if event != ":"]
    assert first == ["progress", ":", ":", ":"]
    assert rest == ["progress", "end"]


async def test_streams_of_a_job_share_its_polls(fake: FakeMilvus) -> None:
    job = fake.add_job(state="Importing", progress=40)
    following = list[str]()

    async def read(service: Service, request_id: str) -> list[str]:
        async with service.stream(job.job_id, headers={"X-Request-Id": request_id}) as events:
            names = list[str]()
            async for name, _ in events:
                names.append(name)
                if len(names) == 1:
                    following.append(request_id)
                if len(following) == 10:
                    job.state, job.progress = "Completed", 100
            return names

    async with serving() as service:
        outcomes = await asyncio.gather(*(read(service, f"r-{n}") for n in range(10)))
    assert all(names == ["progress", "progress", "end"] for names in outcomes)
    polls = [call for call in fake.received if not call.values("x-request-id")]
    assert 2 <= len(polls) < 10


async def test_events_ends_with_an_error_that_is_not_transient(fake: FakeMilvus) -> None:
    job = fake.add_job(state="Importing", progress=40)
    async with serving() as service, service.stream(job.job_id) as events:
        event, _ = await anext(events)
        fake.inject("denied")
        assert event == "progress"
        (last,) = [event async for event in events]
    assert last[0] == "end"
    assert last[1]["state"] == "Importing"
    assert "permission deny" in last[1]["error"]


async def test_events_whose_reader_disconnects_leaves_nothing_in_flight(fake: FakeMilvus) -> None:
    job = fake.add_job(state="Importing", progress=40)
    async with serving() as service:
        await service.post(BOOKS)
        before = leaks.holdings()["tasks"]
        async with service.stream(job.job_id) as events:
            await anext(events)
            assert leaks.holdings()["tasks"] > before
        await until(lambda: leaks.holdings()["tasks"] <= before)
        status, _ = await service.post(BOOKS)
    assert status == 202
    assert not any(call.reset for call in fake.received)


async def test_a_shutdown_during_events_leaves_nothing(fake: FakeMilvus) -> None:
    job = fake.add_job(state="Importing", progress=40)
    async with serving() as service, service.stream(job.job_id) as events:
        await anext(events)
        service.server.should_exit = True
        with pytest.raises(httpx.RemoteProtocolError):  # cut, not ended as if it were complete
            await anext(events)


@pytest.mark.parametrize(("job_id", "status"), [("42", 404), ("latest", 400)])
async def test_an_unknown_job_is_404_and_a_bad_job_id_is_400(job_id: str, status: int) -> None:
    async with serving() as service:
        found, body = await service.get(job_id)
    assert found == status
    assert job_id in body["error"]


REQUEST = b'{"collection": "books", "files": ["a"]}'


BAD_REQUESTS: list[tuple[bytes, dict[str, str | bytes], str]] = [
    (b"books", {}, "Expecting value"),
    (b"[]", {}, 'send {"collection"'),
    (b'{"collection": "books"}', {}, 'send {"collection"'),
    (b'{"collection": "", "files": ["a"]}', {}, "collection_name must not be empty"),
    (b'{"collection": "books", "files": "a"}', {}, 'send {"collection"'),
    (b'{"collection": "books", "files": [7]}', {}, 'send {"collection"'),
    (b'{"collection": "books", "files": []}', {}, "files must name at least one file"),
    (REQUEST, {"X-Timeout-Seconds": "soon"}, "soon"),
    (REQUEST, {"X-Timeout-Seconds": "nan"}, "timeout"),
    (REQUEST, {"X-Request-Id": b"\xfc"}, "x-request-id"),
    (REQUEST, {"Idempotency-Key": "k" * 300}, "idempotency_key"),
]


async def test_a_bad_request_is_400_and_nothing_is_sent(fake: FakeMilvus) -> None:
    async with serving() as service:
        for content, headers, words in BAD_REQUESTS:
            status, body = await service.post(content=content, headers=headers)
            assert (status, words) == (400, words if words in body["error"] else body["error"])
    assert fake.received == []


async def test_a_milvus_that_does_not_listen_is_503(fake: FakeMilvus) -> None:
    await fake.stop()
    async with serving() as service:
        replies = [await service.post(BOOKS), await service.get("42")]
    assert [status for status, _ in replies] == [503, 503]
    assert all(f"127.0.0.1:{fake.internal_port}" in body["error"] for _, body in replies)


async def test_a_milvus_that_hangs_is_504_at_the_deadline_of_the_request(fake: FakeMilvus) -> None:
    fake.inject("hang", times=None)
    headers = {"X-Timeout-Seconds": str(0.5 * SCALE)}
    async with serving() as service:
        replies = [
            await service.post(BOOKS, headers=headers),
            await service.get("42", headers=headers),
        ]
    assert [status for status, _ in replies] == [504, 504]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("not-ready", 503),
        ("job-limit", 503),
        ("rate-limit", 429),
        ("denied", 502),
        ("no-collection", 502),
    ],
)
async def test_other_errors_are_503_if_transient_and_502_if_not(
    fake: FakeMilvus, fault: str, expected: int
) -> None:
    fake.inject(fault)
    async with serving() as service:
        status, body = await service.post(BOOKS)
    assert (status, body["mayHaveRun"]) == (expected, False)


async def test_retry_after_of_rest_is_passed_on(fake: FakeMilvus) -> None:
    page = HttpResponse(status=429, body=b"slow down", headers=(("Retry-After", "7"),))
    fake.inject(Fault(http=page))
    async with serving() as service:
        async with ImportClient(fake.rest_uri, service="rest") as client:
            with pytest.raises(UnavailableError) as caught:
                await client.create_import("books", ["a.parquet"])
        response = await service.names["import_error"](None, caught.value)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")


async def test_an_error_of_the_service_itself_is_500(
    fake: FakeMilvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as service:

        def broken() -> uuid.UUID:
            raise ValueError("a bug of the service")

        monkeypatch.setattr(uuid, "uuid4", broken)
        reply = await service.http.post("/imports", json=BOOKS)
    assert reply.status_code == 500
    assert "a bug" not in reply.text
    assert list(fake.received) == []
