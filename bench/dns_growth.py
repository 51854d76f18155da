"""Measure CPU per query of one DNS worker as the work grows, beside Unbound in the same run, and draw the curves.

    .venv/bin/python bench/dns_growth.py [--pairs 3] [--seconds 2] [--kinds names domains devices rulesets] [--most N]
                                         [--out FILE.md] [--pictures FOLDER]

`names` is the working set, of allowed hosts asked again and again; `domains` the length of the list, with hosts of it
that were never asked before; `devices` the clients that ask, each from an address of its own; `rulesets` the same with
as many different sets of rules. Names are generated as for `dns.py`. `devices` and `rulesets` are measured once, for
ten seconds. Unbound has no rules by device: its curve under `rulesets` is that of the same clients. `--most` leaves out
larger sizes, and Unbound needs half a kilobyte of memory for each domain.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import log10
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # which Python leaves out where it runs safely
import needs
import dns_names
import dns_sides
import results_file
from dns_sides import Side, Stand

import dns

SIZES = {
    "names": (1_000, 10_000, 100_000, 300_000, 1_000_000),
    "domains": (10_000, 100_000, 1_000_000, 5_000_000),
    "devices": (10, 100, 1_000, 10_000),
    "rulesets": (1, 10, 100, 500),
}
TITLES = {"names": "allowed names asked", "domains": "domains listed", "devices": "devices", "rulesets": "rulesets"}
LISTED = 219_000
_WINDOW = 200  # queries in flight, as dnsperf's of all clients together
_SHARED_NAMES = 500  # that every device asks
_CROWD_SECONDS = 10.0  # as long as a worker goes without looking a client up again

type Point = tuple[int, float, float]
"""A size, and the microseconds of CPU per query of Hedgerow and Unbound."""


def address(number: int) -> str:
    """Return the address of a device in the loopback network."""
    return f"127.{10 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def policy(devices: int, rulesets: int) -> str:
    """Return the parts of a policy file with so many devices, whose people have so many different rules."""
    people = "".join(
        f"  p{number}: {{age: 9, block: [rule{number}.example], devices: [DEVICES{number}]}}\n"
        for number in range(rulesets)
    )
    for number in range(rulesets):
        own = ", ".join(f"d{device}" for device in range(number, devices, rulesets))
        people = people.replace(f"DEVICES{number}]", f"{own}]")
    places = "".join(f"  d{number}: {{ip: {address(number + 1)}}}\n" for number in range(devices))
    return f"people:\n{people}devices:\n{places}"


class Crowd:
    """Clients with an address each. They ask a fixed set of names in turn."""

    def __init__(self, devices: int, names: Sequence[str]) -> None:
        self._questions = [dns_names.question(name) for name in names]
        self._devices = devices

    def ask(self, side: Side, seconds: float, least: int = 0) -> float:
        """Ask for so long, and up to a minute longer for `least` answers.

        Returns the microseconds of the server's CPU per answer.
        """
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(_client(number + 1, side.port)) for number in range(self._devices)]
            poll = stack.enter_context(contextlib.closing(select.epoll()))
            by_number = {sock.fileno(): sock for sock in sockets}
            for number in by_number:
                poll.register(number, select.EPOLLIN)
            before, answered, sent, end = dns.cpu_seconds(side), 0, 0, time.monotonic() + seconds
            while (now := time.monotonic()) < end or (answered < least and now < end + 60):
                while sent - answered < _WINDOW:
                    sockets[sent * 7919 % len(sockets)].send(self._questions[sent % len(self._questions)])
                    sent += 1
                found = poll.poll(0.2, _WINDOW)
                for number, _ in found:
                    with contextlib.suppress(BlockingIOError):
                        while by_number[number].recv(2048):
                            answered += 1
                if not found and time.monotonic() - now > 0.15:
                    answered = sent  # lost
            used = dns.cpu_seconds(side) - before
        return used / max(answered, 1) * 1e6


@contextlib.contextmanager
def _client(number: int, port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind((address(number), 0))
        sock.connect(("127.0.0.1", port))
        yield sock


def _cpu(contest: dns.Contest, seconds: float) -> float:
    return dns.measure(contest, seconds).cpu


class Growth:
    """Measures the points of all curves."""

    def __init__(self, folder: Path, upstream: int, pairs: int, seconds: float) -> None:
        self._folder, self._upstream, self._pairs, self._seconds = folder, upstream, pairs, seconds
        self._compiled: tuple[Sequence[str], Path] = (), folder

    def names(self, sizes: Sequence[int]) -> Iterator[Point]:
        listed = dns_names.listed(LISTED)
        with self._sides(listed) as (sides, files):
            for size in sizes:
                contests = [dns.Contest(side, files.of(f"allowed-{size}")) for side in sides]
                for contest in contests:
                    dns.ask_all(contest)
                seconds = max(self._seconds, size / 80_000)
                yield size, *self._alternate([partial(_cpu, contest, seconds) for contest in contests])

    def domains(self, sizes: Sequence[int]) -> Iterator[Point]:
        for size in sizes:
            with self._sides(dns_names.listed(size)) as (sides, files):

                def cold(side: Side, files: dns.QueryFiles = files) -> float:
                    queries = files.fresh("cold-blocked", int(150_000 * self._seconds))
                    return dns.measure(dns.Contest(side, queries), self._seconds).cpu

                yield size, *self._alternate([partial(cold, side) for side in sides])

    def devices(self, sizes: Sequence[int]) -> Iterator[Point]:
        for size in sizes:
            yield size, *self._crowd(size, 1)

    def rulesets(self, sizes: Sequence[int]) -> Iterator[Point]:
        for size in sizes:
            yield size, *self._crowd(max(sizes), size)

    def _crowd(self, devices: int, rulesets: int) -> tuple[float, float]:
        listed = dns_names.listed(LISTED)
        crowd = Crowd(devices, dns_names.hosts(_SHARED_NAMES, 1, listed))
        with self._sides(listed, policy(devices, rulesets)) as (sides, _):
            for side in sides:
                crowd.ask(side, 2.0, 2 * devices)
            ours, theirs = (round(crowd.ask(side, _CROWD_SECONDS), 2) for side in sides)
            return ours, theirs

    @contextlib.contextmanager
    def _sides(self, listed: Sequence[str], who: str = "") -> Iterator[tuple[tuple[Side, Side], dns.QueryFiles]]:
        folder = self._folder_of(listed)
        with contextlib.ExitStack() as stack:
            stand = Stand(folder, listed, self._upstream)
            sides = (
                stack.enter_context(dns_sides.hedgerow(stand, who=who)),
                stack.enter_context(dns_sides.unbound(stand)),
            )
            yield sides, dns.QueryFiles(folder, listed)

    def _folder_of(self, listed: Sequence[str]) -> Path:
        """Return a folder with the compiled list, which is the one before if that was of the same list."""
        before, folder = self._compiled
        if before != listed:
            if before:
                shutil.rmtree(folder)
            folder = self._folder / f"list-{len(listed)}"
            folder.mkdir()
            dns.compile_lists(folder, listed)
            self._compiled = listed, folder
        return folder

    def _alternate(self, measured: Sequence[Callable[[], float]]) -> tuple[float, float]:
        ours, theirs = zip(*[[each() for each in measured] for _ in range(self._pairs)], strict=True)
        return round(statistics.median(ours), 2), round(statistics.median(theirs), 2)


STYLE = """text { font: 14px system-ui, sans-serif; fill: #1d2b20 } .middle { text-anchor: middle } .end { text-anchor: end }
.bg { fill: #f6f8f5 } .axis { stroke: #7d8f80; fill: none } .grid { stroke: #d8e0d9 } .line { fill: none; stroke-width: 2 }
.ours { stroke: #2a6b3c } .ours-point, .ours-name { fill: #2a6b3c }
.theirs { stroke: #1c5fae } .theirs-point, .theirs-name { fill: #1c5fae }
@media (prefers-color-scheme: dark) { text { fill: #e8efe9 } .bg { fill: #161c18 } .axis { stroke: #8da091 } .grid { stroke: #333d36 }
.ours { stroke: #7cc48f } .ours-point, .ours-name { fill: #7cc48f }
.theirs { stroke: #8db8f0 } .theirs-point, .theirs-name { fill: #8db8f0 } }"""  # noqa: E501
"""Colours for light and dark pages."""


def _short(size: int) -> str:
    return next((f"{size // unit} {name}" for unit, name in ((1_000_000, "M"), (1000, "k")) if size >= unit), str(size))


def picture(kind: str, points: Sequence[Point]) -> str:
    """Draw both curves over a logarithmic axis as SVG."""
    width, height, left, low, high = 480, 300, 56, 245, 34  # so that the text can be read on a phone
    first, last = log10(points[0][0]), log10(points[-1][0])
    step = next(
        step
        for step in (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)
        if 5 * step >= max(max(point[1:]) for point in points)
    )
    ticks = range(0, 6 * step, step)

    def place(size: int, value: float) -> tuple[float, float]:
        share = (log10(size) - first) / (last - first or 1)
        return round(left + 10 + share * (width - left - 50), 1), round(low - value / ticks[-1] * (low - high), 1)

    title = f"CPU per query over {TITLES[kind]}, of Hedgerow and of Unbound"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t">']
    parts += [
        f'<title id="t">{title}</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="bg" width="{width}" height="{height}" rx="10"/>',
    ]
    for tick in ticks:
        _, y = place(points[0][0], tick)
        parts.append(
            f'<path class="grid" d="M{left} {y}H{width - 20}"/><text class="end" x="{left - 6}" '
            f'y="{y + 4}">{tick}</text>'
        )
    parts.append(f'<path class="axis" d="M{left} {high}V{low}H{width - 20}"/>')
    parts += [
        f'<text class="middle" x="{place(size, 0)[0]}" y="{low + 18}">{_short(size)}</text>' for size, _, _ in points
    ]
    parts.append(f'<text class="middle" x="{width / 2}" y="{height - 12}">{TITLES[kind]}</text>')
    parts.append(f'<text x="{left}" y="20">µs of CPU per query:</text>')
    for name, style, column in (("Hedgerow", "ours", 1), ("Unbound", "theirs", 2)):
        places = [place(point[0], point[column]) for point in points]
        parts.append(f'<path class="line {style}" d="M{" L".join(f"{x} {y}" for x, y in places)}"/>')
        parts += [f'<circle class="{style}-point" cx="{x}" cy="{y}" r="3"/>' for x, y in places]
        parts.append(f'<text class="{style}-name" x="{left + 62 + 90 * column}" y="20">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def report(curves: dict[str, list[Point]]) -> str:
    lines = [
        "# CPU per query as the work grows",
        "",
        f"By `python bench/dns_growth.py {' '.join(sys.argv[1:])}`: one worker on one core, names generated by "
        f"`bench/dns_names.py`.",
    ]
    for kind, points in curves.items():
        lines += ["", f"| {TITLES[kind]} | Hedgerow | Unbound | ratio |", "|---|---|---|---|"]
        lines += [f"| {size:,} | {ours} µs | {theirs} µs | {ours / theirs:.2f} |" for size, ours, theirs in points]
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    noise = (
        f"At the end the load averages of 1, 5 and 15 minutes were {load}; what measures is about 2 of that by itself."
    )
    return "\n".join([*lines, "", noise, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--kinds", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument(
        "--most", type=int, help="leave out larger sizes", default=max(max(sizes) for sizes in SIZES.values())
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    needs.programs("unbound", "dnsmasq", "dnsperf", "openssl")
    curves: dict[str, list[Point]] = {}
    with tempfile.TemporaryDirectory() as place, dns_sides.upstream() as upstream:
        growth = Growth(Path(place), upstream, options.pairs, options.seconds)
        for kind in options.kinds:
            sizes = [size for size in SIZES[kind] if size <= options.most] or SIZES[kind][:1]
            curves[kind] = []
            for point in getattr(growth, kind)(sizes):
                curves[kind].append(point)
                print(
                    json.dumps({"kind": kind, "size": point[0], "ours_us": point[1], "theirs_us": point[2]}), flush=True
                )
            if options.pictures:
                options.pictures.mkdir(parents=True, exist_ok=True)
                (options.pictures / f"dns-growth-{kind}.svg").write_text(picture(kind, curves[kind]))
    if options.out:
        results_file.write(options.out, report(curves))


if __name__ == "__main__":
    main()
