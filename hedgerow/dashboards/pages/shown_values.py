"""Digests of what a form showed, sent back with it, so that nobody overwrites a change that they have not seen. Pure.

Each field is a short digest of its values. A page compares them with those of the same form as it is now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, urlencode

_STATE = ""
"""Name of what a form depends on besides its fields."""


def digest_of(values: Iterable[str]) -> str:
    """Return a digest of the values of a field. It is the same for an empty field and for one that was not sent.

    >>> digest_of([""]) == digest_of(()) != digest_of(["20:00"])
    True
    """
    lines = sorted(value.replace("\r\n", "\n") for value in values if value)
    return hashlib.sha256("\0".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def parse_shown(text: str) -> dict[str, str]:
    """Return the digests by name of field that a form sent back."""
    return dict(parse_qsl(text))


class ShownValues:
    """Values of the fields of a form. `state` is what else the form depends on, or None."""

    def __init__(self, state: object = None) -> None:
        self._values: dict[str, list[str]] = {} if state is None else {_STATE: [str(state)]}

    def add(self, name: str, *values: object) -> None:
        """Add a field with its values, none for an empty one."""
        self._values.setdefault(name, []).extend(map(str, values))

    @property
    def digests(self) -> dict[str, str]:
        return {name: digest_of(values) for name, values in self._values.items()}

    def encoded(self) -> str:
        """Return what `parse_shown` reads."""
        return urlencode(self.digests)


def untouched(shown: Mapping[str, str], sent: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return the names of fields that were sent as they were shown."""
    return frozenset(name for name, digest in shown.items() if name and digest_of(sent.get(name, ())) == digest)


def overwritten(
    shown: Mapping[str, str], now: Mapping[str, str], sent: Mapping[str, Sequence[str]], *, merges: bool
) -> list[str]:
    """Return the names of fields that were changed after they were shown, and that the form would change back.

    With `merges`, what was sent as it was shown changes nothing.
    """
    changed = [name for name in {**now, **shown} if now.get(name) != shown.get(name)]
    kept = untouched(shown, sent) if merges else frozenset[str]()
    return [name for name in changed if name not in kept and digest_of(sent.get(name, ())) != now.get(name)]
