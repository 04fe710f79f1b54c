"""TLSConfig: certificates and names are validated before a connection is made."""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    NoEncryption,
    PrivateFormat,
)

from milvus_import import ArgumentError, ImportClient, TLSConfig

SECRET = "s3cr3t-Milvus"
PKCS8, TRADITIONAL = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL


@cache
def made(kind: str = "RSA") -> tuple[bytes, Any]:
    """Return a certificate and its key: RSA, EC, or RSA of 1024 bits."""
    private: Any = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "EC"
        else rsa.generate_private_key(65537, 1024 if kind == "short" else 2048)
    )
    trusted = trustme.CA()
    issued = x509.load_pem_x509_certificate(
        trusted.issue_cert("a.example").cert_chain_pems[0].bytes()
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(issued.subject)
        .issuer_name(issued.subject)
        .public_key(private.public_key())
        .serial_number(5)
        .not_valid_before(issued.not_valid_before_utc)
        .not_valid_after(issued.not_valid_after_utc)
        .sign(private, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def pem(private: Any, kind: PrivateFormat = PKCS8, password: str = "") -> bytes:
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    encoded: bytes = private.private_bytes(serialization.Encoding.PEM, kind, encryption)
    return encoded


CERT, KEY = made()[0], pem(made()[1])
EC_CERT, EC_KEY = made("EC")[0], pem(made("EC")[1])
OTHER_KEY = pem(rsa.generate_private_key(65537, 2048))
BROKEN = CERT.replace(CERT.splitlines()[3], b"A" * 64)
NO_BASE64 = CERT.replace(CERT.splitlines()[3], "\u00e4".encode() * 32)

CUT_OFF = " has a PEM block that is cut off or does not begin a line"
BOM = " begins with a byte order mark; save it as ASCII or as UTF-8 without it"
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"ca": b"no pem"}, "ca bytes has no PEM block 'BEGIN CERTIFICATE'"),
    ({"ca": b""}, "ca bytes is empty"),
    ({"ca": b"\n \n"}, "ca bytes is empty"),
    ({"ca": KEY}, "ca bytes has no PEM block 'BEGIN CERTIFICATE'"),
    ({"ca": CERT.decode()}, "ca must be a path or PEM bytes, got PEM text as a str"),
    ({"ca": "/no/such/ca.pem"}, "ca file '/no/such/ca.pem' cannot be read: No such file"),
    ({"ca": Path("/no/such/ca.pem")}, "ca file '/no/such/ca.pem' cannot be read"),
    ({"ca": "/"}, "ca file '/' cannot be read: Is a directory"),
    ({"ca": "ca\0.pem"}, r"ca file 'ca\x00.pem' cannot be read: embedded null byte"),
    ({"ca": 5}, "ca must be a path or PEM bytes, got int"),
    ({"ca": b"\xef\xbb\xbf" + CERT}, "ca bytes" + BOM),
    ({"ca": CERT.decode().encode("utf-16")}, "ca bytes" + BOM),
    ({"ca": CERT[:-20]}, "ca bytes" + CUT_OFF),
    ({"ca": CERT[: len(CERT) // 2]}, "ca bytes" + CUT_OFF),
    ({"ca": CERT + CERT[:40]}, "ca bytes" + CUT_OFF),
    ({"ca": CERT.strip() + EC_CERT}, "ca bytes" + CUT_OFF),
    ({"ca": re.sub(rb"(?m)^", b"  ", CERT)}, "ca bytes" + CUT_OFF),
    ({"ca": CERT.replace(b"\n", b"\\n")}, "ca bytes" + CUT_OFF),
    ({"ca": BROKEN}, "ca bytes has an invalid certificate, number 1 of 1: "),
    ({"ca": CERT + BROKEN + EC_CERT}, "ca bytes has an invalid certificate, number 2 of 3: "),
    ({"ca": CERT + NO_BASE64}, "ca bytes has an invalid certificate, number 2 of 2: "),
    ({"cert": CERT}, "key must be passed with cert"),
    ({"key": KEY}, "cert must be passed with key"),
    ({"cert": KEY, "key": CERT}, "cert bytes has no PEM block 'BEGIN CERTIFICATE'"),
    ({"cert": CERT, "key": CERT}, "key bytes has no PEM block 'BEGIN PRIVATE KEY'"),
    ({"cert": CERT, "key": KEY[:-30]}, "key bytes" + CUT_OFF),
    ({"cert": CERT, "key": b"\xef\xbb\xbf" + KEY}, "key bytes" + BOM),
    ({"cert": CERT + BROKEN, "key": KEY}, "cert bytes has an invalid certificate, number 2 of 2: "),
    ({"cert": CERT, "key": OTHER_KEY},
     "key bytes cannot be used with cert bytes: it belongs to another certificate"),
    ({"cert": CERT, "key": EC_KEY},
     "key bytes cannot be used with cert bytes: it belongs to another certificate"),
    ({"cert": EC_CERT + CERT, "key": KEY},
     "key bytes cannot be used with cert bytes: it belongs to another certificate"),
    ({"cert": CERT, "key": KEY.replace(KEY.splitlines()[3], b"A" * 64)},
     "key bytes cannot be used with cert bytes: "),
    ({"cert": CERT, "key": pem(made()[1], PKCS8, SECRET)},
     "key bytes is encrypted; decrypt it (openssl pkey)"),
    ({"cert": CERT, "key": pem(made()[1], TRADITIONAL, SECRET)},
     "key bytes is encrypted; decrypt it (openssl pkey)"),
    ({"server_name": ""}, "server_name must be a host name, got ''"),
    ({"server_name": "a b"}, "server_name must be a host name, got 'a b'"),
    ({"server_name": b"host"}, "server_name must be a host name, got b'host'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    INVALID,
    ids=[f"{index}-{'-'.join(row[0])}" for index, row in enumerate(INVALID)],
)
def test_invalid_part_of_tls_config_is_named(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((ArgumentError, TypeError), match=re.escape("TLSConfig: " + message)):
        TLSConfig(**arguments)
    files = {
        name: str(write(tmp_path / name, part)) if isinstance(part, bytes) else part
        for name, part in arguments.items()
        if name != "server_name"
    }
    in_files = re.sub(
        "(ca|cert|key) bytes", lambda name: f"{name[1]} file '{tmp_path}/{name[1]}'", message
    )
    if files:
        with pytest.raises((ArgumentError, TypeError), match=re.escape("TLSConfig: " + in_files)):
            TLSConfig(**files)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("service", ["auto", "rest"])
def test_files_are_validated_again_when_a_client_is_created(service: Any, tmp_path: Path) -> None:
    config = TLSConfig(ca=write(tmp_path / "ca", CERT), cert=CERT, key=write(tmp_path / "key", KEY))
    ImportClient("https://host", tls=config, service=service)
    write(tmp_path / "key", OTHER_KEY)
    with pytest.raises(ArgumentError, match=r"key' cannot be used with cert bytes: it belongs to"):
        ImportClient("https://host", tls=config, service=service)
    write(tmp_path / "ca", b"")
    with pytest.raises(ArgumentError, match=r"TLSConfig: ca file '.*/ca' is empty"):
        ImportClient("https://host", tls=config, service=service)


EC_PARAMETERS = b"""\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
"""
VALID: list[tuple[bytes, bytes]] = [
    (CERT, KEY),
    (CERT, pem(made()[1], TRADITIONAL)),
    (EC_CERT, EC_KEY),
    (EC_CERT, pem(made("EC")[1], TRADITIONAL)),
    (EC_CERT, EC_PARAMETERS + EC_KEY),
    (CERT + EC_CERT, KEY),
    (CERT.replace(b"\n", b"\r\n"), KEY.replace(b"\n", b"\r\n")),
    ("# F\u0151tan\u00fas\u00edtv\u00e1ny\n".encode() + CERT, b"Bag Attributes\n" + KEY.strip()),
    (CERT + KEY, CERT + KEY),
    (made("short")[0], pem(made("short")[1])),  # gRPC accepts it
]


@pytest.mark.parametrize(("cert", "key"), VALID)
def test_valid_certificates_and_keys_are_accepted(cert: bytes, key: bytes, tmp_path: Path) -> None:
    files = {"cert": write(tmp_path / "cert", cert), "key": write(tmp_path / "key", key)}
    for parts in ({"cert": cert, "key": key}, files, files | {"key": key}):
        tls = TLSConfig(ca=cert, **parts, server_name="other.example")
        ImportClient("https://host", tls=tls)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_key_of_a_grpc_client_is_not_written_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    opened = open_files()
    ImportClient("https://host", tls=TLSConfig(cert=CERT, key=KEY))
    with pytest.raises(ArgumentError, match="belongs to another certificate"):
        TLSConfig(cert=CERT, key=OTHER_KEY)
    assert open_files() == opened


def no_memory_file(name: str) -> int:
    raise PermissionError("not in this sandbox")


def test_key_in_bytes_without_files_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "memfd_create", no_memory_file)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    ImportClient("https://host", tls=TLSConfig(cert=CERT, key=OTHER_KEY))  # is not validated
    with pytest.raises(ArgumentError, match="key bytes is encrypted"):
        TLSConfig(cert=CERT, key=pem(made()[1], PKCS8, SECRET))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    TLSConfig(cert=CERT, key=KEY).add_to(context)  # the ssl module reads only files
    with pytest.raises(ArgumentError, match="belongs to another certificate"):
        TLSConfig(cert=CERT, key=OTHER_KEY).add_to(context)
    assert list(tmp_path.iterdir()) == []


def test_ca_bundle_is_added_to_the_context_of_an_http_client() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    TLSConfig(ca="# \u00e9\n".encode() + CERT + EC_CERT).add_to(context)
    assert context.cert_store_stats()["x509"] == 2


def test_keys_are_in_no_message_and_no_repr() -> None:
    key = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"
    with pytest.raises(TypeError, match="key must be a path or PEM bytes, got PEM text") as caught:
        TLSConfig(cert=CERT, key=key)
    assert SECRET not in f"{caught.value} {caught.value!r}"
    with pytest.raises(ArgumentError, match="key bytes cannot be used with cert") as fault:
        TLSConfig(cert=CERT, key=key.encode())
    assert SECRET not in f"{fault.value} {fault.value!r} {fault.value.__context__!r}"
    assert KEY.decode().splitlines()[1] not in repr(TLSConfig(cert=CERT, key=KEY))
