"""Imports on a real Milvus, from create_import to the rows in the collection."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from real_place import Place

from milvus_import import (
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    JobNotFoundError,
    MilvusStatusError,
    UnsupportedServerError,
)

pytestmark = pytest.mark.anyio


@pytest.mark.timeout(120)
async def test_watch_and_wait_follow_an_import_of_200_000_rows(place: Place) -> None:
    books = await place.collection()
    job_id = await place.client.create_import(books, [await place.rows_file(200_000)])
    seen = [progress async for progress in place.client.watch(job_id, interval=0.2)]
    last = await place.client.wait(job_id)
    assert last == seen[-1]
    assert (last.state, last.progress, last.imported_rows) == ("Completed", 100, 200_000)
    assert (last.service, last.collection_name, last.reason) == ("public", books, "")
    assert {progress.state for progress in seen[:-1]} <= {"Pending", "Importing"}
    assert [progress.progress for progress in seen] == sorted(p.progress for p in seen)
    assert await place.count_rows(books) == 200_000


@pytest.mark.timeout(120)
async def test_wait_all_of_six_jobs_returns_six_completed_jobs(place: Place) -> None:
    books = await place.collection()
    path = await place.rows_file(1_000)
    job_ids = [await place.client.create_import(books, [path]) for _ in range(6)]
    ended: list[str] = []
    outcomes = await place.client.wait_all(
        job_ids, on_progress=lambda job: ended.append(job.job_id) if job.done else None
    )
    assert list(outcomes) == job_ids
    assert sorted(ended) == sorted(job_ids)
    for outcome in outcomes.values():
        assert isinstance(outcome, ImportProgressData)
        assert (outcome.state, outcome.imported_rows) == ("Completed", 1_000)
    assert await place.count_rows(books) == 6_000

    listed = await place.client.list_imports(books)
    assert [job.job_id for job in listed] == sorted(job_ids, key=int)
    assert {(job.state, job.progress, job.collection_name) for job in listed} == {
        ("Completed", 100, books)
    }
    everything = await place.client.list_imports()
    assert {job.job_id for job in everything} >= set(job_ids)


_FAULTY: dict[str, tuple[Callable[[Place], str], str]] = {
    "missing": (lambda place: str(place.folder / "nowhere.json"), "no such file or directory"),
    "truncated": (lambda place: place.file("cut.json", '{"rows":[{"id":1,'), "failed to parse"),
    "no JSON": (lambda place: place.file("text.json", "hello"), "failed to decode the JSON file"),
    "wrong dimension": (
        lambda place: place.file("dim.json", '{"rows":[{"id":1,"v":[1,2,3]}]}'),
        "doesn't equal to vector dimension",
    ),
    "unknown suffix": (lambda place: place.file("rows.txt", "1"), "unsupported file type"),
}


@pytest.mark.parametrize("fault", _FAULTY)
async def test_a_faulty_file_raises_import_failed_error_with_the_reason_of_the_server(
    place: Place, fault: str
) -> None:
    make, reason = _FAULTY[fault]
    job_id = await place.client.create_import(await place.collection(), [make(place)])
    with pytest.raises(ImportFailedError, match=reason) as caught:
        await place.client.wait(job_id)
    assert reason in caught.value.progress.reason
    assert job_id in str(caught.value)


async def test_a_missing_collection_is_reported_within_the_timeout(
    place: Place, scale: float
) -> None:
    timeout = 5.0 * scale
    start = time.monotonic()
    with pytest.raises(
        MilvusStatusError, match=r"(?s)collection not found.*Check the collection's"
    ):
        await place.client.create_import("nosuch", ["/nowhere.json"], timeout=timeout)
    assert time.monotonic() - start < timeout


async def test_the_server_rejects_two_json_files_in_one_group(place: Place) -> None:
    with pytest.raises(MilvusStatusError, match="only accepts one file") as caught:
        await place.client.create_import(await place.collection(), [["/a.json", "/b.json"]])
    assert (caught.value.code, caught.value.service) == (65535, "public")


async def test_two_file_groups_are_an_error_before_anything_is_sent(place: Place) -> None:
    books = await place.collection()
    with pytest.raises(UnsupportedServerError, match="one job"):
        await place.client.create_import(books, ["/a.json", "/b.json"])
    assert await place.client.list_imports(books) == []


async def test_an_unknown_job_and_an_unknown_collection_raise_different_errors(
    place: Place,
) -> None:
    with pytest.raises(JobNotFoundError, match="Check the job id") as caught:
        await place.client.get_import_progress("12345")
    assert caught.value.code == 1000
    with pytest.raises(MilvusStatusError, match="Check the collection's name") as unknown:
        await place.client.list_imports("nosuch")
    assert unknown.value.code == 100


async def test_wait_all_returns_a_result_a_failure_and_an_unknown_job(place: Place) -> None:
    books = await place.collection()
    good = await place.client.create_import(books, [await place.rows_file(1_000)])
    bad = await place.client.create_import(books, ["/nowhere.json"])
    outcomes = await place.client.wait_all([good, bad, "12345"], interval=0.5)
    kinds = [type(outcome) for outcome in outcomes.values()]
    assert kinds == [ImportProgressData, ImportFailedError, JobNotFoundError]


async def test_check_returns_public_on_the_public_port(place: Place) -> None:
    assert await place.client.check() == "public"
    async with ImportClient(place.server.uri, service="public") as client:
        assert await client.check() == "public"
