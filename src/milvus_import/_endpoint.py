"""Where a client connects to: the URI, TLS and the credentials, checked before anything is sent."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import grpc

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

PUBLIC_PORT = 19530
HTTPS_PORT = 443

_HOST = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?"
_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*):(//)?"
_FORMS = "host, host:port, http://host:port, https://host:port/database, dns:///host, ipv4:a:p,b:p"


@dataclass(slots=True)
class TLSConfig:
    """How to talk TLS. Every part is optional; ``https://`` alone uses gRPC's own root CAs.

    ``ca``, ``cert`` and ``key`` are PEM: bytes are the PEM itself, a ``str`` or path names a file.
    """

    ca: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    """The CA certificates to trust instead of gRPC's roots."""
    cert: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    """The client's certificate chain, for mutual TLS; goes with ``key``."""
    key: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    """The client's private key, for mutual TLS; goes with ``cert``."""
    server_name: str | None = None
    """The name to expect in the server's certificate where it differs from the host."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            missing = "key" if self.key is None else "cert"
            raise ValueError(f"TLSConfig: cert and key go together; {missing} is missing")
        name = self.server_name
        if name is not None and not (isinstance(name, str) and re.fullmatch(_HOST, name)):
            raise ValueError(f"TLSConfig: server_name {self.server_name!r} is no host name")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files and build gRPC's credentials.

        Raises ValueError for what is no PEM or cannot be read.
        """
        return grpc.ssl_channel_credentials(
            root_certificates=_pem("ca", self.ca, "CERTIFICATE"),
            private_key=_pem("key", self.key, "PRIVATE KEY"),
            certificate_chain=_pem("cert", self.cert, "CERTIFICATE"),
        )


class Endpoint(NamedTuple):
    """A checked URI."""

    target: str
    """What gRPC is given."""
    secure: bool
    database: str
    """The database named in the URI's path, or ""."""
    loopback: bool
    """Whether every address is this machine's own."""
    several: bool = False
    """Whether the URI may stand for several servers (``dns:``, ``ipv4:``, ``ipv6:``)."""


def parse_uri(uri: str, *, tls: bool = False) -> Endpoint:
    """Check a URI and turn it into what gRPC connects to.

    ``tls`` says that a TLSConfig was given: then a URI without a scheme means TLS.
    Raises TypeError or ValueError that names the fault and the mend.
    """
    if not isinstance(uri, str):
        raise TypeError(f"uri must be a str such as 'http://localhost:19530', not {_kind(uri)}")
    if "@" in uri:
        raise ValueError(
            "uri holds '@': credentials do not belong in a URI; pass user= and password=, or token="
        )
    for mark, part in (("?", "query"), ("#", "fragment")):
        if mark in uri:
            raise ValueError(f"uri has a {part} (from {mark!r} on), which means nothing here")
    if not uri or any(c.isspace() or not c.isprintable() for c in uri):
        raise ValueError(f"uri {uri!r} is empty or holds blanks; forms: {_FORMS}")
    match = re.match(_SCHEME, uri)
    scheme = match[1].lower() if match else ""
    if match and match[2] and scheme in {"http", "https"}:
        return _web(uri, scheme, uri[match.end() :], tls=tls)
    if match and scheme in {"dns", "ipv4", "ipv6", "unix", "unix-abstract"}:
        return _resolver(uri, scheme, uri[match.end(1) + 1 :], tls=tls)
    if match and (match[2] or scheme in {"http", "https"}):
        _refuse(uri, f"has the unknown scheme {match[0]!r}; forms: {_FORMS}")
    return _web(uri, "https" if tls else "http", uri, default_port=PUBLIC_PORT)


