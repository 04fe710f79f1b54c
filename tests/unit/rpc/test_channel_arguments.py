"""The arguments of the gRPC channel: what the documentation promises, as a table."""

from __future__ import annotations

import re
from typing import Any

import pytest

from milvus_import import ArgumentError, ImportClient, TLSConfig
from milvus_import._address import parse_uri
from milvus_import._connection._grpc import channel_arguments, validate_interceptors

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


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ((0, 1), ArgumentError, "max_receive_bytes must be 1 to 2**31-1, got 0"),
        ((2**31, 1), ArgumentError, "max_receive_bytes must be 1 to 2**31-1, got 2147483648"),
        ((1, -1), ArgumentError, "max_send_bytes must be 1 to 2**31-1, got -1"),
        ((1, 1.5), TypeError, "max_send_bytes must be an int, got 1.5"),
        ((1, True), TypeError, "max_send_bytes must be an int, got True"),
        (("1", 1), TypeError, "max_receive_bytes must be an int, got '1'"),
    ],
)
def test_invalid_message_size_is_named(
    sizes: tuple[Any, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        ImportClient("http://milvus", max_receive_bytes=sizes[0], max_send_bytes=sizes[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, "channel_options must be a sequence of pairs, got None"),
        ("grpc.x", "channel_options must be a sequence of pairs, got 'grpc.x'"),
        (
            [("a", 1, 2)],
            "channel_options must hold pairs of name and value; one entry is not a pair",
        ),
        ([(1, "a")], "channel_options must hold pairs of name and value; one entry is not a pair"),
        ([["a", 1]], "channel_options must hold pairs of name and value; one entry is not a pair"),
    ],
)
def test_invalid_channel_options_raise_type_error(options: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        ImportClient("http://milvus", channel_options=options)
    tls = TLSConfig(server_name="milvus.example")  # which adds an argument
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        ImportClient("https://milvus", tls=tls, channel_options=options)


@pytest.mark.parametrize(
    ("interceptors", "message"),
    [
        (None, "interceptors must be a sequence, got None"),
        (
            [object()],
            "interceptors must hold grpc.aio.UnaryUnaryClientInterceptor objects, got object",
        ),
    ],
)
def test_invalid_interceptors_raise_type_error(interceptors: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        validate_interceptors(interceptors)
