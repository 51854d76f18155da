"""Measure how long Chromium takes to load a page of 40 requests to 12 hosts, with the proxy and without.

With the proxy, 2 of the hosts are inspected, or all of them as by default for a child under 13.

    .venv/bin/python bench/proxy_page.py [--loads 20] [--write]

The ways alternate; each load has a fresh browser context, so that nothing is cached and every connection is new. The
browsers trust the CAs that they meet, as children's devices do: a browser that is told to ignore their errors makes
half of its connections twice. Everything runs on one machine, so no time is spent in the network and the proxy's share
is larger than on a real line. Needs nginx, Chromium and certutil.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import needs
from playwright.sync_api import sync_playwright
from proxy_inspect import child, free_port
from proxy_stand import Stand, proxy_stand
from small_internet.browser import trusting
from small_internet.running import network_section
from small_internet.whole import SmallInternet, small_internet
from small_internet.zones import HOSTS

RESULTS = Path(__file__).parent / "results" / "proxy_page.md"
REQUESTS, COUNT = 40, 12
DIRECT, PARTLY, ENTIRELY = "no proxy", "hedgerow, 2 hosts inspected", "hedgerow, all hosts inspected"
ONLY_WITH_RULES = ", page_scan: {everywhere: false}"
_UNFIT = (
    "google",
    "youtube",
    "bing",
    "duckduckgo",
    "adult",
    "gambling",
    "signed",
    "expired",
    "wrong",
    "broken",
    "search",
)


def hosts() -> list[str]:
    """Return twelve hosts without rules of their own; the last two are inspected."""
    return [host for host in HOSTS if host.endswith(".example") and not any(part in host for part in _UNFIT)][:COUNT]


def page(names: list[str], port: int) -> str:
    sources = [f"https://{names[number % len(names)]}:{port}/{number}.svg" for number in range(1, REQUESTS)]
    return "<!doctype html><title>A page</title>" + "".join(
        f'<img src="{source}" alt="" width="9" height="9">' for source in sources
    )


def nginx(net: SmallInternet, directory: Path, names: list[str], port: int) -> AbstractContextManager[None]:
    """Serve the page and its pictures."""
    picture = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><!--' + "x" * 3000 + "--></svg>"
    for number in range(1, REQUESTS):
        (directory / f"{number}.svg").write_text(picture)
    (directory / "index.html").write_text(page(names, port))
    # With the field a browser tells the page of the parts of each load, which `page_trace.py` reads.
    return served(
        net, directory, names, port, "text/html html; image/svg+xml svg;", "add_header Timing-Allow-Origin *;"
    )


@contextlib.contextmanager
def served(
    net: SmallInternet, directory: Path, names: list[str], port: int, types: str, more: str = ""
) -> Iterator[None]:
    """Serve a directory by nginx under several names, over HTTP/2. `types` and `more` are of its configuration."""
    servers = []
    for name in names:
        leaf = net.authority.leaf(name)
        servers.append(
            f"server {{ listen {net.address_of(name)}:{port} ssl; http2 on; server_name {name}; root {directory};\n"
            f"ssl_certificate {leaf.certificate}; ssl_certificate_key {leaf.key}; }}\n"
        )
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/nginx.pid; error_log /dev/null; events {{ }}\n"
        f"http {{ types {{ {types} }} access_log off; {more}\n{''.join(servers)} }}\n"
    )
    directory.chmod(0o755)
    with child(["nginx", "-c", str(directory / "nginx.conf")], port, net.address_of(names[0]), core=1):
        yield


def load(browser: Any, url: str) -> float:
    """Return the milliseconds until the page and all of its pictures are loaded."""
    context = browser.new_context()
    try:
        tab = context.new_page()
        tab.goto(url, wait_until="load", timeout=60_000)
        seen = tab.evaluate("[...document.images].filter(image => image.naturalWidth > 0).length")
        assert seen == REQUESTS - 1, f"{seen} of {REQUESTS - 1} pictures came"
        return float(tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventStart"))
    finally:
        context.close()


def stands(net: SmallInternet, names: list[str], port: int) -> dict[str, AbstractContextManager[Stand]]:
    """Return a stand for each way through the proxy."""
    rules = ", ".join(f'"{name}/secret"' for name in names[-2:])
    policy = network_section(net).replace("  ports: [", f"  ports: [{port}, ")
    policies = {
        way: (
            f"{policy}people:\n  mia: {{age: 9, devices: [here], block: [{rules}]{more}}}\n"
            "devices:\n  here: {ip: 127.0.0.1, trusts_ca: true, pass_through: false}\n"
        )
        for way, more in ((PARTLY, ONLY_WITH_RULES), (ENTIRELY, ""))
    }
    return {way: proxy_stand(net, text, {"adult": "adult.example\n"}, tells=False) for way, text in policies.items()}


def launch(
    playwright: Any,
    net: SmallInternet,
    names: list[str],
    stands: dict[str, Stand],
    homes: Path,
    logs: Path | None = None,
) -> dict[str, Any]:
    """Start a browser for each way, at home in a folder of `homes`.

    `logs` is a folder for the browsers' own logs of the network.
    """
    rules = ", ".join(f"MAP {name} {net.address_of(name)}" for name in names)
    browsers = {}
    for number, way in enumerate((DIRECT, *stands)):
        arguments = ["--no-sandbox", "--disable-gpu", *([f"--log-net-log={logs}/{number}.json"] if logs else [])]
        stand = stands.get(way)
        proxy = {"server": f"http://127.0.0.1:{stand.gate.port}"} if stand else None
        arguments += [] if stand else [f"--host-resolver-rules={rules}"]
        trusted = trusting(homes / str(number), net.authority.root, *([stand.ca] if stand else []))
        browsers[way] = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=arguments, proxy=proxy, env=trusted
        )
    return browsers


def measure(
    net: SmallInternet, stands: dict[str, Stand], names: list[str], url: str, loads: int
) -> dict[str, list[float]]:
    """Return the times of each way."""
    found: dict[str, list[float]] = {way: [] for way in (DIRECT, *stands)}
    with tempfile.TemporaryDirectory() as homes, sync_playwright() as playwright:
        browsers = launch(playwright, net, names, stands, Path(homes))
        for browser in browsers.values():
            load(browser, url)
        for number in range(loads):
            for name in sorted(browsers, reverse=number % 2 == 0):
                found[name].append(load(browsers[name], url))
        for browser in browsers.values():
            browser.close()
    return found


def report(found: dict[str, list[float]], loads: int) -> str:
    rows = []
    for name, times in found.items():
        cuts = statistics.quantiles(times, n=20, method="inclusive")
        rows.append(f"| {name} | {statistics.median(times):.0f} | {cuts[18]:.0f} |")
    direct = statistics.median(found[DIRECT])
    ratios = ", ".join(
        f"{way.partition(', ')[2]} {statistics.median(found[way]) / direct:.2f}" for way in (PARTLY, ENTIRELY)
    )
    return (
        f"# A page through the proxy and without one, measured by `make bench-proxy`\n\n{platform.machine()},"
        f" {os.cpu_count()} cores, {loads} loads each in turn, load average {os.getloadavg()[0]:.0f}. {REQUESTS}"
        f" requests to {COUNT} hosts\nin Chromium on the same machine, without any network's delay: milliseconds until"
        " all is there.\n\n| way | p50 | p95 |\n|---|---:|---:|\n"
        + "\n".join(rows)
        + f"\n\nRatios of the medians to that without a proxy: {ratios}.\n"
    )


def lanes(stand: Stand) -> dict[str, float]:
    """Return the numbers of connections by lane."""
    return {key[1]: count for key, count in stand.counters().items() if key[0] == "hedgerow_proxy_connections_total"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, default=20)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    needs.programs("nginx", "/usr/bin/chromium", "certutil")
    names, port = hosts(), free_port()
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(small_internet())
        stack.enter_context(nginx(net, Path(stack.enter_context(tempfile.TemporaryDirectory())), names, port))
        running = {way: stack.enter_context(stand) for way, stand in stands(net, names, port).items()}
        found = measure(net, running, names, f"https://{names[0]}:{port}/index.html", chosen.loads)
        counts = {way: lanes(stand) for way, stand in running.items()}
        assert {way: count["tunnel"] > count["inspect"] for way, count in counts.items()} == {
            PARTLY: True,
            ENTIRELY: False,
        }, counts
    text = report(found, chosen.loads)
    print(json.dumps({"connections": counts}))
    print(text)
    if chosen.write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
