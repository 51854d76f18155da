"""Put poisoned updates of a list into force: for `bench/list_accidents.py --poisoned N`.

Each update has a good copy before it, some new good names, and a poison: canaries as names, beneath `www`, with
conditions, or as patterns; whole suffixes; hundreds of canaries; or names that everybody knows.
"""

from __future__ import annotations

import random
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow.blocklists.canaries import Canaries
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.list_parser import ParseCache
from hedgerow.blocklists.names import load_public_suffixes
from hedgerow.blocklists.plausibility import refusal_of_copy
from hedgerow.blocklists.sources import Source, essential_hosts, popular_hosts

ROOT = Path(__file__).resolve().parent.parent
URL = "https://publisher.invalid/list"


def own_canaries() -> list[str]:
    """Return the canaries that the project has in plain text."""
    lines = (ROOT / "tools" / "canaries.txt").read_text(encoding="utf-8").splitlines()
    hosts = {host for line in lines if not line.startswith("#") for host in line.split()}
    return sorted(host for host in hosts if Canaries.load().topic_of(host))


def rules(hosts: list[str]) -> list[str]:
    return [f"||{host}^" for host in hosts]


def pattern(host: str, luck: random.Random) -> str:
    """Return a rule without a host that matches one: a pattern of names, or one of URLs."""
    label, _, rest = host.partition(".")
    regex = "[a-z0-9-]+\\." if len(label) < 4 else f"{label[:2]}[a-z0-9-]*{label[-1]}\\."
    return luck.choice([f"/^{regex}{rest.replace('.', '[.]')}$/", f"://{host}/", f"/^https?:\\/\\/(www\\.)?{regex}/"])


def few(canaries: list[str], luck: random.Random) -> list[str]:
    return luck.sample(canaries, luck.randint(1, 99))


POISONS: dict[str, Callable[[list[str], random.Random], list[str]]] = {
    "1 to 99 canaries": lambda canaries, luck: rules(few(canaries, luck)),
    "likewise, with www or m": lambda canaries, luck: rules(
        [f"{luck.choice(['www', 'm'])}.{host}" for host in few(canaries, luck)]
    ),
    "likewise, as important rules": lambda canaries, luck: [f"{rule}$important" for rule in rules(few(canaries, luck))],
    "likewise, with conditions": lambda canaries, luck: [
        f"{rule}${luck.choice(['third-party', 'document', 'all', 'script'])}" for rule in rules(few(canaries, luck))
    ],
    "patterns that match canaries": lambda canaries, luck: [
        pattern(host, luck) for host in luck.sample(canaries, luck.randint(1, 9))
    ],
    "public suffixes": lambda _canaries, luck: rules(
        luck.sample(sorted(load_public_suffixes().registries), luck.randint(1, 50))
    ),
    "100 canaries and more": lambda canaries, luck: rules(luck.sample(canaries, luck.randint(100, len(canaries)))),
    "names that everybody knows": lambda _canaries, luck: rules(
        luck.sample(known := sorted(popular_hosts() | essential_hosts()), luck.randint(1, len(known)))
    ),
}


@dataclass(slots=True)
class Outcome:
    """Sums over all updates. `seconds` are from the new copy to the opened generation, for updates that were taken."""

    updates: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    lost_canaries: list[str] = field(default_factory=list)
    good: int = 0
    lost_good: int = 0
    worst_loss: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def poison_updates(rounds: int, names: int, folder: Path, seed: int = 42) -> Outcome:
    """Put `rounds` poisoned updates of a list of `names` names into force, one after the other."""
    luck, canaries, outcome = random.Random(seed), own_canaries(), Outcome()
    good = [f"n{number}-{luck.randrange(1 << 30):x}.example" for number in range(names)]
    for number in range(rounds):
        kind = list(POISONS)[number % len(POISONS)]
        more = [f"u{number}-{place}.example" for place in range(max(1, names // 50))]
        lines = rules(good + more) + POISONS[kind](canaries, luck)
        luck.shuffle(lines)
        _update(kind, (rules(good), lines), (good, more), canaries, folder, outcome)
    return outcome


def _update(
    kind: str,
    copies: tuple[list[str], list[str]],
    good: tuple[list[str], list[str]],
    canaries: list[str],
    folder: Path,
    outcome: Outcome,
) -> None:
    paths = folder / "good.txt", folder / "new.txt"
    for path, lines in zip(paths, copies, strict=True):
        path.write_text("\n".join(lines) + "\n")
    before, new = (Source("list", "adult", path, URL) for path in paths)
    lists, out = ParseCache(folder / "parsed"), folder / "generation"
    lists.parse_source(before)
    started, cpu = time.perf_counter(), time.process_time()
    refusal = refusal_of_copy(lists, new, before)
    compile_generation([before if refusal else new], out, parsed=lists.folder)
    catalogue = Catalogue.open(out)
    outcome.updates[kind] += 1
    outcome.held[kind] += bool(refusal)
    if not refusal:
        outcome.seconds.append(time.perf_counter() - started)
        outcome.cpu.append(time.process_time() - cpu)
    rules_of_update = [*good[0], *good[1]]
    lost = sum(not catalogue.host_mask(host) for host in rules_of_update)
    outcome.good += len(rules_of_update)
    outcome.lost_good += lost
    outcome.worst_loss = max(outcome.worst_loss, lost / len(rules_of_update))
    outcome.lost_canaries += [
        f"{kind}: {host}"
        for host in canaries
        if catalogue.host_mask(host)
        or catalogue.host_mask(f"www.{host}")
        or catalogue.match_url(f"https://{host}/", "document")
    ]
    shutil.rmtree(out)
    lists.prune([])


def report(rounds: int, names: int, folder: Path) -> list[str]:
    """Return the result as lines of text. Raises SystemExit where a canary was lost, or more than 5 % of an update."""
    outcome = poison_updates(rounds, names, folder)
    if outcome.lost_canaries or outcome.worst_loss > 0.05:
        raise SystemExit(f"lost: {outcome.lost_canaries[:20]}, {outcome.worst_loss:.1%} of the good rules of an update")
    lines = ["| poison | updates | held back | in force without the poison |", "|---|---|---|---|"]
    lines += [
        f"| {kind} | {count:,} | {outcome.held[kind]:,} | {count - outcome.held[kind]:,} |"
        for kind, count in outcome.updates.items()
    ]
    return [
        f"{rounds:,} updates of a list of {names:,} names, each with {max(1, names // 50):,} new good names. After each"
        f" {len(own_canaries()):,} canaries, their `www` and front pages were looked up: **none was lost**. Of"
        f" {outcome.good:,} good rules {outcome.lost_good / outcome.good:.2%} were not in force, and"
        f" {outcome.worst_loss:.1%} of the worst update: the new names of those that were held back.",
        "",
        *lines,
        "",
        f"In force after {statistics.median(outcome.seconds):.2f} s (median) and at most {max(outcome.seconds):.2f} s;"
        f" processor time {statistics.median(outcome.cpu):.2f} s and at most {max(outcome.cpu):.2f} s.",
    ]
