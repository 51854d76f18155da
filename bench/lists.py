"""Measures the list engine: compile time, peak memory, bytes a domain, opening and look-up. Prints one line a case.

    .venv/bin/python bench/lists.py [real|1m|5m ...]

`real` are the hosts, plain and adblock lists beside the checkout; `1m` and `5m` are their names, varied until there are so
many. Each compile runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compile import compile_generation
from hedgerow.blocklists.sources import Source

LISTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "lists"
CATEGORIES = ["adult", "gambling", "social", "bypass", "malware"]


def real_sources() -> list[Source]:
    paths = [path for folder in ("hosts", "plain", "adblock") for path in sorted((LISTS / folder).iterdir())]
    return [Source(f"{path.parent.name}/{path.stem}", CATEGORIES[n % len(CATEGORIES)], path) for n, path in enumerate(paths)]


def names_of(plain: Path) -> list[str]:
    return [line for line in plain.read_text().split("\n") if line and line[0] != "#"]


def varied_sources(count: int, folder: Path) -> list[Source]:
    """`count` distinct names made of real ones: another word or number before, inside or after the registered label."""
    rng = random.Random(count)
    names = names_of(LISTS / "plain" / "hagezi-nsfw.txt")
    words = sorted({label for name in names for label in name.split(".")[:-1] if 3 < len(label) < 12})
    varied = set(names)
    while len(varied) < count:
        label, _, rest = rng.choice(names).partition(".")
        word = rng.choice(words)
        varied.add(f"{rng.choice((f'{label}-{word}', f'{word}{label}', f'{label}{rng.randrange(1000)}', f'{word}.{label}'))[:63]}.{rest}")
    sources = [Source(f"varied-{n}", CATEGORIES[n % len(CATEGORIES)], folder / f"{n}.txt", format="plain") for n in range(10)]
    shuffled = rng.sample(sorted(varied), len(varied))
    for n, source in enumerate(sources):
        assert source.path is not None
        source.path.write_text("\n".join(shuffled[n::10]) + "\n")
    return sources


def measure_compile(sources: list[Source], out: Path) -> None:
    """Runs in the child."""
    start = time.perf_counter()
    report = compile_generation(sources, out)
    seconds = time.perf_counter() - start
    # Not getrusage: its peak is inherited from the parent, whose lists are still in memory.
    peak = status_kb("VmHWM") / 1024
    print(
        json.dumps(
            {
                "domains": report.domains,
                "keys": report.keys,
                "url_rules": report.url_rules,
                "skipped": report.skipped,
                "seconds": round(seconds, 2),
                "peak_rss_mb": round(peak),
                "index_mb": round(report.index_bytes / 1e6, 2),
                "bytes_per_domain": round(report.index_bytes / report.domains, 2),
            }
        )
    )


def status_kb(field: str, file: str = "/proc/self/status") -> int:
    return sum(int(line.split()[1]) for line in Path(file).read_text().splitlines() if line.startswith(field))


def private_kb() -> int:
    """Memory that no other process can share; clean pages of a mapped file are the page cache's, even while only we look at them."""
    return status_kb("Private_Dirty", "/proc/self/smaps_rollup")


def measure_lookup(out: Path, hosts: list[str]) -> dict[str, float]:
    """Half hits, half misses, in random order; every look-up is timed in blocks of a hundred."""
    before, start = private_kb(), time.perf_counter()
    catalogue = Catalogue.open(out)
    opened = time.perf_counter() - start
    private = private_kb() - before
    rng = random.Random(7)
    sample = rng.sample(hosts, min(len(hosts), 50_000))
    asked = [name for host in sample for name in (f"www.{host}", f"not-{host[1:]}")]
    rng.shuffle(asked)
    times = []
    for place in range(0, len(asked), 100):
        block = asked[place : place + 100]
        start = time.perf_counter()
        for host in block:
            catalogue.host_mask(host)
        times.append((time.perf_counter() - start) * 1e6 / len(block))
    hits = sum(catalogue.host_mask(host) != 0 for host in asked) / len(asked)
    return {
        "open_ms": round(opened * 1000, 2),
        "private_kb_after_open": private,
        "lookup_us_median": round(statistics.median(times), 2),
        "lookup_us_p99": round(statistics.quantiles(times, n=100)[98], 2),
        "hits": round(hits, 2),
    }


def run_case(case: str, child: bool, folder: Path) -> None:
    sources_file, out = folder / "sources.json", folder / "generation"
    if child:
        rows = json.loads(sources_file.read_text())
        measure_compile([Source(name, category, Path(path), format=form) for name, category, path, form in rows], out)
        return
    sources = real_sources() if case == "real" else varied_sources({"1m": 1_000_000, "5m": 5_000_000}[case], folder)
    sources_file.write_text(json.dumps([(s.name, s.category, str(s.path), s.format) for s in sources]))
    command = [sys.executable, __file__, "--child", str(folder), case]
    compiled = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    hosts = names_of(Path(str(sources[5].path)))
    print(json.dumps({"case": case, **compiled, **measure_lookup(out, hosts)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", default=["real", "1m", "5m"], choices=["real", "1m", "5m"])
    parser.add_argument("--child", metavar="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for case in options.case:
        if options.child:
            run_case(case, True, Path(options.child))
        else:
            with tempfile.TemporaryDirectory() as folder:
                run_case(case, False, Path(folder))


if __name__ == "__main__":
    main()
