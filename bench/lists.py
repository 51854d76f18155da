"""Measure the list engine: compile time, peak memory, bytes per domain, opening, look-up, and one changed source of
ten.

    make bench-lists            all cases, written to bench/results/lists.md
    .venv/bin/python bench/lists.py [--data FOLDER] [--write] [real|1m|5m ...]

`real` are the hosts, plain and adblock lists in `--data`, by default beside the checkout, and is left out where there
are none; `1m` and `5m` are their names, or generated ones, varied until there are that many, in ten lists. Each
compilation runs in a process of its own, for its own peak memory. `one of ten` is the time to compile again after every
fiftieth line of one of the ten lists changed, as a share of the first compilation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # which Python leaves out where it runs safely
import generated

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source

GENERATED_NAMES = 100_000
CATEGORIES = ["adult", "gambling", "social", "bypass", "malware"]


def real_sources(lists: Path) -> list[Source]:
    paths = [path for folder in ("hosts", "plain", "adblock") for path in sorted((lists / folder).iterdir())]
    return [
        Source(f"{path.parent.name}/{path.stem}", CATEGORIES[n % len(CATEGORIES)], path) for n, path in enumerate(paths)
    ]


def names_of(plain: Path) -> list[str]:
    return [line for line in plain.read_text().split("\n") if line and line[0] != "#"]


def base_names(lists: Path = generated.SHARED / "lists") -> list[str]:
    """Return real names if there are lists, else generated ones."""
    if origin_of_names(lists) == "real":
        return names_of(lists / "plain" / "hagezi-nsfw.txt")
    return generated.host_names(GENERATED_NAMES, seed=5)


def origin_of_names(lists: Path = generated.SHARED / "lists") -> str:
    return "real" if (lists / "plain" / "hagezi-nsfw.txt").exists() else "generated"


def varied_sources(count: int, folder: Path, lists: Path = generated.SHARED / "lists") -> list[Source]:
    """Generate `count` distinct names from others: another word or number before, inside or after the
    registered label.
    """
    rng, names = random.Random(count), base_names(lists)
    words = sorted({label for name in names for label in name.split(".")[:-1] if 3 < len(label) < 12})
    varied = set(names)
    while len(varied) < count:
        label, _, rest = rng.choice(names).partition(".")
        word = rng.choice(words)
        varied.add(
            f"{rng.choice((f'{label}-{word}', f'{word}{label}', f'{label}{rng.randrange(1000)}', f'{word}.{label}'))[:63]}.{rest}"  # noqa: E501
        )
    sources = [
        Source(f"varied-{n}", CATEGORIES[n % len(CATEGORIES)], folder / f"{n}.txt", format="plain") for n in range(10)
    ]
    shuffled = rng.sample(sorted(varied), len(varied))
    for n, source in enumerate(sources):
        assert source.path is not None
        source.path.write_text("\n".join(shuffled[n::10]) + "\n")
    return sources


def measure_compile(sources: list[Source], out: Path) -> None:
    """Compile in the child process. The parsed lists are kept, as in a running Hedgerow."""
    start = time.perf_counter()
    report = compile_generation(sources, out, parsed=out.parent / "parsed")
    seconds, cpu = time.perf_counter() - start, time.process_time()
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
                "cpu_seconds": round(cpu, 2),
                "peak_rss_mb": round(peak),
                "index_mb": round(report.index_bytes / 1e6, 2),
                "bytes_per_domain": round(report.index_bytes / report.domains, 2),
            }
        )
    )


def status_kb(field: str, file: str = "/proc/self/status") -> int:
    return sum(int(line.split()[1]) for line in Path(file).read_text().splitlines() if line.startswith(field))


def private_kb() -> int:
    """Return the memory that no other process can share, in kB.

    Clean pages of a mapped file belong to the page cache.
    """
    return status_kb("Private_Dirty", "/proc/self/smaps_rollup")


def measure_lookup(out: Path, hosts: list[str]) -> dict[str, float]:
    """Time look-ups in blocks of a hundred, half hits and half misses, in random order."""
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


def change_one(source: Source) -> None:
    assert source.path is not None
    lines = source.path.read_text().splitlines()
    source.path.write_text("".join(f"{line}{'x' if number % 50 == 0 else ''}\n" for number, line in enumerate(lines)))


def compile_apart(case: str, folder: Path, out: str) -> dict[str, float]:
    command = [sys.executable, "-P", __file__, "--child", str(folder), "--out", out, case]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def run_case(case: str, folder: Path, lists: Path) -> dict[str, float]:
    sources = (
        real_sources(lists)
        if case == "real"
        else varied_sources({"1m": 1_000_000, "5m": 5_000_000}[case], folder, lists)
    )
    rows = [(source.name, source.category, str(source.path), source.format) for source in sources]
    (folder / "sources.json").write_text(json.dumps(rows))
    compiled = compile_apart(case, folder, "generation")
    hosts = names_of(Path(str(sources[5].path)))
    result = {**compiled, **measure_lookup(folder / "generation", hosts)}
    if case != "real":
        change_one(sources[3])
        again = compile_apart(case, folder, "changed")
        result |= {
            "one_of_ten": round(again["seconds"] / compiled["seconds"], 3),
            "one_of_ten_seconds": again["seconds"],
        }
        result["one_of_ten_rss_mb"] = again["peak_rss_mb"]
    return result


def run_child(options: argparse.Namespace) -> None:
    folder = Path(options.child)
    rows = json.loads((folder / "sources.json").read_text())
    sources = [Source(name, category, Path(path), format=form) for name, category, path, form in rows]
    measure_compile(sources, folder / options.out)


def table_of(results: dict[str, dict[str, float]]) -> str:
    """Format the figures as a table with one column per case; ratios first, since they hold on other machines too."""
    first = ["bytes_per_domain", "one_of_ten"]
    fields = first + [
        name for name in dict.fromkeys(key for row in results.values() for key in row) if name not in first
    ]
    lines = ["| figure | " + " | ".join(results) + " |", "|---|" + "---:|" * len(results)]
    for name in fields:
        cells = [f"{row[name]:,}" if name in row else "" for row in results.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=["real", "1m", "5m"])
    parser.add_argument("--write", action="store_true", help="write bench/results/lists.md")
    parser.add_argument("--data", type=Path, default=generated.SHARED, help="folder with real lists")
    parser.add_argument("--child", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options)
        return
    results, lists = {}, options.data / "lists"
    for case in options.case or ["real", "1m", "5m"]:
        if case == "real" and not lists.is_dir():
            print(
                f"left out: the case 'real' needs lists in {lists}, or in another folder named with --data",
                file=sys.stderr,
            )
            continue
        with tempfile.TemporaryDirectory() as folder:
            results[case] = run_case(case, Path(folder), lists)
        print(json.dumps({"case": case, **results[case]}), flush=True)
    if options.write:
        head = (
            f"# The list engine, measured by `make bench-lists`\n\n{platform.machine()}, {os.cpu_count()} cores,"
            " Python "
        )
        head += f"{platform.python_version()}. One thread compiles. `1m` and `5m` vary "
        head += f"{origin_of_names(lists)} names. What each figure is stands in `bench/lists.py`.\n\n"
        (Path(__file__).parent / "results" / "lists.md").write_text(head + table_of(results))


if __name__ == "__main__":
    main()
