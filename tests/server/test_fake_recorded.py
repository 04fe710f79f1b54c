"""FakeMilvus against recorded answers of real servers of 2.5, 2.6 and 3.0."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from http_calls import PREFIX, send
from recorded import VERSIONS, Replay, masked
from recordings import Recording, load

from milvus_import.testing import FakeMilvus, ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.rest]

MALFORMED = "FakeMilvus has one text for a body of the wrong form; the code is the same"
FILES = "FakeMilvus reports no files of an aborted job"
NOT_READY = "FakeMilvus has the text of 2.6 and 3.0"
QUOTA = "the fault `rate-limit` has a shorter text; the quota of forceDeny is not simulated"
ALIAS = "FakeMilvus has no aliases of collections"
ALLOWED = {
    **dict.fromkeys(("describe number", "describe bad json", "describe array json"), MALFORMED),
    **dict.fromkeys(("create options bool", "create options number"), MALFORMED),
    **dict.fromkeys(("create files strings", "commit number"), MALFORMED),
    **dict.fromkeys(("aborted uncommitted describe", "aborted uncommitted internal"), FILES),
    **dict.fromkeys(("aborted uncommitted +2 describe", "aborted uncommitted +2 internal"), FILES),
    **dict.fromkeys((f"starting: internal{what}" for what in ("", " list", " import")), NOT_READY),
    **dict.fromkeys((f"public import {number}" for number in range(3)), QUOTA),
    **dict.fromkeys(("list by alias", "plain before"), ALIAS),
    "list dropped coll": "the collection's number is known to a real server only",
}
"""Labels of entries that differ, with the reason."""
RESULTS = ("equal", "allowed", "no answer", "not an import request", "request cut")
COUNTS = {
    "2.5.27": (261, 9, 8, 11, 0),
    "2.6.19": (304, 9, 9, 15, 0),
    "3.0.0-beta": (373, 18, 9, 27, 2),
}
"""How many entries compare how; the last three are not compared."""


@pytest.mark.parametrize("version", VERSIONS)
async def test_recorded_requests_have_the_recorded_answers(version: str) -> None:
    counts: Counter[str] = Counter()
    differences: list[Any] = []
    # The jobs that the requests create stay Pending, as on a real server.
    async with FakeMilvus(version=VERSIONS[version], clock=ManualClock()) as fake:
        replay = Replay(fake)
        for recording in load(version):
            result, recorded, answer = await replay.compare(recording)
            if result == "differs" and recording.label not in ALLOWED:
                differences.append((recording.name, recorded, answer))
            counts["allowed" if result == "differs" else result] += 1
    assert differences == []
    assert tuple(counts[result] for result in RESULTS) == COUNTS[version]
    assert set(counts) <= {*RESULTS}


def test_at_most_20_labels_are_allowed_to_differ() -> None:
    assert len(ALLOWED) <= 20
    assert all(ALLOWED.values())


@pytest.mark.parametrize("version", VERSIONS)
async def test_job_with_a_missing_file_fails_with_the_recorded_reason(version: str) -> None:
    created, compared = dict[str, str](), list[str]()
    async with FakeMilvus(version=VERSIONS[version], import_seconds=0) as fake:
        for recording in load(version):
            if recording.path == f"{PREFIX}create" and recording.failure is None:
                created[recording.created] = recording.entry["request_body"]
            reason = _reason(recording)
            missing = re.search(r"key not found\[key=([^\]]*)\]", reason)
            request = created.get(recording.requested_job)
            if missing is None or request is None:
                continue
            fake.missing_files = {missing[1]}
            response = await send(fake.rest_uri, f"{PREFIX}create", request.encode())
            body = json.dumps({"jobId": response.data["jobId"]}).encode()
            described = await send(fake.rest_uri, f"{PREFIX}describe", body)
            assert masked(described.data["reason"]) == masked(reason)
            compared.append(missing[1].rpartition(".")[2])
    assert {*compared} == {"json", "csv", "parquet", "npy"}


def _reason(recording: Recording) -> str:
    described = recording.path == f"{PREFIX}describe" and recording.failure is None
    return str(recording.progress["reason"]) if described else ""
