"""Run drills in random order and print what users lost: `PYTHONPATH=tests/support python -m chaos.run --rounds 50`.

Wrong answers are never allowed: no blocked name or page is answered, and no pause is lost. Lost queries and pages are
counted.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from small_internet import small_internet

from chaos.drills import DRILLS, Drill, pause_for_ever
from chaos.household import Household, small_disk
from chaos.users import DnsUsers, Loss, PageUsers

DISK_MB = 256


@dataclass
class Tally:
    """All rounds of one drill."""

    rounds: int = 0
    dns: Loss = field(default_factory=Loss)
    pages: Loss = field(default_factory=Loss)
    problems: list[str] = field(default_factory=list)

    def add(self, dns: Loss, pages: Sequence[Loss], problems: Sequence[str]) -> None:
        self.rounds += 1
        _add(self.dns, dns)
        for each in pages:
            _add(self.pages, each)
        self.problems += problems


def _add(total: Loss, more: Loss) -> None:
    total.asked += more.asked
    total.lost += more.lost
    total.failed += more.failed
    total.wrong += more.wrong
    total.longest_gap = max(total.longest_gap, more.longest_gap)


def choose(rounds: int, luck: random.Random, drills: Sequence[Drill]) -> list[Drill]:
    """Choose drills at random, each as often as any other as far as possible."""
    chosen: list[Drill] = []
    while len(chosen) < rounds:
        chosen += luck.sample(drills, len(drills))
    return chosen[:rounds]


def is_busy() -> bool:
    """Return True if this machine has so much else to do that losses say nothing about Hedgerow."""
    return os.getloadavg()[0] > 2 * (os.cpu_count() or 1)


def run_round(
    house: Household, drill: Drill, luck: random.Random, asking: DnsUsers, browsing: Sequence[PageUsers]
) -> tuple[Loss, list[Loss]]:
    asking.take(0.2)
    for each in browsing:
        each.take()
    house.problems.clear()
    drill.run(house, luck)
    dns, pages = asking.take(), [each.take() for each in browsing]
    house.paused.clear()
    house.problems += dns.wrong[:5] + [wrong for each in pages for wrong in each.wrong[:5]]
    if is_busy():
        return dns, pages
    if dns.lost_percent > drill.lost:
        house.problems.append(f"{dns.lost_percent:.1f} % of the queries were lost, at most {drill.lost:g} % may be")
    lost, opened = sum(each.lost for each in pages), sum(each.asked for each in pages)
    if opened and 100 * lost / opened > drill.pages:
        house.problems.append(f"{lost} of {opened} pages were lost, at most {drill.pages:g} % may be")
    return dns, pages


def run(rounds: int, seed: int, only: str = "") -> dict[str, Tally]:
    """Run the drills. Returns the tallies by the drill's name."""
    luck = random.Random(seed)
    drills = [each for each in DRILLS if only in each.name and (os.geteuid() == 0 or not each.needs_root)]
    tallies: dict[str, Tally] = {}
    with (
        tempfile.TemporaryDirectory(prefix="hedgerow-chaos-") as temporary,
        small_internet() as internet,
        small_disk(Path(temporary) / "disk", DISK_MB) as disk,
        Household.running(internet, disk) as house,
    ):
        pause_for_ever(house)
        with house.users() as (asking, browsing):
            time.sleep(2)
            for number, drill in enumerate(choose(rounds, luck, drills), 1):
                began = time.monotonic()
                dns, pages = run_round(house, drill, luck, asking, browsing)
                tallies.setdefault(drill.name, Tally()).add(dns, pages, house.problems)
                print(f"{number:3} {drill.name}: {_result(dns, pages)}, {time.monotonic() - began:.0f} s", flush=True)
                for problem in house.problems:
                    print(f"    WRONG: {problem}", flush=True)
    return tallies


def _result(dns: Loss, pages: Sequence[Loss]) -> str:
    opened, lost = sum(each.asked for each in pages), sum(each.lost for each in pages)
    gap = max(each.longest_gap for each in pages)
    return (
        f"{dns.lost + dns.failed} of {dns.asked} queries lost, longest silence {dns.longest_gap:.1f} s; "
        f"{lost} of {opened} pages lost, longest silence {gap:.1f} s"
    )


def table(tallies: dict[str, Tally]) -> str:
    """Return a Markdown table of the tallies, in the order of `DRILLS`."""
    rows = [
        (
            "| drill | rounds | queries lost | longest silence of DNS | pages lost | longest silence of pages | wrong"
            " answers |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name in (drill.name for drill in DRILLS if drill.name in tallies):
        tally = tallies[name]
        dns, pages = tally.dns, tally.pages
        cells = [
            *(
                name,
                str(tally.rounds),
                f"{dns.lost + dns.failed} of {dns.asked:,} ({dns.lost_percent:.2f} %)",
                f"{dns.longest_gap:.1f} s",
            ),
            *(f"{pages.lost} of {pages.asked}", f"{pages.longest_gap:.1f} s", str(len(dns.wrong) + len(pages.wrong))),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 16))
    parser.add_argument("--only", default="", help="drills whose name contains this")
    words = parser.parse_args()
    print(f"seed {words.seed}", flush=True)
    tallies = run(words.rounds, words.seed, words.only)
    print(table(tallies))
    sys.exit(any(tally.problems for tally in tallies.values()))


if __name__ == "__main__":
    main()
