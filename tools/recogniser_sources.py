"""Sources of the training of the name model: the manifest `recogniser.yaml`, and readers of their formats."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import lzma
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from zlib import crc32

import yaml

from hedgerow.blocklists.names import HOST, is_address, registered_domain

MANIFEST = Path(__file__).parent / "recogniser.yaml"
TOPICS_MANIFEST = Path(__file__).parent / "recogniser_topics.yaml"


class Role(StrEnum):
    """The part that a source's names have in training."""

    ADULT = "adult"
    GAMBLING = "gambling"
    # harmless but for some adult and gambling sites; with a rank, so that the first ones are well known
    POPULAR = "popular"
    HARMLESS = "harmless"  # harmless and well known, unless an adult or gambling list has it
    TRUSTED = "trusted"  # harmless and well known, whatever lists say
    KNOWN = "known"  # harmless and well known, although their names look otherwise; they take no part in the training
    MACHINES = "machines"  # advertisers and trackers, some of them on adult sites; not well known
    COMPOSED = "composed"  # invented harmless names
    MIRRORS = "mirrors"  # invented names of gambling sites


@dataclass(frozen=True, slots=True)
class TrainingList:
    """A source. `rank` is the last rank of a popular source whose names are well known.

    `is_sampled`: a quarter of its registered domains is left out of the training, for measuring.
    """

    name: str
    role: Role
    format: str
    url: str
    licence: str
    sha256: str
    rank: int = 0
    is_sampled: bool = False


@dataclass(frozen=True, slots=True)
class TopicList:
    """A source of the training of topics. `topic` is a category, or `harmless`.

    `rank` and `is_sampled` are those of a `TrainingList`. `is_noisy`: many names say nothing of the topic.
    `is_composed`: the names are invented.
    """

    name: str
    topic: str
    format: str
    url: str
    licence: str
    sha256: str
    rank: int = 0
    is_sampled: bool = False
    is_noisy: bool = False
    is_composed: bool = False


def is_taken(domain: str) -> bool:
    """Return whether a domain of a sampled source, or beyond the well-known ones, takes part in training.

    The others are for measuring.
    """
    return (crc32(domain.encode()) >> 8) % 4 != 2


