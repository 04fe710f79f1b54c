from __future__ import annotations

import pytest
from soaking import soak

pytestmark = pytest.mark.anyio


@pytest.mark.timeout(180)
async def test_calls_over_bad_connections_to_a_bad_server_each_end_in_one_known_way() -> None:
    outcome = await soak(1_500, seconds=150)
    assert outcome.wrong == []
    assert outcome.left_behind == []
    assert sum(outcome.calls.values()) == 1_500
    assert outcome.calls["answer"] > 750
