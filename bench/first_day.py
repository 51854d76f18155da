"""Follow the guide on a new machine, wait for the public lists, and count the adult names that are blocked for a child.

    .venv/bin/python bench/first_day.py --unused FILE … [--data FOLDER] [--write]

The publishers are played on loopback with stored copies (`tests/support/list_mirror.py`); lists without a copy are
missing, so the figures are lower bounds. Random names are drawn from a list of adult names that is neither in force nor
among the sources of the name model (`tools/recogniser.yaml`). Popular names are those of half of Tranco's first 20,000
that all unused lists know: taking the used ones would answer the question by itself. A name counts as blocked if the
child's device gets another answer than the upstream's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import DNSHandler, DNSLogger, DNSServer

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "bench" / "results" / "first_day.md"
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests" / "support")]

import needs  # noqa: E402
import results_file  # noqa: E402
from list_mirror import ListMirror, stored_lists  # noqa: E402

from hedgerow.blocklists.names import parse_host  # noqa: E402
from hedgerow.blocklists.sources import public_sources, starter_sources  # noqa: E402

CHILD = "127.0.0.31"
OPEN = "198.51.100.7"
SAMPLE = 1000
SECONDS_AFTER_THE_GUIDE = 60.0

NO_ADULT_SITES = {
    "101domain.com": "a registrar",
    "51.la": "statistics of visits",
    "cosmopolitan.com": "a magazine",
    "fasthosts.co.uk": "a registrar",
    "postimage.org": "a host of pictures",
    "super.cz": "a magazine",
    "torrid.com": "a shop for clothes",
    "yes24.com": "a shop for books",
    "yourtango.com": "a magazine",
}
"""Popular names of bannedbook's list that stay open, and are no adult sites, as was read: the list errs."""


class AnyName:
    """An upstream that knows every name."""

    def resolve(self, request: DNSRecord, _handler: DNSHandler) -> DNSRecord:
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            reply.add_answer(RR(request.q.qname, rdata=A(OPEN), ttl=60))
        return reply


@dataclass(frozen=True, slots=True)
class Names:
    """The names that are asked for: each is a plain host."""

    popular: tuple[str, ...]
    random: tuple[str, ...]
    good: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of blocked names, popular names that stay open, and what the machine says about itself after the guide."""

    popular: float
    open: tuple[str, ...]
    random: float
    good: tuple[str, ...]
    seconds: float
    coverage: str


def hosts_in(path: Path) -> set[str]:
    words = (
        line.partition("#")[0].replace(",", " ").split()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    )
    return {host for each in words if each and (host := parse_host(each[-1])) is not None}


def knows(hosts: set[str], name: str) -> bool:
    labels = name.split(".")
    return any(".".join(labels[start:]) in hosts for start in range(len(labels) - 1))


def read_names(data: Path, unused: Sequence[Path]) -> Names:
    """Read the names to ask for; the draw is the same each time."""
    lists = [hosts_in(path) for path in unused]
    popular = tuple(
        name
        for name in sorted(hosts_in(data / "benign/tranco20k-half-a.txt"))
        if all(knows(each, name) for each in lists)
    )
    drawn = random.Random(14).sample(sorted(lists[0]), SAMPLE)
    good = [
        hosts_in(source.path)
        for source in starter_sources()
        if source.path and source.category in {"health", "sexual-education"}
    ]
    return Names(popular, tuple(drawn), tuple(sorted(set().union(*good))))


@contextlib.contextmanager
def running(folder: Path, mirror: ListMirror, selection: str) -> Iterator[tuple[str, tuple[str, int]]]:
    """Run Hedgerow on a new machine. Yields the address of the pages and of the resolver."""
    upstream = DNSServer(AnyName(), port=0, address="127.0.0.1", logger=DNSLogger(logf=lambda _line: None))
    upstream.start_thread()
    policy, state = folder / "hedgerow.yaml", folder / "state"
    port = upstream.server.server_address[1]
    policy.write_text(f'network:\n  lists: {selection}\n  lan: [127.0.0.0/8]\n  upstream: ["127.0.0.1:{port}"]\n')
    ports = [option for name in ("dns", "proxy", "web") for option in (f"--{name}", "127.0.0.1:0")]
    arguments = ["up", "--policy", str(policy), "--state", str(state), "--workers", "1", *ports]
    command, environment = (
        [*mirror.program, str(Path(sys.executable).with_name("hedgerow")), *arguments],
        {**os.environ, **mirror.environment},
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        assert process.stdout
        ready = next(line for line in process.stdout if line.startswith("hedgerow ready"))
        dns, web = re.findall(r"dns=(\S+) proxy=\S+ web=(\S+)", ready)[0]
        yield web, (dns.rpartition(":")[0], int(dns.rpartition(":")[2]))
    finally:
        process.terminate()
        process.wait(30)
        upstream.stop()


def follow_the_guide(web: str, state: Path) -> httpx.Client:
    """Do what a parent does in the guide: a password, the place, a child of nine years, and the child's tablet."""
    command = [str(Path(sys.executable).with_name("hedgerow")), "setup", "--json", "--state", str(state)]
    code = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["code"]
    browser = httpx.Client(base_url=web, trust_env=False, timeout=30, headers={"origin": web})
    steps = {
        "password": {"name": "Ana", "password": "four words and more", "code": code},
        "place": {"country": "PT", "zone": "Europe/Lisbon"},
        "people": {"name-0": "Ana", "adult-0": "yes", "name-1": "Mia", "age-1": "9"},
        "devices": {"device-0": CHILD, "called-0": "tablet", "person-0": "Mia"},
    }
    for step, form in steps.items():
        _post(browser, step, form)
    return browser


