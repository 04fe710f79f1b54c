from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import grpc
import pytest
from replay import PROXY, Replay, listening, ok

from milvus_import import (
    CallOptions,
    ClientClosedError,
    DeadlineExceededError,
    GetImportProgressOption,
    ImportClient,
    get_import_progress,
)
from milvus_import._options import DEFAULT_TIMEOUT, CallSettings, client_settings, merge
from milvus_import_pb import internal_pb2

JOB = "449839014328146739"
SECRET = "s3cr3t-Milvus"

UNKNOWN_OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeot": 1}, TypeError, "unknown call option 'timeot'; the options are call_credentials"),
    ({"Timeout": 1}, TypeError, "unknown call option 'Timeout'"),
]
BAD_OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeout": math.nan}, ValueError, "timeout is NaN; pass seconds, or None for no limit"),
    ({"timeout": 1e9 + 1}, ValueError, "timeout 1000000001.0 is above 1e9 seconds; pass None"),
    ({"timeout": 10**400}, ValueError, "is above 1e9 seconds"),
    ({"timeout": "5"}, TypeError, "timeout is seconds, an int or a float, not '5'"),
    ({"timeout": True}, TypeError, "timeout is seconds, an int or a float, not True"),
    ({"timeout": Decimal(5)}, TypeError, "timeout is seconds, an int or a float, not Decimal"),
    ({"wait_for_ready": 1}, TypeError, "wait_for_ready is True, False or None, not 1"),
    ({"compression": "gzip"}, TypeError, "compression is grpc.Compression.Gzip or None"),
    (
        {"compression": grpc.Compression.Deflate},
        ValueError,
        "Milvus does not take deflate; use grpc.Compression.Gzip",
    ),
    (
        {"call_credentials": SECRET},
        TypeError,
        "call_credentials is a grpc.CallCredentials, not str",
    ),
    (
        {"call_credentials": grpc.access_token_call_credentials(SECRET)},
        ValueError,
        "call_credentials need TLS: use an https:// URI",
    ),
    ({"on_finish": 5}, TypeError, "on_finish is a function that is called; 5 is not callable"),
    ({"metadata": 5}, TypeError, "metadata is a mapping or pairs of key and value, not int"),
    ({"metadata": SECRET}, TypeError, "metadata is a mapping or pairs of key and value, not str"),
    ({"metadata": [SECRET]}, TypeError, "metadata entry 0 is no pair of key and value"),
    ({"metadata": [("a", "b"), ("a", SECRET, 5)]}, TypeError, "metadata entry 1 is no pair"),
    ({"metadata": {b"a": SECRET}}, TypeError, "a metadata key is a str, not b'a'"),
    ({"metadata": {"": SECRET}}, ValueError, "metadata key '': gRPC takes only letters"),
    ({"metadata": {"a b": SECRET}}, ValueError, "metadata key 'a b'"),
    ({"metadata": {"a:b": SECRET}}, ValueError, "metadata key 'a:b'"),
    ({"metadata": {":path": SECRET}}, ValueError, "metadata key ':path'"),
    ({"metadata": {"a\n": SECRET}}, ValueError, r"metadata key 'a\n'"),
    ({"metadata": {"schl\u00fcssel": SECRET}}, ValueError, "metadata key 'schl\u00fcssel'"),
    ({"metadata": {"to\u212aen": SECRET}}, ValueError, "metadata key 'to"),
    ({"metadata": {"grpc-timeout": SECRET}}, ValueError, "'grpc-timeout' is gRPC's own"),
    ({"metadata": {"User-Agent": SECRET}}, ValueError, "'User-Agent' is gRPC's own"),
    ({"metadata": {"content-length": SECRET}}, ValueError, "'content-length' is gRPC's own"),
    ({"metadata": {"te": SECRET}}, ValueError, "metadata key 'te' is gRPC's own"),
    (
        {"metadata": {"note": f"{SECRET}\u00e9"}},
        ValueError,
        "at index 13 of its value is not printable ASCII; encode it, or send bytes under the key",
    ),
    ({"metadata": {"note": f"{SECRET}\n"}}, ValueError, "the character at index 13"),
    ({"metadata": {"note": f"{SECRET}\x7f"}}, ValueError, "the character at index 13"),
    ({"metadata": {"note": f"{SECRET}\udc80"}}, ValueError, "the character at index 13"),
    (
        {"metadata": {"note": SECRET.encode()}},
        TypeError,
        "the value is a str (bytes go under -bin)",
    ),
    ({"metadata": {"note": 5}}, TypeError, "metadata 'note': the value is a str"),
    ({"metadata": {"note-bin": SECRET}}, TypeError, "'note-bin' ends in -bin: its value is bytes"),
    ({"metadata": {"note-bin": bytearray(5)}}, TypeError, "its value is bytes, not bytearray"),
]


