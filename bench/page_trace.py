"""Trace a page load of `proxy_page.py` from end to end: where its time goes in Chromium, and the CPU time of each
process.

    .venv/bin/python bench/page_trace.py [--loads 10] [--picture docs/images/page-load.svg]

Each way loads the page as often as the others, in turn. The table has the mean milliseconds per load, summed over
connections or requests that run side by side, so the sums exceed the time of the load. The picture shows the load of
each way whose time is the median. Needs nginx, Chromium and certutil.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import needs
import proxy_page
from playwright.sync_api import sync_playwright
from proxy_inspect import cpu_of, free_port
from small_internet.whole import small_internet

PHASES = {
    "waiting": ("startTime", "connectStart", "#d9d9d9"),
    "TCP and CONNECT": ("connectStart", "secureConnectionStart", "#f2a541"),
    "TLS": ("secureConnectionStart", "connectEnd", "#8c6bb1"),
    "in Chromium's queue": ("connectEnd", "requestStart", "#bdbdbd"),
    "request until first byte": ("requestStart", "responseStart", "#41a567"),
    "body": ("responseStart", "responseEnd", "#2c7fb8"),
}
"""The parts of a request: the first and the last moment in the browser's own record of it, and a colour."""

_RECORDS = """() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].map(each => each.toJSON())"""  # noqa: E501
_ROW, _LEFT, _TOP = 9, 150, 40


@dataclass(frozen=True, slots=True)
class Load:
    """One load: milliseconds until all is there, the browser's records of its requests, and CPU milliseconds by
    process.
    """

    milliseconds: float
    records: list[dict[str, Any]]
    cpu: dict[str, float]


def load(browser: Any, url: str, processes: dict[str, Sequence[int]]) -> Load:
    before = {name: cpu_of(*pids) for name, pids in processes.items()}
    context = browser.new_context()
    try:
        tab = context.new_page()
        tab.goto(url, wait_until="load", timeout=60_000)
        records = tab.evaluate(_RECORDS)
    finally:
        context.close()
    cpu = {name: (cpu_of(*pids) - before[name]) * 1000 for name, pids in processes.items()}
    return Load(records[0]["loadEventStart"], records, cpu)


def phases(record: dict[str, Any]) -> dict[str, float]:
    """Return the milliseconds of each part of a request.

    A request on a connection that was open has none for its opening.
    """
    found = {}
    for name, (first, last, _) in PHASES.items():
        found[name] = max(0.0, record[last] - record[first]) if record[first] and record[last] else 0.0
    if record["connectStart"] == record["connectEnd"]:  # an open connection
        found["waiting"] = max(0.0, record["requestStart"] - record["startTime"])
        found["in Chromium's queue"] = 0.0
    return found


def table(loads: dict[str, list[Load]]) -> str:
    names = list(loads)
    lines = ["| mean per load, ms | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    lines.append(
        "| **until all is there** | "
        + " | ".join(f"**{statistics.mean(x.milliseconds for x in loads[n]):.1f}**" for n in names)
        + " |"
    )
    for phase in PHASES:
        sums = [
            statistics.mean(sum(phases(record)[phase] for record in each.records) for each in loads[name])
            for name in names
        ]
        lines.append(f"| {phase}, summed | " + " | ".join(f"{each:.1f}" for each in sums) + " |")
    for process in dict.fromkeys(process for each in loads.values() for process in each[0].cpu):
        cells = [
            (
                f"{statistics.mean(each.cpu[process] for each in loads[name]):.1f}"
                if process in loads[name][0].cpu
                else "–"
            )
            for name in names
        ]
        lines.append(f"| CPU of {process} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(loads: dict[str, list[Load]]) -> str:
    """Return an SVG: the load of each way whose time is the median, request by request."""
    chosen = {name: sorted(each, key=lambda load: load.milliseconds)[len(each) // 2] for name, each in loads.items()}
    longest = max(each.milliseconds for each in chosen.values()) * 1.05
    width, parts, top = 760, list[str](), _TOP
    scale = (width - _LEFT - 20) / longest
    for name, each in chosen.items():
        parts.append(f'<text x="4" y="{top + 12}" font-weight="bold">{name}: {each.milliseconds:.0f} ms</text>')
        top += 20
        for record in sorted(each.records, key=lambda record: record["startTime"]):
            host = re.sub(r"https://([^:/]+).*/", r"\1/", record["name"])
            parts.append(f'<text x="{_LEFT - 4}" y="{top + 7}" text-anchor="end" font-size="7">{host[-38:]}</text>')
            parts += _bars(record, top, scale)
            top += _ROW
        top += 16
    legend = "".join(
        f'<rect x="{4 + 125 * number}" y="8" width="10" height="10" fill="{colour}"/><text x="{18 + 125 * number}"'
        f' y="17">{name}</text>'
        for number, (name, (_, _, colour)) in enumerate(PHASES.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" font-family="sans-serif" font-size="9">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{legend}\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bars(record: dict[str, Any], top: int, scale: float) -> list[str]:
    bars, at = [], record["startTime"]
    for name, milliseconds in phases(record).items():
        if milliseconds:
            x, width = _LEFT + at * scale, max(milliseconds * scale, 0.4)
            bars.append(
                f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{_ROW - 2}" fill="{PHASES[name][2]}"/>'
            )
        at += milliseconds
    return bars


def pids_of_nginx(directory: Path) -> list[int]:
    main = int((directory / "nginx.pid").read_text())
    return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, default=10)
    parser.add_argument("--picture", type=Path, help="file for an SVG")
    parser.add_argument("--net-log", type=Path, help="folder for Chromium's own log of each way")
    chosen = parser.parse_args()
    needs.programs("nginx", "/usr/bin/chromium", "certutil")
    names, port = proxy_page.hosts(), free_port()
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(small_internet())
        web = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(proxy_page.nginx(net, web, names, port))
        stands = {way: stack.enter_context(stand) for way, stand in proxy_page.stands(net, names, port).items()}
        origin = pids_of_nginx(web)
        processes: dict[str, dict[str, Sequence[int]]] = {proxy_page.DIRECT: {"nginx": origin}}
        for way, stand in stands.items():
            processes[way] = {"gate": [stand.gate.pid], "inspector": [stand.inspector.pid], "nginx": origin}
        url, loads = f"https://{names[0]}:{port}/index.html", dict[str, list[Load]]()
        homes = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with sync_playwright() as playwright:
            browsers = proxy_page.launch(playwright, net, names, stands, homes, chosen.net_log)
            for browser in browsers.values():
                proxy_page.load(browser, url)
            before = {way: proxy_page.lanes(stand) for way, stand in stands.items()}
            for number in range(chosen.loads):
                for way in sorted(browsers, reverse=number % 2 == 0):
                    loads.setdefault(way, []).append(load(browsers[way], url, processes[way]))
            for way, stand in stands.items():
                counts = {
                    lane: (count - before[way].get(lane, 0)) / chosen.loads
                    for lane, count in proxy_page.lanes(stand).items()
                }
                print(f"{way}: connections per load {counts}")
            for browser in browsers.values():
                browser.close()
    loads = {way: loads[way] for way in processes}
    print(f"{chosen.loads} loads each in turn, load average {os.getloadavg()[0]:.1f}\n\n{table(loads)}")
    if chosen.picture:
        chosen.picture.write_text(picture(loads), encoding="utf-8")


if __name__ == "__main__":
    main()
