"""A certificate authority made for the test run, and the certificates it signs."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

import trustme

KeyAndChain = tuple[bytes, bytes]
"""PEM, as FakeMilvus takes it."""

_LONG_AGO = datetime(2019, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(slots=True, frozen=True)
class Certificates:
    """Two authorities, and what the first of them signed."""

    ca: bytes
    server: KeyAndChain
    """For localhost, 127.0.0.1 and ::1."""
    elsewhere: KeyAndChain
    """For another host, ELSEWHERE."""
    expired: KeyAndChain
    client: KeyAndChain
    other_ca: bytes
    """Signed none of these."""
    rotated_ca: bytes
    """The authority of ``rotated``."""
    rotated: KeyAndChain
    """For localhost, 127.0.0.1 and ::1."""
    https: ssl.SSLContext
    """The server's, for a server that does not speak HTTP/2."""


ELSEWHERE = "milvus.elsewhere.example"


def make_certificates() -> Certificates:
    authority = trustme.CA()
    here = ("localhost", "127.0.0.1", "::1")
    server = authority.issue_cert(*here)
    https = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.configure_cert(https)  # pyright: ignore[reportUnknownMemberType]
    start, end = _LONG_AGO
    next_authority = trustme.CA()
    return Certificates(
        ca=authority.cert_pem.bytes(),
        server=_pem(server),
        elsewhere=_pem(authority.issue_cert(ELSEWHERE)),
        expired=_pem(authority.issue_cert(*here, not_before=start, not_after=end)),
        client=_pem(authority.issue_cert("client@example.org")),
        other_ca=trustme.CA().cert_pem.bytes(),
        rotated_ca=next_authority.cert_pem.bytes(),
        rotated=_pem(next_authority.issue_cert(*here)),
        https=https,
    )


def _pem(leaf: trustme.LeafCert) -> KeyAndChain:
    chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
    return leaf.private_key_pem.bytes(), chain
