"""Metadata of a call: what gRPC would reject or drop raises a clear error without the value."""

from __future__ import annotations

import re
from typing import Any

import pytest

from milvus_import import ArgumentError
from milvus_import._options import validate_metadata

SECRET = "s3cr3t-Milvus"
KEY_RULE = "a metadata key must consist of letters, digits, '_', '.' and '-', got "


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        (5, TypeError, "metadata must be a mapping or pairs of key and value, got int"),
        (SECRET, TypeError, "metadata must be a mapping or pairs of key and value, got str"),
        (b"k", TypeError, "metadata must be a mapping or pairs of key and value, got bytes"),
        ([SECRET], TypeError, "metadata must hold pairs of key and value; entry 0 is not a pair"),
        ([("a", "b"), ("a", SECRET, 5)], TypeError, "entry 1 is not a pair"),
        ({b"a": SECRET}, TypeError, "a metadata key must be a str, got b'a'"),
        ({"": SECRET}, ArgumentError, KEY_RULE + "''"),
        ({"a b": SECRET}, ArgumentError, KEY_RULE + "'a b'"),
        ({"a:b": SECRET}, ArgumentError, KEY_RULE + "'a:b'"),
        ({":path": SECRET}, ArgumentError, KEY_RULE + "':path'"),
        ({"a\n": SECRET}, ArgumentError, KEY_RULE + r"'a\n'"),
        ({"schl\u00fcssel": SECRET}, ArgumentError, KEY_RULE + "'schl\u00fcssel'"),
        ({"to\u212aen": SECRET}, ArgumentError, KEY_RULE + "'to"),  # lower() makes it ASCII
        ({"grpc-timeout": SECRET}, ArgumentError,
         "metadata key 'grpc-timeout' is reserved for gRP"),
        ({"User-Agent": SECRET}, ArgumentError, "metadata key 'User-Agent' is reserved for gRPC"),
        ({"content-length": SECRET}, ArgumentError, "'content-length' is reserved for gRPC"),
        ({"te": SECRET}, ArgumentError, "metadata key 'te' is reserved for gRPC"),
        (
            {"note": f"{SECRET}\u00e9"},
            ArgumentError,
            (
                "metadata 'note': the value must be printable ASCII, but its character at index 13 "
                "is not; encode it, or send bytes under the key 'note-bin'"
            ),
        ),
        ({"note": f"{SECRET}\n"}, ArgumentError, "its character at index 13 is not"),
        ({"note": f"{SECRET}\x7f"}, ArgumentError, "its character at index 13 is not"),
        ({"note": f"{SECRET}\udc80"}, ArgumentError, "its character at index 13 is not"),
        ({"note": SECRET.encode()}, TypeError,
         "metadata 'note': the value must be a str (bytes go under a -bin key), got bytes"),
        ({"note": 5}, TypeError, "metadata 'note': the value must be a str"),
        ({"note-bin": SECRET}, TypeError,
         "metadata 'note-bin' ends in -bin: its value must be bytes, got str"),
        ({"note-bin": bytearray(5)}, TypeError, "its value must be bytes, got bytearray"),
    ],
)  # fmt: skip
def test_invalid_metadata_is_named_without_its_value(
    metadata: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        validate_metadata(metadata)
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__context__!r}"


@pytest.mark.parametrize(
    ("metadata", "values"),
    [
        ({}, {}),
        ({"A-Key": "1"}, {"a-key": ("1",)}),
        ({"a": "", "b": " ~"}, {"a": ("",), "b": (" ~",)}),
        ({"a-bin": b"\x00\xff"}, {"a-bin": (b"\x00\xff",)}),
        ([("a", "1"), ("A", "2")], {"a": ("1", "2")}),
        ((["a", "1"],), {"a": ("1",)}),
        ([("a", "1"), ("a", None), ("a", "2")], {"a": ("2",)}),
        ({"a": None}, {"a": ()}),
        ((pair for pair in [("a", "1")]), {"a": ("1",)}),
    ],
)
def test_metadata_is_returned_by_lower_case_key(metadata: Any, values: Any) -> None:
    assert validate_metadata(metadata) == values
