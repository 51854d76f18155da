"""Names that look like real ones, from a seeded generator, so that the benchmarks run on a machine that has only the
repository.

A site has a word or two and a suffix in the proportions of public lists; a few sites have many hosts and most have one
or two. Files with names of your own, one per line, replace them (`read_names`).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

_STARTS: Final = "b br c ch cl d dr f fl fr g gl gr h j k l m n p ph pl pr qu r s sc sh sl sp st str t th tr v w z"
_VOWELS: Final = "a a e e i i o o u ai ea ee ie oo ou"
_ENDS: Final = ("", "", "", "l", "ll", "m", "n", "nd", "ng", "nt", "r", "rd", "rt", "s", "ss", "st", "t", "ck", "x")
_WORDS: Final = (
    "app blog book cam click cloud data fit game hub info lab life live media net news online play shop tech tube tv"
    " web world"
)
_SUFFIXES: Final = (
    *(
        ["com"] * 48
        + ["net"] * 7
        + ["org"] * 6
        + ["de"] * 4
        + ["ru"] * 3
        + ["co.uk"] * 3
        + ["fr", "nl", "it", "pl", "com.br"] * 2
    ),
    *(
        "info",
        "xyz",
        "tv",
        "me",
        "app",
        "dev",
        "jp",
        "cz",
        "es",
        "ca",
        "eu",
        "com.au",
        "in",
        "shop",
        "online",
        "club",
        "top",
        "site",
    ),
)
_HOSTS: Final = (
    "www www www www www m api cdn static img images mail login app assets news shop blog media video ads login2 s1 s2"
    " eu us"
)
_LISTED_PREFIXES: Final = ("www", "m", "ads")
_DIGITS: Final = "0123456789abcdef"


def sites(seed: int) -> Iterator[str]:
    """Yield different registered domains without end."""
    rng, seen = random.Random(seed), set[str]()
    while True:
        words = [_word(rng) for _ in range(rng.choice((1, 1, 1, 2)))]
        if rng.random() < 0.3:
            words.append(rng.choice(_WORDS.split()))
        if rng.random() < 0.06:
            words.append(str(rng.randint(1, 999)))
        name = f"{rng.choice(('', '', '', '-')).join(words)}.{rng.choice(_SUFFIXES)}"
        if name not in seen:
            seen.add(name)
            yield name


def hosts(count: int, seed: int, blocked: Collection[str] = ()) -> list[str]:
    """Return so many different hosts of sites that are not among the blocked domains."""
    return list(islice(_hosts(seed, frozenset(blocked)), count))


def listed(count: int, seed: int = 2) -> list[str]:
    """Return so many different domains for a list."""
    return list(islice(sites(seed), count))


def beneath(domains: Sequence[str]) -> list[str]:
    """Return three hosts of each listed domain in random order."""
    found = [f"{prefix}.{domain}" for domain in domains for prefix in _LISTED_PREFIXES]
    random.Random(3).shuffle(found)
    return found


def fresh(domains: Sequence[str], count: int, seed: int) -> list[str]:
    """Return hosts of these domains that no other seed has."""
    rng, labels = random.Random(seed), _HOSTS.split()
    return [f"{rng.choice(labels)}{seed}-{number:x}.{rng.choice(domains)}" for number in range(count)]


def busy_site(site: str, count: int, seed: int) -> list[str]:
    """Return random names under one site, as a content network or a random-subdomain attack has them."""
    rng = random.Random(seed)
    return [f"{''.join(rng.choices(_DIGITS, k=14))}.{site}" for _ in range(count)]


def zipf(names: Sequence[str], count: int, seed: int = 5) -> list[str]:
    """Draw names so that the nth is asked 1/n as often as the first."""
    return random.Random(seed).choices(names, [1 / rank for rank in range(1, len(names) + 1)], k=count)


def question(name: str, number: int = 1) -> bytes:
    """Return a query for the address of a name, with this id."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return number.to_bytes(2) + bytes.fromhex("0100 0001 0000 0000 0000") + labels + bytes.fromhex("00 0001 0001")


def read_names(path: Path) -> list[str]:
    """Read names, one per line; a rank before a comma is left out. Exits with one line if the file is missing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SystemExit(f"{path} cannot be read: {error.strerror}") from None
    names = (line.rpartition(",")[2].strip().lower() for line in lines if line and not line.startswith("#"))
    return list(dict.fromkeys(name for name in names if name.isascii() and "." in name))


def _hosts(seed: int, blocked: frozenset[str]) -> Iterator[str]:
    rng, labels = random.Random(seed), _HOSTS.split()
    for site in sites(seed):
        if site in blocked:
            continue
        own = dict.fromkeys(rng.choice(labels) for _ in range(int(rng.paretovariate(1.2))) if rng.random() < 0.9)
        yield from (f"{label}.{site}" for label in islice(own, 20))
        if rng.random() < 0.3:
            yield site
        if rng.random() < 0.05:
            yield f"{''.join(rng.choices(_DIGITS, k=8))}.{rng.choice(('eu', 'us', 'cdn'))}.{site}"


def _word(rng: random.Random) -> str:
    starts, vowels = _STARTS.split(), _VOWELS.split()
    return "".join(
        rng.choice(starts) + rng.choice(vowels) + rng.choice(_ENDS) for _ in range(rng.choice((1, 2, 2, 2, 3)))
    )
