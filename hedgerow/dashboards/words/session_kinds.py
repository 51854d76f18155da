"""Words for kinds of session at seats."""

from __future__ import annotations

from hedgerow.dashboards.words.languages import Language
from hedgerow.policies.model import Policy
from hedgerow.policies.seats import SEAT_PREFIX, is_adult_kind, session_kinds


def kind_titles(policy: Policy, reader: Language) -> dict[str, tuple[str, bool]]:
    """Return the title of each kind of session, and whether it is for adults."""
    titles = {"child": reader.gettext("Child"), "adult": reader.gettext("Adult")}
    return {
        kind: (
            titles.get(kind) or reader.gettext(policy.profiles[SEAT_PREFIX + kind].title or kind),
            is_adult_kind(kind, policy.profiles),
        )
        for kind in session_kinds(policy.profiles)
    }
