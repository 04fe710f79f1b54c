"""Environment variables and limits of the process: proxies, root CAs, open files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
import web
from certificates import make_certificates
from command_line import invoke
from network import closed_port
from times import GUARD
from web import IMPORTING, JOB, error_of

from milvus_import import ArgumentError, ImportClient, TLSConfig, UnavailableError
from milvus_import._errors import hint_of
from milvus_import._hints import Hint
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

ELSEWHERE = "milvus.invalid"
CERTIFICATES = make_certificates()
PROXY_VARIABLES = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy", "no_proxy")
GRPC_ROOTS = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
ROOTS = ("SSL_CERT_FILE", "SSL_CERT_DIR", GRPC_ROOTS)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, *map(str.upper, PROXY_VARIABLES), *ROOTS):
        monkeypatch.delenv(name, raising=False)


# Proxies over REST.

PROXIES = {
    "socks://127.0.0.1:1080/": "such as http://proxy:3128, got a URL with the scheme socks;",
    "socks5h://user:S3cret@proxy:1080": "got a URL with the scheme socks5h;",
    "http://proxy:port": "must be an HTTP proxy",
    "http://proxy:99999": "must be an HTTP proxy",
    "http://proxy:0": "must be an HTTP proxy",
    "http://": "must be an HTTP proxy",
    "http://user:S3cret@x@proxy:3128": "must be an HTTP proxy",
    "http://proxy:3128/path": "must be an HTTP proxy",
    " http://proxy:3128": "must be an HTTP proxy",
    "'http://proxy:3128'": "must not be in quotes",
    '"http://user:S3cret@proxy:3128"': "must not be in quotes",
    "http://user:S3cret@proxy:3128\n": "must not begin or end with a line break",
}
each_proxy = pytest.mark.parametrize("proxy", PROXIES)
each_variable = pytest.mark.parametrize(
    "variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
)


def rest(host: str = ELSEWHERE, **options: Any) -> ImportClient:
    return ImportClient(f"http://{host}:19530", service="rest", **options)


@each_proxy
@each_variable
def test_proxy_variable_that_is_not_valid_is_named(
    variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(ArgumentError) as caught:
        rest()
    text = str(caught.value)
    assert text.startswith(f"the environment variable {variable} must")
    assert PROXIES[proxy] in text
    assert "S3cret" not in text


@each_proxy
def test_proxy_variable_that_does_not_apply_may_have_any_value(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    for host in ("localhost", "127.0.0.9", "[::1]"):
        rest(host)
    for bypass in (ELSEWHERE, "other,.invalid", "*", f"{ELSEWHERE}:19530"):
        for name in ("no_proxy", "NO_PROXY"):
            with monkeypatch.context() as patch:
                patch.setenv(name, bypass)
                rest()
    ImportClient(f"http://{ELSEWHERE}")  # gRPC reads other variables
    monkeypatch.delenv("ALL_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    rest()
    # In a CGI script HTTP_PROXY is the header Proxy of the request.
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    rest()


def test_proxy_variable_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "")
    rest()
    monkeypatch.setenv("ALL_PROXY", "socks://x")
    with pytest.raises(ArgumentError, match="ALL_PROXY"):
        rest()


@pytest.mark.parametrize("scheme", ["http://", "HTTP://", ""])
async def test_proxy_with_a_user_is_used(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with web.serving(IMPORTING) as proxy:
        address = proxy.uri.removeprefix("http://")
        monkeypatch.setenv("HTTP_PROXY", f"{scheme}user:p%40ss@{address}/")
        async with rest() as client:
            assert (await client.get_import_progress(JOB)).data.progress == 40
    assert proxy.requests[0].path.startswith(f"http://{ELSEWHERE}:19530/v2/vectordb/")
    assert proxy.requests[0].header("proxy-authorization") == "Basic dXNlcjpwQHNz"


async def test_proxy_is_not_used_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with web.connected(IMPORTING) as (client, _):
        assert (await client.get_import_progress(JOB)).data.progress == 40


@pytest.mark.parametrize(
    ("variable", "proxy"),
    [("ALL_PROXY", "socks://127.0.0.1:1080/"), ("http_proxy", "http://proxy:port")],
)
def test_command_line_names_the_proxy_variable(variable: str, proxy: str) -> None:
    uri = f"http://{ELSEWHERE}"
    ended = invoke("list", "--uri", uri, "--service", "rest", **{variable: proxy})
    named = f"milvus-import: the environment variable {variable} must be an HTTP proxy"
    assert (ended.code, ended.out, ended.err[: len(named)]) == (2, "", named)
    assert len(ended.err.splitlines()) == 2  # the other one names --help


# Proxies that fail, over REST and over gRPC.

REFUSALS = {"closes": web.CLOSE, "407": web.reply(b"no", 407), "403": web.reply(b"", 403)}
"""The last one is also a response of the server, where a proxy of HTTP forwards requests."""


@pytest.mark.parametrize(
    ("service", "scheme", "variable", "refusal"),
    [
        *(("rest", "http", "ALL_PROXY", refusal) for refusal in ("closes", "407")),
        *(("rest", "https", "HTTPS_PROXY", refusal) for refusal in REFUSALS),
        *(("auto", "http", "http_proxy", refusal) for refusal in REFUSALS),
    ],
)
async def test_proxy_that_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, service: Any, scheme: str, variable: str, refusal: str
) -> None:
    async with web.serving(REFUSALS[refusal]) as proxy:
        monkeypatch.setenv(variable, proxy.uri)
        async with ImportClient(f"{scheme}://{ELSEWHERE}", service=service) as client:
            error = await error_of(client.get_import_progress(JOB))
            created = await error_of(client.create_import("books", ["a.json"]))
    expected = Hint.REST_PROXY if service == "rest" else Hint.UNSET_PROXY
    assert hint_of(error) is expected, error.details
    assert "proxy" in str(error) or service == "auto"
    if scheme == "https" and refusal == "407":  # the request was not sent
        assert ("proxy" in created.hint, created.may_have_run) == (True, False)


@pytest.mark.parametrize("variable", ["ALL_PROXY", "grpc_proxy", "https_proxy", "http_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "nobody.invalid"])
async def test_proxy_that_cannot_be_reached_is_named(
    variable: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service: Any = "rest" if variable == "ALL_PROXY" else "auto"
    with closed_port() as port:
        monkeypatch.setenv(variable, f"http://user:S3cret@{host}:{port}")
        async with ImportClient(f"http://{ELSEWHERE}:19530", service=service) as client:
            error = await error_of(client.get_import_progress(JOB), UnavailableError)
            if service == "auto":  # REST rejects such a variable
                monkeypatch.setenv(variable, "http://proxy:port")
                async with ImportClient(f"http://{ELSEWHERE}:19530") as other:
                    invalid = await error_of(other.get_import_progress(JOB), UnavailableError)
                assert hint_of(invalid) is Hint.UNSET_PROXY, invalid.details
    named = f"through the proxy {host}:{port} (ALL_PROXY)"
    assert (named in str(error)) == (service == "rest")
    assert hint_of(error) is (Hint.REST_PROXY if service == "rest" else Hint.UNSET_PROXY)
    assert "S3cret" not in str(error)


# Root CAs.

each_service = pytest.mark.parametrize(
    ("service", "variable"), [("rest", "SSL_CERT_FILE"), ("auto", GRPC_ROOTS)]
)
CONTENTS = {
    "missing": None,
    "no certificate": "text\n",
    "broken": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
    "folder": None,
}


@each_service
@pytest.mark.parametrize("fault", CONTENTS)
def test_root_certificates_that_cannot_be_read_are_named(
    service: Any, variable: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = tmp_path / "roots.pem", CONTENTS[fault]
    if content is not None:
        path.write_text(content)
    elif fault == "folder":
        path.mkdir()
    monkeypatch.setenv(variable, str(path))
    address = f"https://{ELSEWHERE}"
    with pytest.raises(ArgumentError) as caught:
        ImportClient(address, service=service)
    assert str(caught.value).startswith(f"the environment variable {variable} names '{path}'")
    ended = invoke("list", "--uri", address, "--service", service, **{variable: str(path)})
    assert (ended.code, f"variable {variable} names" in ended.err) == (2, True)
    ImportClient(f"http://{ELSEWHERE}", service=service)  # without TLS it is not read
    ImportClient(address, service=service, tls=TLSConfig(ca=CERTIFICATES.ca))


@each_service
async def test_root_certificates_of_a_variable_are_used(
    service: Any, variable: str, tmp_path: Path
) -> None:
    """In a process of its own: gRPC reads its variable once."""
    path = tmp_path / "roots.pem"
    path.write_bytes(CERTIFICATES.ca)
    program = (
        "import asyncio, sys\nfrom milvus_import import ImportClient\n"
        "async def main():\n"
        "    async with ImportClient(sys.argv[1], service=sys.argv[2]) as client:\n"
        "        print(await client.check())\n"
        "asyncio.run(main())\n"
    )
    async with FakeMilvus(version="3.0", tls=CERTIFICATES.server) as fake:
        uri = fake.rest_uri if service == "rest" else fake.internal_uri
        found = await run_program(program, uri, service, **{variable: str(path)})
    assert found == ("rest\n" if service == "rest" else "internal\n")


def test_folders_of_root_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "missing")
    monkeypatch.setenv("SSL_CERT_DIR", missing)
    with pytest.raises(ArgumentError, match=r"SSL_CERT_DIR names .* not a directory"):
        ImportClient(f"https://{ELSEWHERE}", service="rest")
    for value in (f"{missing}{os.pathsep}{tmp_path}", str(tmp_path), ""):
        monkeypatch.setenv("SSL_CERT_DIR", value)
        ImportClient(f"https://{ELSEWHERE}", service="rest")


# The limit of open files.

EXHAUSTED = """
import asyncio, json, resource, sys
from milvus_import import ImportClient, MilvusImportError

