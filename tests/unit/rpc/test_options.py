"""Call options: validated, and merged with the client's defaults."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import grpc
import pytest

from milvus_import import ArgumentError, CallOptions, ImportClient, RpcOptions, TLSConfig
from milvus_import._options import CallSettings, client_settings, merge, merge_rpc, reject_awaitable

SECRET = "s3cr3t-Milvus"
PAIRS_RULE = "metadata must be a mapping or pairs of key and value, "
KEY_RULE = "a metadata key must consist of letters, digits, '_', '.' and '-', got "


def settings(*, secure: bool = True, **defaults: Any) -> CallSettings:
    fixed = {"authorization": "dDprZW4="}
    return client_settings(CallSettings(secure=secure), fixed, as_options(defaults))


def as_options(options: Any) -> Any:
    return options


async def coroutine_function(_: object) -> None: ...


INVALID: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeout": math.nan}, ArgumentError,
     "timeout must be seconds, or None for no limit, got NaN"),
    ({"timeout": 1e9 + 1}, ArgumentError,
     "timeout must be at most 1e9 seconds, or None for no limit, got 1000000001.0"),
    ({"timeout": 10**400}, ArgumentError, "timeout must be at most 1e9 seconds"),
    ({"timeout": "5"}, TypeError, "timeout must be seconds, an int or a float, got '5'"),
    ({"timeout": True}, TypeError, "timeout must be seconds, an int or a float, got True"),
    ({"timeout": Decimal(5)}, TypeError, "timeout must be seconds, an int or a float, got Decimal"),
    ({"wait_for_ready": 1}, TypeError, "wait_for_ready must be True, False or None, got int"),
    ({"compression": "gzip"}, TypeError, "compression must be a grpc.Compression or None"),
    ({"compression": grpc.Compression.Deflate}, ArgumentError,
     "compression must be grpc.Compression.Gzip or None: Milvus does not accept deflate"),
    ({"call_credentials": SECRET}, TypeError,
     "call_credentials must be a grpc.CallCredentials or None, got str"),
    ({"call_credentials": grpc.access_token_call_credentials(SECRET)}, ArgumentError,
     "call_credentials must be None without TLS; use an https:// URI or tls=TLSConfig(...)"),
    ({"on_finish": 5}, TypeError, "on_finish must be a function, got 5"),
    ({"on_finish": coroutine_function}, TypeError,
     "on_finish must be a plain function, got an async function"),
    ({"metadata": 5}, TypeError, PAIRS_RULE + "got int"),
    ({"timeot": 1}, TypeError, "unexpected keyword argument 'timeot': did you mean timeout=?"),
    ({"Metadata": {}}, TypeError,
     "unexpected keyword argument 'Metadata': did you mean metadata=?"),
    ({"rpc_timeout": 1}, TypeError,
     "unexpected keyword argument 'rpc_timeout': use timeout= for the deadline of each RPC"),
    ({"call": {"timeout": 1}}, TypeError,
     "unexpected keyword argument 'call': pass the call options directly, such as metadata=..."),
    ({"xyzzy": 1}, TypeError,
     "use one of call_credentials, compression, metadata, on_finish, timeout, wait_for_ready"),
    ({"metadata": SECRET}, TypeError, PAIRS_RULE + "got str"),
    ({"metadata": b"k"}, TypeError, PAIRS_RULE + "got bytes"),
    ({"metadata": [SECRET]}, TypeError, "metadata must hold pairs of key and value; entry 0"),
    ({"metadata": [("a", "b"), ("a", SECRET, 5)]}, TypeError, "entry 1 is not a pair"),
    ({"metadata": {b"a": SECRET}}, TypeError, "a metadata key must be a str, got b'a'"),
    ({"metadata": {"": SECRET}}, ArgumentError, KEY_RULE + "''"),
    ({"metadata": {"a b": SECRET}}, ArgumentError, KEY_RULE + "'a b'"),
    ({"metadata": {"a:b": SECRET}}, ArgumentError, KEY_RULE + "'a:b'"),
    ({"metadata": {":path": SECRET}}, ArgumentError, KEY_RULE + "':path'"),
    ({"metadata": {"a\n": SECRET}}, ArgumentError, KEY_RULE + r"'a\n'"),
    ({"metadata": {"schl\u00fcssel": SECRET}}, ArgumentError, KEY_RULE + "'schl\u00fcssel'"),
    ({"metadata": {"to\u212aen": SECRET}}, ArgumentError, KEY_RULE + "'to"),
    ({"metadata": {"grpc-timeout": SECRET}}, ArgumentError, "key 'grpc-timeout' is reserved"),
    ({"metadata": {"User-Agent": SECRET}}, ArgumentError, "key 'User-Agent' is reserved for gRPC"),
    ({"metadata": {"content-length": SECRET}}, ArgumentError, "'content-length' is reserved for"),
    ({"metadata": {"te": SECRET}}, ArgumentError, "metadata key 'te' is reserved for gRPC"),
    ({"metadata": {"note": f"{SECRET}\u00e9"}}, ArgumentError,
     "metadata 'note': the value must be printable ASCII, but its character at index 13 is not; "),
    ({"metadata": {"note": f"{SECRET}\n"}}, ArgumentError,
     "its character at index 13 is not; encode it, or send bytes under the key 'note-bin'"),
    ({"metadata": {"note": f"{SECRET}\x7f"}}, ArgumentError, "its character at index 13 is not"),
    ({"metadata": {"note": f"{SECRET}\udc80"}}, ArgumentError, "its character at index 13 is not"),
    ({"metadata": {"note": SECRET.encode()}}, TypeError,
     "metadata 'note': the value must be a str (bytes go under a -bin key), got bytes"),
    ({"metadata": {"note": 5}}, TypeError, "metadata 'note': the value must be a str"),
    ({"metadata": {"note-bin": SECRET}}, TypeError,
     "metadata 'note-bin' ends in -bin: its value must be bytes, got str"),
    ({"metadata": {"note-bin": bytearray(5)}}, TypeError, "its value must be bytes, got bytearray"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error", "message"),
    INVALID,
    ids=[f"{index}-{next(iter(row[0]))}" for index, row in enumerate(INVALID)],
)
def test_invalid_call_option_is_named_without_secrets(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        merge(settings(secure=False), as_options(dict(options)))
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__context__!r}"


CHANNEL_RULE = "channel_options must "
NAME = TLSConfig(server_name="milvus.example")  # which adds an argument


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rpc_timeout": math.nan}, ArgumentError, "rpc_timeout must be seconds, or None"),
        ({"metadata": {"te": "x"}}, ArgumentError, "metadata key 'te' is reserved for gRPC"),
        ({"timeout": 1}, TypeError,
         "unexpected keyword argument 'timeout': use rpc_timeout= for the deadline of each RPC"),
        ({"rpc_timeot": 1}, TypeError, "unexpected keyword argument 'rpc_timeot': did you mean rp"),
        ({"url": "x"}, TypeError, "unexpected keyword argument 'url': did you mean uri=?"),
        ({"call": {}}, TypeError, "pass the call options directly"),
        ({"tokn": "x"}, TypeError, "unexpected keyword argument 'tokn': did you mean token=?"),
        ({"xyzzy": "x"}, TypeError, "use one of uri, token, user, password, db_name, tls, service"),
        ({"service": "both"}, ArgumentError,
         "service must be 'auto', 'internal', 'public', 'rest' or 'cloud'"),
        ({"service": None}, ArgumentError, "'rest' or 'cloud', got None"),
        ({"uri": "http://host", "tls": NAME}, ArgumentError,
         "has the scheme http://, but tls= was given; use https"),
        ({"uri": "host/a", "db_name": "b"}, ArgumentError,
         "db_name must be 'a', the database of the URI, got 'b'"),
        ({"db_name": "d\u00e4tabase"}, ArgumentError, "db_name must be printable ASCII, got 'd"),
        ({"db_name": "a\nb"}, ArgumentError, "db_name must be printable ASCII"),
        ({"db_name": "shop\n"}, ArgumentError, "db_name must not begin or end with a line break"),
        ({"db_name": "'shop'"}, ArgumentError, "db_name must not begin or end with quotes"),
        ({"db_name": "\udc80"}, ArgumentError, "db_name must be valid Unicode text"),
        ({"db_name": 5}, TypeError, "db_name must be a str, got 5"),
        ({"tls": True}, TypeError, "tls must be a TLSConfig, got bool"),
        ({"tls": {"ca": b""}}, TypeError, "tls must be a TLSConfig, got dict"),
        ({"tls": "ca.pem"}, TypeError, "tls must be a TLSConfig, got str"),
        ({"max_receive_bytes": 0}, ArgumentError, "max_receive_bytes must be 1 to 2**31-1, got 0"),
        ({"max_receive_bytes": 2**31}, ArgumentError, "must be 1 to 2**31-1, got 2147483648"),
        ({"max_send_bytes": -1}, ArgumentError, "max_send_bytes must be 1 to 2**31-1, got -1"),
        ({"max_send_bytes": 1.5}, TypeError, "max_send_bytes must be an int, got 1.5"),
        ({"max_send_bytes": True}, TypeError, "max_send_bytes must be an int, got True"),
        ({"max_receive_bytes": "1"}, TypeError, "max_receive_bytes must be an int, got '1'"),
        ({"channel_options": None}, TypeError, CHANNEL_RULE + "be a sequence of pairs, got None"),
        ({"channel_options": None, "tls": NAME}, TypeError, CHANNEL_RULE + "be a sequence of pai"),
        ({"channel_options": "grpc.x"}, TypeError, CHANNEL_RULE + "be a sequence of pairs, got 'g"),
        ({"channel_options": [("a", 1, 2)]}, TypeError, CHANNEL_RULE + "hold pairs of name and va"),
        ({"channel_options": [(1, "a")]}, TypeError, "value; one entry is not a pair"),
        ({"channel_options": [["a", 1]]}, TypeError, "value; one entry is not a pair"),
        ({"interceptors": None}, TypeError, "interceptors must be a sequence, got None"),
        ({"interceptors": [object()]}, TypeError,
         "interceptors must hold grpc.aio.UnaryUnaryClientInterceptor objects, got object"),
    ],
)  # fmt: skip
def test_invalid_argument_or_default_is_raised_by_the_constructor(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {"uri": "localhost"} | arguments
    with pytest.raises(error, match=re.escape(message)):
        ImportClient(**given)


def test_call_options_and_rpc_options_differ_only_in_the_name_of_the_deadline() -> None:
    assert CallOptions.__optional_keys__ ^ RpcOptions.__optional_keys__ == {
        "timeout",
        "rpc_timeout",
    }
    assert not CallOptions.__required_keys__ | RpcOptions.__required_keys__


def test_future_that_a_callback_returned_is_rejected() -> None:
    async def returned() -> None:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(
            TypeError, match="must be a plain function, got one that returned Future"
        ):
            reject_awaitable("on_retry", future)

    asyncio.run(returned())


@pytest.mark.parametrize("merge_options", [merge, merge_rpc])
def test_merged_options_are_emptied_and_the_repr_shows_none(
    merge_options: Callable[[CallSettings, Any], CallSettings],
) -> None:
    options = {"metadata": {"a": SECRET}, "wait_for_ready": True}
    merged = merge_options(settings(), options)
    assert options == {}
    assert SECRET not in repr(merged)
    assert "dDprZW4=" not in repr(merged)
