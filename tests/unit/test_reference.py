"""docs/reference.md is what the docstrings say, and leaves nothing out."""

from __future__ import annotations

from itertools import chain

import reference

import milvus_import
import milvus_import.testing


def test_the_page_is_fresh() -> None:
    assert reference.PAGE.read_text("utf-8") == reference.page(), "run: make docs ARGS=reference"


def test_everything_exported_is_in_it() -> None:
    told = set(chain.from_iterable(reference.SECTIONS.values()))
    assert told >= set(milvus_import.__all__)
    assert told >= set(milvus_import.testing.__all__)
