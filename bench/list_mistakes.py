"""Count the harmless sites that published lists name by mistake, by topic and list.

    .venv/bin/python bench/list_mistakes.py [--shared ../shared] [--write]

A harmless site is a canary (`hedgerow/blocklists/canaries.py`). Lists are in force without them, so what the result
names is not blocked: it shows how often lists are wrong, and for whom. The copies are those of the shared test data.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import needs  # noqa: F401

from hedgerow.blocklists.canaries import Canaries
from hedgerow.blocklists.list_parser import ParseCache
from hedgerow.blocklists.sources import Source

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "bench" / "results" / "list_mistakes.md"


@dataclass(frozen=True, slots=True)
class Copy:
    """A stored copy of a list, beneath `data` of the shared folder."""

    path: str
    category: str
    publisher: str


HEAD = """# What lists block by mistake

{made}

These sites of health, help, schools, news and the like are in public lists of topics that are closed to children.
Hedgerow puts the lists into force without them ([how](../../docs/lists.md#left-out-of-lists)). Other sites that are
blocked by mistake are measured in [protection.md](protection.md), by profile and topic, and in
[recognition.md](recognition.md). [How to report one](../../docs/lists.md#report-a-mistake).

"""
UT1 = "Université Toulouse 1 Capitole"
COPIES = (
    Copy("lists/plain/hagezi-nsfw.txt", "adult", "hagezi/dns-blocklists"),
    Copy("lists/hosts/sinfonietta-pornography.hosts", "adult", "Sinfonietta/hostfiles"),
    Copy("training/4skinskywalker-porn.hosts", "adult", "4skinSkywalker/Anti-Porn-HOSTS-File"),
    Copy("lists/ut1/lingerie", "adult", UT1),
    Copy("lists/plain/hagezi-gambling.mini.txt", "gambling", "hagezi/dns-blocklists"),
    Copy("lists/hosts/sinfonietta-gambling.hosts", "gambling", "Sinfonietta/hostfiles"),
    Copy("training/ut1-gambling.txt", "gambling", UT1),
    Copy("training/topics/blocklistproject-drugs.txt", "drugs", "blocklistproject"),
    Copy("lists/ut1/drogue", "drugs", UT1),
    Copy("training/topics/blocklistproject-vaping.txt", "alcohol-tobacco", "blocklistproject"),
    Copy("lists/ut1/dating", "dating", UT1),
    Copy("lists/ut1/chat", "random-chat", UT1),
    Copy("lists/ut1/agressif", "hate", UT1),
    Copy("lists/ut1/sect", "hate", UT1),
    Copy("lists/ut1/dangerous_material", "weapons", UT1),
    Copy("lists/hosts/sinfonietta-snuff.hosts", "violence", "Sinfonietta/hostfiles"),
)


def measure(shared: Path) -> list[str]:
    """Return the table as lines of text."""
    lines = ["| list | publisher | topic | names | named by mistake |", "|---|---|---|---|---|"]
    wrong = lists = 0
    with tempfile.TemporaryDirectory() as folder:
        cache = ParseCache(Path(folder))
        for copy in COPIES:
            path = shared / "data" / copy.path
            source = Source(path.stem, copy.category, path, "https://publisher.invalid/list")
            parsed = cache.parse_source(source)[1]
            found = ", ".join(f"{host} ({topic})" for host, topic in sorted(parsed.corrections.items()))
            lines.append(f"| {path.stem} | {copy.publisher} | {copy.category} | {parsed.names:,} | {found or 'none'} |")
            wrong += len(parsed.corrections)
            lists += bool(parsed.corrections)
    summary = f"{lists} of {len(COPIES)} lists name {wrong} of {len(Canaries.load()):,} canaries."
    return [summary, "", *lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--write", action="store_true", help="write bench/results/list_mistakes.md")
    options = parser.parse_args()
    text = "\n".join(measure(options.shared))
    print(text)
    if options.write:
        made = f"`bench/list_mistakes.py`, {time.strftime('%Y-%m-%d')}, on copies of August 2026, parts of some."
        RESULT.write_text(f"{HEAD.format(made=made)}{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
