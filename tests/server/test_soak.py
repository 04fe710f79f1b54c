from __future__ import annotations

import pytest
from soaking import soak

pytestmark = pytest.mark.anyio


@pytest.mark.timeout(180)
@pytest.mark.parametrize("share", [pytest.param(0.0, id="grpc"), pytest.param(0.5, id="rest")])
async def test_every_call_of_a_short_soak_ends_in_a_documented_way(share: float) -> None:
    outcome = await soak(1_500, rest=share, seconds=150, pause=0.6)
    assert outcome.wrong == []
    assert outcome.left_behind == []
    assert sum(outcome.calls.values()) == 1_500
    assert outcome.calls["response"] > 100
    assert outcome.connections > 0