def authorization(token: str | None, user: str | None, password: str | None) -> str | None:
    """Milvus' ``authorization`` metadata value: base64 of the token or of ``user:password``."""
    for name, value in (("token", token), ("user", user), ("password", password)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {_kind(value)}")
    if token and (user or password):
        raise ValueError("token and user/password are two ways to say the same; pass only one")
    if token and token.lower().startswith("bearer "):
        raise ValueError("token begins with 'Bearer': pass it without; it is encoded here")
    if bool(user) != bool(password):
        missing = "password" if user else "user"
        raise ValueError(f"user and password go together; {missing} is missing")
    if user and ":" in user:
        raise ValueError("user holds ':', which ends the user name in Milvus' credentials")
    secret = token or (f"{user}:{password}" if user else "")
    try:
        return base64.b64encode(secret.encode()).decode("ascii") or None
    except UnicodeEncodeError:
        pass  # its repr holds the secret, so it must not even be the context of ours
    raise ValueError(f"{'token' if token else 'user or password'} holds a lone surrogate: no text")


def _web(
    uri: str, scheme: str, rest: str, *, tls: bool = False, default_port: int | None = None
) -> Endpoint:
    if scheme == "http" and tls:
        raise ValueError(f"uri {uri!r} says plaintext, but tls= was given; write https://")
    address, _, database = rest.partition("/")
    database = database.removesuffix("/")
    if "/" in database:
        _refuse(uri, f"has a path of more than one part, /{database}; only /database is known")
    port = default_port or (HTTPS_PORT if scheme == "https" else PUBLIC_PORT)
    target, host = _address(uri, address, port)
    return Endpoint(target, scheme == "https", database, _is_loopback(host))


def _resolver(uri: str, scheme: str, rest: str, *, tls: bool) -> Endpoint:
    """A target in gRPC's own naming: several addresses, DNS, a Unix socket."""
    if scheme.startswith("unix"):
        if not rest.strip("/"):
            _refuse(uri, "names no socket; write unix:/path/to/socket")
        return Endpoint(f"{scheme}:{rest}", tls, "", loopback=True)
    if scheme == "dns":
        authority, address = "", rest
        if rest.startswith("//"):
            authority, slash, address = rest[2:].partition("/")
            if not slash:
                _refuse(uri, "lacks a slash; write dns:///host:port")
        if "/" in address:
            _refuse(uri, "has a path; pass the database as db_name=")
        target, host = _address(uri, address, PUBLIC_PORT)
        prefix = f"dns://{authority}/" if authority else "dns:///"
        return Endpoint(prefix + target, tls, "", _is_loopback(host), several=True)
    if "/" in rest:
        _refuse(uri, "has a path; pass the database as db_name=")
    pairs = [_address(uri, address, PUBLIC_PORT) for address in rest.split(",")]
    for _, host in pairs:
        _check_ip(uri, scheme, host)
    targets = ",".join(target for target, _ in pairs)
    loopback = all(_is_loopback(host) for _, host in pairs)
    return Endpoint(f"{scheme}:{targets}", tls, "", loopback, several=True)


def _address(uri: str, address: str, default_port: int) -> tuple[str, str]:
    """``host[:port]`` as (``host:port``, ``host``), IPv6 in brackets."""
    if address.startswith("["):
        host, bracket, port = address[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            _refuse(uri, "has an IPv6 address without its closing bracket; write [::1]:19530")
        _check_ip(uri, "ipv6", host)
        return f"[{host}]:{_port(uri, port[1:] if port else None, default_port)}", host
    if address.count(":") > 1:
        _refuse(uri, "has more than one ':'; an IPv6 address goes in brackets, [::1]:19530")
    host, colon, port = address.partition(":")
    if not host:
        _refuse(uri, "has no host")
    if not re.fullmatch(_HOST, host):
        _refuse(uri, f"has the bad host {host!r}")
    return f"{host}:{_port(uri, port if colon else None, default_port)}", host


def _port(uri: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        _refuse(uri, f"has the bad port {text!r}; a port is 1 to 65535, Milvus' is 19530")
    return int(text)


def _check_ip(uri: str, scheme: str, host: str) -> None:
    try:
        found = f"ipv{_ip_address(host).version}"
    except ValueError:
        found = "no IP"
    if found != scheme:
        _refuse(uri, f"has {host!r} where an {scheme} address belongs")


def _ip_address(host: str) -> IPv4Address | IPv6Address:
    from ipaddress import ip_address  # noqa: PLC0415 - importing the package need not pay for it

    return ip_address(host)


def _is_loopback(host: str) -> bool:
    try:
        return _ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in {"localhost", "localhost.localdomain"}


def _pem(name: str, source: str | os.PathLike[str] | bytes | None, label: str) -> bytes | None:
    """The PEM bytes of one part, after a look at whether they are that."""
    if source is None:
        return None
    if isinstance(source, bytes):
        content, origin = source, f"the {name} bytes"
    elif isinstance(source, (str, os.PathLike)):
        if "-----BEGIN" in str(source):
            raise TypeError(f"TLSConfig: {name} holds PEM text; pass it as bytes (a str is a path)")
        from pathlib import Path  # noqa: PLC0415 - importing the package need not pay for it

        origin = f"{name} file {os.fspath(source)!r}"
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise ValueError(f"TLSConfig: {origin} cannot be read: {error.strerror}") from error
    else:
        raise TypeError(f"TLSConfig: {name} must be a path or PEM bytes, not {_kind(source)}")
    if not re.search(rb"-----BEGIN [A-Z ]*" + label.encode() + rb"-----\s", content):
        raise ValueError(f"TLSConfig: {origin} holds no PEM block 'BEGIN {label}'")
    return content


def _kind(value: object) -> str:
    return type(value).__name__


def _refuse(uri: str, fault: str) -> NoReturn:
    raise ValueError(f"uri {uri!r} {fault}")
