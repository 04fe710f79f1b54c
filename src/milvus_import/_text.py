"""A server's text in messages: truncated before it is processed, on one line, printable."""

from __future__ import annotations

import re

EXCERPT = 8192
"""Characters of a text that messages, hints, classification and logs use."""
_MAX_QUOTE = 500


def excerpt(text: str) -> str:
    """Return an untrusted text, truncated to ``EXCERPT`` characters."""
    return text[:EXCERPT]


def one_line(text: str) -> str:
    """Return the text on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def quote(text: str) -> str:
    """Return the text for a message: one line of at most 500 characters."""
    line = one_line(excerpt(text))
    shortened = len(line) > _MAX_QUOTE or len(text) > EXCERPT
    return line[:_MAX_QUOTE] + "..." if shortened else line


def without_queries(text: str) -> str:
    """Return a text whose URLs have no query and no user: those of objects are secrets."""
    if "://" not in text:
        return text
    text = re.sub(r"(://[^\s?]*)\?[^\s'\"<>)\]},]*", r"\1", text)
    return re.sub(r"(?<=://)[^/\s@]*@", "", text)


def shorten(value: object) -> str:
    """Return the repr of an argument for an error message, truncated to 60 characters."""
    text = repr(value[:64] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 64 else text[:60] + "..."
