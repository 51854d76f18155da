"""Sites that are remembered for what their pages turned out to be, so that DNS can block them the next time. Pure.

An inspected page is recognised by the words, links and labels in it. Control remembers its host for some time, under
the topic and with the date, and nothing about who opened it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.host_facts import parents_of
from hedgerow.policies.model import Decision, Reason, Verdict

ADULT, GAMBLING = "adult", "gambling"
TOPICS = (ADULT, GAMBLING)
"""Categories that a page can be recognised as."""

BY_PAGE = "hedgerow/pages"
"""The source of a RECOGNISED decision that rests on a page. The text of a remembered one is the date of the page."""

BY_LABEL = "hedgerow/labels"
"""The source of one that rests on what a page declares of itself."""


@dataclass(frozen=True, slots=True)
class PageRecognised:
    """An inspected page of `host` looked like one of `topic`. It does not say who opened it.

    `page` tells the pages of a host apart. `is_labelled`: the page says so itself, by a label.
    """

    host: str
    topic: str
    page: str
    is_labelled: bool = False


@dataclass(frozen=True, slots=True)
class RememberedSite:
    """A host whose pages looked like those of a topic, last on `date` (ISO 8601, in the network's time zone)."""

    topic: str
    date: str


type RememberedSites = Mapping[str, Sequence[RememberedSite]]
"""The remembered sites by host. One stands for the names beneath it too."""
NO_SITES: RememberedSites = MappingProxyType({})


def remembered_as(sites: RememberedSites, host: str) -> tuple[RememberedSite, ...]:
    """Return the remembered topics of a host and of the domains above it."""
    return tuple(site for domain in parents_of(host) for site in sites.get(domain, ())) if sites else ()


def recognised_by_page(topic: str, *, is_labelled: bool = False) -> Decision:
    """Return the decision to block a page that was recognised, or that says by a label what it is."""
    return Decision(Verdict.BLOCK, Reason.RECOGNISED, topic, Origin(BY_LABEL if is_labelled else BY_PAGE))


def is_by_page(decision: Decision) -> bool:
    """Return whether a page was recognised, now or before, rather than a name or a certificate."""
    rule = decision.rule
    return decision.reason is Reason.RECOGNISED and rule is not None and rule.source in {BY_PAGE, BY_LABEL}


def is_by_label(decision: Decision) -> bool:
    """Return whether a page declared by a label what it is."""
    return is_by_page(decision) and decision.rule is not None and decision.rule.source == BY_LABEL