def load_manifest(path: Path = MANIFEST) -> tuple[TrainingList, ...]:
    """Read the manifest. Raises ValueError or TypeError for an invalid one."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(TrainingList(**{**entry, "role": Role(entry["role"])}) for entry in entries)


def load_topics(path: Path = TOPICS_MANIFEST) -> tuple[dict[str, float], tuple[TopicList, ...]]:
    """Read the manifest of topics: the assumed share of each topic, and the sources.

    Raises ValueError or TypeError for an invalid one.
    """
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    return manifest["shares"], tuple(TopicList(**entry) for entry in manifest["sources"])


@dataclass(frozen=True, slots=True)
class NamedHost:
    """A host with its rank in a popularity list, 0 where the source has none."""

    host: str
    rank: int = 0


def read_names(source: TrainingList | TopicList, path: Path) -> tuple[list[NamedHost], str]:
    """Return the hosts of a source in its order, without `www`, and the checksum of what was read.

    Raises OSError or ValueError.
    """
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    names: dict[str, NamedHost] = {}
    for host, rank in _read_source(source, path):
        name = host.strip().lower().rstrip(".").removeprefix("www.")
        if (
            HOST.fullmatch(name)
            and "." in name
            and not is_address(name)
            and registered_domain(name) != name.rpartition(".")[2]
        ):
            names.setdefault(name, NamedHost(name, rank))
    return list(names.values()), digest.hexdigest()


def _read_source(source: TrainingList | TopicList, path: Path) -> Iterator[tuple[str, int]]:
    if isinstance(source, TopicList) and source.format == "topic-words":
        return _read_topic_words(path, source.topic)
    return _READERS[source.format](path)


def read_sources[Source: (TrainingList, TopicList)](
    wanted: Iterable[Source], paths: Mapping[str, str], *, other_versions: bool = False
) -> dict[Source, tuple[list[NamedHost], str]]:
    """Return the hosts and the checksum of each source, of which `paths` names files or folders.

    Exits for one that is missing or other.
    """
    found = {}
    for source in wanted:
        if source.name not in paths:
            sys.exit(f"{source.name} is missing")
        found[source] = read_names(source, Path(paths[source.name]))
        if found[source][1] != source.sha256 and not other_versions:
            sys.exit(f"{source.name} is another version: its checksum is {found[source][1]}")
    return found


def _read_hosts(path: Path) -> Iterator[tuple[str, int]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.partition("#")[0].split()
        if words:
            yield words[-1], 0


def _read_words(path: Path) -> Iterator[tuple[str, int]]:
    """Compose names of lines with two groups of words, which a colon separates."""
    for line in path.read_text(encoding="utf-8").splitlines():
        first, colon, second = line.partition("#")[0].partition(":")
        for one, other in itertools.product(first.split(), second.split()) if colon else ():
            yield f"{one}{other}.org", 0
            yield f"{one}-{other}.com", 0
            yield f"{other}{one}.com", 0
            yield f"{other}-{one}.de", 0


_ENDS = ("com", "net", "top", "xyz", "org", "site", "vip", "icu", "online", "live", "club", "bet")
_ADDED = ("giris", "-official", "casino", "-zerkalo", "app", "-login", "bonus", "-vip", "play", "slot", "-online", "tr")


def _read_mirrors(path: Path) -> Iterator[tuple[str, int]]:
    """Compose names that mirrors of gambling sites might have, of brands, or of lines with two groups of words, which a
    colon separates.
    """
    for line in path.read_text(encoding="utf-8").splitlines():
        first, colon, second = line.partition("#")[0].partition(":")
        for one, other in itertools.product(first.split(), second.split()) if colon else ():
            draw = crc32(f"{one}{other}".encode())
            yield f"{one}{other}.{_ENDS[draw % 12]}", 0
            yield f"{one}{'-' if draw & 4096 else ''}{other}{draw >> 16 & 127}.{_ENDS[draw >> 4 & 3]}", 0
            yield f"{other}{one}.{_ENDS[draw >> 6 & 3]}", 0
        for brand in () if colon else first.split():
            draw = crc32(brand.encode())
            yield f"{brand}.com", 0
            for place, added in enumerate(_ADDED):
                yield f"{brand}{added}.{_ENDS[(draw + place) % 12]}", 0
                yield (
                    f"{brand}{'-' if place % 3 == 0 else ''}{draw >> place & 1023}.{_ENDS[(draw + 7 * place) % 12]}",
                    0,
                )
                yield f"{brand}-{_code(draw >> place)}.{_ENDS[place]}", 0


_TOPIC_ENDS = (
    "com",
    "com",
    "com",
    "net",
    "org",
    "de",
    "co.uk",
    "fr",
    "info",
    "eu",
    "shop",
    "online",
    "ru",
    "es",
    "nl",
    "it",
)


def _read_topic_words(path: Path, topic: str) -> Iterator[tuple[str, int]]:
    """Compose names of the lines of a topic, with its name before a bar and two groups of words after it, which a colon
    separates. Words of the first group also stand alone.
    """
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, words = line.partition("#")[0].partition("|")
        first, _, second = words.partition(":")
        if name.strip() != topic:
            continue
        for one in first.split():
            yield f"{one}.com", 0
            yield f"{one}.{_TOPIC_ENDS[crc32(one.encode()) % 16]}", 0
        for one, other in itertools.product(first.split(), second.split()):
            draw = crc32(f"{one}{other}".encode())
            yield f"{one}{'-' if draw & 16 else ''}{other}.{_TOPIC_ENDS[draw & 15]}", 0
            yield f"{other}{'-' if draw & 32 else ''}{one}.{_TOPIC_ENDS[draw >> 6 & 15]}", 0


def _code(number: int) -> str:
    """Return four letters or digits, as mirrors have them in their names."""
    return "".join("abcdefghijkmnopqrstuvwxyz0123456789"[number // 35**place % 35] for place in range(4))


_FIELD_WORDS = (
    "city",
    "town",
    "clinic",
    "schools",
    "library",
    "health",
    "hospital",
    "council",
    "news",
    "tourism",
    "church",
    "pride",
)


def _read_places(path: Path) -> Iterator[tuple[str, int]]:
    """Compose names of the towns of a GeoNames list: those of the US beside their state, a third of all alone or beside
    a word.
    """
    towns = json.loads(path.read_text(encoding="utf-8"))
    for name, state in sorted(
        {(_ascii(each["name"]), each["admin1"].lower()) for each in towns if each["country"] == "US"}
    ):
        if len(name) >= _SHORTEST_TOWN:
            plain = name.replace("-", "")
            draw = crc32(f"{name}{state}".encode())
            yield (
                (
                    f"{plain}{state}.com",
                    f"{plain}{state}.org",
                    f"{plain}{state}.us",
                    f"{name}-{state}.us",
                    f"{plain}{state}.net",
                )[draw % 5],
                0,
            )
    for name in sorted({_ascii(each["name"]) for each in towns}):
        draw = crc32(name.encode())
        if len(name) < _SHORTEST_PLACE or draw % 3:
            continue
        word, end = _FIELD_WORDS[draw // 3 % len(_FIELD_WORDS)], _ENDS[draw >> 8 & 1]
        yield f"{name.replace('-', '')}.{end}", 0
        yield (
            (f"{word}of{name}.{end}", f"{name}{word}.{end}", f"{name}-{word}.{end}", f"{word}-{name}.{end}")[
                draw >> 12 & 3
            ],
            0,
        )


_SHORTEST_TOWN, _SHORTEST_PLACE = 4, 6


def _ascii(name: str) -> str:
    """Return a name in the letters of host names."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z]+", "-", plain).strip("-")


