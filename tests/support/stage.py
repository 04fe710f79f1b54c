"""Serves recorded responses to one client per service, and calls its public methods."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import web
from network import closed_port
from recordings import Recording, Service
from replay import PROXY, PUBLIC, Replay, ok
from times import GUARD, SCALE

from milvus_import import ImportClient
from milvus_import_pb import internal_pb2, milvus_pb2

_TOKEN = "root:Milvus"
_SILENCE = 0.2 * SCALE
"""The timeout of a call that receives no response."""
_NO_CONNECTION = frozenset({"refused", "reset", "silent"})
_WITH_OWN_CLIENT = _NO_CONNECTION | {"http 404", "grpc UNIMPLEMENTED"}
_COMPLETED: dict[Service, Any] = {
    "internal": ok(internal_pb2.GetImportProgressResponse(state=internal_pb2.Completed)),
    "public": ok(milvus_pb2.GetImportStateResponse(row_count=1)),
    "rest": web.COMPLETED,
}
_PROGRESS = {"internal": PROXY + "GetImportProgress", "public": PUBLIC + "GetImportState"}


class Stage:
    """``async with Stage() as stage``; clients are created when they are needed.

    Each client has had a successful response, so that no result depends on the order of the calls.
    Where a client that has had one would not be in that situation, ``client()`` returns a new one.
    """

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self._clients: dict[tuple[Service, bool], ImportClient] = {}
        self._grpc = await self._stack.enter_async_context(Replay({}))
        self._web = await self._stack.enter_async_context(web.serving(web.NO_ROUTE))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def client(self, recording: Recording) -> AsyncGenerator[ImportClient, None]:
        """Yield a client whose next calls receive the recorded response."""
        kind = recording.failure.kind if recording.failure else ""
        if kind in _NO_CONNECTION:
            async with _no_response(kind) as uri, _connect(uri, recording) as client:
                yield client
        elif kind in _WITH_OWN_CLIENT or recording.path.endswith("get_progress"):
            async with _connect(self._serve(recording), recording) as client:
                yield client
        else:
            client = await self._shared_client(recording)
            self._serve(recording)
            yield client

    def last_path(self) -> str:
        """Return the path of the last request to REST."""
        return self._web.requests[-1].path

    async def _shared_client(self, recording: Recording) -> ImportClient:
        key = (recording.service, recording.authorized)
        if key not in self._clients:
            response = _COMPLETED[recording.service]
            if recording.rest:
                self._web.replies[:] = [response]
            else:
                self._grpc.replies = {_PROGRESS[recording.service]: response}
            uri = self._web.uri if recording.rest else self._grpc.uri
            client = await self._stack.enter_async_context(_connect(uri, recording))
            await client.get_import_progress("1", timeout=GUARD)
            self._clients[key] = client
        return self._clients[key]

    def _serve(self, recording: Recording) -> str:
        """Make a server respond as recorded; return its URI."""
        if recording.rest:
            older = recording.path.endswith("get_progress")
            self._web.replies[:] = [web.NO_ROUTE] * older + [recording.http_response]
            self._web.requests.clear()
            return self._web.uri
        self._grpc.replies = {recording.path: recording.grpc_reply}
        return self._grpc.uri


async def call(client: ImportClient, recording: Recording) -> Any:
    """Call the method of the client that sends such a request."""
    silent = recording.failure is not None and recording.failure.kind == "silent"
    timeout = _SILENCE if silent else GUARD
    if recording.call == "list_imports":
        return await client.list_imports(recording.collection, timeout=timeout)
    if recording.call == "create_import":
        return await client.create_import("books", ["/data/files/a.json"], timeout=timeout)
    if recording.call in {"commit_import", "abort_import"}:
        return await getattr(client, recording.call)(recording.job_id, timeout=timeout)
    return await client.get_import_progress(
        recording.job_id, metadata=recording.metadata, timeout=timeout
    )


def _connect(uri: str, recording: Recording) -> ImportClient:
    token = _TOKEN if recording.authorized else ""
    return ImportClient(uri, service=recording.service, token=token)


@asynccontextmanager
async def _no_response(kind: str) -> AsyncGenerator[str, None]:
    """Yield the URI of a port that refuses, resets, or accepts and sends nothing."""
    if kind == "refused":
        with closed_port() as port:
            yield f"http://127.0.0.1:{port}"
        return
    async with web.serving(web.CLOSE if kind == "reset" else web.HANG) as server:
        yield server.uri
