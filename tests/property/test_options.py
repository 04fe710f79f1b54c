from __future__ import annotations

import math
import re
from copy import deepcopy
from functools import partial
from operator import itemgetter
from typing import Any

import grpc
import pytest
from attempts import attempt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from replay import PROXY, Replay, ok

from milvus_import import ArgumentError, ImportClient
from milvus_import._options import CallSettings, client_settings, merge, merge_rpc, validate_timeout
from milvus_import_pb import internal_pb2

Options = dict[str, Any]

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
BARE = CallSettings()
FIXED = {"authorization": "dDprZW4=", "dbname": "books"}


def sink(_: object) -> None: ...


def union(texts: dict[str, Any], binaries: dict[str, Any]) -> dict[str, Any]:
    return texts | {f"{key}-bin": value for key, value in binaries.items()}


FEW_KEYS = st.sampled_from(["a", "b", "c", "authorization", "dbname"])
METADATA = st.builds(
    union,
    st.dictionaries(FEW_KEYS, PRINTABLE | st.none(), max_size=4),
    st.dictionaries(FEW_KEYS, st.binary(max_size=9) | st.none(), max_size=2),
)
OPTIONS: st.SearchStrategy[Options] = st.fixed_dictionaries(
    {},
    optional={
        "timeout": st.none() | st.floats(min_value=-1e9, max_value=1e9) | st.integers(-5, 10**9),
        "metadata": st.none() | METADATA,
        "wait_for_ready": st.none() | st.booleans(),
        "compression": st.sampled_from(
            [None, grpc.Compression.Gzip, grpc.Compression.NoCompression]
        ),
        "on_finish": st.sampled_from([None, sink]),
    },
)
BASES = OPTIONS.map(
    lambda defaults: client_settings(CallSettings(secure=True), FIXED, of_rpcs(defaults))
)


def of_rpcs(options: Options) -> Any:
    """Return the same options for methods of many RPCs."""
    return {"rpc_timeout" if key == "timeout" else key: value for key, value in options.items()}


def as_options(options: Any) -> Any:
    return options


def merged(base: CallSettings, *calls: Options) -> CallSettings:
    for call in calls:
        base = merge(base, as_options(dict(call)))  # merge empties what it is given
    return base


def sent(result: CallSettings) -> dict[str, Any]:
    return dict(result.metadata or ())


def comparable(result: CallSettings) -> dict[str, Any]:
    """Return the settings, with metadata in the order of the keys."""
    given = {name: getattr(result, name) for name in CallSettings.__slots__}
    return given | {"metadata": sorted(result.metadata or (), key=itemgetter(0))}


@given(BASES, OPTIONS)
def test_option_of_the_call_overrides_the_default_of_the_client(
    base: CallSettings, call: Options
) -> None:
    result = merged(base, call)
    for name in ("timeout", "wait_for_ready", "compression", "on_finish"):
        assert getattr(result, name) == (call[name] if name in call else getattr(base, name))
    assert result.secure == base.secure
    assert merge_rpc(base, of_rpcs(call)) == result


@given(BASES, OPTIONS)
def test_metadata_is_merged_key_by_key(base: CallSettings, call: Options) -> None:
    expected = sent(base)
    if "metadata" in call:
        if call["metadata"] is None:
            expected = dict(FIXED)
        expected |= call["metadata"] or {}
    kept = {key: value for key, value in expected.items() if value is not None}
    assert sent(merged(base, call)) == kept


@given(BASES, OPTIONS)
def test_merging_changes_neither_defaults_nor_values(base: CallSettings, call: Options) -> None:
    base_before, call_before = deepcopy(base), deepcopy(call)
    result = merged(base, call)
    merged(result, {"timeout": 1, "metadata": {"a": "changed", "b": None}})
    assert base == base_before
    assert call == call_before


@given(BASES, OPTIONS)
def test_merging_nothing_changes_nothing_and_merging_twice_is_merging_once(
    base: CallSettings, call: Options
) -> None:
    assert merged(base, {}) == base
    assert merged(base, call, call) == merged(base, call)