async def main():
    async with (
        ImportClient("127.0.0.1:1") as other,
        ImportClient(sys.argv[1], service=sys.argv[2]) as client,
    ):
        try:
            await other.check()  # with the first call, gRPC itself needs files, or ends the process
        except MilvusImportError:
            pass
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        files = []
        try:
            while True:
                files.append(open("/dev/null"))
        except OSError:
            pass
        try:
            await client.get_import_progress("1")
        except MilvusImportError as error:
            found = error
        for file in files:
            file.close()
        print(json.dumps(found.to_dict()))

asyncio.run(main())
"""


@pytest.mark.parametrize("service", ["internal", "rest", "rest through a proxy"])
async def test_limit_of_open_files_is_named(service: str, fake: FakeMilvus) -> None:
    uri = fake.internal_uri if service == "internal" else fake.rest_uri
    variables: dict[str, str] = {}
    if "proxy" in service:
        variables["http_proxy"] = uri
        uri = f"http://{ELSEWHERE}"
    name = service.partition(" ")[0]
    error = json.loads(await run_program(EXHAUSTED, uri, name, **variables))
    assert error["type"] == "UnavailableError"
    assert "Too many open files" in error["message"]
    assert error["hint"] == Hint.OPEN_FILES.python
    assert not error["may_have_run"]


async def run_program(program: str, *arguments: str, **variables: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    with anyio.fail_after(GUARD):
        done = await anyio.run_process(command, check=False, env=os.environ | variables)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
