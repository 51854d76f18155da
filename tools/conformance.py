"""Run the conformance suites and generate `bench/results/conformance.md` from their results (`make conformance`).

    .venv/bin/python tools/conformance.py [http] [http2] [certificates] [websocket] [dns] [--write] [--no-peers]

Results are kept in `bench/results/conformance.json`, so that one area can be run anew. With `--write` the document is
written. The Autobahn suite is installed into `build/conformance-tools`. Squid is compared where it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "conformance.json"
DOCUMENT = ROOT / "bench" / "results" / "conformance.md"
sys.path.insert(0, str(ROOT / "tests" / "support"))

MOST_NAMED = 45
"""Failures of a suite that the document names; the results have all."""

type Rows = list[dict[str, Any]]
"""Rows of an area: `suite`, `program`, `passed`, `total` and `failed`, a list of sentences."""

INTRODUCTION = """# Conformance

`make conformance` runs these suites against Hedgerow and, in the same run, against its peers. A short form of each, against Hedgerow
alone, is part of the tests (`tests/conformance`). A case passes if the outcome is one that the RFC demands or allows. What cannot be
installed from a package registry is rebuilt from the RFCs.

- *Plain HTTP*, *HTTPS* and *HTTP/2 in front*: messages of HTTP/1.1 according to RFC 9110 and RFC 9112, which an origin answers and a client
  sends. In the second suite the proxy decrypts the connection, in the third its client speaks HTTP/2
  (`tests/support/http_conformance/messages.py`).
- *HTTP/2 frames*: frames and HPACK by the sections of RFC 9113 and RFC 7541, as in h2spec (`http2.py` there). The first GOAWAY counts, and
  of 150 requests at once each must be answered, or refused as one too many.
