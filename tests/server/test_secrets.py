"""No secret in any repr, str, log record, CallRecord, traceback or output of the command line.

Tokens, passwords, metadata values, private keys and secret import options are passed everywhere;
then all output of the package is searched for them, in every encoding. Tracebacks are searched
with the local variables of the frames, because error reporters send those.
"""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import grpc
import interceptors
import pytest
from certificates import make_certificates
from traces import frames
from watching import changes, job_changes
from web import error_of

import milvus_import
from milvus_import import (
    ArgumentError,
    BucketCredentials,
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
WITH_PASSWORD = f"http://{TOKEN}@127.0.0.1:1"
METADATA: dict[str, str | bytes | None] = {"x-secret": VALUE, "x-secret-bin": BINARY}


def found(shown: str) -> list[str]:
    """Return the secrets in a text."""
    return [spelling for spelling in SPELLINGS if spelling in shown]


Method = Callable[[ImportClient, Any], Awaitable[Any]]


FAST: dict[str, Any] = {"timeout": 1, "interval": 0.01}
METHODS: dict[str, Method] = {
    "get_import_progress": lambda client, call: client.get_import_progress(JOB, **call),
    "check": lambda client, call: client.check(**call),
    "list_imports": lambda client, call: client.list_imports("books", **call),
    "create_import": lambda client, call: client.create_import(
        "books", ["a.parquet"], options={"ezk": OPTION}, idempotency_key="7", **call
    ),
    "watch": lambda client, call: changes(client.watch(JOB, **FAST, **call)),
    "wait": lambda client, call: client.wait(JOB, timeout=1, max_outage=0, **call),
    "watch_all": lambda client, call: job_changes(client.watch_all([JOB], **FAST, **call)),
    "wait_all": lambda client, call: client.wait_all([JOB], timeout=1, max_outage=0, **call),
}


@pytest.mark.parametrize("fault", ["", "denied", "not-ready", "garbage", "job-limit", "aborted"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
async def test_no_output_of_a_call_contains_a_secret(
    fake: FakeMilvus, caplog: pytest.LogCaptureFixture, method: Method, fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.token = TOKEN
    fake.trailing_metadata = (("x-of-the-server", VALUE),)
    fake.add_job(job_id=JOB, script=[("Importing", 40), ("Completed", 100)])
    if fault:
        fake.inject(fault, times=None)
    records: list[CallRecord] = []
    shown: list[str] = []
    async with ImportClient(fake.internal_uri, token=TOKEN, metadata=METADATA) as client:
        try:
            result = await method(client, {"metadata": METADATA, "on_finish": records.append})
        except MilvusImportError as error:
            shown += [str(error), repr(error), repr(getattr(error, "record", None))]
            shown += frames(error, milvus_import, grpc)
        else:
            assert not fault or method is METHODS["wait_all"]  # it returns the error of each job
            shown += [str(result), repr(result)]
            if fault:
                shown += frames(result[JOB], milvus_import, grpc)
    assert records
    assert VALUE in str(fake.received[0].metadata)  # all metadata was sent
    shown += [repr(client), str(client), *map(repr, records), *map(str, records), caplog.text]
    assert found("\n".join(shown)) == []


async def test_no_frame_around_an_interceptor_that_raises_contains_a_secret(
    fake: FakeMilvus,
) -> None:
    """The frames of gRPC do: it owns what it receives."""
    options: dict[str, Any] = {"interceptors": [interceptors.Raise(LookupError())]}
    async with ImportClient(fake.internal_uri, token=TOKEN, metadata=METADATA, **options) as client:
        call = METHODS["create_import"](client, {"metadata": METADATA})
        error = await error_of(call, LookupError)
    assert found("\n".join(frames(error))) == []


@pytest.mark.parametrize(
    "service", ["internal", "public", "rest", pytest.param("cloud", id="rest cloud")]
)
async def test_no_frame_of_a_create_that_is_too_large_contains_a_secret(service: Any) -> None:
    cloud: dict[str, Any] = {"cluster_id": "in01-1"} if service == "cloud" else {}
    given: dict[str, Any] = {"options": {"ezk": OPTION}}
    if cloud:
        given = {"storage": BucketCredentials("key", PASSWORD)}
    files = [f"https://bucket.example/{'x' * 900}{number}.npy" for number in range(2000)]
    async with ImportClient("http://127.0.0.1:1", token=TOKEN, service=service, **cloud) as client:
        call = client.create_import("books", [files], metadata={"x-secret": VALUE}, **given)
        error = await error_of(call, ArgumentError, r"1\.4 MiB")
    shown = frames(error, milvus_import, grpc)
    assert any(frame.startswith("call: ") for frame in shown)
    assert found("\n".join(shown)) == []


@pytest.mark.parametrize("service", ["internal", pytest.param("rest", id="rest")])
@pytest.mark.parametrize(
    "wrong", [{"a": "\u00e9"}, {"a-bin": "b"}, {"a": b"b"}, {"te": "b"}, ["ab"]]
)
async def test_no_frame_of_wrong_metadata_contains_the_token(service: Any, wrong: Any) -> None:
    async with ImportClient("http://127.0.0.1:1", token=TOKEN, service=service) as client:
        call = client.get_import_progress(JOB, metadata=wrong)
        error = await error_of(call, (ArgumentError, TypeError))
    assert found("\n".join(frames(error))) == []


@pytest.mark.parametrize(
    ("service", "options"),
    [
        ("internal", {"metadata": METADATA, "compression": grpc.Compression.Deflate}),
        pytest.param("rest", {"metadata": {"x-secret": f"{VALUE} "}}, id="rest"),
    ],
)
async def test_no_frame_of_a_rejected_option_has_a_secret(service: Any, options: Any) -> None:
    async with ImportClient("http://127.0.0.1:1", token=TOKEN, service=service) as client:
        error = await error_of(client.get_import_progress(JOB, **options), ArgumentError)
    assert found("\n".join(frames(error))) == []


async def test_no_output_of_the_function_contains_a_secret() -> None:
    option = GetImportProgressOption("http://127.0.0.1:1", JOB, user="root", password=PASSWORD)
    error = await error_of(get_import_progress(option, metadata=METADATA))
    shown = [repr(option), str(error), *frames(error, milvus_import, grpc)]
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
        {"uri": WITH_PASSWORD},
    ],
)
def test_argument_errors_do_not_contain_the_secret(connect: dict[str, Any]) -> None:
    options: dict[str, Any] = {name: connect[name] for name in connect if name != "uri"}
    uri = connect.get("uri", "http://127.0.0.1:1")
    with pytest.raises((ValueError, TypeError)) as caught:
        ImportClient(uri, **options)
    shown = "".join(traceback.format_exception(caught.value))
    assert found(shown) == []
    assert frames(caught.value)  # a client that was not created has a repr, too
    if not options:
        with pytest.raises(ValueError, match="credentials") as of_option:
            GetImportProgressOption(WITH_PASSWORD, JOB)
        assert found("".join(traceback.format_exception(of_option.value))) == []


def test_no_repr_or_error_contains_a_certificate() -> None:
    key, cert = make_certificates().client
    shown = repr(TLSConfig(ca=cert, cert=cert, key=key))
    assert "BEGIN" not in shown
    with pytest.raises(ValueError, match="no PEM block") as caught:
        TLSConfig(ca=PASSWORD.encode(), cert=cert, key=key).credentials()
    assert found("".join(traceback.format_exception(caught.value))) == []


@pytest.mark.parametrize("fault", ["", "denied"])
async def test_no_output_of_the_command_line_contains_a_secret(
    fake: FakeMilvus, fault: str, scale: float
) -> None:
    """The other commands: test_cli.py."""
    arguments = ("create", "books", "a.parquet", "--option", f"ezk={OPTION}")
    fake.token = TOKEN
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
