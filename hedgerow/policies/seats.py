"""Seats, which guests use in turn: their kinds of session, and the code of conduct that a guest accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from hedgerow.blocklists.rules import Origin

SEAT_PREFIX = "seat-"
"""Beginning of the names of profiles for guests at seats.

The rest is the kind of session: child, adult, or one of the policy's own.
"""

_ORDER = {"child": 0, "adult": 2}


def session_kinds(profiles: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds of session that a guest can have, given the names of all profiles: children first, adults last.

    >>> session_kinds(["adult", "seat-adult", "seat-teen", "seat-child"])
    ('child', 'teen', 'adult')
    """
    kinds = [name.removeprefix(SEAT_PREFIX) for name in profiles if name.startswith(SEAT_PREFIX)]
    return tuple(sorted(kinds, key=lambda kind: (_ORDER.get(kind, 1), kind)))


class _Audience(Protocol):
    @property
    def is_for_children(self) -> bool: ...


def is_adult_kind(kind: str, profiles: Mapping[str, _Audience]) -> bool:
    """Return whether a kind of session is for adults."""
    profile = profiles.get(SEAT_PREFIX + kind)
    return profile is not None and not profile.is_for_children


@dataclass(frozen=True, slots=True)
class ConductAccepted:
    """A guest's consent to the code of conduct, for one session."""

    when: float
    session: str


@dataclass(frozen=True, slots=True)
class CodeOfConduct:
    """A café's code of conduct: its text, and the place in the policy that names its file."""

    text: str
    origin: Origin


class Payment(StrEnum):
    """The moment at which a guest pays."""

    BEFORE = "before"
    AFTER = "after"
