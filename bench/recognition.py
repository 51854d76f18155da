"""Measure the recognition of names: the share of unlisted adult and gambling names that it blocks, and its false
alarms.

    .venv/bin/python bench/recognition.py --known FILE… --sampled FILE… --adult FILE… --gambling FILE… --harmless FILE…
    [--alarms]

`--known` are lists that count as listed, with the sources that the model was trained on among them: their names are
left out everywhere. Of `--sampled` lists the model was trained on three quarters, so only those are left out. A
harmless name that `--blocked` lists have is left out too. `--alarms` prints the false alarms, so that a person can read
them. Files have one name per line, alone or as the last of several words or columns. The time is CPU time of one
process per name, without the cache.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import needs
from recogniser_sources import is_taken

from hedgerow.blocklists.names import HOST, is_address, registered_domain
from hedgerow.blocklists.recognition.name_model import Recognition
from hedgerow.blocklists.recognition.recogniser import Recogniser

LEVELS = (50, 60, 70, 80, 90, 95, 99)


def read_names(paths: Iterable[Path]) -> dict[str, None]:
    """Return the host names of files, in their order."""
    names: dict[str, None] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            words = re.split(r"[\s,]+", line.partition("#")[0].strip())
            host = words[-1].lower().removeprefix("*.").removeprefix("www.").rstrip(".")
            if "." in host and HOST.fullmatch(host) and not is_address(host):
                names.setdefault(host)
    return names


def findings(recogniser: Recogniser, hosts: Sequence[str]) -> tuple[list[Recognition | None], float]:
    """Return what each host looks like, and microseconds of CPU per name."""
    recogniser.findings.cache_clear()
    started = time.process_time()
    found = [recogniser.recognise(host) for host in hosts]
    return found, (time.process_time() - started) / max(len(hosts), 1) * 1e6


def row(title: str, hosts: Sequence[str], found: Sequence[Recognition | None], categories: frozenset[str]) -> str:
    counts = [
        sum(each is not None and each.category in categories and each.confidence >= level for each in found)
        for level in LEVELS
    ]
    shares = " | ".join(f"{count} ({count / max(len(hosts), 1):.3%})" for count in counts)
    return f"| {title} | {len(hosts)} | {shares} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("known", "sampled", "adult", "gambling", "harmless", "blocked"):
        parser.add_argument(f"--{option}", type=Path, nargs="*", default=[], metavar="FILE")
    parser.add_argument("--alarms", action="store_true", help="print the false alarms, the surest first")
    options = parser.parse_args()
    if not (options.adult or options.gambling or options.harmless):
        needs.stop("lists of names: --adult, --gambling or --harmless")
    recogniser = Recogniser()
    sampled = {registered_domain(host) for host in read_names(options.sampled)}
    known = {registered_domain(host) for host in read_names(options.known)} | {
        domain for domain in sampled if is_taken(domain)
    }
    blocked = (
        known
        | sampled
        | {registered_domain(host) for host in read_names([*options.blocked, *options.adult, *options.gambling])}
    )
    print(
        "| names | count | " + " | ".join(f"≥ {level} %" for level in LEVELS) + " |\n|---|---|" + "---|" * len(LEVELS)
    )
    for title, paths, leave_out in (
        ("adult", options.adult, known),
        ("gambling", options.gambling, known),
        *((path.stem, [path], blocked) for path in options.harmless),
    ):
        hosts = [host for host in read_names(paths) if registered_domain(host) not in leave_out]
        if not hosts:
            continue
        found, microseconds = findings(recogniser, hosts)
        categories = (
            frozenset({title}) if title in ("adult", "gambling") else frozenset({"adult", "gambling", "phishing"})
        )
        print(row(f"{title}, {microseconds:.1f} µs per name", hosts, found, categories))
        if options.alarms and title not in ("adult", "gambling"):
            alarms = sorted(
                ((each, host) for each, host in zip(found, hosts, strict=True) if each),
                key=lambda pair: -pair[0].confidence,
            )
            for each, host in alarms:
                print(f"  {each.confidence} {each.category} {host} {each.imitated}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
