"""Print the popular adult sites of the starter list: pages among the 100,000 most popular that at least three public
lists have.

    python tools/popular_adult.py NAME=PATH…

Needed are the adult lists of `recogniser.yaml` and the Chrome UX Report, each as a file or folder. Left out are names
that Hedgerow knows otherwise: in another starter list, as a service, or as a correction. The output is the last group
of `data/starter/adult.txt`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping

from recogniser_sources import NamedHost, Role, TrainingList, load_manifest, read_sources

from hedgerow.blocklists.names import is_beneath
from hedgerow.blocklists.sources import correction_sources, starter_sources
from hedgerow.policies.host_facts import Services

FEWEST_LISTS = 3
TITLE = (
    "# Popular sites (the Chrome UX Report's first 100,000) that at least three of five public lists have"
    " (tools/popular_adult.py; sites:"
)


def popular_adult(names: Mapping[TrainingList, Iterable[NamedHost]], known: frozenset[str]) -> list[str]:
    """Return the names of lists that cover popular hosts, without those beneath a known name or beneath another."""
    lists = [frozenset(each.host for each in found) for source, found in names.items() if source.role is Role.ADULT]
    found_names = set()
    for source, found in names.items():
        for each in found if source.role is Role.POPULAR else ():
            if each.rank > source.rank or is_beneath(each.host, known):
                continue
            covering = [name for listed in lists if (name := _covering(each.host, listed))]
            if len(covering) >= FEWEST_LISTS:
                found_names.add(sorted(covering, key=len)[FEWEST_LISTS - 1])  # the shortest that so many lists cover
    chosen = frozenset(found_names)
    return sorted(
        name for name in chosen if not is_beneath(name.partition(".")[2], chosen) and not is_beneath(name, known)
    )


def _covering(host: str, listed: frozenset[str]) -> str:
    """Return the name of a list that covers a host; empty if there is none."""
    while host and host not in listed:
        host = host.partition(".")[2]
    return host


def known_names() -> frozenset[str]:
    """Return the names of other starter lists, those of the adult one above the group, services and corrections."""
    known = {domain for service in Services.load().by_id.values() for domain in (*service.domains, *service.shared)}
    for source in (*starter_sources(), *correction_sources()):
        if source.path is not None:
            text = source.path.read_text(encoding="utf-8").partition(TITLE)[0]
            known |= {
                line.removeprefix("@@||").rstrip("^") for line in text.splitlines() if line and line[0] not in "#!"
            }
    return frozenset(known)


def main() -> int:
    parser = argparse.ArgumentParser(description="Print popular adult sites.")
    parser.add_argument(
        "paths", nargs="+", metavar="NAME=PATH", help="a source of the manifest, and its file or folder"
    )
    paths = dict(each.partition("=")[::2] for each in parser.parse_args().paths)
    wanted = [each for each in load_manifest() if each.role is Role.ADULT or each.name.startswith("crux")]
    names = {source: found for source, (found, _checksum) in read_sources(wanted, paths).items()}
    print(TITLE, f"{', '.join(source.url.removeprefix('https://') for source in wanted)})")
    print(*popular_adult(names, known_names()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