@given(BASES, OPTIONS, OPTIONS)
def test_merging_two_sets_of_options_is_merging_their_union(
    base: CallSettings, first: Options, second: Options
) -> None:
    union = first | second
    if first.get("metadata") and second.get("metadata"):
        union["metadata"] = first["metadata"] | second["metadata"]
    elif "metadata" in first and first["metadata"] is None and second.get("metadata"):
        return  # "drop all, then these" is no single set
    elif first.get("metadata") and second.get("metadata") == {}:
        union["metadata"] = first["metadata"]
    assert comparable(merged(base, first, second)) == comparable(merged(base, union))


@given(st.lists(st.tuples(FEW_KEYS, PRINTABLE | st.none()), max_size=8))
def test_pairs_keep_each_value_of_a_key_since_its_last_none(pairs: list[tuple[str, Any]]) -> None:
    expected: dict[str, list[Any]] = {}
    for key, value in pairs:
        expected[key] = [] if value is None else [*expected.get(key, []), value]
    for given_pairs in (pairs, iter(pairs), tuple(pairs)):
        found = merged(BARE, {"metadata": given_pairs}).metadata or ()
        for key, values in expected.items():
            assert [value for name, value in found if name == key] == values
        assert len(found) == sum(map(len, expected.values()))


@given(st.one_of(st.floats(), st.integers(), st.just(10**400), st.just(-(10**400))))
def test_any_number_is_a_timeout_or_an_argument_error(value: float) -> None:
    seconds = attempt(lambda: validate_timeout(value))
    if isinstance(seconds, Exception):
        assert type(seconds) is ArgumentError
        assert "timeout" in str(seconds)
        assert not value <= 1e9  # too long, or NaN
    elif value == math.inf:
        assert seconds is None
    else:
        assert seconds == max(value, -1e9)


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.text(), st.binary())))
def test_any_options_are_accepted_or_named_in_the_error(options: dict[str, Any]) -> None:
    for given_options in (options, {"metadata": options}):
        result = attempt(partial(merged, BARE, given_options))
        if isinstance(result, Exception):
            assert type(result) in {TypeError, ArgumentError}
            assert re.search(
                "keyword argument|metadata|timeout|wait_|compression|on_fin", str(result)
            )


# ------------------------------------------------------- what is accepted here, gRPC accepts

ODD_KEYS = (
    "- . _ 0 -bin a-bin X-Y authorization cookie date expect keep-alive lb-token path status "
    "traceparent trailer transfer-encoding upgrade via proxy-connection lb-cost-bin "
    "endpoint-load-metrics-bin x-envoy-peer-metadata content-length content-encoding te host "
    "grpc-timeout grpc-foo-bin accept-encoding user-agent"
)
ANY_KEY = st.one_of(
    st.sampled_from(ODD_KEYS.split()),
    st.from_regex(r"[0-9A-Za-z_.-]{1,20}", fullmatch=True),
    st.text(max_size=5),
)
ANY_VALUE = st.text(st.characters(max_codepoint=0x100), max_size=30) | st.binary(max_size=30)


@pytest.mark.anyio
@settings(max_examples=80)
@given(st.lists(st.tuples(ANY_KEY, ANY_VALUE), min_size=1, max_size=4))
@example([(key, b"x" if key.endswith("-bin") else "x") for key in ODD_KEYS.split()])
@example([("a", " lead and trail "), ("a", ""), ("a", ","), ("a-bin", b""), ("a-bin", b"\0\xff,")])
async def test_metadata_that_is_accepted_arrives_unchanged(pairs: list[tuple[str, Any]]) -> None:
    accepted: list[tuple[str, Any]] = []
    for key, value in pairs:
        taken = attempt(partial(merged, BARE, {"metadata": [(key, value)]}))
        if isinstance(taken, CallSettings):
            accepted.append((key, value))
    reply = internal_pb2.GetImportProgressResponse(state=internal_pb2.Importing)
    async with (
        Replay({PROXY + "GetImportProgress": ok(reply)}) as server,
        ImportClient(server.uri) as client,
    ):
        await client.get_import_progress("7", metadata=accepted)
    (received,) = server.received
    for key in {key.lower() for key, _ in accepted}:
        assert received.values(key) == [value for name, value in accepted if name.lower() == key]
