"""Canaries: hosts of health, help, schools, news and the like that a downloaded list may only name by mistake.

`data/canaries.txt` has their hashes, so that it tells nobody which hosts they are and copies no list. Its sections are
the topics of the hosts. `tools/canaries.py` writes it, and docs/lists.md names its sources.

Only the lists' categories of content are corrected (`KEPT_OPEN_IN`). A list of advertising, of social networks or of
infected sites may well name a newspaper.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Final
from zlib import crc32

from hedgerow.blocklists.categories import DATA
from hedgerow.blocklists.names import is_address, registered_domain
from hedgerow.blocklists.rules import ParsedLines, UrlRule

KEPT_OPEN_IN: Final = frozenset(
    {
        "adult",
        "alcohol-tobacco",
        "dating",
        "drugs",
        "gambling",
        "hate",
        "random-chat",
        "self-harm",
        "violence",
        "weapons",
    }
)
"""Categories into which no downloaded list may put a canary."""

_DIGEST_BYTES: Final = 6
_HELD_OUT = "*"
_MACHINES: Final = ("www.", "m.")


def digest_of(host: str) -> int:
    """Return the hash by which the file names a host: a CRC-32, which finds candidates fast, before 48 bits of BLAKE2b,
    which confirm them.
    """
    data = host.encode()
    return crc32(data) << 8 * _DIGEST_BYTES | int.from_bytes(blake2b(data, digest_size=_DIGEST_BYTES).digest())


def is_held_out(host: str) -> bool:
    """Return whether a canary belongs to the half from which no model may learn, so that models can be measured on
    it.
    """
    return bool(digest_of(host) & 1)


def site_of_canary(host: str) -> str:
    """Return the name by which a host may be a canary: without `www.` or `m.`.

    >>> site_of_canary("www.example.org"), site_of_canary("shop.example.org")
    ('example.org', 'shop.example.org')
    """
    return host.partition(".")[2] if host.startswith(_MACHINES) and host.count(".") > 1 else host


class Canaries:
    """The canaries of a file like `data/canaries.txt`: sections with a line per host. Raises OSError or ValueError."""

    def __init__(self, path: Path) -> None:
        rows: list[tuple[int, int]] = []
        self.topics: list[str] = []
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith("["):
                self.topics.append(line.strip("[]"))
            elif line and not line.startswith("#"):
                rows.append((int(line.removesuffix(_HELD_OUT), 16), len(self.topics) - 1))
        rows.sort()
        self._checksums = array("I", (digest >> 8 * _DIGEST_BYTES for digest, _topic in rows))
        self._digests = array("Q", (digest & (1 << 8 * _DIGEST_BYTES) - 1 for digest, _topic in rows))
        self._topics = bytes(topic for _digest, topic in rows)

    @cached_property
    def checksums(self) -> frozenset[int]:
        """The CRC-32 of each canary, to leave out most other hosts before they are looked up."""
        return frozenset(self._checksums)

    def __len__(self) -> int:
        return len(self._topics)

    def topic_of(self, host: str) -> str:
        """Return the topic of a canary, empty for any other host.

        A host below a canary is none, apart from `www` and `m`.
        """
        digest = digest_of(site_of_canary(host))
        checksum, rest = divmod(digest, 1 << 8 * _DIGEST_BYTES)
        place = bisect_left(self._checksums, checksum)
        while place < len(self._topics) and self._checksums[place] == checksum:
            if self._digests[place] == rest:
                return self.topics[self._topics[place]]
            place += 1
        return ""

    def topic_of_site(self, host: str) -> str:
        """Return the topic of the canary that a host belongs to: that of its registered domain.

        For guesses by patterns and models. A list that names a host below a canary means that host.
        """
        return "" if is_address(host) else self.topic_of(registered_domain(host))

    @staticmethod
    @cache
    def load() -> Canaries:
        """Read the canaries that ship with Hedgerow."""
        return Canaries(DATA / "canaries.txt")


def is_canary_site(host: str) -> bool:
    """Return whether a host belongs to a canary that ships with Hedgerow (`Canaries.topic_of_site`)."""
    return bool(Canaries.load().topic_of_site(host))


def leave_out_canaries(parsed: ParsedLines, corrections: dict[str, str]) -> None:
    """Drop canaries, and rules about all of one. Add them to `corrections`, with their topics."""
    canaries = Canaries.load()
    checksums = canaries.checksums
    named = (*parsed.hosts, *parsed.exact, *(rule.host for rule in parsed.urls if _is_about_host(rule)))
    sites = {host: site for host in named if crc32((site := site_of_canary(host)).encode()) in checksums}
    found = {host: topic for host in sites if (topic := canaries.topic_of(host))}
    if not found:
        return
    parsed.hosts = [host for host in parsed.hosts if host not in found]
    parsed.exact = [host for host in parsed.exact if host not in found]
    parsed.important = [host for host in parsed.important if host not in found]
    parsed.urls = [rule for rule in parsed.urls if rule.host not in found or not _is_about_host(rule)]
    corrections.update((sites[host], topic) for host, topic in found.items())


def _is_about_host(rule: UrlRule) -> bool:
    """Return whether a rule blocks all of a host, under conditions."""
    is_block = not rule.exception and "badfilter" not in rule.options
    return is_block and bool(rule.host) and rule.pattern == f"||{rule.host}^"


def canary_line(host: str) -> str:
    """Return the line of a host in the file.

    >>> canary_line("example.org")
    'a05932df3184aa14fbda'
    """
    return f"{digest_of(host):0{8 + 2 * _DIGEST_BYTES}x}{_HELD_OUT if is_held_out(host) else ''}"
