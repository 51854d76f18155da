"""Compare URL look-ups with Brave's engine (the package `adblock`) on real requests, in one run, with the same lists.

    .venv/bin/python bench/urls.py [--data FOLDER] [--write]

Both sides give a verdict on some 30,000 browser requests under the same filter lists; ours takes the page's host from
the page's URL. Each request is timed by itself, ours and theirs in turn; the first pass is cold. Rules that theirs does
not honour it need not look at. Also measured: opening, memory, and host look-ups one by one. The requests and lists are
real ones in `--data` (30,524 requests, EasyList and the uBlock lists; by default the folder beside the checkout), or
generated where that folder is missing.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import needs  # noqa: F401
import adblock
import generated
from ad_blocker import AdBlocker

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.names import host_of_url
from hedgerow.blocklists.sources import Source

RESULT = Path(__file__).parent / "results" / "urls.md"
PASSES = 5
PAGES = 100_000


REQUESTS, RULES, LISTED_HOSTS = 30_000, 70_000, 200_000  # generated ones


@dataclass(frozen=True, slots=True)
class Data:
    """What is measured on: filter lists, requests as URL, URL of the page and kind, and lists of hosts."""

    name: str
    filters: list[Path]
    requests: list[tuple[str, str, str]]
    hosts: list[Path]


def real_data(folder: Path) -> Data:
    with zipfile.ZipFile(folder / "requests" / "urlfilter-requests.json.zip") as archive:
        lines = archive.read(archive.namelist()[0]).decode().splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    requests = [(row["url"], row["frameUrl"], "xhr" if row["cpt"] == "fetch" else row["cpt"]) for row in rows]
    hosts = [folder / "lists" / "plain" / name for name in ("hagezi-nsfw.txt", "hagezi-gambling.mini.txt")]
    return Data("real requests and lists", sorted((folder / "lists" / "abp").iterdir()), requests, hosts)


def generated_data(folder: Path) -> Data:
    hosts = generated.host_names(20_000, seed=1)
    requests = generated.browser_requests(REQUESTS, hosts, seed=2)
    texts = {
        "filters.txt": generated.filter_list(RULES, hosts, seed=3),
        "hosts.txt": generated.host_names(LISTED_HOSTS, seed=4),
    }
    filters, listed = generated.write_lists(folder, texts)
    return Data("generated requests and lists", [filters], requests, [listed])


def private_kb() -> int:
    return sum(
        int(line.split()[1])
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines()
        if line.startswith("Private_Dirty")
    )


def open_alone(generation: Path) -> None:
    """Open the lists in a process of its own, twice, since the first time also reads the code."""
    first = Catalogue.open(generation)
    before, start = private_kb(), time.perf_counter()
    catalogue = Catalogue.open(generation)
    print((time.perf_counter() - start) * 1000, private_kb() - before)
    assert first.version == catalogue.version


def opened_alone(generation: Path) -> tuple[float, float]:
    """Return milliseconds and kB of private memory."""
    child = subprocess.run(
        [sys.executable, "-P", __file__, "--open", str(generation)], check=True, capture_output=True, text=True
    )
    opened, private = map(float, child.stdout.split())
    return opened, private


def time_each(
    requests: list[tuple[str, str, str]],
    ask: Callable[[str, str, str], object],
    other: Callable[[str, str, str], object],
) -> tuple[list[float], list[float]]:
    """Return the microseconds of each request on both sides, in turn."""
    mine, theirs, clock = [], [], time.perf_counter_ns
    for url, page, kind in requests:
        start = clock()
        ask(url, page, kind)
        middle = clock()
        other(url, page, kind)
        end = clock()
        mine.append((middle - start) / 1000)
        theirs.append((end - middle) / 1000)
    return mine, theirs


def figures(times: list[float]) -> tuple[float, float, float, float]:
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[89], cuts[98], statistics.mean(times)


def time_hosts(catalogue: Catalogue, hosts: list[str]) -> list[float]:
    """Time each look-up by itself, less the cost of reading the clock."""
    clock = time.perf_counter_ns
    empty = statistics.median([-(clock() - clock()) for _ in range(20_000)])
    times = []
    for host in hosts:
        start = clock()
        catalogue.host_mask(host)
        times.append(max(0, clock() - start - empty) / 1000)
    return times


def measure(folder: Path, data: Data) -> list[str]:
    paths, requests = data.filters, data.requests
    report = compile_generation([Source(path.stem, "ads-trackers", path) for path in paths], folder / "ads")
    opened, private = opened_alone(folder / "ads")
    blocker = AdBlocker(Catalogue.open(folder / "ads"))
    filters = adblock.FilterSet()
    for path in paths:
        filters.add_filter_list(path.read_text(encoding="utf-8", errors="replace"))
    engine = adblock.Engine(filters)
    page_host = lru_cache(maxsize=4096)(lambda page: host_of_url(page) or "null")

    def ask(url: str, page: str, kind: str) -> object:
        return blocker.first_match(url, kind, page_host(page))

    def ask_theirs(url: str, page: str, kind: str) -> object:
        return engine.check_network_urls(url, page, kind).matched

    agree = sum((ask(*request) is not None) == ask_theirs(*request) for request in requests) / len(requests)
    blocker = AdBlocker(Catalogue.open(folder / "ads"))  # cold again
    gc.collect()
    gc.freeze()
    rows = []
    for number in range(PASSES):
        ours, theirs = map(figures, time_each(requests, ask, ask_theirs))
        name = "cold" if number == 0 else f"pass {number + 1}"
        cells = [f"{a:.2f} / {b:.2f} = **{a / b:.2f}**" for a, b in zip(ours, theirs, strict=True)]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        (
            f"{report.domains:,} hosts and {report.url_rules:,} URL rules; opened in {opened:.1f} ms with"
            f" {private:,.0f} kB of private memory;"
        ),
        f"verdicts agree on {agree:.2%} of {len(requests):,} requests. Measured on {data.name}.",
        "",
        "| microseconds, ours / theirs = ratio | median | p90 | p99 | mean |",
        "|---|---|---|---|---|",
        *rows,
        "",
        *measure_hosts(folder, data.hosts),
        "",
        measure_pages(folder),
    ]


def measure_pages(folder: Path) -> str:
    """Measure what a worker pays to open a list of pages, two hundred of each host, and to look one up."""
    pages = [f"host{number // 200}.example/{number * 7919 % 1000003:x}/page-{number}" for number in range(PAGES)]
    (folder / "pages.txt").write_text("".join(f"||{page}\n" for page in pages), encoding="ascii")
    compile_generation([Source("pages", "adult", folder / "pages.txt")], folder / "pages")
    opened, private = opened_alone(folder / "pages")
    catalogue = Catalogue.open(folder / "pages")
    times, clock = [], time.perf_counter_ns
    for page in random.Random(7).sample(pages, 20_000):
        start = clock()
        found = catalogue.match_url(f"https://www.{page}?from=here")
        times.append((clock() - start) / 1000)
        assert found is not None
    median, _, last, _ = figures(times)
    told = f"A list of {PAGES:,} pages: opened in {opened:.1f} ms with {private:,.0f} kB of private memory;"
    return f"{told} a look-up takes {median:.1f} µs, the 99th percentile is {last:.1f} µs."


def measure_hosts(folder: Path, lists: list[Path]) -> list[str]:
    """Time look-ups one by one, half hits and half misses."""
    compile_generation([Source(path.stem, "adult", path) for path in lists], folder / "hosts")
    catalogue = Catalogue.open(folder / "hosts")
    names = [line for path in lists for line in path.read_text().splitlines() if line and line[0] != "#"]
    rng = random.Random(7)
    asked = [each for name in rng.sample(names, 50_000) for each in (f"www.{name}", f"not-{name[1:]}")]
    rng.shuffle(asked)
    lines = ["| host look-ups, µs | median | p90 | p99 | p99.9 |", "|---|---|---|---|---|"]
    for name in ("cold", "warm"):
        cuts = statistics.quantiles(time_hosts(catalogue, asked), n=1000)
        lines.append(f"| {name} | {cuts[499]:.2f} | {cuts[899]:.2f} | {cuts[989]:.2f} | {cuts[998]:.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write bench/results/urls.md")
    parser.add_argument("--data", type=Path, default=generated.SHARED, help="folder with real requests and lists")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        open_alone(options.open)
        return
    with tempfile.TemporaryDirectory() as folder:
        is_real = (options.data / "requests").is_dir()
        lines = measure(Path(folder), real_data(options.data) if is_real else generated_data(Path(folder)))
    text = "\n".join(lines)
    print(text)
    if options.write:
        run = f"`bench/urls.py` on Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}."
        RESULT.write_text(f"# URL look-ups against Brave's engine\n\n{run}\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
