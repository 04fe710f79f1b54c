"""Hints: one template each, in imperative sentences, spelled for Python and the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from milvus_import._errors import JobNotFoundError, UnavailableError, cli_text, set_hint
from milvus_import._hints import _WORDINGS, Hint  # pyright: ignore[reportPrivateUsage]

SOURCE = Path(__file__).parents[2] / "src" / "milvus_import"
VERBS = {
    *("Allow", "Call", "Check", "Configure", "Create", "Drop", "Enable", "Free", "Grant"),
    *("Leave", "Name", "Pass", "Poll", "Raise", "Release", "Remove", "Renew", "Resend", "Route"),
    *("Run", "Send", "Set", "Split", "Start", "Try", "Turn", "Unset", "Use", "Write"),
}
CONDITIONS = {"Behind", "Otherwise", "If"}
"""What a later sentence of a hint may begin with instead."""

each_hint = pytest.mark.parametrize("hint", Hint, ids=lambda hint: hint.name)


@each_hint
def test_hint_has_a_spelling_for_python_and_one_for_the_command_line(hint: Hint) -> None:
    assert "--" not in hint.python
    for argument in ("=TLSConfig", "token=", "service=", "db_name", "list_imports", "[["):
        assert argument not in hint.cli
    assert not re.search(r"(?<!--option )\b(timeout|max_receive_bytes|cert|ca)=", hint.cli)


@each_hint
def test_hint_is_one_to_three_imperative_sentences(hint: Hint) -> None:
    for text in (hint.python, hint.cli):
        assert text.endswith(".")
        assert text == " ".join(text.split())
        sentences = re.split(r"(?<=[a-zA-Z)\]])\. (?=[A-Z])", text)
        assert 1 <= len(sentences) <= 3
        first, *others = (re.split(r"[ ,]", sentence)[0] for sentence in sentences)
        assert first in VERBS
        assert set(others) <= VERBS | CONDITIONS
        assert max(len(sentence.split()) for sentence in sentences) <= 30


def test_no_two_hints_are_the_same() -> None:
    assert len(Hint.__members__) == len(Hint)  # equal values would make an alias
    for spelling in ("python", "cli"):
        assert len({getattr(hint, spelling) for hint in Hint}) == len(Hint)


def test_each_placeholder_is_used() -> None:
    names = {name for hint in Hint for name in re.findall(r"\{(\w+)\}", hint.value)}
    assert names == set(_WORDINGS)


def test_braces_that_are_no_placeholder_stay() -> None:
    assert '{"rows": [...]}' in Hint.JOB_JSON_LAYOUT.python


def test_each_hint_is_given_by_some_module() -> None:
    files = [file for file in SOURCE.rglob("*.py") if file.name != "_hints.py"]
    given = {name for file in files for name in re.findall(r"Hint\.([A-Z0-9_]+)", file.read_text())}
    assert given | {"SEVERAL_SERVERS"} == set(Hint.__members__)  # of a watch


def test_error_has_the_hint_for_python_and_its_text_for_the_command_line_the_other() -> None:
    error = UnavailableError("no connection", hint=Hint.TRUST_CA)
    assert error.hint == (
        "Pass tls=TLSConfig(ca=...): the server's certificate is not signed by a trusted CA."
    )
    assert str(error) == f"no connection. {error.hint}"
    assert cli_text(error) == (
        "no connection. Pass --ca FILE: the server's certificate is not signed by a trusted CA."
    )
    set_hint(error, None)
    assert (error.hint, cli_text(error)) == ("", "no connection")
    assert cli_text(JobNotFoundError("gone", hint=Hint.CHECK_JOB_ID)).startswith(
        "gone. Check the job id, --db and the server"
    )
