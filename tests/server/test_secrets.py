"""No secret in any repr, str, log line, record, traceback or output of the command line.

Tokens, passwords, metadata values, private keys and secret import options are planted everywhere;
then all that the package shows is searched for them, in every spelling. Tracebacks are searched
with the variables of our frames, because that is what error reporters send away.
"""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import grpc
import leaks
import pytest
from certificates import make_certificates

import milvus_import
from milvus_import import (
    CallOptions,
    CallRecord,
    GetImportProgressOption,
    ImportClient,
    MilvusImportError,
    TLSConfig,
    get_import_progress,
)
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

JOB = "449839014328146739"
PASSWORD = "Passw0rd-4711"
TOKEN = f"root:{PASSWORD}"
VALUE = "Va1ue-of-metadata"
BINARY = b"Va1ue-in-bytes"
OPTION = "0ption-that-is-secret"
PLANTED = (PASSWORD, VALUE, BINARY.decode(), OPTION)
SPELLINGS = (
    *PLANTED,
    *(base64.b64encode(text.encode()).decode().rstrip("=") for text in (TOKEN, *PLANTED)),
)
METADATA: dict[str, str | bytes | None] = {"x-secret": VALUE, "x-secret-bin": BINARY}


def found(shown: str) -> list[str]:
    """The secrets in a text."""
    return [spelling for spelling in SPELLINGS if spelling in shown]


def frames(error: BaseException, *packages: ModuleType) -> list[str]:
    """The packages' frames that an error and its causes have passed, with their variables."""
    folders = tuple(str(Path(package.__file__ or "").parent) for package in packages)
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    links, found = [told], list[str]()
    while links:
        link = links.pop()
        links += [cause for cause in (link.__cause__, link.__context__) if cause is not None]
        found += [
            f"{frame.name}: {frame.locals}"
            for frame in link.stack
            if frame.filename.startswith(folders)
        ]
    assert found, "no frame of these packages"
    return found


def our_frames(error: BaseException) -> list[str]:
    """Those of this package and of gRPC's."""
    return frames(error, milvus_import, grpc)


Ask = Callable[[ImportClient, CallOptions], Awaitable[Any]]


async def watch(client: ImportClient, call: CallOptions) -> None:
    async for _ in client.watch(JOB, timeout=1, interval=0.01, call=call):
        pass


async def watch_all(client: ImportClient, call: CallOptions) -> None:
    async for _ in client.watch_all([JOB], timeout=1, interval=0.01, call=call):
        pass


ASKS: dict[str, Ask] = {
    "get_import_progress": lambda client, call: client.get_import_progress(JOB, **call),
    "check": lambda client, call: client.check(**call),
    "list_imports": lambda client, call: client.list_imports("books", **call),
    "create_import": lambda client, call: client.create_import(
        "books", ["a.parquet"], options={"ezk": OPTION}, idempotency_key="7", **call
    ),
    "watch": watch,
    "wait": lambda client, call: client.wait(JOB, timeout=1, max_outage=0, call=call),
    "watch_all": watch_all,
    "wait_all": lambda client, call: client.wait_all([JOB], timeout=1, max_outage=0, call=call),
}


