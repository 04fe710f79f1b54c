"""Credentials, on a real Milvus and on the simulated one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, NamedTuple

import pytest
from real_milvus import RealMilvus

from milvus_import import (
    ImportClient,
    JobNotFoundError,
    UnauthenticatedError,
    UnsupportedServerError,
)
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio


class Ports(NamedTuple):
    public: str
    internal: str


@pytest.fixture(scope="module")
def guarded_server() -> Generator[RealMilvus, None, None]:
    with RealMilvus(authorization=True) as server:
        yield server


@pytest.fixture(params=["real", "simulated"])
async def guarded(request: pytest.FixtureRequest) -> AsyncGenerator[Ports, None]:
    """A server that requires credentials; the simulated one must respond in the same way."""
    if request.param == "real":
        server: RealMilvus = request.getfixturevalue("guarded_server")
        yield Ports(server.uri, server.internal_uri)
    else:
        async with FakeMilvus(version="2.3", token="root:Milvus") as fake:
            yield Ports(fake.public_uri, fake.internal_uri)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({}, "missing authorization.*Pass token=", id="missing"),
        pytest.param({"token": "root:nope"}, "auth check failure.*Check the user", id="wrong"),
        pytest.param({"token": "a-key"}, "auth check failure.*Check the user", id="wrong key"),
        pytest.param(
            {"metadata": {"authorization": "Bearer cm9vdDpNaWx2dXM="}},
            "invalid token format.*without 'Bearer'",
            id="malformed",
        ),
    ],
)
async def test_wrong_credentials_raise_unauthenticated_error_with_a_hint(
    guarded: Ports, arguments: dict[str, Any], words: str
) -> None:
    async with ImportClient(guarded.public, **arguments) as client:
        for attempt in (client.check(), client.get_import_progress("12345")):
            with pytest.raises(UnauthenticatedError, match=words) as caught:
                await attempt
            assert "nope" not in str(caught.value)
        with pytest.raises(UnauthenticatedError, match=words):
            await client.create_import("books", ["/a.json"])


@pytest.mark.parametrize(
    "credentials",
    [{"token": "root:Milvus"}, {"user": "root", "password": "Milvus"}],
    ids=["token", "user and password"],
)
async def test_valid_credentials_get_a_response(
    guarded: Ports, credentials: dict[str, Any]
) -> None:
    async with ImportClient(guarded.public, **credentials) as client:
        assert await client.check() == "public"
        with pytest.raises(JobNotFoundError) as caught:
            await client.get_import_progress("12345")
        assert caught.value.service == "public"


async def test_the_internal_port_of_2_3_is_named_in_the_hint(guarded: Ports) -> None:
    async with ImportClient(guarded.internal, token="root:Milvus") as client:
        for attempt in (client.check(), client.get_import_progress("12345")):
            with pytest.raises(UnsupportedServerError, match=r"internal port of Milvus 2\.3"):
                await attempt
