"""Measure the memory of the whole of `hedgerow up --profile small` with lists of a million domains.

    .venv/bin/python bench/memory.py [--write], or make bench-memory

Memory is the sum of the proportional set sizes of all processes. Ten lists are fetched from a server and compiled;
40,000 names are asked, half of them listed, and 100 pages are fetched through the proxy; somebody opens the web pages;
the inspector gets a successor, as it does every day; then ten other lists of a million domains replace the first, as on
a day on which every publisher has changed everything. The report gives the moments between, and the highest sum of each
phase, sampled twenty times per second, including the processes that fetch and compile.

Needs dnsperf and curl, and no other Hedgerow beside it to share pages with. This program shares Python and some
libraries with what it measures; that part is in the sum. `--write` keeps the figures in bench/results/memory.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # which Python leaves out where it runs safely
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import needs
from list_server import ListServer, text
from lists import base_names, origin_of_names, varied_sources
from small_internet import SmallInternet, small_internet
from small_internet.running import ROLES, Hedgerow, has_role, network_section, running_hedgerow, wait_until

DOMAINS, QUESTIONS, PAGES = 1_000_000, 40_000, 100
SITE = "www.school.example"
LOOK_EVERY_S = 0.05
RESULTS = Path(__file__).parent / "results" / "memory.md"
COLUMNS = (*ROLES, "zygote", "supervisor", "fetching and compiling", "shared with the bench")

Sizes = Counter[str]
"""Octets by column."""


def memory_of(pid: int | str) -> Counter[str]:
    """Return octets by the kernel's own names, `Pss` first; empty for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except (OSError, ProcessLookupError):
        return Counter()
    return Counter({line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines})


def shared_with_us() -> int:
    """Return this program's share, in octets, of the files that it shares with others."""
    ours = memory_of("self")
    return ours["Pss_File"] - ours["Private_Clean"]


def sizes(running: Hedgerow) -> Sizes:
    """Return the memory of every live process.

    A process outside the family of `hedgerow up` is a job that it started.
    """
    found = Sizes({"shared with the bench": shared_with_us()})
    for pid in running.all_pids():
        role = next((role for role in (*ROLES, "zygote") if has_role(pid, role)), "fetching and compiling")
        found["supervisor" if pid == running.process.pid else role] += memory_of(pid)["Pss"]
    return found


class Watch(threading.Thread):
    """The moment of the highest sum since the last `take`."""

    def __init__(self, running: Hedgerow) -> None:
        super().__init__(daemon=True)
        self._running, self._done, self._guard = running, threading.Event(), threading.Lock()
        self._highest = Sizes()

    def run(self) -> None:
        while not self._done.wait(LOOK_EVERY_S):
            now = sizes(self._running)
            with self._guard:
                self._highest = max(self._highest, now, key=Counter.total)

    def take(self) -> Sizes:
        with self._guard:
            highest, self._highest = self._highest, Sizes()
            return highest

    def end(self) -> None:
        self._done.set()
        self.join()


def are_in_force(running: Hedgerow, times: int) -> bool:
    """Return True if every worker has the million that was compiled last, `times` in all."""
    compiled = re.split(r"\b\d{7,} domains compiled", running.stderr)
    return len(compiled) > times and all(f" {role}[" in compiled[times] for role in ("dns", "gate", "inspector"))


def lists_of(server: ListServer, name: str, count: int, folder: Path) -> str:
    """Put ten lists on the server. Return the section of a policy that names them."""
    lines = []
    for source in varied_sources(count, folder):
        assert source.path is not None
        path = f"/{name}/{source.path.name}"
        server.paths[path] = text(source.path.read_bytes())
        lines.append(f"  - {{category: {source.category}, url: '{server.root}{path}', format: plain}}\n")
    return f"lists:\n{''.join(lines)}"


def ask_and_read(running: Hedgerow, internet: SmallInternet, folder: Path) -> None:
    listed = base_names()[: QUESTIONS // 2]
    names = [
        name
        for pair in zip(listed, (f"n{number}.{SITE}" for number in range(QUESTIONS // 2)), strict=True)
        for name in pair
    ]
    (folder / "questions").write_text("".join(f"{name} A\n" for name in names))
    host, port = running.dns
    words = [
        "dnsperf",
        "-s",
        str(host),
        "-p",
        str(port),
        "-d",
        str(folder / "questions"),
        "-n",
        "1",
        "-c",
        "4",
        "-q",
        "50",
    ]
    subprocess.run(words, check=True, capture_output=True)
    proxy = f"http://{running.proxy[0]}:{running.proxy[1]}"
    for number in range(PAGES):
        url = internet.url(SITE, "/", "http" if number % 2 else "https")
        subprocess.run(["curl", "-sk", "-o", "/dev/null", "-x", proxy, url], check=True)


def has_one_inspector(running: Hedgerow, beside: list[int]) -> bool:
    found = running.pids("inspector")
    return len(found) == 1 and found != beside


def measure() -> dict[str, Sizes]:
    """Return figures by moment, or by phase, of which it is the highest."""
    with tempfile.TemporaryDirectory() as name, small_internet() as internet, ListServer().serving() as server:
        folder = Path(name)
        policy = network_section(internet)
        first, second = lists_of(server, "first", DOMAINS, folder), lists_of(server, "second", DOMAINS + 1, folder)
        found: dict[str, Sizes] = {}
        with running_hedgerow(
            policy, options=["--profile", "small"], upstream_authority=internet.authority.root
        ) as running:
            watch = Watch(running)
            watch.start()
            running.edit_policy(f"{policy}{first}")
            wait_until(lambda: are_in_force(running, 1), 300, "the million is not in force")
            found["at most, while the lists are fetched and compiled"] = watch.take()
            found["once it serves"] = sizes(running)
            ask_and_read(running, internet, folder)
            found[f"at most, during {QUESTIONS:,} questions and {PAGES} pages"] = watch.take()
            found["after them"] = sizes(running)
            subprocess.run(["curl", "-s", "--fail", "-o", "/dev/null", f"{running.web}/start"], check=True)
            found["once somebody has opened the web pages"] = sizes(running)
            elder = running.pids("inspector")
            os.kill(elder[0], signal.SIGUSR1)
            wait_until(lambda: has_one_inspector(running, elder), 60, "the inspector got no successor")
            found["at most, while the inspector gets a successor"] = watch.take()
            running.edit_policy(f"{policy}{second}")
            wait_until(lambda: are_in_force(running, 2), 300, "the other million is not in force")
            found["at most, while others are fetched and compiled"] = watch.take()
            found["once those are in force"] = sizes(running)
            watch.end()
        return found


def table(found: dict[str, Sizes]) -> str:
    def row(what: str, octets: Sizes) -> str:
        return (
            f"| {what} | {octets.total() / 1e6:.0f} | "
            + " | ".join(f"{octets[each] / 1e6:.0f}" for each in COLUMNS)
            + " |\n"
        )

    head = (
        f"# The memory of a small machine, measured by `make bench-memory`\n\n{platform.machine()}, Python"
        f" {platform.python_version()}; `--profile small`, lists of {DOMAINS:,} domains, varied from"
        f" {origin_of_names()} names; proportional set sizes in MB. What is measured stands in `bench/memory.py`.\n\n"
    )
    names = f"| | all | {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) + 1)}\n"
    return head + names + "".join(row(what, octets) for what, octets in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    needs.programs("dnsperf", "curl")
    told = table(measure())
    print(told)
    if given.write:
        RESULTS.write_text(told, encoding="utf-8")


if __name__ == "__main__":
    main()
