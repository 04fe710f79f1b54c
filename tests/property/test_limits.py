"""The limits of a reply agree with what protobuf counts, for any reply and any bytes."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from milvus_import._services._limits import exceeds_limits
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

NATIVE = internal_pb2.GetImportProgressResponse
# ":" is the byte that begins an entry of task_progresses, and "2" one of extra_info.
TEXT = st.sampled_from(["", ":", "2:2:2:", ":" * 200])
INT64 = st.integers(-(2**63), 2**63 - 1)

TASKS = st.lists(
    st.builds(internal_pb2.ImportTaskProgress, file_name=TEXT, progress=INT64, state=TEXT),
    max_size=12,
)
STATUSES = st.builds(
    common_pb2.Status,
    reason=TEXT,
    extra_info=st.dictionaries(st.text(max_size=3), TEXT, max_size=12),
)
REPLIES = st.builds(
    NATIVE, status=STATUSES, reason=TEXT, progress=INT64, task_progresses=TASKS, total_rows=INT64
)


@given(REPLIES, st.integers(1, 12))
def test_reply_exceeds_its_limits_if_protobuf_counts_more_entries(reply: Any, limit: int) -> None:
    most = max(len(reply.task_progresses), len(reply.status.extra_info))
    data = reply.SerializeToString()
    assert exceeds_limits(data, NATIVE.DESCRIPTOR, limit) == (most > limit)


@given(st.lists(REPLIES, max_size=3), st.integers(3, 30))
def test_concatenated_replies_are_counted_as_one(replies: list[Any], limit: int) -> None:
    """Protobuf merges them; each of them has its singular fields once."""
    data = b"".join(reply.SerializeToString() for reply in replies)
    merged = NATIVE.FromString(data)
    extra = sum(len(reply.status.extra_info) for reply in replies)
    most = max(len(merged.task_progresses), extra)
    assert exceeds_limits(data, NATIVE.DESCRIPTOR, limit) == (most > limit)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5), st.randoms())
def test_unknown_fields_between_the_entries_are_walked_over(
    entries: int, others: int, limit: int, random: Any
) -> None:
    kinds = [
        b"\x08\xff\xff\xff\xff\x0f",  # field 1, varint
        b"\xa1\x06" + b"\x3a" * 8,  # field 100, 64 bits that look like entries
        b"\xa5\x06" + b"\x3a" * 4,  # field 100, 32 bits
        b"\xa2\x06\x03\x3a\x00\x3a",  # field 100, 3 bytes that look like entries
    ]
    parts = [b"\x3a\x02\x40\x01"] * entries + [random.choice(kinds) for _ in range(others)]
    random.shuffle(parts)
    expected = max(map(parts.count, parts), default=0) > limit  # of each field
    assert exceeds_limits(b"".join(parts), NATIVE.DESCRIPTOR, limit) == expected


@given(
    st.binary(max_size=60),
    st.sampled_from([NATIVE, internal_pb2.ListImportsResponse, milvus_pb2.GetImportStateResponse]),
    st.integers(1, 3),
)
@example(b"\x3a" + b"\xff" * 12, NATIVE, 1)
@example(b":" * 7 + b"\x80", NATIVE, 2)
def test_limits_of_any_bytes_are_decided(data: bytes, kind: Any, limit: int) -> None:
    assert exceeds_limits(data, kind.DESCRIPTOR, limit) in {True, False}
