"""The names that `bench/protection.py` asks for, each set with its source.

Two folders are read, and a set of which the source is absent is left out and named as missing: the stored copies of
public lists (`--data`), and snapshots of public repositories (`--mirrors`), one folder `OWNER+NAME/repo` each, such as
`git clone --bare` makes. No set was looked at when lists, models or rules were made. A name counts once, by its host.
"""

from __future__ import annotations

import csv
import io
import random
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from recogniser_sources import is_taken

from hedgerow.blocklists.names import parse_host, registered_domain
from hedgerow.blocklists.sources import starter_sources
from hedgerow.policies.host_facts import HostFactIndex, Lifelines

SEED = 17
TEST_LISTS = "citizenlab+test-lists"
SHADOW = "ShadowWhisperer+BlockLists"
UT1 = "olbat+ut1-blacklists"
STEVENBLACK = ("hagezi+dns-blocklists", "3p/stevenblack.domains.txt")
HOTLINES = "sashabaranov+suicide-hotlines"

LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "English": ("global", "us", "gb", "au", "ca", "ie", "nz"),
    "Spanish": ("es", "mx", "ar", "co", "cl", "ve", "pe", "cu", "ec"),
    "Portuguese": ("pt", "br", "ao", "mz"),
    "Russian": ("ru", "by", "kz"),
    "Arabic": ("eg", "sa", "ae", "ma", "jo", "iq", "tn", "dz"),
    "Polish": ("pl",),
    "Indonesian": ("id",),
    "Turkish": ("tr",),
}
"""Lists of the test lists by the language that most of their names are for."""

CATEGORIES: Mapping[str, tuple[str, str]] = {
    "PORN": ("pornography", "adult"),
    "PROV": ("provocative attire", "adult"),
    "GMB": ("gambling", "gambling"),
    "ALDR": ("alcohol and drugs", "drugs"),
    "DATE": ("dating", "dating"),
    "HATE": ("hate", "hate"),
    "MILX": ("terror and militants", "violence"),
    "FILE": ("file sharing", "file-sharing"),
    "ANON": ("ways round filters", "bypass"),
    "GRP": ("social networks", "social"),
    "COMT": ("messengers", "messaging"),
    "SRCH": ("search engines", "unsafe-search"),
    "COMM": ("shops", "shopping"),
}
"""Thirteen categories of the test lists: title, and the category of Hedgerow that comes nearest."""

HARMLESS = ("NEWS", "GOVT", "CULTR", "ENV", "ECON", "HUMR", "IGO", "CTRL")

# What the study's cover (safer sex to AIDS) and public reports quote of its search strings and topics (Library Journal,
# EurekAlert, Women's eNews and Forced Perspective, December 2002). Its Appendix A has 24 strings: two for each of three
# topics of four kinds.
QUOTED_HEALTH_TERMS = (
    "condom",
    "safe sex",
    "ecstasy",
    "jock itch",
    "gay",
    "lesbian",
    "breast cancer",
    "diabetes",
    "pregnancy",
    "abortion",
    "sex education",
    "chlamydia",
    "herpes",
    "yeast infection",
    "breast pump",
    "safer sex",
    "sexual health",
    "STDs",
    "AIDS",
)

# Strings of ours of the same kinds, so that there are 24.
OWN_HEALTH_TERMS = ("depression", "testicular cancer", "birth control", "teen pregnancy", "coming out")


@dataclass(frozen=True, slots=True)
class NameSet:
    """Names of one kind.

    `may_be_named`: names that are blocked may stand in the report; the others are only counted.
    """

    title: str
    source: str
    names: tuple[str, ...]
    may_be_named: bool = False


@dataclass(slots=True)
class Sets:
    """All sets.

    `missing` has the sources that are absent; `stevenblack` is Pi-hole's default list, empty if there is no copy.
    """

    adult: list[NameSet] = field(default_factory=list)
    children: list[NameSet] = field(default_factory=list)
    by_category: dict[str, dict[str, NameSet]] = field(default_factory=dict)
    harmless: list[NameSet] = field(default_factory=list)
    health: list[NameSet] = field(default_factory=list)
    fair: list[NameSet] = field(default_factory=list)
    fair_by_language: dict[str, NameSet] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    stevenblack: str = ""


def hosts_in(text: str) -> Iterator[str]:
    """Yield the canonical hosts of a list: plain, hosts file or `rank,name`."""
    for line in text.splitlines():
        words = line.partition("#")[0].replace(",", " ").replace("|", " ").rstrip("^ ").split()
        if words and (host := parse_host(words[-1])) is not None and "." in host:
            yield host


def known(name: str, names: Iterable[str] | frozenset[str] | set[str]) -> bool:
    """Return whether a list of domains covers a name."""
    labels = name.split(".")
    return any(".".join(labels[start:]) in names for start in range(len(labels) - 1))


