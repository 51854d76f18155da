"""Judgement of a host by its name alone: look-alikes of well-known names first, then the model. Pure, apart from opening the files.

Never judged are well-known names and everything beneath them, addresses, single labels, public suffixes, and names under the suffixes of
governments, schools and universities.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache, lru_cache
from pathlib import Path
from typing import Final
from zlib import crc32

from hedgerow.blocklists.generation import map_file
from hedgerow.blocklists.names import is_address, load_public_suffixes
from hedgerow.blocklists.recognition.look_alikes import LookAlikes
from hedgerow.blocklists.recognition.name_model import WELL_KNOWN_FILE, NameModel, Recognition

DATA = Path(__file__).parent / "data"
_CACHED_HOSTS: Final = 4096
_INSTITUTIONS: Final = frozenset({"edu", "gov", "int", "mil", "museum", "post"})
"""Top-level domains that only institutions get."""
_NATIONAL_INSTITUTIONS: Final = frozenset(
    {"ac", "admin", "edu", "gc", "go", "gob", "gouv", "gov", "govt", "gub", "gv", "k12", "mil", "nhs", "police", "sch", "school", "europa"}
)
"""Second labels under top-level domains of countries, likewise."""


class WellKnownNames:
    """Registered domains that everybody knows, as sorted checksums of 32 bits. One unknown name in thirty thousand passes for known."""

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


class Recogniser:
    """Recognises hosts by their names. Findings are cached, since clients ask for the same hosts again and again."""

    def __init__(self, folder: Path = DATA) -> None:
        self.model = NameModel(folder)
        self.well_known = WellKnownNames(folder / WELL_KNOWN_FILE)
        self._look_alikes = LookAlikes.load(folder)
        self.recognise = lru_cache(maxsize=_CACHED_HOSTS)(self._recognise)

    @staticmethod
    @cache
    def load() -> Recogniser:
        """Open the model that ships with Hedgerow."""
        return Recogniser()

    def _recognise(self, host: str) -> Recognition | None:
        """Return what a canonical host looks like by its name; None for most hosts."""
        if host in self.well_known:
            return None
        found = self._look_alikes.judge(host) or self.model.judge(host)
        return found if found is not None and is_judged(host) else None

    def telling_parts(self, host: str, found: Recognition) -> tuple[str, ...]:
        """Return the parts of a name that speak for a finding, or the well-known name that it imitates."""
        return (found.imitated,) if found.imitated else self.model.telling_parts(host, found.category)


def is_institution(host: str) -> bool:
    """Return whether only institutions get such a name: governments, schools, universities and the like.

    >>> is_institution("www.example.edu"), is_institution("school.edu.au"), is_institution("go.example.org")
    (True, True, False)
    """
    labels = host.split(".")
    is_national = len(labels[-1]) == 2 and len(labels) > 2 and any(label in _NATIONAL_INSTITUTIONS for label in labels[-3:-1])
    return is_national or labels[-1] in _INSTITUTIONS


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
