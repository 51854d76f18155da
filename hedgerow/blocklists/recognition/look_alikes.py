"""Names that imitate well-known ones: other characters, swapped, doubled and missing letters, added words, and a name in front. Pure.

The kinds are those of `dnstwist`, without those that ordinary names have too, such as one letter replaced by any other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import ahocorasick

from hedgerow.blocklists.recognition.name_model import Recognition
from hedgerow.blocklists.recognition.name_parts import SECOND_LEVEL

PHISHING: Final = "phishing"
IMITATED_FILE: Final = "imitated.txt"

_FOREIGN, _ALIKE, _IN_FRONT, _ADDED, _MISSPELT = 99, 96, 95, 93, 90
"""Confidence in percent by kind; not calibrated, but in the order of how rarely an honest name has that form."""

_MIN_ALIKE, _MIN_MISSPELT, _MIN_OMITTED = 6, 7, 9
"""Fewest characters of a name of which a look-alike of that kind counts."""

_PLAIN = str.maketrans("013457i", "oleastl")
_CONFUSABLE = str.maketrans("аасԁеғһіјкӏорԛѕսѵѡхуүαβεικνορτυχωđħıłøŧŋ", "aacdefhijklopqsuvwxyyabeiknoptuxwdhilotn")
"""Letters that look like one of ASCII (Unicode, “Confusables”), beside those that only have an accent."""

_REAL_SUFFIXES: Final = frozenset({"com", "net", "org", "de", "fr", "es", "it", "uk", "br", "pt"})
_FILLERS: Final = frozenset(("my", "the", "get", "for", "your", "now", "online", "center", "id", "web", "www"))
"""Words that phishers add to a name, and that count only beside one of `_LURES`."""
_LURES: Final = frozenset(
    (
        "login", "logon", "signin", "verify", "verification", "verified", "secure", "security", "account", "accounts", "support", "unlock",
        "confirm", "recovery", "recover", "reset", "auth", "password", "billing", "payment", "update", "wallet", "free", "gift", "gifts",
        "giftcard", "giftcards", "giveaway", "reward", "rewards", "bonus", "prize", "promo", "claim", "generator", "robux",
        "vbucks", "nitro",
    )
)  # fmt: skip
_ADDED_WORDS: Final = tuple(sorted(_LURES | _FILLERS, key=lambda word: (-len(word), word)))
_MAX_LABEL = 40


class LookAlikes:
    """Look-alikes of a set of names, each a label such as `paypal`."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._alike = {_plain(name): name for name in self._names if len(name) >= _MIN_ALIKE}
        self._misspelt = {variant: name for name in sorted(self._names) for variant in _misspellings(name) if variant not in self._names}
        self._names_in = ahocorasick.Automaton()
        for name in self._names:
            self._names_in.add_word(name, name)
        self._names_in.make_automaton()

    @classmethod
    def load(cls, folder: Path) -> LookAlikes:
        """Read the names that ship with Hedgerow."""
        lines = (line.partition("#")[0].split() for line in (folder / IMITATED_FILE).read_text(encoding="utf-8").splitlines())
        return cls(name for line in lines for name in line)

    def judge(self, host: str) -> Recognition | None:
        """Return the finding about a canonical host that imitates a name; None for most hosts."""
        return self.judge_site(host) or self.judge_front(host)

    def judge_site(self, host: str) -> Recognition | None:
        """Return the finding about the label of a host's site."""
        labels = host.split(".")
        if len(labels) < 2:
            return None
        label = labels[_place_of_site(labels)]
        if label in self._names or len(label) > _MAX_LABEL:
            return None
        if label.startswith("xn--"):
            return self._foreign(label)
        if (name := self._alike.get(_plain(label))) is not None:
            return _found(_ALIKE, name)
        if labels[-1] not in _PUBLIC_INTEREST and (name := self._misspelt.get(label)) is not None:
            return _found(_MISSPELT, name)
        if (name := self._with_added_words(label)) is not None:
            return _found(_ADDED, name)
        return None

    def judge_front(self, host: str) -> Recognition | None:
        """Return the finding about a name whose domain stands in front of another one, as in `paypal.com.login-site.example`.

        Delivery networks put the names of their customers in front of their own, too, but without a word of phishers.
        """
        labels = host.split(".")
        if len(labels) < 4:
            return None
        site = _place_of_site(labels)
        for place, (name, suffix) in enumerate(pairwise(labels[:site])):
            if name in self._names and suffix in _REAL_SUFFIXES:
                label, rest = labels[site], ".".join(labels[place + 2 : site + 1])
                if label in self._names or len(label) > _MAX_LABEL or label.startswith("xn--"):
                    return None
                return _found(_IN_FRONT, name) if any(lure in rest for lure in _LURES) else None
        return None

    def _foreign(self, label: str) -> Recognition | None:
        try:
            shown = label.removeprefix("xn--").encode("ascii").decode("punycode")
        except UnicodeError:
            return None
        letters = "".join(each for each in unicodedata.normalize("NFKD", shown) if not unicodedata.combining(each))
        name = letters.translate(_CONFUSABLE)
        return _found(_FOREIGN, name) if name in self._names else None

    def _with_added_words(self, label: str) -> str | None:
        """Return the name that a label consists of, apart from at least one word of a phisher, digits and hyphens."""
        found: list[tuple[int, int, str]] = [(end + 1 - len(name), -len(name), name) for end, name in self._names_in.iter(label)]
        for start, _length, name in sorted(found):  # the first one, and of those that begin there the longest
            words = [*_phishing_words(label[:start]), *_phishing_words(label[start + len(name) :])]
            if None not in words and not _FILLERS.issuperset(words):
                return name
        return None


_PUBLIC_INTEREST = frozenset({"org", "ngo", "ong", "health", "hospital", "care", "charity", "church", "foundation"})
"""Top-level domains under which a name that differs by a letter is rather another organisation's, such as the hospital at pinerest.org."""


def _place_of_site(labels: list[str]) -> int:
    """Return the index of the label that somebody registered, counted from the end."""
    return -3 if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in SECOND_LEVEL else -2


def _found(confidence: int, name: str) -> Recognition:
    return Recognition(PHISHING, confidence, name)


def _plain(label: str) -> str:
    """Return a label with one letter for all characters that look alike."""
    return label.translate(_PLAIN).replace("rn", "m").replace("vv", "w")


def _misspellings(name: str) -> Iterator[str]:
    """Yield a name with two letters swapped, one doubled, and one missing; its first letter stays."""
    for n in range(1, len(name)):
        if len(name) >= _MIN_MISSPELT and n + 1 < len(name):
            yield name[:n] + name[n + 1] + name[n] + name[n + 2 :]
        if len(name) >= _MIN_MISSPELT:
            yield name[:n] + name[n] + name[n:]
        if len(name) >= _MIN_OMITTED and n + 1 < len(name):
            yield name[:n] + name[n + 1 :]


def _phishing_words(text: str) -> list[str | None]:
    """Return the words of a text that consists of words of phishers, digits and hyphens; None among them for anything else."""
    words: list[str | None] = []
    rest = text
    while rest:
        if rest[0] == "-" or rest[0].isdigit():
            rest = rest[1:]
            continue
        word = next((lure for lure in _ADDED_WORDS if rest.startswith(lure)), None)
        words.append(word)
        if word is None:
            break
        rest = rest[len(word) :]
    return words
