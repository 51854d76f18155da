"""Names that a child may read on a page of their own: of topics, services, rules, and rows of what was closed. Pure.

This is about what is closed. What is open for a child is named, whatever it is: somebody has opened it.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from hedgerow.blocklists.categories import builtin_categories, kept_from_children
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language
from hedgerow.journal.reader import DecisionRow, ReasonCount
from hedgerow.policies.access_subject import service_or_address
from hedgerow.policies.host_facts import AGE_BANDS, HostFactIndex, Services, service_ages
from hedgerow.policies.model import Reason
from hedgerow.policies.targets import ILLEGAL

_BY_CONTENT: Final = frozenset({Reason.SEARCH, Reason.PAGE, Reason.PICTURE})
UNNAMED_REASONS: Final = _BY_CONTENT | {
    *(Reason.PAUSE, Reason.BEDTIME, Reason.SCHEDULE, Reason.BUDGET, Reason.UNNAMED),  # these close any site
    Reason.BYPASS,
}
"""Reasons of blocks whose sites a child's page leaves out, since they can be any, or harsh ones."""


@cache
def unnamed() -> frozenset[str]:
    """Return the topics that harm children, the services about them, and the services for adults."""
    topics, ages = {*kept_from_children(), ILLEGAL}, service_ages()
    services = (
        id
        for id, service in Services.load().by_id.items()
        if topics & {service.group, service.topic} or ages[id].open_from >= max(AGE_BANDS)
    )
    return frozenset((*topics, *services))


def may_read(name: str) -> bool:
    """Return whether a child may read the name of a closed topic, service, host or URL.

    A host is named only if a service owns it: a site that a parent has closed can be any.

    >>> [may_read(name) for name in ("roblox", "www.roblox.com", "games", "candy-ai", "candy.ai", "adult", "x.example")]
    [True, True, True, False, False, False, False]
    """
    is_known = service_or_address(name) in Services.load().by_id or any(
        name == each.name for each in builtin_categories()
    )
    return is_known and not _is_unnamed(name)


def name_in_row(row: DecisionRow, reader: Language) -> str | None:
    """Return the name of what a row says was closed, or None if a child's page leaves it out."""
    if row.reason in UNNAMED_REASONS or _is_unnamed(row.what) or _is_unnamed(row.host):
        return None
    subject = service_or_address(row.host or row.what, f"{row.reason}: {row.what}")
    if subject in Services.load().by_id:
        return title_of(subject, reader)
    return None if row.reason is Reason.RULE else row.host or reader.gettext("not kept")


def may_read_count(item: ReasonCount) -> bool:
    """Return whether a child may read how often something was closed."""
    is_named = may_read(item.what) if item.reason is Reason.RULE else not _is_unnamed(item.what)
    return is_named and item.reason not in _BY_CONTENT


def _is_unnamed(name: str) -> bool:
    return not unnamed().isdisjoint((name, *HostFactIndex.load().services_of(name.partition("/")[0])))