def numbered(table: list[tuple[dict[str, Any], type[Exception], str]]) -> list[str]:
    return [f"{index}-{next(iter(row[0]))}" for index, row in enumerate(table)]


def refused(error: type[Exception], words: str) -> Any:
    return pytest.raises(error, match=re.escape(words))


@pytest.mark.parametrize(("options", "error", "words"), BAD_OPTIONS, ids=numbered(BAD_OPTIONS))
def test_a_bad_default_is_refused_when_the_client_is_made(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with refused(error, words) as caught:
        ImportClient("localhost", **options)
    assert SECRET not in f"{caught.value} {caught.value!r}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [*UNKNOWN_OPTIONS, *BAD_OPTIONS],
    ids=numbered([*UNKNOWN_OPTIONS, *BAD_OPTIONS]),
)
async def test_a_bad_option_of_a_call_is_refused_and_nothing_is_sent(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    calls: dict[str, Callable[[ImportClient], Awaitable[object]]] = {
        "progress": lambda client: client.get_import_progress(JOB, **options),
        "check": lambda client: client.check(**options),
        "list": lambda client: client.list_imports(**options),
        "create": lambda client: client.create_import("books", ["a.parquet"], **options),
        "wait": lambda client: client.wait(JOB, call=as_options(options)),
        "watch": lambda client: anext(client.watch(JOB, call=as_options(options))),
        "watch all": lambda client: anext(client.watch_all([JOB], call=as_options(options))),
        "wait all": lambda client: client.wait_all([JOB], call=as_options(options)),
        "function": lambda client: get_import_progress(
            GetImportProgressOption(listener.uri, JOB), **options
        ),
    }
    async with listening() as listener, ImportClient(listener.uri) as client:
        for call in calls.values():
            with refused(error, words) as caught:
                await call(client)
            assert SECRET not in f"{caught.value} {caught.value!r}"
        assert listener.connections == 0


def as_options(options: Any) -> CallOptions:
    checked: CallOptions = options
    return checked


@pytest.mark.anyio
@pytest.mark.parametrize("call", [5, [("timeout", 5)], "timeout", {"timeout"}])
async def test_call_is_a_dict(call: Any) -> None:
    client = ImportClient("localhost")
    for follow in (
        lambda: client.watch(JOB, call=call),
        lambda: client.watch_all([JOB], call=call),
    ):
        with refused(TypeError, "call options are a dict such as {'timeout': 5}, not"):
            follow()


@pytest.mark.anyio
@pytest.mark.parametrize("timeout", [0, 0.0, -1, -1e-9, -math.inf, -(10**400)])
async def test_a_timeout_that_is_already_over_is_raised_unsent(timeout: float) -> None:
    async with listening() as listener, ImportClient(listener.uri) as client:
        for call in (
            client.get_import_progress(JOB, timeout=timeout),
            client.create_import("books", ["a.parquet"], timeout=timeout),
            get_import_progress(GetImportProgressOption(listener.uri, JOB), timeout=timeout),
        ):
            with pytest.raises(DeadlineExceededError) as caught:
                await call
            assert not caught.value.may_have_run
            assert caught.value.record is None
        assert listener.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize("timeout", [None, math.inf, 1e9, 5, 5.5])
async def test_a_timeout_that_means_something_is_taken(timeout: float | None) -> None:
    reply = internal_pb2.GetImportProgressResponse(state=internal_pb2.Importing)
    async with (
        Replay({PROXY + "GetImportProgress": ok(reply)}) as server,
        ImportClient(server.uri) as client,
    ):
        assert (await client.get_import_progress(JOB, timeout=timeout)).data.state == "Importing"


BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"service": "both"}, ValueError, "service is 'auto', 'internal' or 'public', not 'both'"),
    ({"max_receive_bytes": 0}, ValueError, "max_receive_bytes is 0; it must be 1 to 2**31-1"),
    ({"max_receive_bytes": 2**31}, ValueError, "max_receive_bytes is 2147483648"),
    ({"max_send_bytes": -1}, ValueError, "max_send_bytes is -1"),
    ({"max_send_bytes": 1.5}, TypeError, "max_send_bytes is an int, not 1.5"),
    ({"max_send_bytes": True}, TypeError, "max_send_bytes is an int, not True"),
    ({"interceptors": None}, TypeError, "interceptors is a sequence of interceptors, not None"),
    ({"channel_options": None}, TypeError, "channel_options is a sequence of pairs, not None"),
    ({"interceptors": [object()]}, TypeError, "interceptors: object is no grpc.aio.Unary"),
    ({"channel_options": [("a", 1, 2)]}, TypeError, "channel_options holds an entry that is no"),
    ({"channel_options": [(1, "a")]}, TypeError, "channel_options holds an entry that is no pair"),
    ({"token": "Bearer x"}, ValueError, "token begins with 'Bearer': pass it without"),
    ({"token": "bearer x"}, ValueError, "token begins with 'Bearer': pass it without"),
    ({"tokn": "x"}, TypeError, "ImportClient has no argument 'tokn'; it takes uri, token, user, "),
    ({"timeot": 1}, TypeError, "and as defaults of its calls call_credentials, compression, "),
]


