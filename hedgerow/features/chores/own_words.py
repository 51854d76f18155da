"""Messages about chores for the child, which every language has."""

from __future__ import annotations

from hedgerow.dashboards.words.languages import message

LIFTED = message("Chores done")
MINE = message("until my chores are done")
