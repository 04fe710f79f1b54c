"""The texts of every supported grpcio are understood.

The text of one fault differs between grpcio versions, and from call to call if a name has two
addresses. These were recorded on grpcio 1.66 and 1.85.
"""

from __future__ import annotations

import grpc
import pytest

from milvus_import._failures._context import CallContext
from milvus_import._failures._grpc import call_error
from milvus_import._hints import Hint

ALL_FAILED = "failed to connect to all addresses; last error: "
IPV6_REFUSED = "UNKNOWN: ipv6:%5B::1%5D:19530: Failed to connect to remote host: Connection refused"
IPV4_REFUSED = (
    "UNKNOWN: ipv4:127.0.0.1:19530: Failed to connect to remote host: connect: Connection "
    "refused (111)"
)
OLD_WRONG_NAME = "UNKNOWN: ipv4:127.0.0.1:19530: Peer name localhost is not in peer certificate"
NEW_WRONG_NAME = (
    "UNKNOWN: ipv4:127.0.0.1:19530: Custom verification check failed with error: "
    "UNAUTHENTICATED: Hostname Verification Check failed."
)
NO_CERTIFICATE = "UNAVAILABLE: ipv4:127.0.0.1:19530: recvmsg:Connection reset by peer"
OLD_UNKNOWN = (
    "DNS resolution failed for localhost:19530: C-ares status is not ARES_SUCCESS qtype=A "
    "name=localhost is_balancer=0: Domain name not found"
)
NEW_UNKNOWN = (
    "errors resolving localhost:19530: [field:hostname lookup error:address lookup failed "
    "for localhost:19530: Domain name not found]"
)
UNKNOWN_PROXY = (
    "errors resolving proxy:3128: [field:hostname lookup error:address lookup failed for "
    "proxy:3128: Domain name not found]"
)
PROXY_RESPONSE = "UNKNOWN: ipv4:127.0.0.1:3128: HTTP proxy returned response code 403"


@pytest.mark.parametrize(
    ("uri", "details", "hint"),
    [
        ("http://localhost:19530", ALL_FAILED + IPV6_REFUSED, Hint.REFUSED_OR_HTTPS),
        ("https://localhost:19530", ALL_FAILED + IPV6_REFUSED, Hint.REFUSED_OR_TLS),
        ("https://[::1]:19530", ALL_FAILED + IPV6_REFUSED, Hint.CHECK_ADDRESS),
        ("http://127.0.0.1:19530", ALL_FAILED + IPV4_REFUSED, Hint.CHECK_ADDRESS),
        ("https://localhost:19530", ALL_FAILED + OLD_WRONG_NAME, Hint.EXPECT_SERVER_NAME),
        ("https://localhost:19530", ALL_FAILED + NEW_WRONG_NAME, Hint.EXPECT_SERVER_NAME),
        ("https://localhost:19530", ALL_FAILED + NO_CERTIFICATE, Hint.RESTARTING_OR_CERTIFICATE),
        ("http://localhost:19530", OLD_UNKNOWN, Hint.CHECK_HOST_NAME),
        ("http://localhost:19530", NEW_UNKNOWN, Hint.CHECK_HOST_NAME),
        ("http://milvus:19530", UNKNOWN_PROXY, Hint.UNSET_PROXY),
        ("http://milvus:19530", ALL_FAILED + PROXY_RESPONSE, Hint.UNSET_PROXY),
        ("http://milvus:19529", ALL_FAILED + IPV4_REFUSED, Hint.UNSET_PROXY),
    ],
)
def test_texts_of_every_grpcio_get_their_hint(uri: str, details: str, hint: Hint) -> None:
    scheme, _, target = uri.partition("://")
    context = CallContext(
        method="ImportV2",
        service="internal",
        read=False,
        target=target,
        secure=scheme == "https",
        timeout=10.0,
        responded=False,
        authorized=False,
    )
    error = call_error(grpc.StatusCode.UNAVAILABLE, details, context, None)
    assert error.hint == hint.python
    assert error.transient
    assert not error.may_have_run


def test_the_hint_for_localhost_over_tls_lists_every_cause() -> None:
    for words in (
        "Use http://",
        "TLSConfig(ca=...)",
        "server_name=...",
        "cert=... and key=...",
    ):
        assert words in Hint.REFUSED_OR_TLS.python
    assert "Use https://" in Hint.REFUSED_OR_HTTPS.python


@pytest.mark.parametrize(
    "details",
    ["Milvus Proxy is not ready yet. please wait", "service not ready[proxy=1]: Initializing"],
)
def test_a_write_that_a_starting_proxy_rejects_has_not_run(details: str) -> None:
    context = CallContext("ImportV2", "internal", False, "milvus:19529", False, 10.0, False, False)
    error = call_error(grpc.StatusCode.UNKNOWN, details, context, None)
    assert (error.transient, error.may_have_run) == (True, False)
