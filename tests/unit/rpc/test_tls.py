"""TLSConfig: certificates and names are validated before a connection is made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from milvus_import import ArgumentError, ImportClient, TLSConfig

PEM = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
KEY = b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"
SECRET = "s3cr3t-Milvus"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ca": b"no pem"}, "TLSConfig: ca bytes has no PEM block 'BEGIN CERTIFICATE'"),
        ({"ca": b""}, "no PEM block"),
        ({"ca": KEY}, "no PEM block 'BEGIN CERTIFICATE'"),
        ({"ca": PEM.decode()}, "ca must be a path or PEM bytes, got PEM text as a str"),
        ({"ca": "/no/such/ca.pem"}, "ca file '/no/such/ca.pem' cannot be read"),
        ({"ca": Path("/no/such/ca.pem")}, "ca file '/no/such/ca.pem' cannot be read"),
        ({"ca": 5}, "ca must be a path or PEM bytes, got int"),
        ({"cert": PEM}, "key must be passed with cert"),
        ({"key": KEY}, "cert must be passed with key"),
        ({"cert": KEY, "key": KEY}, "cert bytes has no PEM block"),
        ({"cert": PEM, "key": PEM}, "no PEM block 'BEGIN PRIVATE KEY'"),
        ({"server_name": ""}, "server_name must be a host name, got ''"),
        ({"server_name": "a b"}, "server_name must be a host name, got 'a b'"),
        ({"server_name": b"host"}, "server_name must be a host name, got b'host'"),
    ],
)
def test_invalid_part_of_tls_config_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((ArgumentError, TypeError), match=re.escape(words)):
        ImportClient("https://host", tls=TLSConfig(**arguments))


def test_ca_file_that_is_not_pem_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(b"\x30\x82")
    with pytest.raises(ArgumentError, match=r"ca file '.*ca\.pem' has no PEM block"):
        ImportClient("https://host", tls=TLSConfig(ca=str(file)))


def test_keys_are_in_no_message_and_no_repr() -> None:
    key = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"
    with pytest.raises(TypeError, match="key must be a path or PEM bytes, got PEM text") as caught:
        ImportClient("https://host", tls=TLSConfig(cert=PEM, key=key))
    assert SECRET not in f"{caught.value} {caught.value!r}"
    assert SECRET not in repr(TLSConfig(cert=PEM, key=key.encode()))


@pytest.mark.parametrize("tls", [True, {"ca": PEM}, "ca.pem"])
def test_tls_must_be_a_tls_config(tls: Any) -> None:
    with pytest.raises(TypeError, match="tls must be a TLSConfig, got"):
        ImportClient("https://host", tls=tls)


@pytest.mark.parametrize("label", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])
def test_each_kind_of_private_key_is_accepted(label: str) -> None:
    key = f"-----BEGIN {label}-----\nAA==\n-----END {label}-----\n".encode()
    ImportClient("https://host", tls=TLSConfig(cert=PEM, key=key, server_name="other.example"))