class Library:
    """Reads lists of the two folders."""

    def __init__(self, data: Path, mirrors: Path) -> None:
        self.data, self._mirrors = data, mirrors
        self.missing: list[str] = []

    def stored(self, path: str) -> tuple[str, ...]:
        file = self.data / path
        if not file.is_file():
            self.missing.append(path)
            return ()
        return tuple(dict.fromkeys(hosts_in(file.read_text(encoding="utf-8", errors="replace"))))

    def published(self, repository: str, *paths: str) -> tuple[str, ...]:
        texts = [text for path in paths if (text := self.text(repository, path))]
        if not texts:
            self.missing.append(f"{repository} {paths[0]}")
        return tuple(dict.fromkeys(host for text in texts for host in hosts_in(text)))

    def text(self, repository: str, path: str) -> str:
        """Return a file of a repository's snapshot; empty if there is none."""
        folder = self._mirrors / repository / "repo"
        if not folder.exists():
            return ""
        shown = subprocess.run(["git", "-C", str(folder), "show", f"HEAD:{path}"], capture_output=True, check=False)
        return shown.stdout.decode("utf-8", "replace") if shown.returncode == 0 else ""

    @cache  # noqa: B019 (one library per run)
    def test_list(self, country: str) -> tuple[tuple[str, str], ...]:
        """Return host and category of each site of a test list that is a whole site."""
        rows = csv.DictReader(io.StringIO(self.text(TEST_LISTS, f"lists/{country}.csv")))
        found = []
        for row in rows:
            parts = urlsplit(row.get("url") or "")
            host = parse_host(parts.hostname or "")
            if host is not None and parts.path in {"", "/"} and not parts.query:
                found.append((host.removeprefix("www."), row.get("category_code") or ""))
        return tuple(found)

    def stored_help(self) -> tuple[str, ...]:
        """Return the hosts of the stored table of helplines, without those of services such as Facebook, where some
        have their page.
        """
        file = self.data / "helplines" / "helplines-half-a.tsv"
        if not file.is_file():
            self.missing.append("helplines/helplines-half-a.tsv")
            return ()
        rows = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")), delimiter="\t")
        hosts = dict.fromkeys(host for row in rows if (host := parse_host(row.get("host") or "")) is not None)
        return tuple(host for host in hosts if not HostFactIndex.load().services_of(host))

    def countries(self) -> tuple[str, ...]:
        folder = self._mirrors / TEST_LISTS / "repo"
        if not folder.exists():
            return ()
        listed = subprocess.run(
            ["git", "-C", str(folder), "ls-tree", "--name-only", "HEAD", "lists/"],
            capture_output=True,
            text=True,
            check=True,
        )
        names = (Path(line).name for line in listed.stdout.splitlines())
        return tuple(name.removesuffix(".csv") for name in names if name.endswith(".csv") and not name.startswith("00"))

    def tested(self, codes: Sequence[str], countries: Iterable[str] | None = None) -> tuple[str, ...]:
        """Return the names of these categories in the test lists of these countries, or of all."""
        chosen = self.countries() if countries is None else countries
        return tuple(
            dict.fromkeys(host for country in chosen for host, code in self.test_list(country) if code in codes)
        )


def read_sets(data: Path, mirrors: Path, sample: int) -> Sets:
    """Read all sets. `sample` is the number of names that are drawn at random; the draw is the same each time."""
    library, sets = Library(data, mirrors), Sets()
    draw = random.Random(SEED)
    popular = library.stored("benign/tranco20k-half-a.txt")
    shadow = library.published(SHADOW, "RAW/Adult")
    ut1 = library.published(UT1, *(f"blacklists/adult/domains.{part}" for part in range(3)))
    used = {host for path in _USED_FOR_ADULT for host in library.stored(path)}
    _add_agreed(sets, library, popular)
    _add_adult(
        sets,
        draw,
        sample,
        popular,
        (("ShadowWhisperer Adult (Unlicense)", shadow), ("UT1 adult (CC BY-SA 4.0)", ut1)),
        used,
    )
    _add_children(sets, library)
    _add_categories(sets, library)
    _add_good(sets, library, popular, used | set(shadow) | set(ut1))
    sets.stevenblack = library.text(*STEVENBLACK)
    sets.missing = library.missing if library.countries() else [*library.missing, TEST_LISTS]
    return sets


_USED_FOR_ADULT = (
    "lists/plain/hagezi-nsfw.txt",
    "lists/hosts/sinfonietta-pornography.hosts",
    "training/4skinskywalker-porn.hosts",
    "lists/plain/hagezi-gambling.mini.txt",
    "lists/hosts/sinfonietta-gambling.hosts",
    "training/ut1-gambling.txt",
)
"""Lists that are in force or that the name model was trained on.

Of ShadowWhisperer's it never saw a quarter (`is_taken`).
"""


