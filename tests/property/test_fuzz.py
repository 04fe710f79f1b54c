"""The decoders over random and mutated bytes; ``make soak`` has a longer run of the same."""

from __future__ import annotations

from fuzzing import fuzz


def test_whatever_parses_is_mapped_as_written_down_or_ends_in_the_error_it_must() -> None:
    found = fuzz(6_000)
    assert found.wrong == []
    assert found.answers > 1_000
    assert found.refused > 500
    assert found.unparseable > 500
