"""The result of one case with one proxy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """`section` names the RFC's; `seen` says in a few words what happened, for the list of what fails."""

    area: str
    case: str
    section: str
    passed: bool
    seen: str
