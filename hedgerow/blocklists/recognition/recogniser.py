"""Judgement of a host by its name alone: look-alikes of well-known names first, then the models: adult and gambling,
and topics.

Pure, apart from opening the files.

Never judged are well-known names and everything beneath them, addresses, single labels, public suffixes, and names
under the suffixes of governments, schools and universities.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from hedgerow.blocklists.generation import map_file
from hedgerow.blocklists.names import is_address, load_public_suffixes
from hedgerow.blocklists.recognition.look_alikes import LookAlikes
from hedgerow.blocklists.recognition.name_model import WELL_KNOWN_FILE, NameModel, Recognition
from hedgerow.blocklists.recognition.name_parts import is_inconclusive, site_part, text_of
from hedgerow.blocklists.recognition.topic_model import TopicModel
from hedgerow.blocklists.recognition.topic_parts import is_open_topic, is_undressing

DATA = Path(__file__).parent / "data"
_CACHED_SITES: Final = 16_384
_INSTITUTIONS: Final = frozenset({"edu", "gov", "int", "mil", "museum", "post"})
"""Top-level domains that only institutions get."""
_NATIONAL_INSTITUTIONS: Final = frozenset(
    {
        "ac",
        "admin",
        "edu",
        "gc",
        "go",
        "gob",
        "gouv",
        "gov",
        "govt",
        "gub",
        "gv",
        "k12",
        "mil",
        "nhs",
        "police",
        "sch",
        "school",
        "europa",
    }
)
"""Second labels under top-level domains of countries, likewise."""
_REGISTERED_INSTITUTIONS: Final = frozenset(
    {"cc", "ed", "government", "health", "jus", "leg", "lg", "lib", "mp", "muni", "parliament", "res", "tec"}
)
"""Second labels that mean so only where they are public suffixes, such as `ed.jp`."""


class WellKnownNames:
    """Registered domains that everybody knows, as sorted checksums of 32 bits.

    One unknown name in thirty thousand passes for known.
    """

    def __init__(self, path: Path) -> None:
        self._checksums = map_file(path).cast("I")

    def __len__(self) -> int:
        return len(self._checksums)

    def __contains__(self, host: str) -> bool:
        """Return whether a host, or a domain above it, is well known."""
        checksums, count = self._checksums, len(self._checksums)
        while "." in host:
            checksum = crc32(host.encode())
            place = bisect_left(checksums, checksum)
            if place < count and checksums[place] == checksum:
                return True
            host = host.partition(".")[2]
        return False


class _Findings(NamedTuple):
    """The look-alike that the name of a site is, the category that it looks like, and the topic."""

    look_alike: Recognition | None
    likeness: Recognition | None
    topic: Recognition | None


_NOTHING: Final = _Findings(None, None, None)
_UNDRESSED: Final = Recognition("adult", 90)
"""The finding about a maker of undressed pictures, whose names no list teaches. The confidence is not calibrated."""


class Recogniser:
    """Recognition of hosts by their names.

    Findings are cached by site, since clients ask for many hosts of the same sites.
    """

    def __init__(self, folder: Path = DATA) -> None:
        self.model, self.topics = NameModel(folder), TopicModel(folder)
        self.well_known = WellKnownNames(folder / WELL_KNOWN_FILE)
        self._look_alikes = LookAlikes.load(folder)
        self.findings = lru_cache(maxsize=_CACHED_SITES)(self._find)

    @staticmethod
    @cache
    def load() -> Recogniser:
        """Open the model that ships with Hedgerow."""
        return Recogniser()

    def recognise(self, host: str) -> Recognition | None:
        """Return what a canonical host looks like most by its name; None for most hosts."""
        found = self.recognitions(host)
        return found[0] if found else None

    def recognitions(self, host: str) -> tuple[Recognition, ...]:
        """Return all that a canonical host looks like by its name, the likeliest first: a look-alike alone, or adult or
        gambling and a topic, of which a policy may close one only.
        """
        findings = self.findings(site_part(host))
        if findings is None:
            return ()
        if look_alike := findings.look_alike or self._look_alikes.judge_front(host):
            return (look_alike,) if is_judged(host) else ()
        likeness, topic = findings.likeness, findings.topic
        found = []
        if topic is not None and not is_open_topic(host, topic.category):
            found.append(topic)
        if likeness is not None and not is_inconclusive(host):
            found.append(likeness)
        found.sort(key=lambda each: -each.confidence)
        return tuple(found) if found and is_judged(host) else ()

    def _find(self, part: str) -> _Findings | None:
        """Return the findings about the `site_part` of a host; None if it is well known."""
        if part in self.well_known:
            return None
        text = text_of(part)
        likeness = _UNDRESSED if is_undressing(text) else self.model.judge_text(text)
        findings = _Findings(self._look_alikes.judge_site(part), likeness, self.topics.judge_text(text))
        return _NOTHING if findings == _NOTHING else findings

    def strongest_parts(self, host: str, found: Recognition) -> tuple[str, ...]:
        """Return the parts of a name that speak for a finding, or the well-known name that it imitates."""
        if found.imitated:
            return (found.imitated,)
        model = self.topics if found.category in self.topics.meta.topics else self.model
        return model.strongest_parts(text_of(host), found.category)


def is_institution(host: str) -> bool:
    """Return whether only institutions get such a name: governments, schools, universities and the like.

    >>> is_institution("www.example.edu"), is_institution("school.edu.au"), is_institution("www.mes.gouv.qc.ca")
    (True, True, True)
    >>> is_institution("go.example.org"), is_institution("edu.example.tv")
    (False, False)
    """
    labels = host.split(".")
    if labels[-1] in _INSTITUTIONS:
        return True
    if len(labels) < 3 or len(labels[-1]) != 2:
        return False
    registries = load_public_suffixes().registries
    if labels[-1] == "us" and ".".join(labels[-2:]) in registries:
        return True  # localities, schools and libraries of a state
    for place in (-2, -3):
        name, suffix = labels[place], ".".join(labels[place:])
        if name in _NATIONAL_INSTITUTIONS or (name in _REGISTERED_INSTITUTIONS and suffix in registries):
            return True
        if len(labels) < 4 or suffix not in registries:  # only below a province, as in `gouv.qc.ca`
            return False
    return False


def is_judged(host: str) -> bool:
    """Return whether a host that is not well known may be judged by its name.

    >>> is_judged("example.org"), is_judged("school.edu.au"), is_judged("co.uk"), is_judged("printer")
    (True, False, False, False)
    """
    labels = host.split(".")
    if len(labels) < 2 or is_address(host) or is_institution(host):
        return False
    suffixes = load_public_suffixes()
    return labels[-1] in suffixes.registries and host not in suffixes.registries and host not in suffixes.hosters
