"""Processes in which gRPC cannot work, found without starting one."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from milvus_import._connection import _process


class Channel:
    """Stands for an open channel."""


@pytest.fixture(autouse=True)
def restore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_process, "forked_with_open_channel", False)


def forked() -> bool:
    """Run what a child runs after a fork."""
    _process._after_fork_in_child()  # pyright: ignore[reportPrivateUsage]
    return _process.forked_with_open_channel


def test_only_an_open_channel_harms_a_forked_child() -> None:
    channel = Channel()
    _process.channel_opened(channel)
    _process.channel_closed(channel)
    assert not forked()
    _process.channel_opened(channel)
    assert forked()
    _process.channel_closed(channel)
    assert forked()  # the child of the child too


def test_a_garbage_collected_channel_does_not_harm_a_forked_child() -> None:
    _process.channel_opened(Channel())
    assert not forked()


def test_the_error_of_a_forked_child_names_the_remedies() -> None:
    text = str(_process.fork_error("gRPC hangs in it"))
    for word in ("Close the client before the fork", "spawn", "forkserver"):
        assert word in text


@pytest.mark.parametrize("patched", [True, False])
def test_gevent_is_an_error_only_if_threading_is_patched(
    patched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:

    def is_module_patched(name: str) -> bool:
        return patched and name == "threading"

    monkey = SimpleNamespace(is_module_patched=is_module_patched)
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    if patched:
        with pytest.raises(RuntimeError, match="gevent"):
            _process.check_gevent()
    else:
        _process.check_gevent()


def test_without_gevent_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gevent.monkey", raising=False)
    _process.check_gevent()