def _read_ranked(path: Path) -> Iterator[tuple[str, int]]:
    for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
        if len(row) > 1 and row[0].isdigit():
            yield row[1], int(row[0])


def _read_crux(path: Path) -> Iterator[tuple[str, int]]:
    """Read a folder with a file of origins for each magnitude of rank, such as `50000.txt.xz`."""
    for rank, file in sorted((int(file.name.partition(".")[0]), file) for file in path.glob("*.txt.xz")):
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield line.partition("://")[2].partition(":")[0], rank


def _read_addresses(path: Path) -> Iterator[tuple[str, int]]:
    """Read the first host or address of each row of a table with commas."""
    for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()):
        hosts = ((cell.partition("://")[2] or cell).strip().lower().partition("/")[0] for cell in row)
        yield from ((host, 0) for host in [*(each for each in hosts if "." in each and HOST.fullmatch(each))][:1])


def _read_swot(path: Path) -> Iterator[tuple[str, int]]:
    """Read the paths of a folder `lib/domains`, such as `lib/domains/edu/example.txt`, one a line."""
    for line in path.read_text(encoding="utf-8").splitlines():
        labels = line.removeprefix("lib/domains/").removesuffix(".txt").split("/")
        yield ".".join(reversed(labels)), 0


def _read_universities(path: Path) -> Iterator[tuple[str, int]]:
    for entry in json.loads(path.read_text(encoding="utf-8")):
        for domain in entry["domains"]:
            yield domain, 0


def _read_table(path: Path) -> Iterator[tuple[str, int]]:
    """Read the hosts of a table with tabs and a heading `host`."""
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"):
        yield row["host"], 0


def _read_v2fly_adult(path: Path) -> Iterator[tuple[str, int]]:
    for name in _included(path, "category-porn"):
        yield from _read_v2fly_file(path / name)


def _read_v2fly_others(path: Path) -> Iterator[tuple[str, int]]:
    left_out = {*_included(path, "category-porn"), *_included(path, "category-betting-ru")}
    for file in sorted(path.iterdir()):
        if file.name not in left_out:
            yield from _read_v2fly_file(file)


def _included(folder: Path, name: str) -> list[str]:
    """Return a file of a v2fly folder and all that it includes."""
    found = [name]
    for each in found:
        file = folder / each
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        included = (
            line.partition("#")[0].split()[0].removeprefix("include:") for line in lines if line.startswith("include:")
        )
        found += [other for other in included if other not in found and (folder / other).is_file()]
    return found


def _read_v2fly_file(path: Path) -> Iterator[tuple[str, int]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0].startswith(("include:", "regexp:", "keyword:")):
            continue
        yield words[0].removeprefix("full:").removeprefix("domain:"), 0


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, int]]]] = {
    "hosts": _read_hosts,
    "words": _read_words,
    "mirrors": _read_mirrors,
    "places": _read_places,
    "ranked": _read_ranked,
    "addresses": _read_addresses,
    "swot": _read_swot,
    "crux": _read_crux,
    "universities": _read_universities,
    "table": _read_table,
    "v2fly-adult": _read_v2fly_adult,
    "v2fly-others": _read_v2fly_others,
}