@pytest.mark.parametrize("fault", ["", "denied", "not-ready", "garbage", "job-limit", "aborted"])
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_nothing_that_a_call_shows_holds_a_secret(
    fake: FakeMilvus, caplog: pytest.LogCaptureFixture, ask: Ask, fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.token = TOKEN
    fake.trailing_metadata = (("x-of-the-server", VALUE),)
    fake.add_job(job_id=JOB, script=[("Importing", 40), ("Completed", 100)])
    if fault:
        fake.inject(fault, times=None)
    records: list[CallRecord] = []
    shown: list[str] = []
    client = ImportClient(fake.internal_uri, token=TOKEN, metadata=METADATA)
    async with client:
        try:
            answer = await ask(client, {"metadata": METADATA, "on_finish": records.append})
        except MilvusImportError as error:
            shown += [str(error), repr(error), repr(getattr(error, "record", None))]
            shown += our_frames(error)
        else:
            assert not fault or ask is ASKS["wait_all"]  # which returns each job's error
            shown += [str(answer), repr(answer)]
            if fault:
                shown += our_frames(answer[JOB])
    assert records
    assert VALUE in str(fake.received[0].metadata)  # it was sent, and with it all the others
    shown += [repr(client), str(client), *map(repr, records), *map(str, records), caplog.text]
    assert found("\n".join(shown)) == []


async def test_our_frame_around_an_interceptor_that_raises_holds_none(fake: FakeMilvus) -> None:
    """gRPC's own frames do: what they are given is not ours to take away."""
    client = ImportClient(
        fake.internal_uri, token=TOKEN, metadata=METADATA, interceptors=[interceptors.Raise(LookupError())]
    )
    async with client:
        with pytest.raises(LookupError) as caught:
            await ASKS["create_import"](client, {"metadata": METADATA})
    assert found("\n".join(frames(caught.value, milvus_import))) == []


async def test_the_function_form_shows_no_secret() -> None:
    option = GetImportProgressOption("http://127.0.0.1:1", JOB, user="root", password=PASSWORD)
    with pytest.raises(MilvusImportError) as caught:
        await get_import_progress(option, metadata=METADATA)
    shown = [repr(option), str(caught.value), *our_frames(caught.value)]
    assert found("\n".join(shown)) == []


@pytest.mark.parametrize(
    "connect",
    [
        {"token": TOKEN, "metadata": {"x-secret": VALUE + "\n"}},
        {"token": TOKEN, "metadata": {"x-secret-bin": VALUE}},
        {"token": TOKEN, "metadata": [("x-secret", VALUE, 1)]},
        {"token": TOKEN, "user": "root", "password": PASSWORD},
        {"token": TOKEN + "\ud800"},
        {"user": "root", "password": PASSWORD + "\ud800"},
        {"password": PASSWORD},
        {"tls": {"key": PASSWORD}},
    ],
)
def test_what_is_refused_is_refused_without_showing_it(connect: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        ImportClient("http://127.0.0.1:1", **connect)
    shown = "".join(traceback.format_exception(caught.value))
    assert found(shown) == []
    assert frames(caught.value, milvus_import)  # a client that was refused has a repr, too


def test_a_uri_with_a_password_is_not_shown() -> None:
    uri = f"http://{TOKEN}@127.0.0.1:1"
    with pytest.raises(ValueError, match="credentials") as of_client:
        ImportClient(uri)
    with pytest.raises(ValueError, match="credentials") as of_option:
        GetImportProgressOption(uri, JOB)
    for caught in (of_client, of_option):
        assert found("".join(traceback.format_exception(caught.value))) == []


def test_certificates_are_not_shown() -> None:
    key, cert = make_certificates().client
    shown = repr(TLSConfig(ca=cert, cert=cert, key=key))
    assert "BEGIN" not in shown
    with pytest.raises(ValueError, match="no PEM block") as caught:
        TLSConfig(ca=PASSWORD.encode(), cert=cert, key=key).credentials()
    assert found("".join(traceback.format_exception(caught.value))) == []


@pytest.mark.parametrize("fault", ["", "denied", "unavailable"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("get", JOB),
        ("get", JOB, "--json"),
        ("watch", JOB, "--json"),
        ("wait", JOB, "--timeout", "1"),
        ("list",),
        ("create", "books", "a.parquet", "--option", f"ezk={OPTION}"),
    ],
    ids=" ".join,
)
async def test_the_command_line_shows_no_secret(
    fake: FakeMilvus, arguments: tuple[str, ...], fault: str, scale: float
) -> None:
    fake.token = TOKEN
    fake.add_job(job_id=JOB, state="Completed", progress=100)
    if fault:
        fake.inject(fault, times=None)
    environment = os.environ | {"MILVUS_URI": fake.public_uri, "MILVUS_TOKEN": TOKEN}
    command = [sys.executable, "-P", "-m", "milvus_import", *arguments]
    with anyio.fail_after(30 * scale):
        done = await anyio.run_process(
            command, check=False, env=environment, stderr=subprocess.STDOUT
        )
    shown = done.stdout.decode()
    assert shown
    assert "Traceback" not in shown
    assert found(shown) == []
