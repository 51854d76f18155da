"""Measure the inspection lane beside its peers in the same run: a scanned page, a small request, a new TLS connection
(with a page, and with a style sheet, whose words nobody weighs), a refusal, and the growth of the inspector's memory
over many requests.

    .venv/bin/python bench/proxy_inspect.py [--pairs 5] [--requests 1500] [--out FILE]

CPU (user and system) per request of all processes that serve it (gate and inspector here), pinned to one core; hey and
nginx have the other. The sides alternate; medians and the spread of the ratios are printed. e2guardian and Hedgerow
score pages with e2guardian's English lists; Hedgerow also with its own. Needs e2guardian, squid-openssl, nginx and hey
from Debian.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import needs
from proxy_stand import proxy_stand
from small_internet.running import network_section, wait_until
from small_internet.whole import SmallInternet, small_internet

HOST = "news.example"
E2GUARDIAN = Path("/etc/e2guardian")
RESULTS = Path(__file__).parent / "results" / "proxy_inspect.md"
MUST = {
    ("55 kB page, words weighed, plain HTTP", "e2guardian"): 0.4,
    ("small inspected request, connection kept", "mitmdump"): 0.7,
    ("small inspected request, connection kept", "e2guardian"): 2.0,
    ("small inspected request, connection kept", "squid bump"): 2.0,
    ("inspected, new TLS connection", "squid bump"): 1.4,
}
"""The ratio that must not be exceeded."""

MUST_US = {"blocked page, plain HTTP, new connection": 150, "blocked URL, inspected, connection kept": 150}
MUST_GROW_MB, OVER_REQUESTS = 20, 100_000
WORDS = """river bread garden window letter morning teacher market silver cloud engine paper forest bridge winter summer
yellow simple history children music village station planet ocean winter doctor kitchen travel island number
picture science library weather football mountain holiday question language animal travel country machine shadow
pocket ladder basket candle butter needle summer orange purple circle""".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Side:
    """A proxy under test, and all processes that do its work."""

    name: str
    pids: tuple[int, ...]
    port: int

    def cpu(self) -> float:
        """Return the CPU seconds used so far by all of their threads."""
        return cpu_of(*self.pids)


def cpu_of(*pids: int) -> float:
    """Return the CPU seconds that the threads of these processes have used, to the nanosecond where `stat` counts
    hundredths.
    """
    threads = [path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def accepts(address: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((address, port), 1).close()
        return True
    return False


@contextlib.contextmanager
def child(
    command: list[str], port: int, address: str = "127.0.0.1", core: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server pinned to a core until the end of the block, entered once it accepts connections."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: accepts(address, port), 30, command[0])
        yield process
    finally:
        process.terminate()
        process.wait(20)


def a_page() -> bytes:
    chance = random.Random(1)
    paragraphs = (" ".join(chance.choices(WORDS, k=60)) for _ in range(400))
    text = "".join(f'<div class="part"><p>{each}.</p></div>\n' for each in paragraphs)
    return (
        f"<!doctype html><html><head><title>A page</title><style>p {{ margin: 0 }}</style></head><body>{text}".encode()[
            :55_000
        ]
    )


@contextlib.contextmanager
def nginx(net: SmallInternet, directory: Path, plain: int, secure: int) -> Iterator[None]:
    leaf, address = net.authority.leaf(HOST), net.address_of(HOST)
    for name in ("1k.html", "1k.css"):
        (directory / name).write_bytes(b"x" * 1024)
    (directory / "page.html").write_bytes(a_page())
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/nginx.pid; error_log /dev/null; events {{ worker_connections 4096; }}\n"
        "http { types { text/html html; text/css css; } access_log off; keepalive_requests 1000000;\n"
        f"server {{ listen {address}:{plain};\n"
        f"listen {address}:{secure} ssl backlog=2048; root {directory};\n"
        f"ssl_certificate {leaf.certificate}; ssl_certificate_key {leaf.key};\n"
        "location = /swelling.html { add_header Content-Encoding br; } } }\n"
    )
    directory.chmod(0o755)
    with child(["nginx", "-c", str(directory / "nginx.conf")], secure, address, core=1):
        yield


@contextlib.contextmanager
def squid(net: SmallInternet, directory: Path, secure: int) -> Iterator[Side]:
    port = free_port()
    directory.chmod(0o777)
    (directory / "hosts").write_text(f"{net.address_of(HOST)} {HOST}\n")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "9",
            "-subj",
            "/CN=squid",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-keyout",
            f"{directory}/ca.pem",
            "-out",
            f"{directory}/ca.crt",
        ],
        check=True,
        capture_output=True,
    )
    (directory / "ca.pem").write_bytes((directory / "ca.pem").read_bytes() + (directory / "ca.crt").read_bytes())
    (directory / "ca.pem").chmod(0o644)
    certgen = "/usr/lib/squid/security_file_certgen"
    subprocess.run([certgen, "-c", "-s", f"{directory}/certs", "-M", "4MB"], check=True, capture_output=True)
    subprocess.run(["chown", "-R", "proxy", f"{directory}/certs"], check=True)
    (directory / "squid.conf").write_text(
        f"http_port 127.0.0.1:{port} ssl-bump tls-cert={directory}/ca.pem generate-host-certificates=on"
        f" dynamic_cert_mem_cache_size=4MB\nsslcrtd_program {certgen} -s {directory}/certs -M 4MB\nssl_bump bump"
        f" all\ntls_outgoing_options cafile={net.authority.root}\nworkers 1\ncache deny all\naccess_log none\ncache_log"
        f" {directory}/cache.log\npid_filename {directory}/squid.pid\ncoredump_dir {directory}\nhosts_file"
        f" {directory}/hosts\ncache_effective_user proxy\nacl ssl port {secure}\nhttp_access allow"
        " all\nshutdown_lifetime 1 seconds\nmax_filedescriptors 16384\n"
    )
    with child(["squid", "-N", "-f", str(directory / "squid.conf")], port) as process:
        yield Side("squid bump", (process.pid,), port)


@contextlib.contextmanager
def e2guardian(directory: Path, page: str) -> Iterator[Side]:
    """Run e2guardian; start it again where a segmentation fault ends it on its first pages, as happens now and then."""
    port = free_port()
    shutil.copytree(E2GUARDIAN, directory / "etc", symlinks=True)
    for path in (directory / "etc").glob("*.conf"):
        path.write_text(path.read_text().replace("/etc/e2guardian", str(directory / "etc")))
    conf = directory / "etc" / "e2guardian.conf"
    kept = [
        line
        for line in conf.read_text().splitlines()
        if not re.match(r"\s*(filterports|filterip|loglocation|dstatlocation|pidfilename)\b", line)
    ]
    ours = [
        f"filterports = {port}",
        "filterip = 127.0.0.1",
        f"pidfilename = '{directory}/pid'",
        "loglevel = 0",
        "dstatlocation = ''",
    ]
    conf.write_text("\n".join([*kept, *ours]) + "\n")
    directory.chmod(0o777)
    subprocess.run(["chmod", "-R", "a+rX", str(directory)], check=True)
    for _ in range(6):
        with child(["e2guardian", "-N", "-c", str(conf)], port) as process:
            side = Side("e2guardian", (process.pid,), port)
            try:
                for _ in range(3):
                    request_cpu(side, page, 200, kept=True)
            except (AssertionError, OSError):
                print("e2guardian ended on its first pages, and is started anew", file=sys.stderr)
                continue
            yield side
            return
    raise SystemExit("e2guardian ends each time on its first pages")


@contextlib.contextmanager
def mitmdump(directory: Path) -> Iterator[Side]:
    port = free_port()
    command = [
        str(Path(sys.executable).parent / "mitmdump"),
        "-q",
        "--listen-host",
        "127.0.0.1",
        "-p",
        str(port),
        "--ssl-insecure",
    ]
    with child([*command, "--set", f"confdir={directory}"], port) as process:
        yield Side("mitmdump", (process.pid,), port)


def request_cpu(side: Side, url: str, requests: int, *, kept: bool, status: int = 200) -> float:
    """Return the microseconds of CPU per request answered with `status`."""
    command = ["taskset", "-c", "1", "hey", "-n", str(requests), "-c", "10", *([] if kept else ["-disable-keepalive"])]
    before = side.cpu()
    done = subprocess.run(
        [*command, "-x", f"http://127.0.0.1:{side.port}", url], capture_output=True, text=True, check=True
    )
    served = sum(int(count) for count in re.findall(rf"\[{status}\]\s+(\d+) responses", done.stdout))
    assert served >= requests - 20, f"{side.name}: {done.stdout}"
    time.sleep(0.1)
    return (side.cpu() - before) / served * 1e6


def compare(
    name: str, sides: Sequence[tuple[Side, str]], pairs: int, requests: int, *, kept: bool
) -> list[dict[str, object]]:
    found: dict[str, list[float]] = {side.name: [] for side, _ in sides}
    for side, url in sides:
        with contextlib.suppress(AssertionError, OSError):  # if it ended, that is said below
            request_cpu(side, url, 200, kept=kept)
    for number in range(pairs):
        for side, url in sides if number % 2 == 0 else reversed(sides):
            try:
                found[side.name].append(request_cpu(side, url, requests, kept=kept))
            except (AssertionError, OSError):
                if side is sides[0][0]:
                    raise
                print(f"{side.name} ended in run {number}: its row is of the runs before", file=sys.stderr)
    ours, results = found["hedgerow"], []
    for side, _ in sides[1:]:
        if not found[side.name]:
            continue
        ratios = sorted(one / other for one, other in zip(ours, found[side.name], strict=False))
        medians = [round(statistics.median(values)) for values in (ours, found[side.name])]
        row = {
            "measure": name,
            "peer": side.name,
            "hedgerow_us": medians[0],
            "peer_us": medians[1],
            "ratio": round(statistics.median(ratios), 2),
            "spread": [round(ratios[0], 2), round(ratios[-1], 2)],
        }
        print(json.dumps(row), flush=True)
        results.append(row)
    return results


def blocked(side: Side, name: str, url: str, pairs: int, requests: int, *, kept: bool) -> dict[str, object]:
    """Measure a refusal: the block page, rendered anew for each."""
    request_cpu(side, url, 200, kept=kept, status=403)
    found = sorted(request_cpu(side, url, requests, kept=kept, status=403) for _ in range(pairs))
    row = {
        "measure": name,
        "hedgerow_us": round(statistics.median(found)),
        "spread": [round(found[0]), round(found[-1])],
    }
    print(json.dumps(row), flush=True)
    return row


def growth(side: Side, inspector: int, url: str, requests: int) -> dict[str, object]:
    """Return the growth of the inspector's memory over many requests, a fifth of them on connections of their own."""

    def resident() -> float:
        return int(Path(f"/proc/{inspector}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    request_cpu(side, url, 2000, kept=True)
    request_cpu(side, url, 1000, kept=False)
    before = resident()
    request_cpu(side, url, requests * 4 // 5, kept=True)
    request_cpu(side, url, requests // 5, kept=False)
    row = {
        "measure": "inspector's memory",
        "requests": requests,
        "before_mb": round(before),
        "growth_mb": round(resident() - before, 1),
    }
    print(json.dumps(row), flush=True)
    return row


def policy_of(net: SmallInternet, ports: Sequence[int]) -> str:
    lists = sorted((E2GUARDIAN / "lists" / "phraselists" / "ukenglish").glob("*/weighted"))
    section = network_section(net).replace("  ports: [", "  ports: [" + "".join(f"{port}, " for port in ports))
    people = (
        f'people:\n  mia: {{age: 9, devices: [here], block: ["{HOST}/secret"]}}\ndevices:\n  here: {{ip: 127.0.0.1,'
        " trusts_ca: true}\n"
    )
    return section + people + f"phrase_lists: [{', '.join(map(str, lists))}]\n"


def limit_of(row: dict[str, object]) -> float | None:
    measure = str(row["measure"])
    return MUST.get((measure, str(row["peer"]))) if "peer" in row else MUST_US.get(measure)


def against(found: object, limit: float | None) -> str:
    """Return the last cells of a row: the limit, and whether it is met."""
    return "| | |" if limit is None else f"| ≤ {limit} | {'met' if float(str(found)) <= limit else '**missed**'} |"


def report(results: Sequence[dict[str, object]], alone: Sequence[dict[str, object]], pairs: int) -> str:
    """Format the figures as a page. The ratio is Hedgerow's CPU over the peer's. `alone` are figures without a peer."""
    keys = ("measure", "peer", "hedgerow_us", "peer_us", "ratio")
    lines = [
        "# The inspection lane beside its peers, measured by `make bench-proxy`",
        "",
        (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {pairs} pairs in one"
            " run. CPU per request in"
        ),
        "microseconds, of gate and inspector together; ratios are medians of pairs. How: `bench/proxy_inspect.py`.",
        "",
        "| figure | peer | Hedgerow | peer | ratio | spread | must | |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in results:
        low, high = row["spread"]  # type: ignore[misc]
        lines.append(
            "| " + " | ".join(str(row[key]) for key in keys) + f" | {low}–{high} {against(row['ratio'], limit_of(row))}"
        )
    lines += ["", "| figure without a peer | Hedgerow | spread | must | |", "|---|---:|---:|---:|---|"]
    for row in alone:
        if "growth_mb" in row:
            name = f"{row['measure']} over {row['requests']:,} requests, from {row['before_mb']} MB"
            limit = MUST_GROW_MB if int(str(row["requests"])) >= OVER_REQUESTS else None
            lines.append(f"| {name} | {row['growth_mb']:+} MB | {against(row['growth_mb'], limit)}")
        else:
            low, high = row["spread"]  # type: ignore[misc]
            lines.append(
                f"| {row['measure']} | {row['hedgerow_us']} µs | {low}–{high}"
                f" {against(row['hedgerow_us'], limit_of(row))}"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("pairs", 5), ("requests", 1500), ("growth", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="a file for the figures in JSON")
    parser.add_argument("--write", action="store_true", help="write bench/results/proxy_inspect.md")
    chosen = parser.parse_args()
    needs.root("which its peers start with")
    needs.programs("nginx", "hey", "squid", "openssl", "/usr/lib/squid/security_file_certgen", "e2guardian")
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(small_internet())
        web, one, two, three = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(4))
        plain, secure = free_port(), free_port()
        stack.enter_context(nginx(net, web, plain, secure))
        stand = stack.enter_context(
            proxy_stand(net, policy_of(net, (plain, secure)), {"adult": "adult.example\n"}, tells=False)
        )
        for pid in (stand.gate.pid, stand.inspector.pid):
            os.sched_setaffinity(pid, {0})
        ours = Side("hedgerow", (stand.gate.pid, stand.inspector.pid), stand.gate.port)
        address, runs = net.address_of(HOST), (chosen.pairs, chosen.requests)
        page, small = f"http://{HOST}:{plain}/page.html", f"https://{HOST}:{secure}/1k.html"
        its_page = f"http://{address}:{plain}/page.html"
        peers = (e2guardian(one, its_page), mitmdump(two), squid(net, three, secure))
        guardian, dump, bump = (stack.enter_context(each) for each in peers)
        pages = [(ours, page), (guardian, its_page)]
        results = compare("55 kB page, words weighed, plain HTTP", pages, chosen.pairs, chosen.requests // 3, kept=True)
        both = [
            (ours, small),
            (dump, f"https://{address}:{secure}/1k.html"),
            (bump, small),
            (guardian, f"http://{address}:{plain}/1k.html"),
        ]
        results += compare("small inspected request, connection kept", both, *runs, kept=True)
        results += compare(
            "inspected, new TLS connection",
            [(ours, small), (bump, small)],
            chosen.pairs,
            chosen.requests // 3,
            kept=False,
        )
        style = f"https://{HOST}:{secure}/1k.css"  # Squid weighs the words of no page
        results += compare(
            "the same, a style sheet", [(ours, style), (bump, style)], chosen.pairs, chosen.requests // 3, kept=False
        )
        alone = [
            blocked(
                ours, "blocked page, plain HTTP, new connection", f"http://adult.example:{plain}/", *runs, kept=False
            ),
            blocked(
                ours, "blocked URL, inspected, connection kept", f"https://{HOST}:{secure}/secret", *runs, kept=True
            ),
            growth(ours, stand.inspector.pid, small, chosen.growth),
        ]
    if chosen.write:
        RESULTS.write_text(report(results, alone, chosen.pairs), encoding="utf-8")
    if chosen.out:
        chosen.out.write_text(json.dumps([*results, *alone], indent=1) + "\n")


if __name__ == "__main__":
    main()
