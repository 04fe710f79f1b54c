"""service="auto" returns to the internal service after a response that was not the server's own."""

from __future__ import annotations

import grpc
import pytest
from replay import PROXY, PUBLIC, Replay, Reply, Table, ok
from times import TICK, until

from milvus_import import CallError, ImportClient
from milvus_import._services import _select
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

INTERNAL_REPLY = internal_pb2.GetImportProgressResponse(
    status=common_pb2.Status(), state=internal_pb2.Importing
)
PUBLIC_REPLY = milvus_pb2.GetImportStateResponse(
    status=common_pb2.Status(), state=common_pb2.ImportStarted
)


@pytest.mark.parametrize("status", ["UNIMPLEMENTED", "404"])
async def test_the_internal_service_is_called_again_after_a_passing_unimplemented(
    status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that serves both services is reloaded, and returns one such response."""
    monkeypatch.setattr(_select, "RECHECK_INTERVAL", TICK * 5)
    details = (
        "unknown method"
        if status == "UNIMPLEMENTED"
        else ("Received http2 header with status: 404")
    )
    broken = False

    def respond(path: str, request: bytes) -> Reply:
        if path.startswith(PUBLIC):
            return ok(PUBLIC_REPLY)
        if broken:
            return Reply(grpc.StatusCode.UNIMPLEMENTED, details)
        return ok(INTERNAL_REPLY)

    table: Table = respond
    async with Replay(table) as server, ImportClient(server.uri) as client:
        services = [(await client.get_import_progress("7")).service]
        broken = True
        services.append((await client.get_import_progress("7")).service)
        broken = False
        services.append((await client.get_import_progress("7")).service)
        assert services == ["internal", "public", "public"]

        async def last() -> str:
            return (await client.get_import_progress("7")).service

        calls = len(server.received)
        while await last() != "internal":
            assert len(server.received) - calls < 1_000
        assert await last() == "internal"


async def test_the_public_service_stays_first_if_the_internal_one_never_worked() -> None:
    async with (
        Replay({f"{PUBLIC}GetImportState": ok(PUBLIC_REPLY)}) as server,
        ImportClient(server.uri) as client,
    ):
        for _ in range(5):
            assert (await client.get_import_progress("7")).service == "public"
        internal = [r for r in server.received if r.method.startswith(PROXY)]
        assert len(internal) == 1


async def test_a_write_falls_back_on_unimplemented_alone() -> None:
    """A response without a gRPC status may come after the server ran the request."""
    path = f"{PROXY}ImportV2"
    table = {
        path: Reply(grpc.StatusCode.UNKNOWN, "No status received"),
        f"{PUBLIC}Import": ok(milvus_pb2.ImportResponse(status=common_pb2.Status(), tasks=[1])),
    }
    async with Replay(table) as server, ImportClient(server.uri) as client:
        with pytest.raises(CallError) as raised:
            await client.create_import("books", ["a.parquet"])
        await until(lambda: bool(server.received))
    assert raised.value.may_have_run
    assert [received.method for received in server.received] == [path]
