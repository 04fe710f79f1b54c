"""TLS: certificates and names, read and validated before a connection is made."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field

import grpc

from .._errors import ArgumentError
from .._text import shorten

HOST_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?"


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
