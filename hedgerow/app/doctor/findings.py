"""Results of the checks of `hedgerow doctor`, and the installation that they look at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import Snapshot
from hedgerow.policies.model import Policy

REDIRECT_PAGES = "start Hedgerow with --transparent 0.0.0.0:3129, to which the gateway then redirects web traffic"
"""The remedy where the gateway is in place and does not redirect web traffic."""


class Health(StrEnum):
    GOOD = "good"
    UNSURE = "unsure"  # works with a limitation, or can't be checked from here
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check: its subject, its state, and the remedy, empty if there is nothing to do."""

    what: str
    health: Health
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Installation:
    """The installation that is checked. `snapshot` is None if it has never filtered."""

    state: Path
    settings: Settings | None
    snapshot: Snapshot | None

    @staticmethod
    def of(state: Path) -> Installation:
        try:
            settings = Settings.load(state)
        except (OSError, ValueError):
            settings = None
        try:
            snapshot = Snapshot.in_force(state)
        except (OSError, ValueError):
            snapshot = None
        return Installation(state, settings, snapshot)

    @property
    def policy(self) -> Policy | None:
        return self.snapshot.policy if self.snapshot else None


def good_finding(what: str, found: str) -> Finding:
    return Finding(what, Health.GOOD, found)
