"""Corrections of topics: sites that lists or guesses take for something that they are not. Pure.

In a file they are ad blockers' exceptions (`@@||example.org^`), one file per topic, which any filter reads.
"""

from __future__ import annotations

from collections.abc import Iterable

from hedgerow.blocklists.names import is_address, is_public_suffix, parse_host
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, include
from hedgerow.policies.model import Policy
from hedgerow.policies.targets import correctable_topics

MAX_IMPORTED = 2000


def parse_site(text: str) -> str:
    """Return the site of a host or address that somebody corrects. Raises `InvalidInput`."""
    host = parse_host(text.partition("/")[0])
    site = host.removeprefix("www.") if host is not None else ""
    if "." not in site or is_address(site) or is_public_suffix(site):
        raise InvalidInput("Enter a site such as example.org.")
    return site


def correction_edit(policy: Policy, topic: str, site: str) -> Edit:
    """Say that a site is not of a topic. Raises `InvalidInput` for a topic that cannot be wrong."""
    if topic not in correctable_topics(policy.categories):
        raise InvalidInput("Choose a topic.")
    return include(("corrections", topic), site)


def removal_edit(topic: str, site: str) -> Edit:
    """Take a correction back."""
    return exclude(("corrections", topic), site)


def corrections_by_topic(policy: Policy) -> dict[str, list[str]]:
    """Return the sites that are corrected, in alphabetical order, by topic."""
    found: dict[str, list[str]] = {}
    for site, topics in sorted(policy.corrections.items()):
        for topic in sorted(topics):
            found.setdefault(topic, []).append(site)
    return dict(sorted(found.items()))


def render_exceptions(topic: str, sites: Iterable[str]) -> str:
    """Return the file of a topic's corrections, for other homes."""
    return "".join([f"! Sites that are not of the topic {topic}\n", *(f"@@||{site}^\n" for site in sites)])


def parse_exceptions(text: str) -> list[str]:
    """Return the sites of such a file. Raises `InvalidInput` for a line that is something else.

    >>> parse_exceptions("! a comment\\n@@||example.org^\\n")
    ['example.org']
    """
    sites = []
    for line in map(str.strip, text.splitlines()):
        if line and not line.startswith("!"):
            if not (line.startswith("@@||") and line.endswith("^")):
                raise InvalidInput("Each line is an exception such as @@||example.org^.")
            sites.append(parse_site(line[4:-1]))
    if not sites:
        raise InvalidInput("Each line is an exception such as @@||example.org^.")
    if len(sites) > MAX_IMPORTED:
        raise InvalidInput("At most %(count)s sites at a time.", count=MAX_IMPORTED)
    return list(dict.fromkeys(sites))
