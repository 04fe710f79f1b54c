"""What a URI means, and how credentials are sent; both are validated before anything is sent."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from pathlib import Path
from random import randrange
from typing import Any
from uuid import uuid4

import pytest

from milvus_import import (
    ArgumentError,
    DeadlineExceededError,
    GetImportProgressOption,
    ImportClient,
    get_import_progress,
)
from milvus_import._address import Endpoint, parse_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        # With a TLSConfig, a URI without a scheme means TLS.
        ("tls milvus", Endpoint("milvus:19530", True, "", False)),
        ("tls milvus:1/books", Endpoint("milvus:1", True, "books", False)),
        ("tls https://milvus", Endpoint("milvus:443", True, "", False)),
        ("tls dns:///milvus", Endpoint("dns:///milvus:19530", True, "", False, True)),
        ("tls ipv4:10.0.0.1", Endpoint("ipv4:10.0.0.1:19530", True, "", False, True)),
        ("milvus", Endpoint("milvus:19530", False, "", False)),
        ("milvus_1.example.", Endpoint("milvus_1.example.:19530", False, "", False)),
        ("127.0.0.1", Endpoint("127.0.0.1:19530", False, "", True)),
        ("localhost", Endpoint("localhost:19530", False, "", True)),
        ("LOCALHOST.", Endpoint("LOCALHOST.:19530", False, "", True)),
        ("localhost.evil.example", Endpoint("localhost.evil.example:19530", False, "", False)),
        ("[::1]", Endpoint("[::1]:19530", False, "", True)),
        ("HTTP://milvus/", Endpoint("milvus:19530", False, "", False)),
        ("http://milvus:8080/books/", Endpoint("milvus:8080", False, "books", False)),
        ("https://[::1]/books", Endpoint("[::1]:443", True, "books", True)),
        ("dns:///milvus", Endpoint("dns:///milvus:19530", False, "", False, True)),
        ("dns:milvus:1", Endpoint("dns:///milvus:1", False, "", False, True)),
        ("dns://8.8.8.8/milvus:1", Endpoint("dns://8.8.8.8/milvus:1", False, "", False, True)),
        ("ipv4:127.0.0.1,127.0.0.2",
         Endpoint("ipv4:127.0.0.1:19530,127.0.0.2:19530", False, "", True, True)),
        ("ipv4:127.0.0.1,10.0.0.2",
         Endpoint("ipv4:127.0.0.1:19530,10.0.0.2:19530", False, "", False, True)),
        ("ipv6:[::1]:1,[::2]", Endpoint("ipv6:[::1]:1,[::2]:19530", False, "", False, True)),
        ("unix:/run/milvus.sock", Endpoint("unix:/run/milvus.sock", False, "", True)),
        ("unix:///run/milvus.sock", Endpoint("unix:///run/milvus.sock", False, "", True)),
        ("unix-abstract:milvus", Endpoint("unix-abstract:milvus", False, "", True)),
    ],
)  # fmt: skip
def test_uri_is_parsed_into_target_tls_and_database(uri: str, expected: Endpoint) -> None:
    assert parse_uri(uri.removeprefix("tls "), tls=uri.startswith("tls ")) == expected


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "uri must be one of host, host:port, http://host:port, "),
        (" ", "got ' '"),
        ("my host", "ipv4:a:p,b:p, got 'my host'"),
        ("host\n", r"got 'host\n'"),
        ("host\x00", r"got 'host\x00'"),
        ("\u00a0host", r"got '\xa0host'"),
        ("http://", "'http://' has no host"),
        ("https:///books", "has no host"),
        ("http://:19530", "has no host"),
        (":19530", "has no host"),
        ("/books", "has no host"),
        ("dns:///", "has no host"),
        ("ipv4:", "no host"),
        ("host:", "has the invalid port ''; a port is 1 to 65535, Milvus' is 19530"),
        ("host:0", "has the invalid port '0'"),
        ("host:65536", "has the invalid port '65536'"),
        ("host:-1", "has the invalid port '-1'"),
        ("host:+1", "has the invalid port '+1'"),
        ("host:1.5", "has the invalid port '1.5'"),
        ("host:http", "has the invalid port 'http'"),
        ("host:\u0663", "has the invalid port"),
        ("host:19530x/books", "has the invalid port '19530x'"),
        ("h\u00f6st", "has the host 'h\u00f6st', which is not ASCII; write it as xn--..."),
        ("https://b\u00fccher.example/db", "which is not ASCII; write it as xn--..."),
        ("dns:///\u4e66.example", "which is not ASCII; write it as xn--..."),
        ('"http://host"', "uri must not begin or end with quotes, got '\"http://host\"'"),
        ("'host'", "uri must not begin or end with quotes"),
        ("http://host\r\n", r"uri must not begin or end with a line break, got 'http://host\r\n'"),
        ("\ufeffhost", "uri must not begin or end with a byte order mark"),
        ("./x.db", "got the Milvus Lite file './x.db': Milvus Lite has no import service"),
        ("/data/x.db", "got the Milvus Lite file '/data/x.db'"),
        ("data/x.db", "got the Milvus Lite file 'data/x.db'"),
        ("~/x.db", "got the Milvus Lite file '~/x.db'"),
        ("C:\\data\\x.db", "got the Milvus Lite file"),
        ("-host", "has the invalid host '-host'"),
        ("ho$t", "has the invalid host 'ho$t'"),
        ("a,b", "has the invalid host 'a,b'"),
        ("host:1,host:2", "has more than one ':'; put an IPv6 address in brackets, [::1]:19530"),
        ("::1", "put an IPv6 address in brackets, [::1]:19530"),
        ("[::1", "without its closing bracket"),
        ("[::1]19530", "without its closing bracket; use [::1]:19530"),
        ("[host]:1", "has 'host', which must be an ipv6 address"),
        ("[10.0.0.1]", "which must be an ipv6 address"),
        ("ftp://host", "has the unknown scheme 'ftp://'; use one of host, host:port, "),
        ("grpc://host:1", "has the unknown scheme 'grpc://'"),
        ("tcp://host", "has the unknown scheme 'tcp://'"),
        ("http:host", "has the unknown scheme 'http:'"),
        ("https:/host", "has the unknown scheme 'https:'"),
        ("http://host/a/b", "a path of more than one part, /a/b; only /database is valid"),
        ("host:1//a", "a path of more than one part"),
        ("dns:///host/books", "has a path; pass the database as db_name="),
        ("dns://host:1", "lacks a slash; use dns:///host:port"),
        ("ipv4:10.0.0.1/books", "has a path; pass the database as db_name="),
        ("ipv4:host", "has 'host', which must be an ipv4 address"),
        ("ipv4:10.0.0.1,,10.0.0.2", "has no host"),
        ("ipv6:10.0.0.1", "which must be an ipv6 address"),
        ("unix:", "names no socket; use unix:/path/to/socket"),
        ("unix:///", "names no socket"),
        ("unix://host/path", "has a host, which unix: does not accept; use unix:/path"),
        ("dns://milvus/host", "has the DNS server 'milvus', which must be an IP address"),
        ("dns://8.8.8.8:/host", "has the invalid port ''"),
        ("host?timeout=1", "uri must not contain a query (from '?' on)"),
        ("host#top", "uri must not contain a fragment (from '#' on)"),
    ],
)
def test_invalid_uri_raises_argument_error_naming_the_fault(uri: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(words)):
        ImportClient(uri)


def test_name_of_a_milvus_lite_file_that_exists_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_uri("milvus_demo.db").target == "milvus_demo.db:19530"  # a host, as far as known
    Path("milvus_demo.db").touch()
    with pytest.raises(ArgumentError, match=r"got the Milvus Lite file 'milvus_demo\.db': Mil"):
        ImportClient("milvus_demo.db")
    Path("milvus").touch()
    assert parse_uri("milvus").target == "milvus:19530"


@pytest.mark.parametrize(
    "uri", ["unix:/run/x.db", "unix:///run/x.db", "http://host/x.db", "host:19530/x.db", "host.db"]
)
def test_uri_that_only_resembles_a_milvus_lite_file_is_accepted(uri: str) -> None:
    assert parse_uri(uri).target


SECRET = "s3cr3t-Milvus"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"uri": f"http://root:{SECRET}@host"},
         "uri must not contain '@': pass credentials as user="),
        ({"uri": f"root:{SECRET}@host:19530"}, "uri must not contain '@'"),
        ({"uri": f"http://root: {SECRET} @ host"}, "uri must not contain '@'"),
        ({"uri": f"http://root:{SECRET}@ho st/a/b?c#d"}, "uri must not contain '@'"),
        ({"uri": f"https://host?token={SECRET}"}, "uri must not contain a query (from '?' on)"),
        ({"uri": f"https://host/db#{SECRET}"}, "uri must not contain a fragment (from '#' on)"),
        ({"token": SECRET, "user": "root"}, "token must be None if user or password is passed"),
        ({"token": "root:Milvus", "password": SECRET},
         "token must be None if user or password is passed"),
        ({"token": SECRET, "user": "root", "password": SECRET},
         "token must be None if user or password is passed"),
        ({"password": SECRET}, "user must be passed with password"),
        ({"token": f"Bearer {SECRET}"}, "token must be passed without 'Bearer'"),
        ({"token": f"bearer {SECRET}"}, "token must be passed without 'Bearer'"),
        ({"user": "root", "password": ""}, "password must be passed with user"),
        ({"user": f"root:{SECRET}", "password": SECRET}, "user must not contain ':'"),
        ({"token": f"{SECRET}\udc80"}, "token must be valid Unicode text"),
        ({"user": "root", "password": f"{SECRET}\udc80"}, "password must be valid Unicode text"),
        ({"token": f"{SECRET}\n"}, "token must not begin or end with a line break"),
        ({"token": f"\r\n{SECRET}"}, "token must not begin or end with a line break"),
        ({"token": f"\ufeff{SECRET}"}, "token must not begin or end with a byte order mark"),
        ({"user": f"{SECRET}\n", "password": "x"}, "user must not begin or end with a line break"),
        ({"user": "root", "password": f"{SECRET}\r"},
         "password must not begin or end with a line break"),
        ({"uri": f'"http://root:{SECRET}@host"'}, "uri must not contain '@'"),
        ({"uri": f"'https://host?token={SECRET}'"}, "uri must not contain a query"),
        ({"token": SECRET.encode()}, "token must be a str, got bytes"),
        ({"user": "root", "password": [SECRET]}, "password must be a str, got list"),
    ],
)  # fmt: skip
def test_invalid_credentials_are_not_shown_in_the_error(
    arguments: dict[str, Any], words: str
) -> None:
    arguments.setdefault("uri", "https://host")
    with pytest.raises((ArgumentError, TypeError), match=re.escape(words)) as caught:
        ImportClient(**arguments)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error} {error!r} {error.args}"
        error = error.__cause__ or error.__context__


def test_option_with_credentials_in_its_uri_raises_before_it_has_a_repr() -> None:
    with pytest.raises(ArgumentError, match="uri must not contain '@'") as caught:
        GetImportProgressOption(f"http://root:{SECRET}@milvus", "1")
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    "arguments", [{"token": f"root:{SECRET}"}, {"user": "root", "password": SECRET}]
)
def test_repr_and_log_show_no_secret(
    arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    encoded = base64.b64encode(f"root:{SECRET}".encode()).decode()
    with caplog.at_level(logging.DEBUG):
        client = ImportClient("http://milvus.example", metadata={"x-key": SECRET}, **arguments)
        option = GetImportProgressOption("http://milvus.example", "1", **arguments)
    shown = f"{client!r} {client} {option!r} {option} {vars(client)!r} {caplog.text}"
    assert SECRET not in shown
    assert encoded not in shown
    assert "http://milvus.example" in repr(option)
    assert "'1'" in repr(option)


@pytest.mark.parametrize(
    ("uri", "token", "warned"),
    [
        ("http://{host}", "root:Milvus", True),
        ("ipv4:127.0.0.1,10.0.0.1:{port}", "root:Milvus", True),
        ("http://{host}", None, False),
        ("https://{host}", "root:Milvus", False),
        ("http://localhost", "root:Milvus", False),
        ("unix:/run/milvus.sock", "root:Milvus", False),
    ],
)
def test_plaintext_token_is_logged_once_per_target(
    uri: str, token: str | None, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    never_used = {"host": f"{uuid4().hex}.example", "port": randrange(1024, 65536)}
    for _ in range(2):
        ImportClient(uri.format_map(never_used), token=token)
    logged = [r for r in caplog.records if r.name == "milvus_import" and "plain text" in r.message]
    assert len(logged) == warned


def test_plaintext_token_of_the_function_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    uri = f"http://{uuid4().hex}.example"
    option = GetImportProgressOption(uri, "7", token=f"root:{SECRET}")
    with pytest.raises(DeadlineExceededError):
        asyncio.run(get_import_progress(option, timeout=0))
    assert [r.levelname for r in caplog.records if "plain text" in r.message] == ["WARNING"]
    assert SECRET not in caplog.text
