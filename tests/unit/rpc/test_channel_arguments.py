"""The arguments of the gRPC channel: what the documentation promises, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from milvus_import._address import parse_uri
from milvus_import._connection._grpc import channel_arguments

MIB = 1024 * 1024


def arguments_of(uri: str, extra: Any = ()) -> dict[str, Any]:
    pairs = channel_arguments(parse_uri(uri), 64 * MIB, 32 * MIB, extra)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_channel_arguments_are_exactly_these() -> None:
    assert arguments_of("http://milvus.example") == {
        "grpc.max_receive_message_length": 64 * MIB,
        "grpc.max_send_message_length": 32 * MIB,
        # No service config, so no retryPolicy: reads are retried in Python. gRPC's transparent
        # retry stays on.
        "grpc.lb_policy_name": "pick_first",
        # Reconnected 0.3 to 0.7 s after the server is back.
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.max_reconnect_backoff_ms": 1000,
        # A dropped connection is noticed after 10 + 15 s.
        "grpc.keepalive_time_ms": 10_000,
        "grpc.keepalive_timeout_ms": 15_000,
        "grpc.http2.ping_timeout_ms": 15_000,
    }


@pytest.mark.parametrize(
    ("uri", "proxied"),
    [
        ("http://localhost", False),
        ("http://127.0.0.1:1", False),
        ("unix:/run/milvus.sock", False),
        ("http://milvus.example", True),
        ("http://10.0.0.1", True),
    ],
)
def test_proxy_variables_do_not_apply_to_loopback_addresses(uri: str, proxied: bool) -> None:
    assert arguments_of(uri).get("grpc.enable_http_proxy", 1) == proxied


@pytest.mark.parametrize(
    ("uri", "policy"),
    [
        ("http://milvus", "pick_first"),
        ("dns:///milvus", "round_robin"),
        ("ipv4:10.0.0.1,10.0.0.2", "round_robin"),
    ],
)
def test_calls_are_spread_over_the_addresses_of_a_uri_with_several(uri: str, policy: str) -> None:
    assert arguments_of(uri)["grpc.lb_policy_name"] == policy


def test_channel_options_override_arguments_of_the_same_name() -> None:
    extra = [("grpc.keepalive_time_ms", 60_000), ("grpc.primary_user_agent", "bookshop/1.2")]
    changed = arguments_of("http://milvus", extra)
    assert changed == arguments_of("http://milvus") | dict(extra)
    assert arguments_of("http://localhost", [("grpc.enable_http_proxy", 1)])[
        "grpc.enable_http_proxy"
    ]


@pytest.mark.parametrize("size", [1, 2**31 - 1])
def test_message_sizes_of_1_to_int32_are_accepted(size: int) -> None:
    endpoint = parse_uri("http://milvus")
    assert ("grpc.max_receive_message_length", size) in channel_arguments(endpoint, size, 1)
    assert ("grpc.max_send_message_length", size) in channel_arguments(endpoint, 1, size)
