"""Gather the figures of the performance budgets from the results of the other benchmarks, and say which budgets are
met.

    .venv/bin/python bench/budgets.py [--write]

Nothing is measured here. `--write` keeps the table in bench/results/budgets.md.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_DNS = r"^\| {} \|.*\| ([\d.]+) \(([\d.]+–[\d.]+)\) \|$"
_PROXY = r"^\| {} \|(?:.*?\|)?? [\d.]+ \| [\d.]+ \| ([\d.]+) \| ([\d.]+–[\d.]+) \|"
_PAGE = r"{} ([\d.]+)[,.]"


@dataclass(frozen=True, slots=True)
class Budget:
    """A lane, what must hold if anything must, and where its figure stands: a group for the figure, and one for its
    spread.
    """

    lane: str
    peer: str
    must: str
    file: str
    command: str
    pattern: str
    unit: str = ""


BUDGETS = (
    *(
        Budget(f"DNS: {lane}", "Unbound", must, "dns.md", "make bench-dns", _DNS.format(kind))
        for lane, must, kind in (
            ("2,000 blocked names", "≤ 0.8", "blocked"),
            ("2,000 allowed names", "≤ 0.8", "cached"),
            ("2,000 names of both kinds", "≤ 0.8", "mixed"),
            ("100,000 allowed names", "≤ 1.0", "allowed-100000"),
            ("660,000 blocked names", "≤ 1.0", "blocked-660000"),
            ("blocked name, cold", "≤ 3", "cold-blocked"),
            ("forwarded name, cold", "≤ 2.5", "miss"),
            ("random names under one busy site, cold", "≤ 2.5", "busy-site"),
            ("over HTTPS, queries per second", "≥ 0.5", "doh, queries per second"),
        )
    ),
    Budget(
        "new tunnel",
        "Squid",
        "≤ 1.0",
        "proxy_tunnel.md",
        "make bench-proxy",
        _PROXY.format(r"new tunnel \| µs CPU \| squid"),
    ),
    Budget(
        "new tunnel, recorded, all processes",
        "Squid",
        "≤ 1.0",
        "proxy_tunnel.md",
        "make bench-proxy",
        _PROXY.format("new tunnel, recorded, all processes"),
    ),
    Budget("bytes through a tunnel", "Squid", "≤ 0.5", "proxy_tunnel.md", "make bench-proxy", _PROXY.format("bytes")),
    *(
        Budget(
            f"inspected, {lane}",
            "Squid bump",
            must,
            "proxy_inspect.md",
            "make bench-proxy",
            _PROXY.format(rf"{row} \| squid bump"),
        )
        for lane, must, row in (
            ("new TLS connection", "≤ 1.4", "inspected, new TLS connection"),
            ("small request, connection kept", "≤ 2", "small inspected request, connection kept"),
        )
    ),
    *(
        Budget(
            f"page of 40 requests in Chromium, {way}",
            "no proxy",
            must,
            "proxy_page.md",
            "make bench-proxy",
            _PAGE.format(way),
        )
        for way, must in (("2 hosts inspected", "≤ 1.15"), ("all hosts inspected", "≤ 1.35"))
    ),
    Budget(
        "memory, small profile, at most", "", "≤ 250", "memory.md", "make bench-memory", r"^\| [^|]+ \| (\d+) \|", "MB"
    ),
    Budget("start to ready, second start", "", "≤ 1.5", "start.md", "make bench-start", r"^\| ([\d.]+) \|", "s of CPU"),
)


def row(budget: Budget) -> str:
    text = (RESULTS / budget.file).read_text(encoding="utf-8")
    found = [match.groups() for match in re.finditer(budget.pattern, text, re.MULTILINE)]
    if not found:
        figure, verdict = "not measured", "**missed**" if budget.must else ""
    else:
        value, *spread = max(found, key=lambda groups: float(groups[0])) if budget.unit else found[0]
        figure = value + (f" ({spread[0]})" if spread else "")
        verdict = _verdict(float(value), budget.must) if budget.must else ""
    unit = f" {budget.unit}" if budget.unit else ""
    cells = (
        budget.lane,
        budget.peer,
        budget.must + unit if budget.must else "",
        figure + unit,
        verdict,
        f"[{budget.file}]({budget.file})",
        f"`{budget.command}`",
    )
    return f"| {' | '.join(cells)} |"


def _verdict(value: float, must: str) -> str:
    bound = float(must[2:])
    return "met" if (value <= bound if must[0] == "≤" else value >= bound) else "**missed**"


def table() -> str:
    lines = [
        "# Performance budgets",
        "",
        "Gathered by `bench/budgets.py` from the other results, which say how each figure was measured.",
        (
            "Ratios are to the peer in the same run, of CPU unless the lane says otherwise; in brackets the lowest and"
            " highest."
        ),
        "",
        "| lane | peer | must | measured | | from | command |",
        "|---|---|---|---|---|---|---|",
        *map(row, BUDGETS),
        "",
        "A page of which all hosts are inspected, as for children under 13 whose devices trust the CA, takes two TLS",
        "handshakes for each host, with browser and origin, and HTTP/2 in Python, on the browser's own cores.",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    text = table()
    print(text)
    if parser.parse_args().write:
        (RESULTS / "budgets.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
