"""Which event loop and which process a REST client belongs to."""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import Any

from milvus_import import CallError, ImportClient, UnavailableError

JOB = "450000000000000001"
NOBODY = "http://127.0.0.1:9"


def connect(uri: str, **options: Any) -> ImportClient:
    return ImportClient(uri, service="rest", **options)


def test_client_belongs_to_its_loop_until_that_is_closed() -> None:
    client = connect(NOBODY)

    async def call() -> type[Exception]:
        try:
            await client.get_import_progress(JOB)
        except Exception as error:  # noqa: BLE001
            return type(error)
        raise AssertionError

    first = asyncio.new_event_loop()
    assert first.run_until_complete(call()) is UnavailableError
    assert asyncio.run(call()) is RuntimeError
    first.close()
    assert asyncio.run(call()) is UnavailableError
    asyncio.run(client.close())


def test_open_client_in_a_forked_process_raises_runtime_error() -> None:
    client = connect(NOBODY)
    fresh = connect(NOBODY)

    async def outcome(of: ImportClient) -> str:
        try:
            await of.get_import_progress(JOB)
        except (RuntimeError, CallError) as error:
            return type(error).__name__
        return "no error"

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(outcome(client)) == "UnavailableError"
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pytest-xdist has threads
        child = os.fork()
    if not child:
        names = [asyncio.run(outcome(of)) for of in (client, fresh)]
        os.write(writer, " ".join(names).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as report:
        assert report.read() == "RuntimeError UnavailableError"
    loop.run_until_complete(client.close())
    loop.close()
