"""Recognition of a page's topic: a transparent sum of signs, each with its weight. Pure.

The weights do not come from a corpus of explicit pages, for none may be kept. They are set by hand, so that no sign but
the page's own label or its links is enough alone, and checked against harmless pages (`tools/measure_pages.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from hedgerow.blocklists.generation import read_meta
from hedgerow.blocklists.host_matcher import HostMatcher
from hedgerow.blocklists.names import registered_domain
from hedgerow.policies.host_facts import parents_of
from hedgerow.policies.remembered import ADULT, GAMBLING, TOPICS
from hedgerow.proxy.scanners.page_text import PageFacts, PageLabel

ENOUGH = 100
"""Points from which a page counts as one of the topic."""

_WORDS, _MOST_FOR_WORDS, _LEAST_FOR_WORDS = 0.35, 80, -40  # points for each point of the phrases on the page
_MOST_FOR_DESCRIPTION = 60
_LABEL = {PageLabel.NONE: 0, PageLabel.MATURE: 25, PageLabel.SEXUAL_ITEM: 50, PageLabel.ADULT: ENOUGH}
_MOST_FOR_SHARE, _FEWEST_LINKS, _PER_LINK, _MOST_FOR_LINKS = 80, 3, 5, 25
_MOST_FOR_TRADE = 60
_DESCRIBED = 15  # points of the description that cannot be coincidence
_TRADE: Mapping[str, Mapping[str, int]] = {
    # Advertisers and affiliates that serve hardly anybody else, and the authorities' registers of licences, to which
    # casinos must link.
    ADULT: dict.fromkeys(
        (
            "adultforce.com",
            "adxpansion.com",
            "awempire.com",
            "awmdelivery.com",
            "bongacash.com",
            "crakrevenue.com",
            "dditscdn.com",
            "ero-advertising.com",
            "exdynsrv.com",
            "exoclick.com",
            "exosrv.com",
            "juicyads.com",
            "magsrv.com",
            "mmcdn.com",
            "plugrush.com",
            "realsrv.com",
            "stripcash.com",
            "trafficfactory.biz",
            "trafficjunky.com",
            "trafficjunky.net",
            "trafficstars.com",
            "tsyndicate.com",
            "twinrdsrv.com",
            "xlivrdr.com",
        ),
        30,
    )
    | dict.fromkeys(("asacp.org", "ccbill.com", "paxum.com", "rtalabel.org", "segpay.com"), 15),
    GAMBLING: dict.fromkeys(
        (
            "validator.antillephone.com",
            "licensing.gaming-curacao.com",
            "cert.gcb.cw",
            "verification.curacao-egaming.com",
            "authorisation.mga.org.mt",
            "registers.gamblingcommission.gov.uk",
            "secure.gamblingcommission.gov.uk",
            "access.gaming-curacao.com",
            "certificates.gamingcommission.ca",
            "anjouangaming.org",
            "verification.anjouangaming.org",
        ),
        40,
    )
    | dict.fromkeys(
        (
            "gambleaware.org",
            "begambleaware.org",
            "gamcare.org.uk",
            "gamstop.co.uk",
            "gamblingtherapy.org",
            "spelpaus.se",
            "stodlinjen.se",
            "ecogra.org",
            "itechlabs.com",
            "jugarbien.es",
            "ordenacionjuego.es",
            "rofus.nu",
            "gamblersanonymous.org",
            "check-dein-spiel.de",
            "joueurs-info-service.fr",
            "adm.gov.it",
            "gioca-responsabile.it",
        ),
        10,
    ),
}


@dataclass(frozen=True, slots=True)
class PageFinding:
    """The topic that a page was recognised as.

    `is_labelled`: the page says so by a label. `is_described`: its title, descriptions and headings do, with other
    words than its URL, which may come from whoever made the link.
    """

    topic: str
    is_labelled: bool = False
    is_described: bool = False


@dataclass(frozen=True, slots=True)
class PhraseScores:
    """The scores of the phrases of one topic: in the text, in the page's description, and there without what the URL
    says too.
    """

    text: int
    description: int
    own_description: int


NO_SCORES = PhraseScores(0, 0, 0)


@dataclass(frozen=True, slots=True)
class LinkedSites:
    """The number of other sites that a page links to or loads from, and how many of them lists have under
    each topic.
    """

    all: int = 0
    listed: Mapping[str, int] = field(default_factory=dict)


class ListedTopics:
    """The names of a generation's lists, by topic. `mask` returns the categories of a host, as `HostMatcher.mask`."""

    def __init__(self, generation: Path, mask: Callable[[str], int], bits: Mapping[str, int]) -> None:
        self.generation = generation
        self._mask = mask
        self._bits = [(topic, bits.get(topic, 0)) for topic in TOPICS]

    @staticmethod
    @lru_cache(maxsize=2)
    def open(generation: Path) -> ListedTopics:
        """Open the lists of a generation. Raises OSError or ValueError for a directory that has been removed."""
        meta = read_meta(generation)
        bits = {name: 1 << index for index, name in enumerate(meta.categories)}
        return ListedTopics(generation, HostMatcher(generation, meta, bits).mask, bits)

    def count(self, hosts: Iterable[str]) -> LinkedSites:
        """Return the sites among `hosts`. Many hosts of one site count once."""
        sites = {registered_domain(host): host for host in hosts}
        listed = Counter(
            topic for host in sites.values() if (mask := self._mask(host)) for topic, bit in self._bits if mask & bit
        )
        return LinkedSites(len(sites), listed)


def recognise(
    facts: PageFacts, scores: Mapping[str, PhraseScores], linked: LinkedSites, label: PageLabel = PageLabel.NONE
) -> PageFinding | None:
    """Return the topic of a page, None if it has none of `TOPICS`.

    `scores` is empty if the page has no phrase at all. `label` is that of its response's head.
    """
    label = max(label, facts.label)
    if label is PageLabel.ADULT:
        return PageFinding(ADULT, is_labelled=True, is_described=True)
    if not scores:
        if not facts.hosts:
            return None
        scores = dict.fromkeys(TOPICS, NO_SCORES)
    points = {topic: _points(topic, facts.hosts, scores[topic], linked, label) for topic in TOPICS}
    topic = max(TOPICS, key=lambda each: points[each])
    return (
        PageFinding(topic, is_described=scores[topic].own_description >= _DESCRIBED)
        if points[topic] >= ENOUGH
        else None
    )


def _points(topic: str, hosts: Iterable[str], scores: PhraseScores, linked: LinkedSites, label: PageLabel) -> float:
    listed = linked.listed.get(topic, 0)
    points = max(_LEAST_FOR_WORDS, min(_MOST_FOR_WORDS, scores.text * _WORDS))
    points += max(0, min(_MOST_FOR_DESCRIPTION, scores.description))
    points += min(_MOST_FOR_LINKS, listed * _PER_LINK)
    if listed >= _FEWEST_LINKS:
        points += _MOST_FOR_SHARE * listed / linked.all
    found = {domain for host in hosts for domain in parents_of(host) if domain in _TRADE[topic]}
    points += min(_MOST_FOR_TRADE, sum(_TRADE[topic][domain] for domain in found))
    return points + (_LABEL[label] if topic == ADULT else 0)
