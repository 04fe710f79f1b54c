"""Following jobs: what is raised, and what is recorded as the error of a job."""

from __future__ import annotations

import pytest

from milvus_import import ArgumentError, ImportClient
from milvus_import._cli._follow import JobFollower
from milvus_import._cli._lines import LineWriter
from milvus_import._cli._settings import FollowSettings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("jobs", [1, 65], ids=["watched-individually", "listed"])
async def test_wrong_argument_is_raised_and_not_recorded_as_error_of_a_job(jobs: int) -> None:
    settings = FollowSettings(interval=0, until="completed", max_outage=None)
    lines: list[str] = []
    async with ImportClient("http://localhost:1") as client:
        follower = JobFollower(
            client,
            LineWriter(lines.append, lines.append),
            [str(i + 1) for i in range(jobs)],
            settings,
        )
        with pytest.raises(ArgumentError, match="interval must be above 0 seconds"):
            await follower.run(None)
    assert not follower.errors
    assert not lines