@pytest.mark.parametrize(
    ("arguments", "error", "words"), BAD_ARGUMENTS, ids=numbered(BAD_ARGUMENTS)
)
def test_a_bad_argument_is_refused_when_the_client_is_made(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with refused(error, words):
        ImportClient("localhost", **arguments)


@pytest.mark.anyio
async def test_the_function_form_wants_its_option() -> None:
    with refused(TypeError, "option is a GetImportProgressOption, not str"):
        await get_import_progress("localhost")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


BAD_WAITS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeout": math.nan}, ValueError, "timeout is NaN"),
    ({"timeout": 1e10}, ValueError, "timeout 10000000000.0 is above 1e9 seconds"),
    ({"timeout": "1"}, TypeError, "timeout is seconds, an int or a float, not '1'"),
    ({"interval": 0}, ValueError, "interval is 0 seconds; it must be above 0"),
    ({"interval": -1}, ValueError, "interval is -1 seconds; it must be above 0"),
    ({"interval": math.nan}, ValueError, "interval is NaN"),
    ({"interval": None}, TypeError, "interval is seconds, an int or a float, not None"),
    ({"max_outage": -0.5}, ValueError, "max_outage is -0.5 seconds; it must be 0 or above 0"),
    ({"max_outage": True}, TypeError, "max_outage is seconds, an int or a float, not True"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("arguments", "error", "words"), BAD_WAITS, ids=numbered(BAD_WAITS))
async def test_a_bad_time_of_a_watch_is_refused_before_anything_is_sent(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    async with listening() as listener, ImportClient(listener.uri) as client:
        for watch in (
            lambda: client.watch(JOB, **arguments),
            lambda: client.watch_all([JOB], **arguments),
        ):
            with refused(error, words):
                watch()
        for wait in (client.wait(JOB, **arguments), client.wait_all([JOB], **arguments)):
            with refused(error, words):
                await wait
        assert listener.connections == 0


@pytest.mark.anyio
async def test_until_is_one_of_two_words() -> None:
    async with listening() as listener, ImportClient(listener.uri) as client:
        bad: Any = "done"
        for wait in (client.wait(JOB, until=bad), client.wait_all([JOB], until=bad)):
            with refused(ValueError, "until is 'completed' or 'uncommitted', not 'done'"):
                await wait
        assert listener.connections == 0


@pytest.mark.anyio
async def test_a_closed_client_says_so() -> None:
    client = ImportClient("localhost")
    await client.close()
    with pytest.raises(ClientClosedError, match="this client is closed; make a new one"):
        await client.get_import_progress(JOB)


# ---------------------------------------------------------------------------------- merging


def settings(**defaults: Any) -> CallSettings:
    return client_settings(
        secure=True,
        fixed=dict(FIXED),
        defaults=as_options(defaults),
    )


FIXED = (("authorization", "dDprZW4="), ("dbname", "books"))


@pytest.mark.parametrize(
    ("default", "call", "sent"),
    [
        (None, {}, FIXED),
        ({"a": "1"}, {}, (*FIXED, ("a", "1"))),
        ({"a": "1"}, {"metadata": {"b": "2"}}, (*FIXED, ("a", "1"), ("b", "2"))),
        ({"a": "1"}, {"metadata": {"A": "2"}}, (*FIXED, ("a", "2"))),
        ({"a": "1"}, {"metadata": {"a": None}}, FIXED),
        (
            {"a": "1", "b": "2"},
            {"metadata": {"a": None, "c": "3"}},
            (*FIXED, ("b", "2"), ("c", "3")),
        ),
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
)
def test_what_metadata_is_sent(default: Any, call: Any, sent: tuple[Any, ...]) -> None:
    assert merge(settings(metadata=default), call).metadata == sent


def test_absent_means_the_default_none_means_off_a_value_means_itself() -> None:
    def finish(_: object) -> None: ...

    given: dict[str, Any] = {
        "timeout": 3,
        "wait_for_ready": True,
        "compression": grpc.Compression.Gzip,
        "call_credentials": grpc.access_token_call_credentials("x"),
        "on_finish": finish,
    }
    client = settings(**given)
    for name, value in given.items():
        assert getattr(merge(client, {}), name) == value
        assert getattr(merge(client, {"metadata": {"a": "1"}}), name) == value
        assert getattr(merge(client, as_options({name: None})), name) is None
        assert getattr(merge(settings(), as_options({name: value})), name) == value


def test_without_any_word_the_timeout_is_ten_seconds() -> None:
    assert settings().timeout == DEFAULT_TIMEOUT == 10
    assert settings(timeout=None).timeout is None
    assert settings(timeout=math.inf).timeout is None
