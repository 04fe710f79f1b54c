"""list_imports, and which databases it covers, over real sockets."""

from __future__ import annotations

import pytest
from watching import both_services, uri_of

from milvus_import import ArgumentError, ImportClient, MilvusStatusError, UnsupportedServerError
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio


@both_services
async def test_list_imports_is_sorted_by_id(
    fake: FakeMilvus, client: ImportClient, service: str
) -> None:
    fake.version = "2.3" if service == "public" else "2.6"  # these list the ids
    for job_id in ("100", "9", "20"):
        fake.add_job(job_id=job_id, state="Failed", reason=f"bad {job_id}", progress=3)
    fake.add_job(job_id="30", collection_name="films")
    jobs = await client.list_imports()
    assert [job.job_id for job in jobs] == ["9", "20", "30", "100"]
    assert (jobs[0].state, jobs[0].progress, jobs[0].reason) == ("Failed", 3, "bad 9")
    assert [job.job_id for job in await client.list_imports("films")] == ["30"]
    assert await client.list_imports("nothing") == []


async def test_list_imports_sends_the_database(fake: FakeMilvus, client: ImportClient) -> None:
    await client.list_imports("books", db_name="library")
    assert fake.received[-1].request.db_name == "library"
    assert fake.received[-1].values("dbname") == ["library"]


async def test_list_imports_of_an_unknown_collection_has_a_hint(
    fake: FakeMilvus, client: ImportClient
) -> None:
    fake.inject("no-collection", method="ListImports")
    with pytest.raises(MilvusStatusError) as caught:
        await client.list_imports("nosuch")
    assert caught.value.hint.startswith("Check the collection's name")


@both_services
async def test_list_imports_of_a_database_needs_a_collection_or_all_databases(
    fake: FakeMilvus, service: str
) -> None:
    fake.version = "2.3" if service == "public" else "2.6"  # these list the ids
    fake.add_job(job_id="7", db_name="library")
    uri = uri_of(fake, service)
    async with ImportClient(f"{uri}/library") as bound, ImportClient(uri) as unbound:
        with pytest.raises(ArgumentError, match="all_databases=True"):
            await bound.list_imports()
        with pytest.raises(ArgumentError, match="all_databases=True"):
            await unbound.list_imports(db_name="library")
        with pytest.raises(ArgumentError, match="all_databases=True"):
            bound.watch_all()
        assert list(fake.received) == []
        assert [job.job_id for job in await bound.list_imports(all_databases=True)] == ["7"]
        assert [job.job_id for job in await bound.list_imports(db_name="")] == ["7"]
        assert [job.job_id for job in await unbound.list_imports()] == ["7"]
        bound.watch_all(all_databases=True)
        bound.watch_all(["7"])
        bound.watch_all(collection_name="books")


@pytest.mark.parametrize("service", ["public"])
async def test_list_imports_without_ids_names_the_rest_service(
    fake: FakeMilvus, client: ImportClient
) -> None:
    assert await client.list_imports() == []
    fake.add_job()
    with pytest.raises(UnsupportedServerError, match="the listed tasks have no ids") as caught:
        await client.list_imports()
    assert caught.value.hint.startswith("Create the client with service='rest' or use port 19529")
