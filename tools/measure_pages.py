"""Measure the scanner of pages on files:

`python tools/measure_pages.py [--lists GENERATION] [--phrases FOLDER] FOLDER...`.

Every HTML file beneath the folders is scanned as a page of an unlisted host. Printed are the number of pages, those
above each profile's limit by their words, those recognised as a topic, and the time. Each recognised page is named, for
somebody to read it.

There are no explicit pages here to measure detection on. With `--phrases`, pages are made up of the weighted phrases of
somebody else's lists, which the vocabulary was not written from: two in the title, six in the description and forty in
the text, at random.
"""

from __future__ import annotations

import argparse
import gzip
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hedgerow.policies.content import ContentRules
from hedgerow.policies.reading.profiles import builtin_profiles
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.topics import ListedTopics
from hedgerow.proxy.scanners.words import MAX_UNPACKED, PageScanner, list_versions, parse_phrases

_STRONG, _MADE_UP = 20, 200
_ENDINGS = (".html", ".htm", ".xhtml", ".html.gz")


def pages(folders: list[Path]) -> Iterator[tuple[Path, bytes]]:
    """Yield the pages beneath folders."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.name.endswith(_ENDINGS) and path.is_file():
                data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
                yield path, data[:MAX_UNPACKED]


def made_up_pages(path: Path) -> Iterator[bytes]:
    """Yield pages of random phrases from a weighted list. What it weighs little says little."""
    data = path.read_bytes()
    charset = {"russian-1251": "cp1251", "russian-koi8-r": "koi8-r", "chinesegb2312": "gb18030", "chinesebig5": "big5"}
    named = next((charset[part] for part in path.parts if part in charset), "utf-8")
    phrases, _ = parse_phrases(data.decode(named, "replace"), path.name)
    strong = [" ".join(phrase.parts) for phrase in phrases if phrase.weight >= _STRONG]
    chance = random.Random(1)  # noqa: S311
    for _number in range(_MADE_UP if strong else 0):
        title, description, text = (" . ".join(chance.choices(strong, k=count)) for count in (2, 6, 40))
        yield (
            f"<meta charset=utf-8><title>{title}</title><meta name=description "
            f'content="{description}"><body>{text}'.encode()
        )


def measure_phrases(folder: Path, rules: ScanRules) -> None:
    """Print for each list how many pages of its phrases are recognised, and how many are above the limit for children
    of 9 to 12.
    """
    for path in sorted(folder.rglob("weighted*")):
        scanners = [_scan(page, path.name, rules) for page in made_up_pages(path)]
        found = Counter(scanner.finding.topic for scanner in scanners if scanner.finding is not None)
        if scanners:
            above = sum(scanner.score > 100 for scanner in scanners)
            print(
                f"{path.relative_to(folder)}: of {len(scanners)} made up, recognised {dict(found)}, words above 100 in"
                f" {above}"
            )


def _scan(page: bytes, name: str, rules: ScanRules) -> PageScanner:
    scanner = PageScanner.wants(Head(f"https://docs.example/{name}", "text/html"), rules)
    assert scanner is not None
    scanner.feed(page)
    scanner.end()
    return scanner


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--lists", type=Path, help="a generation of compiled lists, for the hosts of links")
    parser.add_argument("--phrases", type=Path, help="a folder of weighted phrase lists to make up pages of")
    options = parser.parse_args()
    listed = ListedTopics.open(options.lists) if options.lists is not None else None
    rules = ScanRules(ContentRules(page_limit=1), list_versions(()), listed=listed)
    if options.phrases is not None:
        measure_phrases(options.phrases, rules)
    limits = {
        name: limit for name, profile in builtin_profiles().items() if (limit := profile.rules.content.page_limit)
    }
    counts: Counter[str] = Counter()
    begun = time.process_time()
    for path, data in pages(options.folders):
        scanner = _scan(data, path.name, rules)
        counts["pages"] += 1
        counts["bytes"] += len(data)
        counts.update(name for name, limit in limits.items() if scanner.score > limit)
        if scanner.finding is not None:
            counts[scanner.finding.topic] += 1
            print(f"{path}: {scanner.finding} (score {scanner.score})")
    seconds = time.process_time() - begun
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    print(
        f"{1000 * seconds / max(1, counts['pages']):.2f} ms of CPU per page,"
        f" {1e9 * seconds / max(1, counts['bytes']):.0f} ns per byte"
    )


if __name__ == "__main__":
    main()