def _post(browser: httpx.Client, step: str, form: dict[str, str]) -> None:
    answer = browser.post(f"/start/{step}", data=form)
    if answer.status_code != 303:
        sys.exit(f"the step {step} of the guide answered {answer.status_code}")


def blocked(names: Sequence[str], resolver: tuple[str, int]) -> list[str]:
    """Return the names for which the child's device gets another answer than the upstream's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.bind((CHILD, 0))
        device.settimeout(10)
        device.connect(resolver)
        return [name for name in names if OPEN not in [str(each.rdata) for each in _ask(device, name).rr]]


def _ask(device: socket.socket, name: str) -> DNSRecord:
    """Ask for a name, up to three times: a busy machine loses datagrams."""
    question = DNSRecord.question(name)
    for _ in range(3):
        device.send(question.pack())
        with contextlib.suppress(TimeoutError):
            while (answer := DNSRecord.parse(device.recv(65535))).header.id != question.header.id:
                pass
            return answer
    sys.exit(f"the resolver did not answer for {name}")


def measure(names: Names, lists: dict[str, bytes], selection: str) -> Shares:
    """Measure one minute after the guide, or earlier if no list is waited for any more."""
    with tempfile.TemporaryDirectory() as text, ListMirror(lists, Path(text)).serving() as mirror:
        folder = Path(text)
        with running(folder, mirror, selection) as (web, resolver):
            browser, since = follow_the_guide(web, folder / "state"), time.monotonic()
            while True:
                status = browser.get("/api/v1/status").json()
                waits = any(row["waiting"] for row in status["lists"])
                if not waits or time.monotonic() - since > SECONDS_AFTER_THE_GUIDE:
                    break
                time.sleep(0.5)
            seconds = time.monotonic() - since
            stopped = set(blocked(names.popular, resolver))
            still_open = tuple(name for name in names.popular if name not in stopped)
            share = len(blocked(names.random, resolver)) / len(names.random)
            adult = next(row for row in status["coverage"] if row["category"] == "adult")
            told = f"{adult['names']:,} names from {adult['lists']} lists, state {adult['state']}"
            return Shares(
                len(stopped) / len(names.popular),
                still_open,
                share,
                tuple(blocked(names.good, resolver)),
                seconds,
                told,
            )


def report(names: Names, results: dict[str, Shares], unused: Path) -> str:
    def row(selection: str, each: Shares) -> str:
        wrong = f"{len(each.good)} of {len(names.good)}"
        return (
            f"| `{selection}` | {each.popular:.1%} | {each.random:.1%} | {wrong} | {each.seconds:.0f} s |"
            f" {each.coverage} |"
        )

    titles = (
        *(
            "`network.lists`",
            f"{len(names.popular)} popular adult names",
            f"{len(names.random)} random names of `{unused.name}`",
        ),
        *("health and sexual education", "after the guide", "adult sites by the machine's own account"),
    )
    wrong = sorted({name for each in results.values() for name in each.good})
    table = [
        f"| {' | '.join(titles)} |",
        f"|{'---|' * len(titles)}",
        *(row(selection, each) for selection, each in results.items()),
    ]
    mistakes = ["", f"Blocked by mistake: {', '.join(wrong)}."] if wrong else []
    return "\n".join([*table, *mistakes, "", by_reading(names.popular, results["recommended"].open)])


def by_reading(popular: Sequence[str], still_open: Sequence[str]) -> str:
    """Return the popular names that stay open, and the share that is blocked without those that are no adult sites."""
    harmless = [name for name in still_open if name in NO_ADULT_SITES]
    others = [name for name in still_open if name not in NO_ADULT_SITES]
    count = len(popular) - len(harmless)
    return (
        f"**{len(still_open)} popular names stay open with the recommended lists.** {len(harmless)} were read, and are"
        f" no adult sites: {', '.join(f'`{name}` ({NO_ADULT_SITES[name]})' for name in harmless)}. The others are, or"
        f" may be: {', '.join(f'`{name}`' for name in others) or 'none'}. Of the {count} names without these"
        f" {len(harmless)}, {count - len(others)} are blocked: **{(count - len(others)) / count:.1%}**. The blocked"
        " ones were not read; a few of them may be no adult sites either."
    )


def served_adult_lists(lists: dict[str, bytes]) -> list[str]:
    """Return the recommended lists of adult sites of which there is a copy."""
    return [
        each.name
        for each in public_sources().values()
        if each.category == "adult" and each.default_for and each.url in lists
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="the folder of stored copies"
    )
    parser.add_argument(
        "--unused", type=Path, nargs="+", default=[], help="lists of adult names, neither used nor trained on"
    )
    parser.add_argument("--write", action="store_true", help="write bench/results/first_day.md")
    options = parser.parse_args()
    if not options.data.is_dir() or not options.unused:
        needs.stop(
            f"the folder of stored copies of public lists (--data, now {options.data}) and lists of adult names that"
            " are unused (--unused)"
        )
    unused = options.unused
    names, lists = read_names(options.data, unused), stored_lists(options.data)
    results = {selection: measure(names, lists, selection) for selection in ("starter", "recommended")}
    text = report(names, results, unused[0])
    print(text)
    if options.write:
        files = " ".join(path.name for path in unused)
        head = (
            f"`bench/first_day.py --unused {files}` on Python {platform.python_version()},"
            f" {time.strftime('%Y-%m-%d')}. "
        )
        head += (
            "Shares blocked for a child of nine. Popular\nnames: those in half of Tranco's first 20,000 that each of"
            " these lists has. "
        )
        head += (
            "Of the recommended lists of adult sites, stored copies stood"
            f" for\n{', '.join(served_adult_lists(lists))}.\n"
        )
        results_file.write(RESULT, f"# The first day\n\n{head}\n{text}\n")


if __name__ == "__main__":
    main()
