"""The command line; needs the ``[cli]`` extra."""

from ._commands import run

__all__ = ["run"]
