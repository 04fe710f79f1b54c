"""The limits of a reply that apply before it is parsed."""

from __future__ import annotations

import random

import pytest

from milvus_import._services._limits import exceeds_limits
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

PROGRESS = internal_pb2.GetImportProgressResponse.DESCRIPTOR
LIST = internal_pb2.ListImportsResponse.DESCRIPTOR
TASKS = milvus_pb2.ListImportTasksResponse.DESCRIPTOR


def list_of(count: int, *, varied: bool) -> bytes:
    numbers = random.Random(count)
    return internal_pb2.ListImportsResponse(
        status=common_pb2.Status(reason="ok"),
        jobIDs=[str(10 ** numbers.randrange(1, 18) if varied else 10**17) for _ in range(count)],
        states=[3] * count,
        reasons=["x" * numbers.randrange(200 if varied else 1) for _ in range(count)],
        progresses=[100] * count,
        collection_names=["books"] * count,
    ).SerializeToString()


@pytest.mark.parametrize("varied", [True, False])
@pytest.mark.parametrize(("count", "exceeds"), [(999, False), (1_000, False), (1_001, True)])
def test_the_entries_of_a_field_are_counted_exactly(
    count: int, varied: bool, exceeds: bool
) -> None:
    assert exceeds_limits(list_of(count, varied=varied), LIST, 1_000) is exceeds


@pytest.mark.parametrize(("count", "exceeds"), [(1_000, False), (1_001, True)])
def test_details_are_counted_among_other_fields(count: int, exceeds: bool) -> None:
    reply = internal_pb2.GetImportProgressResponse(
        progress=50,
        imported_rows=10**12,
        task_progresses=[
            internal_pb2.ImportTaskProgress(file_name="x" * (number % 300))
            for number in range(count)
        ],
        reason="y" * 500,
    )
    assert exceeds_limits(reply.SerializeToString(), PROGRESS, 1_000) is exceeds


HOSTILE = {
    "empty details": (PROGRESS, b"\x3a\x00" * 1_001),
    "details in pairs": (PROGRESS, b"\x3a\x00\x3a\x01\x00" * 501),
    "lengths in two bytes": (PROGRESS, b"\x3a\x80\x00" * 1_001),
    "an unknown field": (PROGRESS, b"\xfa\x7f\x00" * 1_001),
    "numbers": (PROGRESS, b"\x18\x01" * 1_001),
    "fixed numbers": (PROGRESS, (b"\x19" + bytes(8)) * 1_001),
    "packed numbers": (LIST, b"\x2a\x91\x4e" + bytes(10_001)),
    "packed numbers in parts": (LIST, (b"\x2a\x64" + bytes(100)) * 101),
    "details of the status": (PROGRESS, b"\x0a\xd2\x0f" + b"\x32\x00" * 1_001),
    "two statuses": (PROGRESS, (b"\x0a\xca\x07" + b"\x32\x00" * 485) * 3),
    "infos of two tasks": (TASKS, (b"\x12\xca\x07" + b"\x2a\x00" * 485) * 3),
    "a group": (PROGRESS, b"\x0b\x0c"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_field_of_a_hostile_reply_is_limited(name: str) -> None:
    descriptor, reply = HOSTILE[name]
    assert exceeds_limits(reply, descriptor, 1_000)


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - {"a group", "packed numbers"}))
def test_a_reply_cut_to_a_tenth_is_within_the_limit(name: str) -> None:
    """It may be cut within a field; the parser reports that."""
    descriptor, reply = HOSTILE[name]
    assert not exceeds_limits(reply[: len(reply) // 10], descriptor, 1_000)


@pytest.mark.parametrize("reply", [b"", b"\x3a", b"\x3a\xff", b"\x3a\x05ab", b"\x80" * 20])
def test_a_malformed_reply_is_left_to_the_parser(reply: bytes) -> None:
    assert not exceeds_limits(reply, PROGRESS, 1_000)
