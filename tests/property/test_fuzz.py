"""Random and mutated replies of every gRPC method; ``make soak`` runs more of them."""

from __future__ import annotations

from fuzzing import fuzz


def test_any_reply_is_mapped_as_the_oracle_maps_it_or_ends_in_the_right_error() -> None:
    found = fuzz(6_000)
    assert found.wrong == []
    assert found.mapped > 1_000
    assert found.rejected > 500
    assert found.unparseable > 500
