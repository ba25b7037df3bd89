"""Text that others wrote, as it can be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text on one line that does nothing to a terminal and is UTF-8: what cannot be printed as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
