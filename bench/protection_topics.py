"""Measure what names alone say: of lists that no model was trained on, and of harmless names, with their confidence
intervals.

    .venv/bin/python bench/protection_topics.py [--data FOLDER] [--mirrors FOLDER] [--write]

Names that share a registered domain with a training list are left out of the lists, and names of any of these lists
out of the harmless ones. Thresholds were chosen on names that the training held back; the notes of the page say how
often the lists were read. A row is for a child of 8 to 12 (60 %) and for one of 13 to 15 (85 %).
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "bench" / "results" / "protection_topics.md"
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tools")]

import needs  # noqa: E402
import results_file  # noqa: E402
from protection_sets import HARMLESS, SHADOW, Library  # noqa: E402
from recogniser_sources import is_taken  # noqa: E402

from hedgerow.blocklists.canaries import is_canary_site  # noqa: E402
from hedgerow.blocklists.names import registered_domain  # noqa: E402
from hedgerow.blocklists.recognition.recogniser import Recogniser  # noqa: E402
from hedgerow.policies.host_facts import Lifelines  # noqa: E402

CHILD, TEENAGER = 60, 85
_Z = 1.96  # of 95 %
_PROJECT = "blocklistproject+Lists"
_CITIZEN_LAB = "Citizen Lab test lists"


@dataclass(frozen=True, slots=True)
class TopicSet:
    """Names of a kind, the topics of which each finding is right, and the share that was aimed at."""

    kind: str
    source: str
    names: tuple[str, ...]
    topics: frozenset[str] = frozenset()
    aim: float | None = None


def interval(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share (Wilson).

    >>> [round(bound, 3) for bound in interval(0, 1000)], [round(bound, 3) for bound in interval(50, 100)]
    ([0.0, 0.004], [0.404, 0.596])
    """
    if not whole:
        return 0.0, 1.0
    share, square = part / whole, _Z * _Z / whole
    middle, spread = share + square / 2, _Z * math.sqrt(share * (1 - share) / whole + square / whole / 4)
    return max((middle - spread) / (1 + square), 0.0), min((middle + spread) / (1 + square), 1.0)


def read_topic_sets(library: Library) -> tuple[list[TopicSet], list[TopicSet]]:
    """Return the lists of each topic that no model was trained on, and the harmless names."""
    trained = {
        registered_domain(name)
        for folder in ("training/topics", "training")
        for path in sorted((library.data / folder).glob("*.txt"))
        if not path.name.startswith("benign")
        for name in library.stored(f"{folder}/{path.name}")
    } | {registered_domain(name) for name in library.stored("training/4skinskywalker-porn.hosts")}
    shadow = tuple(name for name in library.published(SHADOW, "RAW/Adult") if not is_taken(registered_domain(name)))
    drugs, dating, hate = frozenset({"drugs"}), frozenset({"dating"}), frozenset({"hate"})
    lists = [
        TopicSet("dating", "UT1, the other half", library.stored("lists/ut1/dating/domains"), dating, 0.7),
        TopicSet("dating", "ShadowWhisperer", library.published(SHADOW, "RAW/Dating"), dating, 0.7),
        TopicSet("dating", _CITIZEN_LAB, library.tested(("DATE",)), dating, 0.7),
        TopicSet("drugs", "UT1, the other half", library.stored("lists/ut1/drogue/domains"), drugs, 0.4),
        TopicSet("drugs", "blocklistproject, the other half", library.published(_PROJECT, "drugs.txt"), drugs, 0.4),
        TopicSet("drugs, alcohol", _CITIZEN_LAB, library.tested(("ALDR",)), drugs | {"alcohol-tobacco"}, 0.4),
        TopicSet(
            "vapes",
            "blocklistproject, the other half",
            library.published(_PROJECT, "vaping.txt"),
            frozenset({"alcohol-tobacco"}),
        ),
        TopicSet(
            "hate and violence",
            "UT1, the other half",
            library.stored("lists/ut1/agressif/domains"),
            hate | {"violence"},
            0.4,
        ),
        TopicSet("hate", _CITIZEN_LAB, library.tested(("HATE",)), hate, 0.4),
        TopicSet("terror and militants", _CITIZEN_LAB, library.tested(("MILX",)), hate | {"violence"}),
        TopicSet(
            "violence", "ShadowWhisperer, shock", library.published(SHADOW, "RAW/Shock"), frozenset({"violence"}), 0.3
        ),
        TopicSet(
            "weapons",
            "UT1, the other half",
            library.stored("lists/ut1/dangerous_material/domains"),
            frozenset({"weapons"}),
        ),
        TopicSet("adult", "ShadowWhisperer, a quarter", shadow, frozenset({"adult"}), 0.72),
        TopicSet("adult", "HaGeZi", library.stored("lists/plain/hagezi-nsfw.txt"), frozenset({"adult"}), 0.72),
        TopicSet(
            "gambling", "HaGeZi", library.stored("lists/plain/hagezi-gambling.mini.txt"), frozenset({"gambling"}), 0.8
        ),
    ]
    kept = [
        TopicSet(
            each.kind,
            each.source,
            _by_domain(name for name in each.names if registered_domain(name) not in trained),
            each.topics,
            each.aim,
        )
        for each in lists
    ]
    bad = trained | {registered_domain(name) for each in lists for name in each.names}
    return kept, [
        TopicSet(each.kind, each.source, _by_domain(n for n in each.names if registered_domain(n) not in bad))
        for each in _harmless(library)
    ]


