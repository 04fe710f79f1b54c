from __future__ import annotations

import base64
import ipaddress
import re
from typing import Any

import pytest
from attempts import attempt
from hypothesis import example, given
from hypothesis import strategies as st

from milvus_import import ArgumentError, TLSConfig
from milvus_import._address import Endpoint, authorization, credentials_text, parse_uri

SECRET = "s3cr3t-Milvus"

MARKS = (
    "http:// https:// HTTP:// dns: dns:/// ipv4: ipv6: unix: unix:/// unix-abstract: ftp:// : :: / "
    "// [ ] [::1] ::1 127.0.0.1 10.0.0.1 , localhost milvus.example books 19530 0 65536 @ ? # % "
    ". - _ \\ \u0663 \u00e4 \u212a \x00 \udc80"
)
PIECES = st.sampled_from([*MARKS.split(" "), " ", "\n", "\t", "\u00a0"])
URIS = st.one_of(st.text(st.characters()), st.lists(PIECES, max_size=8).map("".join))

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
HOSTS = st.one_of(
    st.lists(LABELS, min_size=1, max_size=3).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
)
PORTS = st.none() | st.integers(1, 65535)
DATABASES = st.from_regex(r"([A-Za-z_][A-Za-z0-9_$]{0,8})?", fullmatch=True)


@given(URIS, st.booleans())
def test_any_text_is_a_uri_or_an_argument_error(uri: str, tls: bool) -> None:
    endpoint = attempt(lambda: parse_uri(uri, tls=tls))
    if isinstance(endpoint, Exception):
        assert type(endpoint) is ArgumentError
        assert str(endpoint).startswith("uri ")
    else:
        assert endpoint.target
        assert endpoint.target.isprintable()
        assert not {"@", "?", "#", " "} & set(endpoint.target)
        assert "/" not in endpoint.database
        assert endpoint.secure or not tls


@given(st.one_of(st.none(), st.integers(), st.binary(), st.lists(st.text())))
def test_uri_of_any_other_type_is_a_type_error(uri: Any) -> None:
    with pytest.raises(TypeError, match="uri must be a str"):
        parse_uri(uri)


@given(st.sampled_from(["", "http://", "https://", "HTTPS://"]), HOSTS, PORTS, DATABASES)
def test_uri_made_of_valid_parts_is_parsed_into_these_parts(
    scheme: str, host: str, port: int | None, database: str
) -> None:
    uri = scheme + host + (f":{port}" if port else "") + (f"/{database}" if database else "")
    secure = scheme.lower() == "https://"
    expected = port or (443 if secure else 19530)
    assert parse_uri(uri) == Endpoint(f"{host}:{expected}", secure, database, is_loopback(host))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@given(HOSTS, PORTS, DATABASES)
def test_target_is_parsed_to_itself(host: str, port: int | None, database: str) -> None:
    once = parse_uri(host + (f":{port}" if port else "") + f"/{database}")
    assert parse_uri(f"{once.target}/{once.database}") == once


@given(st.lists(st.tuples(st.ip_addresses(v=4), PORTS), min_size=1, max_size=4))
def test_addresses_are_parsed_to_themselves(
    addresses: list[tuple[Any, int | None]],
) -> None:
    uri = "ipv4:" + ",".join(f"{ip}:{port}" if port else str(ip) for ip, port in addresses)
    endpoint = parse_uri(uri)
    assert endpoint.target == "ipv4:" + ",".join(f"{ip}:{port or 19530}" for ip, port in addresses)
    assert endpoint.several
    assert endpoint.loopback == all(ip.is_loopback for ip, _ in addresses)
    assert parse_uri(endpoint.target) == endpoint


@given(URIS, URIS)
def test_credentials_in_a_uri_are_never_in_the_error(before: str, after: str) -> None:
    with pytest.raises(ArgumentError, match=r"^uri ") as caught:
        parse_uri(f"{before}{SECRET}@{after}")
    assert SECRET not in f"{caught.value} {caught.value!r}"


@given(st.text(st.characters(), min_size=1))
@example("'root:Milvus'")
@example('"root:Milvus"')
def test_token_is_encoded_in_base64_or_is_an_error_that_does_not_show_it(token: str) -> None:
    encoded = attempt(lambda: authorization(credentials_text(token, None, None)))
    if isinstance(encoded, Exception):
        assert type(encoded) is ArgumentError
        fault = (
            " begin or end with a line break"
            if token.strip("\r\n") != token
            else " begin or end with a byte order mark"
            if token.strip("\ufeff") != token
            else " be valid Unicode text"
            if re.search("[\ud800-\udfff]", token)
            else " be passed without 'Bearer'; the client encodes it"
        )
        assert str(encoded).removeprefix("token must").removeprefix(" not") == fault
        assert encoded.__context__ is None
    else:
        assert encoded is not None
        assert base64.b64decode(encoded).decode() == token


@given(st.text(min_size=1), st.text(min_size=1))
def test_user_and_password_are_encoded_as_one_token(user: str, password: str) -> None:
    encoded = attempt(lambda: authorization(credentials_text(None, user, password)))
    if ":" in user or any(text.strip("\r\n\ufeff") != text for text in (user, password)):
        assert type(encoded) is ArgumentError
    else:
        assert encoded == authorization(f"{user}:{password}")


@given(st.one_of(st.none(), st.text(st.characters()), st.binary(), st.integers()))
def test_any_server_name_is_accepted_or_named_in_the_error(name: Any) -> None:
    config = attempt(lambda: TLSConfig(server_name=name))
    if isinstance(config, Exception):
        assert type(config) is ArgumentError
        assert "server_name" in str(config)
    else:
        assert name is None or name.isascii()
