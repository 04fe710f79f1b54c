"""Where a client connects to: URI, credentials and TLS, validated before anything is sent."""

from __future__ import annotations

import base64
import os
import re
import ssl
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import grpc

from ._errors import ArgumentError
from ._text import shorten

HOST_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?"
PUBLIC_PORT = 19530
HTTPS_PORT = 443

_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*):(//)?"
_FORMS = "host, host:port, http://host:port, https://host:port/database, dns:///host, ipv4:a:p,b:p"


class Endpoint(NamedTuple):
    """A validated URI."""

    target: str
    """The target as gRPC accepts it."""
    secure: bool
    database: str
    """The database named in the URI's path, or ""."""
    loopback: bool
    """Whether every address is on this machine."""
    several: bool = False
    """Whether the URI may name several servers (``dns:``, ``ipv4:``, ``ipv6:``)."""


def parse_uri(uri: str, *, tls: bool = False) -> Endpoint:
    """Validate a URI and convert it to a gRPC target.

    ``tls``: a TLSConfig was given, so a URI without a scheme means TLS.
    Raises TypeError or ArgumentError.
    """
    _validate_characters(uri)
    match = re.match(_SCHEME, uri)
    scheme = match[1].lower() if match else ""
    if match and match[2] and scheme in {"http", "https"}:
        return _web(uri, scheme, uri[match.end() :], tls=tls)
    if match and scheme in {"unix", "unix-abstract"}:
        return _unix(uri, scheme, uri[match.end(1) + 1 :], tls=tls)
    if match and scheme == "dns":
        return _dns(uri, uri[match.end(1) + 1 :], tls=tls)
    if match and scheme in {"ipv4", "ipv6"}:
        return _addresses(uri, scheme, uri[match.end(1) + 1 :], tls=tls)
    if match and (match[2] or scheme in {"http", "https"}):
        raise _error(uri, f"has the unknown scheme {match[0]!r}; use one of {_FORMS}")
    return _web(uri, "https" if tls else "http", uri, default_port=PUBLIC_PORT)


def _validate_characters(uri: object) -> None:
    """Raise for characters that no URI contains. The message never shows credentials."""
    if not isinstance(uri, str):
        kind = type(uri).__name__
        raise TypeError(f"uri must be a str such as 'http://localhost:19530', got {kind}")
    if "@" in uri:
        raise ArgumentError(
            "uri must not contain '@': pass credentials as user= and password=, or token="
        )
    for mark, part in (("?", "query"), ("#", "fragment")):
        if mark in uri:
            raise ArgumentError(f"uri must not contain a {part} (from {mark!r} on)")
    if not uri or any(c.isspace() or not c.isprintable() for c in uri):
        raise ArgumentError(f"uri must be one of {_FORMS}, got {shorten(uri)}")


def authorization(token: str | None, user: str | None, password: str | None) -> str | None:
    """Return Milvus' ``authorization`` metadata: base64 of the token or of ``user:password``."""
    secret = credentials_text(token, user, password)
    if secret is None:
        return None
    try:
        return base64.b64encode(secret.encode()).decode("ascii")
    except UnicodeEncodeError:
        pass  # its repr holds the secret, so it must not be the context of the error below
    raise ArgumentError(f"{'token' if token else 'user or password'} must be valid Unicode text")


def credentials_text(token: str | None, user: str | None, password: str | None) -> str | None:
    """Return the token or ``user:password``, validated; None without credentials."""
    for name, value in (("token", token), ("user", user), ("password", password)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, got {type(value).__name__}")
    if token and (user or password):
        raise ArgumentError("token must be None if user or password is passed")
    if token and token.lower().startswith("bearer "):
        raise ArgumentError("token must be passed without 'Bearer'; the client encodes it")
    if bool(user) != bool(password):
        given, missing = ("user", "password") if user else ("password", "user")
        raise ArgumentError(f"{missing} must be passed with {given}")
    if user and ":" in user:
        raise ArgumentError("user must not contain ':', which ends the user name in credentials")
    return token or (f"{user}:{password}" if user else None)


def _web(
    uri: str, scheme: str, rest: str, *, tls: bool = False, default_port: int | None = None
) -> Endpoint:
    if scheme == "http" and tls:
        raise _error(uri, "has the scheme http://, but tls= was given; use https://")
    address, _, database = rest.partition("/")
    database = database.removesuffix("/")
    if "/" in database:
        raise _error(uri, f"has a path of more than one part, /{database}; only /database is valid")
    port = default_port or (HTTPS_PORT if scheme == "https" else PUBLIC_PORT)
    target, host = _address(uri, address, port)
    return Endpoint(target, scheme == "https", database, _is_loopback(host))


def _unix(uri: str, scheme: str, rest: str, *, tls: bool) -> Endpoint:
    if rest.startswith("//") and not rest.startswith("///"):
        raise _error(uri, f"has a host, which {scheme}: does not accept; use {scheme}:/path")
    if not rest.strip("/"):
        raise _error(uri, f"names no socket; use {scheme}:/path/to/socket")
    return Endpoint(f"{scheme}:{rest}", tls, "", loopback=True)


def _dns(uri: str, rest: str, *, tls: bool) -> Endpoint:
    authority, address = "", rest
    if rest.startswith("//"):
        authority, slash, address = rest[2:].partition("/")
        if not slash:
            raise _error(uri, "lacks a slash; use dns:///host:port")
    if "/" in address:
        raise _error(uri, "has a path; pass the database as db_name=")
    if authority and _ip_address(_address(uri, authority, 53)[1]) is None:
        raise _error(uri, f"has the DNS server {authority!r}, which must be an IP address")
    target, host = _address(uri, address, PUBLIC_PORT)
    prefix = f"dns://{authority}/"
    loopback = not authority and _is_loopback(host)
    return Endpoint(prefix + target, tls, "", loopback, several=True)


def _addresses(uri: str, scheme: str, rest: str, *, tls: bool) -> Endpoint:
    if "/" in rest:
        raise _error(uri, "has a path; pass the database as db_name=")
    pairs = [_address(uri, address, PUBLIC_PORT) for address in rest.split(",")]
    for _, host in pairs:
        _validate_ip(uri, scheme, host)
    targets = ",".join(target for target, _ in pairs)
    loopback = all(_is_loopback(host) for _, host in pairs)
    return Endpoint(f"{scheme}:{targets}", tls, "", loopback, several=True)


def _address(uri: str, address: str, default_port: int) -> tuple[str, str]:
    """Split ``host[:port]`` into (``host:port``, ``host``), IPv6 in brackets."""
    if address.startswith("["):
        host, bracket, port = address[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _error(uri, "has an IPv6 address without its closing bracket; use [::1]:19530")
        _validate_ip(uri, "ipv6", host)
        return f"[{host}]:{_port(uri, port[1:] if port else None, default_port)}", host
    if address.count(":") > 1:
        raise _error(uri, "has more than one ':'; put an IPv6 address in brackets, [::1]:19530")
    host, colon, port = address.partition(":")
    if not host:
        raise _error(uri, "has no host")
    if not re.fullmatch(HOST_NAME, host):
        raise _error(uri, f"has the invalid host {host!r}")
    return f"{host}:{_port(uri, port if colon else None, default_port)}", host


def _port(uri: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise _error(uri, f"has the invalid port {text!r}; a port is 1 to 65535, Milvus' is 19530")
    return int(text)


def _validate_ip(uri: str, scheme: str, host: str) -> None:
    address = _ip_address(host)
    if address is None or f"ipv{address.version}" != scheme:
        raise _error(uri, f"has {host!r}, which must be an {scheme} address")


def _ip_address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _ip_address(host)
    if address is not None:
        return address.is_loopback
    return host.lower().rstrip(".") in {"localhost", "localhost.localdomain"}


def _error(uri: str, fault: str) -> ArgumentError:
    return ArgumentError(f"uri {shorten(uri)} {fault}")


@dataclass(slots=True)
class TLSConfig:
    """How to use TLS. Every part is optional; ``https://`` alone uses gRPC's own root CAs.

    ``ca``, ``cert`` and ``key`` are PEM: bytes are the PEM itself, a ``str`` or path names a file.
    """

    ca: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    """The CA certificates to trust instead of gRPC's roots."""
    cert: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    """The client's certificate chain, for mutual TLS; goes with ``key``."""
    key: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    """The client's private key, for mutual TLS; goes with ``cert``."""
    server_name: str | None = None
    """The name to expect in the server's certificate if it differs from the host."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            given, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise ArgumentError(f"TLSConfig: {missing} must be passed with {given}")
        name = self.server_name
        if name is not None and not (isinstance(name, str) and re.fullmatch(HOST_NAME, name)):
            raise ArgumentError(f"TLSConfig: server_name must be a host name, got {shorten(name)}")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files and return gRPC's credentials.

        Raises ArgumentError for a file that is not PEM or cannot be read.
        """
        return grpc.ssl_channel_credentials(
            root_certificates=read_pem("ca", self.ca, "CERTIFICATE"),
            private_key=read_pem("key", self.key, "PRIVATE KEY"),
            certificate_chain=read_pem("cert", self.cert, "CERTIFICATE"),
        )

    def add_to(self, context: ssl.SSLContext) -> None:
        """Add the CA and the client's certificate to the context of an HTTP client.

        Raises ArgumentError for a file that is not PEM, cannot be read, or is not valid.
        """
        ca = read_pem("ca", self.ca, "CERTIFICATE")
        cert = read_pem("cert", self.cert, "CERTIFICATE")
        key = read_pem("key", self.key, "PRIVATE KEY")
        name = "ca"
        try:
            if ca is not None:
                context.load_verify_locations(cadata=ca.decode("ascii", "replace"))
            name = "cert and key"
            if cert is not None and key is not None:
                _load_chain(context, cert, key)
        except ssl.SSLError as error:
            fault = error.reason or "the PEM is not valid"
            raise ArgumentError(f"TLSConfig: {name} cannot be used: {fault}") from None


def _load_chain(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    """Load a certificate and its key, which the ssl module reads only from files."""
    import tempfile  # noqa: PLC0415 - 4 % of the import time of the package, for REST only
    from pathlib import Path  # noqa: PLC0415 - 3 % of the import time

    with tempfile.TemporaryDirectory(prefix="milvus-import-") as folder:  # for this user only
        path = Path(folder, "chain.pem")
        path.write_bytes(key + b"\n" + cert)
        # A password keeps OpenSSL from prompting for one; an encrypted key is an error.
        context.load_cert_chain(path, password="")


def read_pem(name: str, source: str | os.PathLike[str] | bytes | None, label: str) -> bytes | None:
    """Return the PEM bytes of one part of a TLSConfig. Raises ArgumentError if they are not PEM."""
    if source is None:
        return None
    if isinstance(source, bytes):
        content, origin = source, f"{name} bytes"
    elif isinstance(source, (str, os.PathLike)):
        if "-----BEGIN" in str(source):
            raise TypeError(f"TLSConfig: {name} must be a path or PEM bytes, got PEM text as a str")
        from pathlib import Path  # noqa: PLC0415 - 3 % of the import time of the package

        origin = f"{name} file {os.fspath(source)!r}"
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise ArgumentError(f"TLSConfig: {origin} cannot be read: {error.strerror}") from error
    else:
        kind = type(source).__name__
        raise TypeError(f"TLSConfig: {name} must be a path or PEM bytes, got {kind}")
    if not re.search(rb"-----BEGIN [A-Z ]*" + label.encode() + rb"-----\s", content):
        raise ArgumentError(f"TLSConfig: {origin} has no PEM block 'BEGIN {label}'")
    return content
