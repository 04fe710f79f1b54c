"""Text of a server in messages: cut before any work on it, on one line, printable."""

from __future__ import annotations

EXCERPT = 8192
"""Characters of a text that messages, hints, classification and logs work on."""
_LONGEST_QUOTE = 500


def excerpt(text: str) -> str:
    """Return the part of an untrusted text that is worked on."""
    return text[:EXCERPT]


def one_line(text: str) -> str:
    """Return the text on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def quote(text: str) -> str:
    """Return the text for a message: one line of at most 500 characters."""
    line = one_line(excerpt(text))
    shortened = len(line) > _LONGEST_QUOTE or len(text) > EXCERPT
    return line[:_LONGEST_QUOTE] + "..." if shortened else line


def shorten(value: object) -> str:
    """Return the repr of an argument for an error message, cut to 60 characters."""
    text = repr(value[:64] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 64 else text[:60] + "..."
