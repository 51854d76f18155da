"""Measures the memory of the whole of `hedgerow up --profile small` with a list of a million domains.

    .venv/bin/python bench/memory.py [--write], or make bench-memory

Proportional set sizes (what is shared is split among those who share it) of all processes together: once it serves with the million in
force, after 40,000 questions for names, half of them of the list, and 100 pages through the proxy, and the highest of what was seen ten
times a second meanwhile, the compiling in a process of its own included. Needs dnsperf and curl. `--write` keeps the figures in
bench/results/memory.md.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from lists import LISTS, names_of, varied_sources

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from small_internet import SmallInternet, small_internet
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

DOMAINS, QUESTIONS, PAGES = 1_000_000, 40_000, 100
SITE = "www.school.example"
RESULTS = Path(__file__).parent / "results" / "memory.md"


def pss_of(pid: int) -> int:
    """Octets; 0 for a process that has ended meanwhile."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (OSError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


class Peak(threading.Thread):
    """The highest sum that was seen, until `done` is set."""

    def __init__(self, running: Hedgerow) -> None:
        super().__init__(daemon=True)
        self.octets, self.done = 0, threading.Event()
        self._running = running

    def run(self) -> None:
        while not self.done.wait(0.1):
            self.octets = max(self.octets, sum(pss_of(pid) for pid in self._running.all_pids()))


def is_in_force(running: Hedgerow) -> bool:
    """Whether every worker has the million."""
    compiled = re.search(r"\b(\d{7,}) domains compiled.*", running.stderr, re.DOTALL)
    return compiled is not None and all(f" {role}[" in compiled[0] for role in ("dns", "gate", "inspector"))


def ask_and_read(running: Hedgerow, internet: SmallInternet, folder: Path) -> None:
    listed = names_of(LISTS / "plain" / "hagezi-nsfw.txt")[: QUESTIONS // 2]
    names = [name for pair in zip(listed, (f"n{number}.{SITE}" for number in range(QUESTIONS // 2)), strict=True) for name in pair]
    (folder / "questions").write_text("".join(f"{name} A\n" for name in names))
    host, port = running.dns
    words = ["dnsperf", "-s", str(host), "-p", str(port), "-d", str(folder / "questions"), "-n", "1", "-c", "4", "-q", "50"]
    subprocess.run(words, check=True, capture_output=True)
    proxy = f"http://{running.proxy[0]}:{running.proxy[1]}"
    for number in range(PAGES):
        url = internet.url(SITE, "/", "http" if number % 2 else "https")
        subprocess.run(["curl", "-sk", "-o", "/dev/null", "-x", proxy, url], check=True)


def measure() -> tuple[dict[str, int], dict[str, int], int]:
    """By role: once it serves, and after the questions and pages; and the peak of all together."""
    with tempfile.TemporaryDirectory() as name, small_internet() as internet:
        folder = Path(name)
        sources = varied_sources(DOMAINS, folder)
        policy = network_section(internet)
        lists = "".join(f"  - {{category: {source.category}, path: {source.path}, format: plain}}\n" for source in sources)
        with running_hedgerow(policy, options=["--profile", "small"], upstream_authority=internet.authority.root) as running:
            peak = Peak(running)
            peak.start()
            running.edit_policy(f"{policy}lists:\n{lists}")
            wait_until(lambda: is_in_force(running), 300, "the million is not in force")
            first = by_role(running)
            ask_and_read(running, internet, folder)
            last = by_role(running)
            peak.done.set()
            peak.join()
            return first, last, peak.octets


def by_role(running: Hedgerow) -> dict[str, int]:
    found = {role: sum(pss_of(pid) for pid in running.pids(role)) for role in ("control", "inspector", "dns", "gate")}
    return found | {"supervisor": pss_of(running.process.pid)}


def table(first: dict[str, int], last: dict[str, int], peak: int) -> str:
    def row(what: str, octets: dict[str, int]) -> str:
        return f"| {what} | {sum(octets.values()) / 1e6:.0f} | " + " | ".join(f"{each / 1e6:.0f}" for each in octets.values()) + " |"

    head = (
        "# The memory of a small machine, measured by `make bench-memory`\n\n"
        f"{platform.machine()}, Python {platform.python_version()}; `--profile small`, a list of {DOMAINS:,} domains; "
        f"proportional set sizes in MB. The highest sum seen, while the list was compiled: {peak / 1e6:.0f} MB.\n\n"
    )
    names = f"| | all | {' | '.join(first)} |\n|---|{'---:|' * (len(first) + 1)}\n"
    return head + names + row("once it serves", first) + "\n" + row(f"after {QUESTIONS:,} questions and {PAGES} pages", last) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    text = table(*measure())
    print(text)
    if parser.parse_args().write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
