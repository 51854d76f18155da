"""Chain of the counter's entries: each one is numbered and holds the digest of the one before it (SHA-256). Pure.

The digest of an entry is that of JSON with sorted keys and without spaces, in which a field that has its default value
is left out: a field that a later version adds changes no digest.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from hedgerow.app.signing_keys import canonical
from hedgerow.codec import decode
from hedgerow.journal.old_entries import FROM_BACKUP

MAX_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class ChainedEntry:
    """An entry with its place in the chain.

    `number` is 0 for a row that Hedgerow did not write. `previous` is the digest of the entry before it, empty in the
    first one. `entry` has the fields whose values are not the default.
    """

    number: int
    previous: str
    digest: str
    entry: dict[str, str | int | float]

    @classmethod
    def after(cls, last: tuple[int, str], entry: Mapping[str, str | int | float]) -> ChainedEntry:
        """Link an entry to the last one, whose number and digest are given: 0 and nothing before the first."""
        number, previous = last
        unsealed = cls(number + 1, previous, "", dict(entry))
        return cls(number + 1, previous, unsealed.own_digest, unsealed.entry)

    @classmethod
    def parse(cls, line: bytes | str) -> ChainedEntry:
        """Read a line. Raises ValueError for anything that Hedgerow would not have written."""
        data = line.encode() if isinstance(line, str) else line
        if len(data) > MAX_LINE:
            raise ValueError("it is too long")
        found = decode(cls, data)
        if found.line.encode() != data.rstrip(b"\r\n"):
            raise ValueError("it is not as Hedgerow writes it")
        return found

    @property
    def line(self) -> str:
        """The entry as one line of a file."""
        return canonical(asdict(self))

    @property
    def own_digest(self) -> str:
        """The digest of what is there, which is `digest` unless something was changed."""
        text = canonical({"entry": self.entry, "number": self.number, "previous": self.previous})
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """The entry in a sentence: its number and time."""
        try:
            at = f"{datetime.fromtimestamp(float(self.entry.get('at', 0)), UTC):%Y-%m-%d %H:%M} UTC"
        except (ValueError, OverflowError, OSError):
            at = "at no time"
        return f"entry {self.number} of the counter ({at})" if self.number else f"an entry of the counter ({at})"


def link_problems(entries: Iterable[ChainedEntry]) -> Iterator[str]:
    """Yield what is wrong with entries and with the place of each after the one before it."""
    before: ChainedEntry | None = None
    for each in entries:
        if each.number < 1:
            said = f"it is said to be of a {each.previous}, before there was one"
            is_restored = each.previous.startswith(FROM_BACKUP)
            yield f"{each.name} is outside of the chain: {said if is_restored else 'it was added by hand'}"
            continue
        if each.digest != each.own_digest:
            yield f"{each.name} was changed"
        if before is not None and each.number != before.number + 1:
            yield f"{each.name} follows entry {before.number}"
        elif before is not None and each.previous != before.digest:
            yield f"{each.name} was not made after this entry {before.number}"
        elif each.number == 1 and each.previous:
            yield f"{each.name} was not made as the first one"
        before = each


def storable(text: str) -> str:
    """Return text without control characters and halves of surrogate pairs, which not every store keeps as they are.

    >>> storable("Ana\\0\\tB")
    'Ana��B'
    """
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(each) in ("Cc", "Cs") else each for each in text)
