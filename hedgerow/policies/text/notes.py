"""Notes that people write to each other: with a request, and with an answer."""

from __future__ import annotations

from typing import Final

NOTE_LIMIT: Final = 300
"""Characters of a note."""


def plain_note(text: str) -> str:
    """Return a note as one line of printable characters, at most `NOTE_LIMIT` of them.

    >>> plain_note("  for school,\\n\\x1btomorrow ")
    'for school, tomorrow'
    """
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:NOTE_LIMIT]
