"""Answered wishes, for tests that look at all pages. Open ones would fill a phone's first screen of Today."""

from __future__ import annotations

from web_server import NOW, Web

from hedgerow.journal.tables import wishes

PAGES = ()
_ROWS = (
    ("minutes", "", 20, 10, "granted", ""),
    ("bedtime", "", 30, 30, "granted", ""),
    ("rule", "tiktok", 0, 0, "closed", ""),
    ("minutes", "", 60, 0, "denied", "Homework first."),
)


def fill(web: Web) -> None:
    """Let the child have asked for something of each kind."""
    for kind, subject, minutes, given, state, why in _ROWS:
        row = {"kind": kind, "subject": subject, "minutes": minutes, "given": given, "state": state, "why": why}
        row |= {"person": "mia", "device": "tablet", "note": "for the film with grandma", "at": NOW - 600}
        row |= {"last_at": NOW - 600, "asked": 1, "base": NOW + 1800 if kind == "bedtime" else None}
        row |= {"answered_by": "Ana", "answered_at": NOW - 60}
        web.engine.execute(web.engine.insert(wishes).values(row))