def _harmless(library: Library) -> list[TopicSet]:
    help_names = (*library.stored_help(), *sorted(Lifelines.load().hosts))
    return [
        TopicSet("popular", "half of Umbrella's 100,000", library.stored("benign/umbrella-half-a.txt")),
        TopicSet("health", _CITIZEN_LAB, library.tested(("PUBH", "XED"))),
        TopicSet("LGBT", _CITIZEN_LAB, library.tested(("LGBT",))),
        TopicSet("news, culture, rights, government", _CITIZEN_LAB, library.tested(HARMLESS)),
        TopicSet("religion", _CITIZEN_LAB, library.tested(("REL",))),
        TopicSet("help", "helplines", help_names),
    ]


def _by_domain(names: Iterable[str]) -> tuple[str, ...]:
    """Return one name of each registered domain."""
    return tuple({registered_domain(name): name for name in names}.values())


def topic_lines(library: Library) -> Iterator[str]:
    """Measure, as Markdown."""
    recogniser, (lists, harmless) = Recogniser.load(), read_topic_sets(library)
    yield "# Names never seen, by topic\n"
    yield f"`bench/protection_topics.py` on Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}.\n"
    yield (
        "What the name alone says of names that are in no training list, each registered domain once. In brackets: the"
        " 95 % confidence interval; and what is blocked for a child for another topic.\n"
    )
    yield "| topic | list | names | at 8 to 12 | at 13 to 15 | for another topic | aim |\n|---|---|---|---|---|---|---|"
    for each in lists:
        if not each.names:
            continue
        right, any_topic = count(recogniser, each, CHILD), count(recogniser, each, CHILD, right=False)
        at_teenager = count(recogniser, each, TEENAGER)
        aim = "–" if each.aim is None else f"{each.aim:.0%}"
        yield (
            f"| {each.kind} | {each.source} | {len(each.names):,} | {_told(right, each)} |"
            f" {_told(at_teenager, each)} | {_share(any_topic - right, each)} | {aim} |"
        )
    yield "\nHarmless names that a child would meet blocked, by topic:\n"
    topics = (*recogniser.model.meta.categories, *recogniser.topics.meta.topics)
    yield f"| names | source | number | any topic | {' | '.join(topics)} |\n|---|---|---|---|{'---|' * len(topics)}"
    alarms = []
    for each in harmless:
        found = {name: topic for name in each.names if (topic := _blocked_for(recogniser, name, CHILD))}
        own = {topic: sum(topic in several for several in found.values()) for topic in topics}
        row = " | ".join(str(own[topic] or "–") for topic in topics)
        yield f"| {each.kind} | {each.source} | {len(each.names):,} | {_told(len(found), each, digits=3)} | {row} |"
        new = frozenset(recogniser.topics.meta.topics)
        alarms += [f"{name} ({', '.join(sorted(several & new))})" for name, several in found.items() if several & new]
    yield f"\nBlocked for one of the new topics: {', '.join(sorted(alarms)) or 'none'}.\n"
    yield (
        "No public list of sites that encourage self-harm was found, so that topic has no share. Lists name sites"
        " without a telling part in their name too, which no model of names finds.\n"
    )


def count(recogniser: Recogniser, names: TopicSet, threshold: int, *, right: bool = True) -> int:
    """Return the number of names that are blocked, for the right topic or for any."""
    found = (_blocked_for(recogniser, name, threshold) for name in names.names)
    return sum(bool(topics & names.topics if right else topics) for topics in found)


def _blocked_for(recogniser: Recogniser, name: str, threshold: int) -> frozenset[str]:
    found = recogniser.recognitions(name)
    if not found or is_canary_site(name):
        return frozenset()
    return frozenset(each.category for each in found if each.confidence >= threshold)


def _told(part: int, names: TopicSet, digits: int = 1) -> str:
    low, high = interval(part, len(names.names))
    return f"{_share(part, names, digits)} ({low:.{digits}%} to {high:.{digits}%})"


def _share(part: int, names: TopicSet, digits: int = 1) -> str:
    return f"{part / max(len(names.names), 1):.{digits}%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="stored copies of lists")
    parser.add_argument("--mirrors", type=Path, default=ROOT.parent / ".mirror", help="snapshots of repositories")
    parser.add_argument("--write", action="store_true", help="write bench/results/protection_topics.md")
    options = parser.parse_args()
    if not options.data.is_dir():
        needs.stop(f"stored copies of public lists, which are not in {options.data}: name their folder with --data")
    page = "\n".join(topic_lines(Library(options.data, options.mirrors)))
    print(page)
    if options.write:
        results_file.write(RESULT, page)


if __name__ == "__main__":
    main()
