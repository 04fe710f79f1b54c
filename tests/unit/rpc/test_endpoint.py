from __future__ import annotations

import base64
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from milvus_import import GetImportProgressOption, ImportClient, TLSConfig
from milvus_import._endpoint import Endpoint, parse_uri

PEM = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
KEY = b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("milvus", Endpoint("milvus:19530", False, "", False)),
        ("milvus:1", Endpoint("milvus:1", False, "", False)),
        ("milvus:65535/books", Endpoint("milvus:65535", False, "books", False)),
        ("milvus_1.example.", Endpoint("milvus_1.example.:19530", False, "", False)),
        ("127.0.0.1", Endpoint("127.0.0.1:19530", False, "", True)),
        ("127.8.8.8:1", Endpoint("127.8.8.8:1", False, "", True)),
        ("localhost", Endpoint("localhost:19530", False, "", True)),
        ("LOCALHOST.", Endpoint("LOCALHOST.:19530", False, "", True)),
        ("localhost.evil.example", Endpoint("localhost.evil.example:19530", False, "", False)),
        ("[::1]", Endpoint("[::1]:19530", False, "", True)),
        ("[2001:db8::1]:443/a", Endpoint("[2001:db8::1]:443", False, "a", False)),
        ("http://milvus", Endpoint("milvus:19530", False, "", False)),
        ("HTTP://milvus/", Endpoint("milvus:19530", False, "", False)),
        ("http://milvus:8080/books/", Endpoint("milvus:8080", False, "books", False)),
        ("https://milvus", Endpoint("milvus:443", True, "", False)),
        ("https://milvus:19530/books", Endpoint("milvus:19530", True, "books", False)),
        ("https://[::1]/books", Endpoint("[::1]:443", True, "books", True)),
        ("dns:///milvus", Endpoint("dns:///milvus:19530", False, "", False, True)),
        ("dns:milvus:1", Endpoint("dns:///milvus:1", False, "", False, True)),
        ("dns://8.8.8.8/milvus:1", Endpoint("dns://8.8.8.8/milvus:1", False, "", False, True)),
        (
            "ipv4:10.0.0.1:1,10.0.0.2",
            Endpoint("ipv4:10.0.0.1:1,10.0.0.2:19530", False, "", False, True),
        ),
        (
            "ipv4:127.0.0.1,127.0.0.2",
            Endpoint("ipv4:127.0.0.1:19530,127.0.0.2:19530", False, "", True, True),
        ),
        (
            "ipv4:127.0.0.1,10.0.0.2",
            Endpoint("ipv4:127.0.0.1:19530,10.0.0.2:19530", False, "", False, True),
        ),
        ("ipv6:[::1]:1,[::2]", Endpoint("ipv6:[::1]:1,[::2]:19530", False, "", False, True)),
        ("unix:/run/milvus.sock", Endpoint("unix:/run/milvus.sock", False, "", True)),
        ("unix:///run/milvus.sock", Endpoint("unix:///run/milvus.sock", False, "", True)),
        ("unix-abstract:milvus", Endpoint("unix-abstract:milvus", False, "", True)),
    ],
)
def test_what_a_uri_means(uri: str, expected: Endpoint) -> None:
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("milvus", "milvus:19530"),
        ("milvus:1/books", "milvus:1"),
        ("https://milvus", "milvus:443"),
        ("dns:///milvus", "dns:///milvus:19530"),
        ("ipv4:10.0.0.1", "ipv4:10.0.0.1:19530"),
    ],
)
def test_a_tls_config_makes_the_uri_mean_tls(uri: str, target: str) -> None:
    endpoint = parse_uri(uri, tls=True)
    assert (endpoint.secure, endpoint.target) == (True, target)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "uri '' is empty"),
        (" ", "holds blanks"),
        ("my host", "'my host' is empty or holds blanks; forms: host, host:port"),
        ("host\n", "holds blanks"),
        ("host\x00", "holds blanks"),
        ("\u00a0host", "holds blanks"),
        ("http://", "'http://' has no host"),
        ("https:///books", "has no host"),
        ("http://:19530", "has no host"),
        (":19530", "has no host"),
        ("/books", "has no host"),
        ("dns:///", "has no host"),
        ("ipv4:", "no host"),
        ("host:", "bad port ''; a port is 1 to 65535, Milvus' is 19530"),
        ("host:0", "bad port '0'"),
        ("host:65536", "bad port '65536'"),
        ("host:-1", "bad port '-1'"),
        ("host:+1", "bad port '+1'"),
        ("host:1.5", "bad port '1.5'"),
        ("host:http", "bad port 'http'"),
        ("host:\u0663", "bad port"),
        ("host:19530x/books", "bad port '19530x'"),
        ("h\u00f6st", "bad host 'h\u00f6st'"),
        ("-host", "bad host '-host'"),
        ("ho$t", "bad host 'ho$t'"),
        ("a,b", "bad host 'a,b'"),
        ("host:1,host:2", "more than one ':'"),
        ("::1", "an IPv6 address goes in brackets, [::1]:19530"),
        ("[::1", "without its closing bracket"),
        ("[::1]19530", "without its closing bracket; write [::1]:19530"),
        ("[host]:1", "'host' where an ipv6 address belongs"),
        ("[10.0.0.1]", "where an ipv6 address belongs"),
        ("ftp://host", "unknown scheme 'ftp://'; forms: host"),
        ("grpc://host:1", "unknown scheme 'grpc://'"),
        ("tcp://host", "unknown scheme 'tcp://'"),
        ("http:host", "unknown scheme 'http:'"),
        ("https:/host", "unknown scheme 'https:'"),
        ("http://host/a/b", "a path of more than one part, /a/b; only /database is known"),
        ("host:1//a", "a path of more than one part"),
        ("dns:///host/books", "has a path; pass the database as db_name="),
        ("dns://host:1", "lacks a slash; write dns:///host:port"),
        ("ipv4:10.0.0.1/books", "has a path; pass the database as db_name="),
        ("ipv4:host", "'host' where an ipv4 address belongs"),
        ("ipv4:10.0.0.1,,10.0.0.2", "has no host"),
        ("ipv6:10.0.0.1", "where an ipv6 address belongs"),
        ("unix:", "names no socket; write unix:/path/to/socket"),
        ("unix:///", "names no socket"),
        ("host?timeout=1", "has a query"),
        ("host#top", "has a fragment"),
    ],
)
def test_a_uri_that_means_nothing_is_refused_with_the_mend(uri: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        ImportClient(uri)


@pytest.mark.parametrize("uri", [None, b"http://host", 19530, Path("host"), ["host"]])
def test_a_uri_is_a_str(uri: Any) -> None:
    with pytest.raises(TypeError, match="uri must be a str such as 'http://localhost:19530', not"):
        ImportClient(uri)


def test_plaintext_with_a_tls_config_is_a_contradiction() -> None:
    with pytest.raises(ValueError, match="'http://host' says plaintext, but tls= was given"):
        ImportClient("http://host", tls=TLSConfig())


def test_two_names_for_the_database_are_refused_unless_they_agree() -> None:
    with pytest.raises(ValueError, match="names the database 'a' and db_name='b' another"):
        ImportClient("host/a", db_name="b")
    ImportClient("host/a", db_name="a")


@pytest.mark.parametrize(
    ("db_name", "error"),
    [("d\u00e4tabase", ValueError), ("a\nb", ValueError), ("\udc80", ValueError), (5, TypeError)],
)
def test_a_database_name_is_printable_ascii(db_name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="db_name"):
        ImportClient("host", db_name=db_name)


SECRET = "s3cr3t-Milvus"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"uri": f"http://root:{SECRET}@host"}, "credentials do not belong in a URI; pass user="),
        ({"uri": f"root:{SECRET}@host:19530"}, "uri holds '@'"),
        ({"uri": f"http://root: {SECRET} @ host"}, "uri holds '@'"),
        ({"uri": f"http://root:{SECRET}@ho st/a/b?c#d"}, "uri holds '@'"),
        ({"uri": f"https://host?token={SECRET}"}, "uri has a query (from '?' on)"),
        ({"uri": f"https://host/db#{SECRET}"}, "uri has a fragment (from '#' on)"),
        ({"token": SECRET, "user": "root"}, "token and user/password are two ways"),
        ({"token": "root:Milvus", "password": SECRET}, "pass only one"),
        ({"token": SECRET, "user": "root", "password": SECRET}, "pass only one"),
        ({"password": SECRET}, "user and password go together; user is missing"),
        ({"user": "root", "password": ""}, "password is missing"),
        ({"user": f"root:{SECRET}", "password": SECRET}, "user holds ':'"),
        ({"token": f"{SECRET}\udc80"}, "token holds a lone surrogate"),
        ({"user": "root", "password": f"{SECRET}\udc80"}, "password holds a lone surrogate"),
        ({"token": SECRET.encode()}, "token must be a str, not bytes"),
        ({"user": "root", "password": [SECRET]}, "password must be a str, not list"),
    ],
)
def test_bad_credentials_are_refused_without_being_shown(
    arguments: dict[str, Any], words: str
) -> None:
    arguments.setdefault("uri", "https://host")
    with pytest.raises((ValueError, TypeError), match=re.escape(words)) as caught:
        ImportClient(**arguments)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error} {error!r} {error.args}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "arguments", [{"token": f"root:{SECRET}"}, {"user": "root", "password": SECRET}]
)
def test_no_repr_and_no_log_shows_a_secret(
    arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    encoded = base64.b64encode(f"root:{SECRET}".encode()).decode()
    with caplog.at_level(logging.DEBUG):
        client = ImportClient("http://milvus.example", metadata={"x-key": SECRET}, **arguments)
        option = GetImportProgressOption("http://milvus.example", "1", **arguments)
    shown = f"{client!r} {client} {option!r} {option} {vars(client)!r} {caplog.text}"
    assert SECRET not in shown
    assert encoded not in shown


@pytest.mark.parametrize(
    ("uri", "token", "warned"),
    [
        ("http://milvus.example", "root:Milvus", True),
        ("ipv4:127.0.0.1,10.0.0.1", "root:Milvus", True),
        ("http://milvus.example", None, False),
        ("https://milvus.example", "root:Milvus", False),
        ("http://localhost", "root:Milvus", False),
        ("unix:/run/milvus.sock", "root:Milvus", False),
    ],
)
def test_a_token_in_plain_text_over_the_network_is_logged_once(
    uri: str, token: str | None, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ImportClient(uri, token=token)
    told = [r for r in caplog.records if r.name == "milvus_import" and "plain text" in r.message]
    assert len(told) == warned


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ca": b"no pem"}, "TLSConfig: the ca bytes holds no PEM block 'BEGIN CERTIFICATE'"),
        ({"ca": b""}, "no PEM block"),
        ({"ca": KEY}, "no PEM block 'BEGIN CERTIFICATE'"),
        ({"ca": PEM.decode()}, "ca holds PEM text; pass it as bytes"),
        ({"ca": "/no/such/ca.pem"}, "ca file '/no/such/ca.pem' cannot be read"),
        ({"ca": Path("/no/such/ca.pem")}, "ca file '/no/such/ca.pem' cannot be read"),
        ({"ca": 5}, "ca must be a path or PEM bytes, not int"),
        ({"cert": PEM}, "cert and key go together; key is missing"),
        ({"key": KEY}, "cert and key go together; cert is missing"),
        ({"cert": KEY, "key": KEY}, "the cert bytes holds no PEM block"),
        ({"cert": PEM, "key": PEM}, "no PEM block 'BEGIN PRIVATE KEY'"),
        ({"server_name": ""}, "server_name '' is no host name"),
        ({"server_name": "a b"}, "server_name 'a b' is no host name"),
        ({"server_name": b"host"}, "server_name b'host' is no host name"),
    ],
)
def test_a_bad_tls_part_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        ImportClient("https://host", tls=TLSConfig(**arguments))


def test_a_ca_file_that_is_no_pem_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(b"\x30\x82")
    with pytest.raises(ValueError, match=r"ca file '.*ca\.pem' holds no PEM block"):
        ImportClient("https://host", tls=TLSConfig(ca=str(file)))


def test_pem_text_and_keys_are_in_no_message_and_no_repr() -> None:
    key = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"
    with pytest.raises(TypeError, match="key holds PEM text") as caught:
        ImportClient("https://host", tls=TLSConfig(cert=PEM, key=key))
    assert SECRET not in f"{caught.value} {caught.value!r}"
    assert SECRET not in repr(TLSConfig(cert=PEM, key=key.encode()))


@pytest.mark.parametrize("tls", [True, {"ca": PEM}, "ca.pem"])
def test_tls_is_a_tls_config(tls: Any) -> None:
    with pytest.raises(TypeError, match="tls is a TLSConfig, not"):
        ImportClient("https://host", tls=tls)


@pytest.mark.parametrize("label", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])
def test_every_kind_of_private_key_is_taken(label: str) -> None:
    key = f"-----BEGIN {label}-----\nAA==\n-----END {label}-----\n".encode()
    ImportClient("https://host", tls=TLSConfig(cert=PEM, key=key, server_name="other.example"))
