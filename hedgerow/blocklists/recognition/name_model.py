"""A linear model over pieces of host names: for each category the sum of the weights of all pieces that a name contains.

`features.trie` holds the pieces, three to nine characters of the name between two dots, such as `.casino` or `sexy-`. `weights.bin` holds
a number for each of them, in the order of the trie's ids: both weights, packed. Pure, apart from opening these files.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import marisa_trie
import msgspec

from hedgerow.blocklists.generation import map_file
from hedgerow.blocklists.names import load_public_suffixes, short_domain

META_FILE, FEATURES_FILE, WEIGHTS_FILE, WELL_KNOWN_FILE = "model.json", "features.trie", "weights.bin", "well-known.bin"
MIN_PIECE: Final = 3
MAX_PIECE: Final = 9
MAX_TEXT: Final = 50
"""Characters of a name that are judged: the last ones, with those of the registered domain."""
PACK_BITS: Final = 20
"""A weight in `weights.bin` is one number for both categories: the second one is shifted by these bits, so that one sum adds up both."""
MAX_WEIGHT: Final = 1000
"""So that neither a weight of the second category nor the sum of all pieces of a text leaves its place in a packed number."""
SECOND_LEVEL: Final = frozenset({"co", "com", "net", "org", "ne", "or", "gen", "web"})
"""Labels under which names of countries are registered, whether the list of public suffixes says so or not."""
_HALF = 1 << (PACK_BITS - 1)
_MOST_PARTS = 3


class Calibration(msgspec.Struct, frozen=True):
    """The line from a category's score to the logarithm of its odds, assuming that 2 % of unlisted names are adult, and 5 % gambling.

    `floor` is the lowest score that is worth reporting.
    """

    slope: float
    offset: float
    floor: float


class TrainingSource(msgspec.Struct, frozen=True):
    """A list that the model was trained on."""

    name: str
    role: str
    url: str
    licence: str
    sha256: str
    names: int


class ModelMeta(msgspec.Struct, frozen=True):
    """The contents of `model.json`."""

    categories: tuple[str, str]
    calibrations: tuple[Calibration, Calibration]
    features: int
    well_known: int
    sources: tuple[TrainingSource, ...]


@dataclass(frozen=True, slots=True)
class Recognition:
    """The category that a name looks like, the confidence in percent, and the well-known name that it imitates, if any."""

    category: str
    confidence: int
    imitated: str = ""


class NameModel:
    """The model, opened from a folder. Raises OSError, or ValueError for files that do not belong together."""

    def __init__(self, folder: Path) -> None:
        self.meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=ModelMeta)
        self._features = marisa_trie.Trie()
        self._features.mmap(str(folder / FEATURES_FILE))
        self._weights = map_file(folder / WEIGHTS_FILE).cast("i")
        if len(self._features) != len(self._weights) or len(self._weights) != self.meta.features:
            raise ValueError(f"{folder}: {len(self._features)} features, {len(self._weights)} weights")
        self._first, self._second = self.meta.calibrations

    def judge(self, host: str) -> Recognition | None:
        """Return the category that a canonical host name looks like; None for most names."""
        found = self.judge_part(judged_part(host))
        return None if found is None or is_about_people(host) else found

    def judge_part(self, part: str) -> Recognition | None:
        """Return the category that the `judged_part` of a host looks like. Whether the host is about people is left to the caller."""
        text = text_of(part)
        find, weights = self._features.iter_prefixes_with_ids, self._weights
        total = sum([
            weights[id] for start in range(len(text) - MIN_PIECE + 1) for _piece, id in find(text[start : start + MAX_PIECE])
        ])  # fmt: skip
        second = (total + _HALF) >> PACK_BITS
        first = total - (second << PACK_BITS)
        size = _SIZES[len(text)]
        if first < self._first.floor * size and second < self._second.floor * size:
            return None
        return self._best(first / size, second / size)

    def _best(self, *scores: float) -> Recognition | None:
        odds = [each.slope * score + each.offset for each, score in zip(self.meta.calibrations, scores, strict=True)]
        best = max(range(len(odds)), key=odds.__getitem__)
        return Recognition(self.meta.categories[best], math.floor(100 / (1 + math.exp(-odds[best]))))

    def telling_parts(self, host: str, category: str) -> tuple[str, ...]:
        """Return the parts of a name that speak most for a category, the strongest first."""
        text, index = text_of(host), self.meta.categories.index(category)
        heat = [0.0] * len(text)
        for start in range(len(text) - MIN_PIECE + 1):
            for piece, id in self._features.iter_prefixes_with_ids(text[start : start + MAX_PIECE]):
                for place in range(start, start + len(piece)):
                    heat[place] += unpack(self._weights[id])[index] / len(piece)
        runs: list[tuple[float, str]] = []
        threshold = max(heat) / 8
        run, strength = "", 0.0
        for character, warmth in [*zip(text, heat, strict=True), (".", 0.0)]:
            if warmth > threshold and character != ".":
                run, strength = run + character, strength + warmth
                continue
            if len(run) >= MIN_PIECE:
                runs.append((strength, run.strip("-")))
            run, strength = "", 0.0
        return tuple(part for _strength, part in sorted(runs, key=lambda each: -each[0])[:_MOST_PARTS])


def judged_part(host: str) -> str:
    """Return the end of a host by which its site is judged: the registered domain, with the label before it unless that is a machine's.

    Hosts with the same one get the same text, and imitate the same name. Where more labels may count, it is the whole host.

    >>> judged_part("cdn7.www.example.org"), judged_part("a.garden.example.org"), judged_part("www.example.co.uk")
    ('example.org', 'garden.example.org', 'www.example.co.uk')
    """
    domain = short_domain(host)
    site, _, top = domain.partition(".")
    if not domain or is_machine(site) or (len(top) == 2 and site in SECOND_LEVEL):
        return host
    label = host[: -len(domain) - 1].rpartition(".")[2]
    return domain if is_machine(label) else f"{label}.{domain}"


def is_machine(label: str) -> bool:
    """Return whether a label says nothing about a site."""
    return label.rstrip("0123456789-") in _MACHINES


def text_of(host: str) -> str:
    """Return the text that is judged: the last three labels between dots, without those of machines and without a hoster's name.

    A word for what somebody is, or of medicine, becomes a hyphen.

    >>> text_of("www.example.org"), text_of("cdn7.a.garden.example.org"), text_of("someone.blogspot.com"), text_of("gaychoir.de")
    ('.example.org.', '.garden.example.org.', '.someone.', '.-choir.de.')
    """
    labels = host.split(".")
    if len(labels) > 2:
        hosters = load_public_suffixes().hosters
        for count in (2, 3):
            if len(labels) > count and ".".join(labels[-count:]) in hosters:
                del labels[-count:]
                break
        while len(labels) > 1 and (len(labels) > 3 or is_machine(labels[0])):
            del labels[0]
    return _NEUTRAL.sub("-", f".{'.'.join(labels)}."[-MAX_TEXT:])


_NEUTRAL: Final = re.compile(
    "gays?|lesb(?:i(?:an|enne|ana|ca|sch|jka)s?|en)?|lgbt(?:qia?|q|i)?|queers?|homosex(?:uals?|uell|uel|ual)?|bisex(?:uals?)?|intersex|asexual"
    "|transgender|transsex(?:uals?)?|schwul|sexual(?:ity|idad|idade|itaet|ite)?|sexuell?e?|se[ksx]+ual(?:nosc|nost|iteit|itet)?|cinsel(?:lik)?"
    "|abortion|aborto|avortement|abtreibung|condoms?|kondome?|preservati[fv](?:os?|e|i|es)?|prezerwatywy?|hiv|aids|chlamydia|syphilis|herpes"
    "|breast|prostate|vagina|vulva|penis|urolog|androlog|gyna?ecolog|ginecolog|gynekolog|sexolog|seksuolog|sexopedag"
    "|birth-?control|contracepti(?:on|ve)s?|contraception|anticoncep(?:cao|cion|tivos?)|verhuetung|antykoncepcj|fertility|menopause|menstruat(?:ion|ie)"
    "|(?:safer?|pre-?marital|talk(?:ing)?about|lets-?talk|hablemos-?de|parlons|falando-?(?:de|sobre)|rozmawiajmyo)-?(?:sex(?:e|o)?|seks)"
    "|sex-?(?:ed(?:ucat(?:ion|or)s?)?|work(?:ers?)?|arbeit|abuse|assault|offend(?:er)?s?|traffick(?:ing)?|addict(?:ion|s)?|therap(?:y|ist)s?|positiv(?:e|ity))"
    "|szexmunka|szexualis|sexarbeid|travaildusexe|trabajosexual|porn-?(?:addict(?:ion|s)?|free|sucht|blocker)|(?:anti|(?<!non)(?<!non-)stop|quit)-?porno?"
)
"""Words that must not count, whatever lists hold: names of sites for and about people, and of health, have them too."""

_JUDGED_WORDS: Final = re.compile("(?:same|opposite)-?sex|marriage|reproducti(?:ve|on)|pubert|midwi[fv]e|obstetri|testicular|cervical")
"""Further ones, which the training does not hide."""

_EXPLICIT: Final = re.compile(
    "porn|xxx|fuck|cock|dick|cum|nud[ei]|naked|tube|anal|blowjob|milf|escort|hentai|cams|sexcam|sexchat|slut|whore|bdsm|fetish|erot|boob|tits"
    "|puss(?:y|ies)|hardcore|bareback|wank|jerk|strip|twink|shemale|trann|orgy|hookup|casino|bet|slot|poker|hunks|hung"
)
"""Parts of names that leave no doubt, also beside one of those words."""


def is_about_people(host: str) -> bool:
    """Return whether a name has a word for what people are, or of medicine, and no explicit one. Such a name is no ground for a block.

    >>> is_about_people("gay-youth.org"), is_about_people("gayporntube.com"), is_about_people("garden.org")
    (True, False, False)
    """
    return (_NEUTRAL.search(host) or _JUDGED_WORDS.search(host)) is not None and _EXPLICIT.search(_NEUTRAL.sub("-", host)) is None


_MACHINES: Final = frozenset(
    (
        "", "www", "m", "mobile", "amp", "cdn", "static", "statics", "img", "image", "images", "pic", "pics", "media", "assets", "api",
        "app", "apps", "s", "i", "a", "b", "c", "d", "t", "v", "metrics", "analytics", "stats", "track", "tracking", "ads", "ad",
        "mail", "smtp", "mx", "ns", "ftp", "blog", "shop", "store", "support", "help", "en", "de", "fr", "es", "it", "pt", "ru", "us",
        "uk", "video", "videos", "tube", "stream", "live", "web", "go", "click", "login", "secure", "dev", "test", "staging", "beta",
        "old", "new", "forum", "wiki", "news",
    )
)  # fmt: skip
"""First labels that say nothing about a site, apart from digits at their end."""


def unpack(packed: int) -> tuple[int, int]:
    """Return the two weights in a packed number.

    >>> unpack((-3 << PACK_BITS) + 100), unpack((5 << PACK_BITS) - 7)
    ((100, -3), (-7, 5))
    """
    second = (packed + _HALF) >> PACK_BITS
    return packed - (second << PACK_BITS), second


_SIZES = tuple(math.sqrt(length) for length in range(MAX_TEXT + 1))
"""By the length of a text, the number by which its score is divided, so that long names do not score higher than short ones."""