- *Certificates*: origins whose certificate, chain or TLS version is not valid, each in one way, and valid ones (`certificates.py`).
  Revocation is not among them: [the proxy](../../docs/proxy.md#inspectors) does not check it.
- *WebSocket*: the case files of the Autobahn test suite, run by kosoku from PyPI through the proxy to an echo server. A case passes if
  its verdict is as good as without a proxy. Squid is left out: as it is set up here, it forwards no upgrade in decrypted connections.
- *DNS*: the queries of ISC's compliance tests, according to RFC 8906 and the RFCs that each case names, connections over TCP, TLS and
  HTTPS, and the HTTP/2 frames of the latter; both programs forward to the same nameserver. *Authoritative server behind it*: aliases of a zone that Knot DNS serves.
  *Validating Unbound before it*: Unbound validates through the resolver under test, and must get what it gets from Knot DNS itself, which
  signs the zone (`tests/support/dns_conformance`). Deckard's scenarios are among the tests (`tests/dns/test_scenarios.py`).
"""


def http_rows(peers: bool) -> Rows:
    from http_conformance.run_messages import byte_origins, run_explicit, run_http2, run_inspected
    from small_internet.whole import small_internet

    rows: Rows = []
    with small_internet() as net, byte_origins(net) as (plain, secure):
        for proxy in _proxies(net, [plain.port, secure.port], peers):
            rows += _rows(proxy.name, run_explicit(proxy, plain))
            rows += _rows(proxy.name, run_inspected(proxy, secure))
            if proxy.speaks_http2:
                rows += _rows(proxy.name, run_http2(proxy, secure))
    return rows


def http2_rows(peers: bool) -> Rows:
    from http_conformance.http2 import run_http2_cases
    from http_conformance.run_messages import byte_origins
    from small_internet.whole import small_internet

    with small_internet() as net, byte_origins(net) as (_, secure):
        proxies = _proxies(net, [secure.port], peers)
        return [
            row for proxy in proxies if proxy.speaks_http2 for row in _rows(proxy.name, run_http2_cases(proxy, secure))
        ]


def certificate_rows(peers: bool) -> Rows:
    from http_conformance.certificates import root_of, run_certificates
    from http_conformance.proxies import HOST
    from http_conformance.run_messages import byte_origins
    from small_internet.whole import small_internet

    with small_internet() as net, byte_origins(net) as (_, secure):
        root, address = root_of(net.authority), net.address_of(HOST)
        proxies = _proxies(net, [secure.port], peers)
        return [row for proxy in proxies for row in _rows(proxy.name, run_certificates(proxy, secure, root, address))]


def websocket_rows(peers: bool) -> Rows:
    from http_conformance import websocket
    from small_internet.whole import small_internet

    websocket.install()
    with small_internet() as net, websocket.echo_server(net) as port:
        proxies = _proxies(net, [port], peers)
        return [
            row
            for proxy in proxies
            if proxy.relays_websocket
            for row in _rows(proxy.name, websocket.run_websocket(proxy, net, port))
        ]


def dns_rows(peers: bool) -> Rows:
    from dns_conformance.suites import run_all
    from small_internet.whole import small_internet

    with small_internet() as net:
        return [
            row
            for name in (["Hedgerow", "Unbound"] if peers else ["Hedgerow"])
            for row in _rows(name, run_all(name, net))
        ]


AREAS: dict[str, Callable[[bool], Rows]] = {
    "http": http_rows,
    "http2": http2_rows,
    "certificates": certificate_rows,
    "websocket": websocket_rows,
    "dns": dns_rows,
}


def _proxies(net: Any, ports: list[int], peers: bool) -> Iterator[Any]:
    from http_conformance import proxies

    makers = [proxies.hedgerow]
    if peers:
        makers += [proxies.squid] if proxies.is_squid_installed() else []
        makers += [proxies.mitmproxy]
    for make in makers:
        with make(net, ports) as proxy:
            yield proxy


def _rows(program: str, outcomes: Iterable[Any]) -> Rows:
    """Sum the outcomes of one suite up."""
    found: dict[str, dict[str, Any]] = {}
    for each in outcomes:
        row = found.setdefault(
            each.area, {"suite": each.area, "program": program, "passed": 0, "total": 0, "failed": []}
        )
        row["total"] += 1
        row["passed"] += each.passed
        if not each.passed:
            row["failed"].append(f"{each.case} (RFC {each.section}): {each.seen}")
    for row in found.values():
        print(f"{program}, {row['suite']}: {row['passed']} of {row['total']}", flush=True)
        for sentence in row["failed"]:
            print(f"    {sentence}", flush=True)
    return list(found.values())


def render(results: dict[str, Any]) -> str:
    """Return the document."""
    lines = [INTRODUCTION]
    for area, stored in results.items():
        rows: Rows = stored["rows"]
        programs = list(dict.fromkeys(str(row["program"]) for row in rows))
        lines += [f"## {stored.get('title', area)}", "", f"Measured on {stored['date']}.", ""]
        lines += [f"| suite | {' | '.join(programs)} |", f"|---|{'---:|' * len(programs)}"]
        for suite in dict.fromkeys(str(row["suite"]) for row in rows):
            cells = {str(row["program"]): f"{row['passed']} of {row['total']}" for row in rows if row["suite"] == suite}
            lines.append(f"| {suite} | {' | '.join(cells.get(program, '') for program in programs)} |")
        lines.append("")
        for row in rows:
            if row["failed"]:
                lines += [f"What fails with {row['program']}, {row['suite']}:", ""]
                lines += [f"- {_plain(sentence)}" for sentence in row["failed"][:MOST_NAMED]]
                lines += [f"- and {more} more"] if (more := len(row["failed"]) - MOST_NAMED) > 0 else []
                lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _plain(sentence: str) -> str:
    """Return a sentence without what Markdown would take for markup."""
    text = "".join(each if each.isprintable() else "?" for each in sentence)
    for sign in "\\<>|*_`[]":
        text = text.replace(sign, f"\\{sign}")
    return text


TITLES = {
    "http": "HTTP messages",
    "http2": "HTTP/2 frames",
    "certificates": "Certificates",
    "websocket": "WebSocket",
    "dns": "DNS",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"areas to run, by default all: {', '.join(AREAS)}")
    parser.add_argument("--write", action="store_true", help="write the results and bench/results/conformance.md")
    parser.add_argument("--no-peers", action="store_true", help="run against Hedgerow alone")
    chosen = parser.parse_args()
    if unknown := set(chosen.areas) - set(AREAS):
        parser.error(f"unknown areas: {', '.join(sorted(unknown))}")
    results: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
    failed = 0
    for area in chosen.areas or AREAS:
        rows = AREAS[area](not chosen.no_peers)
        failed += sum(len(row["failed"]) for row in rows if row["program"] == "Hedgerow")
        results[area] = {"title": TITLES[area], "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}", "rows": rows}
        if chosen.write:
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            DOCUMENT.write_text(render(results), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
