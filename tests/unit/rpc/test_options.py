"""Call options: validated, and merged with the client's defaults."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import grpc
import pytest

from milvus_import import ArgumentError, CallOptions, ImportClient, RpcOptions
from milvus_import._options import (
    DEFAULT_TIMEOUT,
    CallSettings,
    client_settings,
    merge,
    merge_rpc,
    parse_watch_options,
    reject_awaitable,
    validate_callback,
    validate_timeout,
    with_metadata,
)

SECRET = "s3cr3t-Milvus"
FIXED = (("authorization", "dDprZW4="), ("dbname", "books"))


def settings(*, secure: bool = True, **defaults: Any) -> CallSettings:
    return client_settings(secure=secure, fixed=dict(FIXED), defaults=as_options(defaults))


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
    ({"metadata": 5}, TypeError, "metadata must be a mapping or pairs of key and value, got int"),
    ({"timeot": 1}, TypeError, "unexpected keyword argument 'timeot': did you mean timeout=?"),
    ({"Metadata": {}}, TypeError,
     "unexpected keyword argument 'Metadata': did you mean metadata=?"),
    ({"rpc_timeout": 1}, TypeError,
     "unexpected keyword argument 'rpc_timeout': use timeout= for the deadline of each RPC"),
    ({"call": {"timeout": 1}}, TypeError,
     "unexpected keyword argument 'call': pass the call options directly, such as metadata=..."),
    (
        {"xyzzy": 1},
        TypeError,
        (
            "unexpected keyword argument 'xyzzy': use one of call_credentials, compression, "
            "metadata, on_finish, timeout, wait_for_ready"
        ),
    ),
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
    assert SECRET not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize(
    ("defaults", "error", "message"),
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
        (
            {"service": "both"},
            ArgumentError,
            "service must be 'auto', 'internal', 'public', 'rest' or 'cloud'",
        ),
        ({"service": None}, ArgumentError, "'rest' or 'cloud', got None"),
    ],
)  # fmt: skip
def test_invalid_default_is_raised_by_the_constructor(
    defaults: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        ImportClient("localhost", **defaults)


CREATE = ("collection_name", "files", "partition_name", "db_name", "options", "idempotency_key")
WAIT = ("job_id", "until", "on_progress")
LIST = ("collection_name", "db_name", "all_databases")


@pytest.mark.parametrize(
    ("parse", "parameters", "name", "suggested"),
    [
        (merge, CREATE, "partition", "partition_name"),
        (merge, CREATE, "option", "options"),
        (merge, CREATE, "collection", "collection_name"),
        (merge, CREATE, "file", "files"),
        (merge, CREATE, "db", "db_name"),
        (merge, CREATE, "idempotency", "idempotency_key"),
        (merge, CREATE, "metdata", "metadata"),
        (merge, LIST, "collection", "collection_name"),
        (merge, LIST, "all_database", "all_databases"),
        (merge, (), "timeot", "timeout"),
        (parse_watch_options, WAIT, "untill", "until"),
        (parse_watch_options, WAIT, "on_progres", "on_progress"),
        (parse_watch_options, WAIT, "max_outages", "max_outage"),
        (parse_watch_options, WAIT, "intervall", "interval"),
        (parse_watch_options, WAIT, "onretry", "on_retry"),
        (parse_watch_options, ("job_ids",), "job_id", "job_ids"),
        (merge_rpc, WAIT, "untill", "until"),
    ],
)
def test_misspelt_keyword_suggests_a_parameter_of_the_method(
    parse: Callable[..., object], parameters: tuple[str, ...], name: str, suggested: str
) -> None:
    arguments = [settings()] if parse is not parse_watch_options else []
    with pytest.raises(TypeError) as caught:
        parse(*arguments, {name: 1}, parameters)
    assert str(caught.value) == (
        f"unexpected keyword argument {name!r}: did you mean {suggested}=?"
    )


def test_keyword_without_a_similar_one_lists_the_parameters_of_the_method_first() -> None:
    with pytest.raises(TypeError, match="use one of job_id, until, on_progress, call_cred"):
        parse_watch_options(as_options({"xyzzy": 1}), WAIT)
    with pytest.raises(TypeError, match="use one of collection_name, files, partition_name, db_na"):
        merge(settings(), as_options({"xyzzy": 1}), CREATE)


def test_deadline_of_each_rpc_is_rpc_timeout_for_methods_of_many_rpcs() -> None:
    assert merge_rpc(settings(), as_options({"rpc_timeout": 3})).timeout == 3
    with pytest.raises(TypeError, match="use rpc_timeout= for the deadline of each RPC"):
        merge_rpc(settings(), as_options({"timeout": 3}))
    with pytest.raises(ArgumentError, match="rpc_timeout must be at most 1e9 seconds"):
        merge_rpc(settings(), as_options({"rpc_timeout": 2e9}))


def test_call_options_and_rpc_options_differ_only_in_the_name_of_the_deadline() -> None:
    assert CallOptions.__optional_keys__ ^ RpcOptions.__optional_keys__ == {
        "timeout",
        "rpc_timeout",
    }
    assert not CallOptions.__required_keys__ | RpcOptions.__required_keys__


# ---------------------------------------------------------------------------------- timeouts


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5.0),
        (5.5, 5.5),
        (1e9, 1e9),
        (0, 0.0),
        (-1e-9, -1e-9),
        (math.inf, None),
        (-math.inf, -1e9),
        (-(10**400), -1e9),
    ],
)
def test_timeout_is_returned_in_seconds_and_none_for_no_limit(
    value: float, seconds: float | None
) -> None:
    assert validate_timeout(value) == seconds


def test_rpc_timeout_is_ten_seconds_by_default() -> None:
    assert settings().timeout == DEFAULT_TIMEOUT == 10
    assert settings(rpc_timeout=None).timeout is None
    assert settings(rpc_timeout=math.inf).timeout is None


# --------------------------------------------------------------------------------- callbacks


def test_callback_that_is_a_plain_callable_is_accepted() -> None:
    records: list[object] = []
    callbacks: list[Callable[..., object]] = [print, partial(print, end=""), records.append]
    for callback in callbacks:
        assert validate_callback("on_progress", callback) is callback


def test_awaitable_that_a_callback_returned_is_rejected_and_closed() -> None:
    reject_awaitable("on_progress", None)
    reject_awaitable("on_progress", "a value")
    coroutine = coroutine_function(None)
    with pytest.raises(
        TypeError, match="on_progress must be a plain function, got one that returned corout"
    ):
        reject_awaitable("on_progress", coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_future_that_a_callback_returned_is_rejected() -> None:
    async def returned() -> None:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(
            TypeError, match="must be a plain function, got one that returned Future"
        ):
            reject_awaitable("on_retry", future)

    asyncio.run(returned())


# ----------------------------------------------------------------------------------- merging


@pytest.mark.parametrize(
    ("default", "call", "sent"),
    [
        (None, {}, FIXED),
        ({"a": "1"}, {}, (*FIXED, ("a", "1"))),
        ({"a": "1"}, {"metadata": {"b": "2"}}, (*FIXED, ("a", "1"), ("b", "2"))),
        ({"a": "1"}, {"metadata": {"A": "2"}}, (*FIXED, ("a", "2"))),
        ({"a": "1"}, {"metadata": {"a": None}}, FIXED),
        ({"a": "1", "b": "2"}, {"metadata": {"a": None, "c": "3"}},
         (*FIXED, ("b", "2"), ("c", "3"))),
        ({"a": "1"}, {"metadata": None}, FIXED),
        ({"a": "1"}, {"metadata": {}}, (*FIXED, ("a", "1"))),
        ([("a", "1"), ("a", "2")], {}, (*FIXED, ("a", "1"), ("a", "2"))),
        ([("a", "1"), ("A", "2")], {"metadata": [("a", "3")]}, (*FIXED, ("a", "3"))),
        (None, {"metadata": [("a", "1"), ("a", None), ("a", "2")]}, (*FIXED, ("a", "2"))),
        (None, {"metadata": (pair for pair in [("a", "1")])}, (*FIXED, ("a", "1"))),
        (None, {"metadata": {"authorization": "other"}}, (("authorization", "other"), FIXED[1])),
        (None, {"metadata": {"authorization": None}}, FIXED[1:]),
        ({"authorization": "other"}, {"metadata": None}, FIXED),
        (None, {"metadata": {"a-bin": b"\x00\xff"}}, (*FIXED, ("a-bin", b"\x00\xff"))),
    ],
)  # fmt: skip
def test_metadata_of_the_call_overrides_the_defaults_key_by_key(
    default: Any, call: dict[str, Any], sent: tuple[Any, ...]
) -> None:
    assert merge(settings(metadata=default), as_options(dict(call))).metadata == sent


def test_one_more_metadata_key_is_added_or_dropped() -> None:
    base = settings(metadata={"a": "1"})
    assert with_metadata(base, "dbname", "shop").metadata == (
        *(FIXED[0], ("dbname", "shop"), ("a", "1")),
    )
    assert with_metadata(base, "dbname", None).metadata == (FIXED[0], ("a", "1"))
    assert base.metadata == (*FIXED, ("a", "1"))


def on_finish(_: object) -> None: ...


GIVEN: dict[str, Any] = {
    "timeout": 3,
    "wait_for_ready": True,
    "compression": grpc.Compression.Gzip,
    "call_credentials": grpc.access_token_call_credentials("x"),
    "on_finish": on_finish,
}


@pytest.mark.parametrize("name", GIVEN)
def test_absent_option_means_the_default_and_none_means_off(name: str) -> None:
    value = GIVEN[name]
    client = settings(**{"rpc_timeout" if name == "timeout" else name: value})
    for call, expected in (({}, value), ({"metadata": {"a": "1"}}, value), ({name: None}, None)):
        assert getattr(merge(client, as_options(dict(call))), name) == expected
    assert getattr(merge(settings(), as_options({name: value})), name) == value


@pytest.mark.parametrize("merge_options", [merge, merge_rpc])
def test_merged_options_are_emptied_so_that_no_frame_keeps_metadata(
    merge_options: Callable[[CallSettings, Any], CallSettings],
) -> None:
    options = {"metadata": {"a": SECRET}, "wait_for_ready": True}
    merge_options(settings(), options)
    assert options == {}


def test_repr_of_settings_shows_no_metadata() -> None:
    assert SECRET not in repr(settings(metadata={"a": SECRET}))
    assert "dDprZW4=" not in repr(settings())
