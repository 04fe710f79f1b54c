"""Where a client connects to: URI, credentials and TLS, validated before anything is sent."""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import grpc

from ._errors import ArgumentError, shorten, wrong_type_error

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

HOST_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?"
PUBLIC_PORT = 19530
HTTPS_PORT = 443

_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*):(//)?"
# A path to a file, without a scheme and a port; "c:" is a drive of Windows.
_LITE_PATH = r"^([A-Za-z]:)?[^:]*[/\\][^:]*$"
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
    if match and scheme in {"dns", "ipv4", "ipv6"}:
        return _several(uri, scheme, uri[match.end(1) + 1 :], tls=tls)
    if match and (match[2] or scheme in {"http", "https"}):
        raise _error(uri, f"has the unknown scheme {match[0]!r}; use one of {_FORMS}")
    return _web(uri, "https" if tls else "http", uri, default_port=PUBLIC_PORT)


def _validate_characters(uri: object) -> None:
    """Raise for characters that no URI contains. The message never shows credentials."""
    if not isinstance(uri, str):
        raise wrong_type_error("uri", "a str such as 'http://localhost:19530'", uri, secret=True)
    if "@" in uri:
        raise ArgumentError(
            "uri must not contain '@': pass credentials as user= and password=, or token="
        )
    for mark, part in (("?", "query"), ("#", "fragment")):
        if mark in uri:
            raise ArgumentError(f"uri must not contain a {part} (from {mark!r} on)")
    validate_text("uri", uri)
    if not uri or any(c.isspace() or not c.isprintable() for c in uri):
        raise ArgumentError(f"uri must be one of {_FORMS}, got {shorten(uri)}")
    if uri.endswith(".db") and (re.search(_LITE_PATH, uri) or os.access(uri, os.F_OK)):
        raise ArgumentError(
            f"uri must be the address of a server, got the Milvus Lite file {shorten(uri)}: "
            "Milvus Lite has no import service"
        )


def validate_text(name: str, value: object, *, secret: bool = False) -> str:
    """Return a str argument. Raise for line breaks, byte order marks and quotes around it.

    Files and environment variables add them. A secret is not shown in the error, and may be in
    quotes, which may be part of a password.
    """
    if not isinstance(value, str):
        raise wrong_type_error(name, "a str", value, secret=secret)
    marks = {"\r\n": "a line break", "\ufeff": "a byte order mark", "\"'": "quotes"}
    for characters, text in marks.items():
        if value.strip(characters) != value and not (secret and text == "quotes"):
            got = "" if secret else f", got {shorten(value)}"
            raise ArgumentError(f"{name} must not begin or end with {text}{got}")
    if re.search("[\ud800-\udfff]", value):
        raise ArgumentError(f"{name} must be valid Unicode text")
    return value


def authorization(secret: str | None) -> str | None:
    """Return Milvus' ``authorization`` metadata: base64 of the token or of ``user:password``."""
    return None if secret is None else base64.b64encode(secret.encode()).decode("ascii")


def credentials_text(token: str | None, user: str | None, password: str | None) -> str | None:
    """Return the token or ``user:password``, validated; None without credentials."""
    for name, value in (("token", token), ("user", user), ("password", password)):
        if value is not None:
            validate_text(name, value, secret=True)
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


def _several(uri: str, scheme: str, rest: str, *, tls: bool) -> Endpoint:
    """Parse a name of ``dns:``, or the addresses of ``ipv4:`` and ``ipv6:``."""
    authority, prefix, addresses = "", f"{scheme}:", rest.split(",")
    if scheme == "dns":
        if rest.startswith("//"):
            authority, slash, rest = rest[2:].partition("/")
            if not slash:
                raise _error(uri, "lacks a slash; use dns:///host:port")
        if authority and _ip_address(_address(uri, authority, 53)[1]) is None:
            raise _error(uri, f"has the DNS server {authority!r}, which must be an IP address")
        prefix, addresses = f"dns://{authority}/", [rest]
    if "/" in rest:
        raise _error(uri, "has a path; pass the database as db_name=")
    pairs = [_address(uri, address, PUBLIC_PORT) for address in addresses]
    for _, host in pairs if scheme != "dns" else ():
        _validate_ip(uri, scheme, host)
    target = prefix + ",".join(target for target, _ in pairs)
    loopback = not authority and all(_is_loopback(host) for _, host in pairs)
    return Endpoint(target, tls, "", loopback, several=True)


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
    if not host.isascii():
        raise _error(uri, f"has the host {host!r}, which is not ASCII; write it as xn--...")
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
    from ipaddress import ip_address  # noqa: PLC0415 - 2 % of the time to import this package

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


_Path = str | os.PathLike[str]
PEM = _Path | bytes
_PEM_BLOCK = rb"(?ms)^-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?\n.*?^-----END \1-----"


@dataclass(slots=True)
class TLSConfig:
    """How to use TLS. Every part is optional; ``https://`` alone uses gRPC's own root CAs.

    ``ca``, ``cert`` and ``key`` are PEM: bytes are the PEM itself, a ``str`` or path names a file.
    Raises ArgumentError for a file that cannot be read or is not valid, also when a client is
    created with it.
    """

    ca: PEM | None = field(default=None, repr=False)
    """The CA certificates to trust instead of gRPC's roots."""
    cert: PEM | None = field(default=None, repr=False)
    """The client's certificate chain, for mutual TLS; requires ``key``."""
    key: PEM | None = field(default=None, repr=False)
    """The client's private key, for mutual TLS, not encrypted; requires ``cert``."""
    server_name: str | None = None
    """The name to expect in the server's certificate if it differs from the host."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            given, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise ArgumentError(f"TLSConfig: {missing} must be passed with {given}")
        name = self.server_name
        if name is not None and not (isinstance(name, str) and re.fullmatch(HOST_NAME, name)):
            raise ArgumentError(f"TLSConfig: server_name must be a host name, got {shorten(name)}")
        self._load(None)

    def credentials(self) -> grpc.ChannelCredentials:
        """Read and validate the files, because gRPC would not report an error; return credentials.

        A key that was passed as bytes is never written to disk.
        """
        if self.ca is None:
            validate_roots("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
        return grpc.ssl_channel_credentials(*self._load(None))

    def add_to(self, context: ssl.SSLContext) -> None:
        """Add the CA and the client's certificate to the context of an HTTP client."""
        self._load(context)

    def _load(self, context: ssl.SSLContext | None) -> tuple[bytes | None, ...]:
        """Return the CA, the key and the certificate; add them to a context, or validate them."""
        ca = _read_pem("ca", self.ca, "CERTIFICATE")
        cert = _read_pem("cert", self.cert, "CERTIFICATE")
        key = _read_pem("key", self.key, "PRIVATE KEY")
        if ca:
            _load_certificates(context or _context_without_limits(), ca)
        if cert and key:
            _load_certificates(_context_without_limits(), cert)
            _load_chain(context, cert, key)
        return tuple(part.content if part else None for part in (ca, key, cert))


def validate_roots(variable: str) -> None:
    """Raise ArgumentError if the root CAs that a variable names cannot be read.

    gRPC and ssl would silently use others instead, or none.
    """
    path = os.environ.get(variable)
    if not path:
        return
    try:
        _context_without_limits().load_verify_locations(path)
    except (OSError, ValueError) as error:
        tls = isinstance(error, ssl.SSLError)
        reason = "it has no valid certificates" if tls else getattr(error, "strerror", error)
        raise ArgumentError(
            f"the environment variable {variable} names {path!r}, which cannot be used: {reason}"
        ) from None


@dataclass(slots=True, repr=False, eq=False)
class _Part:
    """One part of a TLSConfig, as read."""

    origin: str
    content: bytes
    blocks: list[bytes]
    """The PEM blocks with the required label."""
    path: _Path | None


def _context_without_limits() -> ssl.SSLContext:
    """Return a context to try certificates in, which accepts short keys as gRPC does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(ssl.SSLError):
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _load_certificates(context: ssl.SSLContext, part: _Part) -> None:
    """Load certificates one by one: gRPC ignores an invalid one and all after it."""
    for number, block in enumerate(part.blocks, 1):
        try:
            context.load_verify_locations(cadata=block.decode("ascii", "backslashreplace"))
        except ssl.SSLError as error:
            raise ArgumentError(
                f"TLSConfig: {part.origin} has an invalid certificate, number {number} of "
                f"{len(part.blocks)}: {error.reason or 'it cannot be decoded'}"
            ) from None


def _load_chain(context: ssl.SSLContext | None, cert: _Part, key: _Part) -> None:
    """Load a certificate and its key, which the ssl module reads only from files."""
    if re.search(rb"^-----BEGIN ENCRYPTED|^Proc-Type: 4,ENCRYPTED", key.blocks[0], re.MULTILINE):
        raise ArgumentError(f"TLSConfig: {key.origin} is encrypted; decrypt it (openssl pkey)")
    use_disk = context is not None
    with _as_file(cert, use_disk=use_disk) as chain, _as_file(key, use_disk=use_disk) as private:
        if chain is None or private is None:
            return
        try:
            # A password keeps OpenSSL from prompting for one.
            (context or _context_without_limits()).load_cert_chain(chain, private, password="")
        except ssl.SSLError as error:
            fault = error.reason or "it is not a private key"
            if re.search("MISMATCH|NO_CERTIFICATE_ASSIGNED", fault):
                fault = "it belongs to another certificate"
            raise ArgumentError(
                f"TLSConfig: {key.origin} cannot be used with {cert.origin}: {fault}"
            ) from None


@contextmanager
def _as_file(part: _Part, *, use_disk: bool) -> Generator[_Path | None, None, None]:
    """Yield the path of a PEM: its own, one in memory, or a temporary file if allowed; or None."""
    file = None
    if part.path is None and os.access("/proc/self/fd", os.F_OK):
        with suppress(AttributeError, OSError):  # macOS and Windows; a sandbox
            file = os.fdopen(os.memfd_create("milvus-import"), "wb", buffering=0)
    if file is not None:
        with file:
            file.write(part.content)
            yield f"/proc/self/fd/{file.fileno()}"
    elif part.path is None and use_disk:
        import tempfile  # noqa: PLC0415 - 4 % of the import time of the package
        from pathlib import Path  # noqa: PLC0415 - 3 % of the import time

        with tempfile.TemporaryDirectory(prefix="milvus-import-") as folder:  # of this user only
            path = Path(folder, "part.pem")
            path.write_bytes(part.content)
            yield path
    else:
        yield part.path


def _read_pem(name: str, source: PEM | None, label: str) -> _Part | None:
    """Return one part of a TLSConfig. Raises ArgumentError if it is not complete PEM."""
    if source is None:
        return None
    content, origin = _read_content(name, source)
    blocks = list(re.finditer(_PEM_BLOCK, content))
    wanted = [block[0] for block in blocks if block[1].endswith(label.encode())]
    if not content.strip():
        fault = "is empty"
    elif content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        fault = "begins with a byte order mark; save it as ASCII or as UTF-8 without it"
    elif len(blocks) < content.count(b"-----BEGIN"):
        fault = "has a PEM block that is cut off or does not begin a line"
    elif not wanted:
        fault = f"has no PEM block 'BEGIN {label}'"
    else:
        return _Part(origin, content, wanted, None if isinstance(source, bytes) else source)
    raise ArgumentError(f"TLSConfig: {origin} {fault}")


def _read_content(name: str, path: PEM) -> tuple[bytes, str]:
    """Return PEM, of a file if it is not bytes, and how errors name it."""
    if isinstance(path, bytes):
        return path, f"{name} bytes"
    if not isinstance(path, (str, os.PathLike)):
        raise wrong_type_error(f"TLSConfig: {name}", "a path or PEM bytes", path, secret=True)
    if "-----BEGIN" in str(path):
        raise TypeError(f"TLSConfig: {name} must be a path or PEM bytes, got PEM text as a str")
    from pathlib import Path  # noqa: PLC0415 - 3 % of the import time of the package

    origin = f"{name} file {os.fspath(path)!r}"
    try:
        return Path(path).read_bytes(), origin
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArgumentError(f"TLSConfig: {origin} cannot be read: {reason}") from error
