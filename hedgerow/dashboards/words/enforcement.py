"""The state of a change in words: in force at every enforcement point, or not yet and why."""

from __future__ import annotations

from hedgerow.dashboards.control import Enforcement
from hedgerow.dashboards.words.languages import Language, message

_BEHIND = {"dns": message("DNS has not taken it over"), "proxy": message("the proxy has not taken it over")}


def enforcement_text(enforcement: Enforcement, reader: Language) -> str:
    """Return a sentence about the newest rules."""
    if enforcement.is_complete and enforcement.problem:
        return reader.gettext(
            "In force on DNS and proxy until the next restart: it cannot be saved (%(problem)s).", problem=enforcement.problem
        )
    if enforcement.is_complete:
        return reader.gettext("In force on DNS and proxy.")
    if not enforcement.is_written:
        why = reader.gettext("it cannot be written (%(problem)s)", problem=enforcement.problem)
    else:
        why = reader.listed(reader.gettext(_BEHIND[point]) for point in enforcement.behind)
    return reader.gettext("Saved, but not in force yet: %(why)s.", why=why)