_AGREEING = (
    ("bigdargon+hostsVN", "extensions/adult/hosts"),
    ("bannedbook+blockporn", "porn.txt"),
    ("alexsannikov+adguardhome-filters", "porn.txt"),
    ("crissaegrim+adult-dns-blocklists", "porn.txt"),
    ("v2fly+domain-list-community", "data/category-porn"),
)
"""Public adult lists that are not in force, beside 4skinSkywalker's."""
_FEWEST_AGREEING = 3


def _add_agreed(sets: Sets, library: Library, popular: Sequence[str]) -> None:
    """Add the popular names that at least three lists have which are not in force: single lists have many names by
    mistake.
    """
    lists = [set(library.published(*each)) for each in _AGREEING]
    lists.append(set(library.stored("training/4skinskywalker-porn.hosts")))
    names = tuple(name for name in popular if sum(known(name, each) for each in lists) >= _FEWEST_AGREEING)
    source = (
        f"half of Tranco's first 20,000, names that at least {_FEWEST_AGREEING} of {len(lists)} lists have which are"
        " not in force"
    )
    sets.adult.append(NameSet("by popularity", source, names))


def _add_adult(
    sets: Sets,
    draw: random.Random,
    sample: int,
    popular: Sequence[str],
    lists: Sequence[tuple[str, Sequence[str]]],
    used: set[str],
) -> None:
    both = [frozenset(names) for _, names in lists if names]
    if both:
        names = tuple(name for name in popular if all(known(name, each) for each in both))
        sets.adult.append(
            NameSet("by popularity", "half of Tranco's first 20,000, names that every list below has", names)
        )
    for source, listed in lists:
        if listed:
            chosen = draw.sample(sorted(listed), min(sample, len(listed)))
            sets.adult.append(NameSet("at random", source, tuple(chosen)))
            rest = [name for name in listed if not known(name, used) and not is_taken(registered_domain(name))]
            unlisted = draw.sample(sorted(rest), min(sample, len(rest)))
            sets.adult.append(
                NameSet("at random, in no list that is in force, and never trained on", source, tuple(unlisted))
            )


def _add_children(sets: Sets, library: Library) -> None:
    sets.children.append(
        NameSet("sites for children", "UT1 child (CC BY-SA 4.0)", library.stored("lists/ut1/child/domains"), True)
    )
    for category in ("kids", "education"):
        own = [source for source in starter_sources() if source.category == category and source.path]
        names = tuple(
            host for source in own if source.path for host in hosts_in(source.path.read_text(encoding="utf-8"))
        )
        sets.children.append(NameSet(f"starter list {category}", "Hedgerow, which never blocks by it", names, True))


def _add_categories(sets: Sets, library: Library) -> None:
    for code, (title, _) in CATEGORIES.items():
        found = {
            language: NameSet(title, "Citizen Lab test lists (CC BY-NC-SA 4.0)", names)
            for language, countries in LANGUAGES.items()
            if (names := library.tested((code,), countries))
        }
        found["all"] = NameSet(title, "Citizen Lab test lists (CC BY-NC-SA 4.0)", library.tested((code,)))
        sets.by_category[code] = found


def _add_good(sets: Sets, library: Library, popular: Sequence[str], bad: set[str]) -> None:
    source = "Citizen Lab test lists (CC BY-NC-SA 4.0)"
    not_listed = tuple(name for name in popular if not known(name, bad))
    sets.harmless.append(
        NameSet(
            "popular names that no list of adult or gambling sites has",
            "half of Tranco's first 20,000",
            not_listed,
            True,
        )
    )
    sets.harmless.append(
        NameSet("news, government, culture, environment, economy, rights", source, library.tested(HARMLESS), True)
    )
    own = [each for each in starter_sources() if each.category in {"health", "sexual-education"}]
    texts = [each.path.read_text(encoding="utf-8") for each in own if each.path]
    ours = tuple(dict.fromkeys(host for text in texts for host in hosts_in(text)))
    sets.health.append(NameSet("public health", source, library.tested(("PUBH",)), True))
    sets.health.append(
        NameSet("health and sexual education", "Hedgerow's starter lists, which it never blocks by", ours, True)
    )
    help_names = library.stored_help()
    sets.fair = [
        NameSet("sexual health and education", source, library.tested(("XED",)), True),
        NameSet("LGBT", source, library.tested(("LGBT",)), True),
        NameSet(
            "help in distress: suicide, abuse, eating disorders",
            "half of a list of helplines by country (MIT)",
            help_names,
            True,
        ),
        NameSet("helplines", "Hedgerow's own table", tuple(sorted(Lifelines.load().hosts)), True),
    ]
    sets.fair_by_language = {
        language: NameSet(language, source, library.tested(("XED", "LGBT", "PUBH"), countries))
        for language, countries in LANGUAGES.items()
    }
