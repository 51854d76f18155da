"""Measure one gate worker beside Squid in the same run: CPU per new tunnel, CPU per gigabyte, memory per idle tunnel.

Squid's plain CONNECT is the peer; for new tunnels also its peek and splice, which reads the ClientHello as the gate
does. The gate is that of a whole Hedgerow. Neither side keeps a record (`privacy: none`, `access_log none`), but for
the rows "recorded". The row "all processes" is a tunnel as users have it: 16 devices without names at the same time,
and the time of the gate, control, the resolver and all others, less what the same processes use in such a time without
any load, which the line "without load" says.

    .venv/bin/python bench/proxy_tunnel.py [--pairs 5] [--requests 1500] [--megabytes 400] [--idle 2000] [--only whole]
    [--write]

`--write` keeps the figures in bench/results/proxy_tunnel.md; `make bench-proxy` does that.

The proxy under test is pinned to one core, hey, curl and nginx to the other; the sides alternate; medians and the
spread of the ratios are printed. Both resolve the same name (Squid from a hosts file); the gate also decides about it
and reads the ClientHello.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

sys.path.insert(0, str(Path(__file__).resolve().parent))

import needs
from proxy_inspect import against, cpu_of
from small_internet.running import network_section, running_hedgerow, wait_until
from small_internet.whole import SmallInternet, small_internet

HOST = "news.example"
MUST = {
    ("new tunnel", "squid"): 1.0,
    ("new tunnel, recorded", "squid"): 1.0,
    ("new tunnel, recorded, all processes", "squid"): 1.0,
    ("new tunnel", "squid splice"): 1.0,
    ("bytes", "squid"): 0.5,
}
"""The ratio that must not be exceeded."""

MUST_KB = 30
DEVICES, TUNNELS = 16, 1_200  # of the row "all processes"
SETTLE_S = 2.0  # until what was recorded is written
PAGES_LOADED_S = 30.0  # after a start, until control has loaded the web pages


@dataclass(frozen=True, slots=True)
class Side:
    """A proxy under test. `pid` is the process that does the work, and `others` are those whose time counts too."""

    name: str
    pid: int
    port: int
    others: tuple[int, ...] = ()

    def cpu(self) -> float:
        """Return the CPU seconds used so far, user and system."""
        return cpu_of(self.pid, *self.others)

    def memory(self) -> int:
        """Return its private memory in bytes."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return sum(int(size) for size in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE)) * 1024


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def child(command: list[str], port: int, address: str = "127.0.0.1") -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block, entered once it accepts connections."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(address, port), 20, command[0])
        yield process
    finally:
        process.terminate()
        process.wait(20)


def accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def nginx(net: SmallInternet, directory: Path, port: int, megabytes: int) -> Iterator[None]:
    leaf = net.authority.leaf(HOST)
    (directory / "1k.html").write_bytes(b"x" * 1024)
    with (directory / "big").open("wb") as file:
        file.truncate(megabytes * 1_000_000)
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/nginx.pid; error_log /dev/null; events {{ worker_connections 8192; }}\nhttp {{"
        f" access_log off; sendfile on; server {{ listen {net.address_of(HOST)}:{port} ssl backlog=2048; root"
        f" {directory};\nssl_certificate {leaf.certificate}; ssl_certificate_key {leaf.key}; client_header_timeout"
        " 300s; } }\n"
    )
    directory.chmod(0o755)
    with child(["taskset", "-c", "1", "nginx", "-c", str(directory / "nginx.conf")], port, net.address_of(HOST)):
        yield


@contextlib.contextmanager
def hedgerow(net: SmallInternet, origin: int, *, records: bool = False, whole: bool = False) -> Iterator[Side]:
    """Run Hedgerow with one gate, whose time counts, or with `whole` that of all processes."""
    policy = network_section(net).replace("  ports: [", f"  ports: [{origin}, ") + (
        "" if records else "privacy: none\n"
    )
    with running_hedgerow(policy) as running:
        (gate,) = running.pids("gate")
        others = tuple(pid for pid in running.all_pids() if pid != gate) if whole else ()
        for pid in (gate, *others):
            subprocess.run(["taskset", "-acp", "0", str(pid)], check=True, capture_output=True)
        yield Side("hedgerow", gate, running.proxy[1], others)


@contextlib.contextmanager
def squid(
    net: SmallInternet, directory: Path, origin: int, *, peeks: bool = False, records: bool = False
) -> Iterator[Side]:
    """Run Squid, which relays after a CONNECT; where it `peeks` it reads the ClientHello first, as the gate does."""
    port = free_port()
    directory.chmod(0o777)
    (directory / "hosts").write_text(f"{net.address_of(HOST)} {HOST}\n")
    way, log = peeking(directory) if peeks else ("", ""), f"stdio:{directory}/access.log" if records else "none"
    (directory / "squid.conf").write_text(
        f"http_port 127.0.0.1:{port}{way[0]}\n{way[1]}workers 1\ncache deny all\naccess_log {log}\ncache_log"
        f" {directory}/cache.log\npid_filename {directory}/squid.pid\ncoredump_dir {directory}\nhosts_file"
        f" {directory}/hosts\ncache_effective_user proxy\nacl ssl port {origin}\nhttp_access allow"
        " all\nshutdown_lifetime 1 seconds\nmax_filedescriptors 16384\n"
    )
    with child(["squid", "-N", "-f", str(directory / "squid.conf")], port) as process:
        os.sched_setaffinity(process.pid, {0})
        yield Side("squid splice" if peeks else "squid", process.pid, port)


def peeking(directory: Path) -> tuple[str, str]:
    """Return the options of Squid's port and its configuration that make it read the ClientHello and then relay."""
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
            f"{directory}/ca.key",
            "-out",
            f"{directory}/ca.crt",
        ],
        check=True,
        capture_output=True,
    )
    (directory / "ca.pem").write_bytes((directory / "ca.key").read_bytes() + (directory / "ca.crt").read_bytes())
    (directory / "ca.pem").chmod(0o644)
    certgen = "/usr/lib/squid/security_file_certgen"
    subprocess.run([certgen, "-c", "-s", f"{directory}/certs", "-M", "4MB"], check=True, capture_output=True)
    subprocess.run(["chown", "-R", "proxy", f"{directory}/certs"], check=True)
    rules = (
        f"sslcrtd_program {certgen} -s {directory}/certs -M 4MB\nacl first at_step SslBump1\nssl_bump peek"
        " first\nssl_bump splice all\n"
    )
    return f" ssl-bump tls-cert={directory}/ca.pem generate-host-certificates=on", rules


def connection_cpu(side: Side, origin: int, requests: int) -> float:
    """Return the microseconds of CPU per new tunnel with one small request in it."""
    command = ["taskset", "-c", "1", "hey", "-n", str(requests), "-c", "20", "-disable-keepalive"]
    before = side.cpu()
    done = subprocess.run(
        [*command, "-x", f"http://127.0.0.1:{side.port}", f"https://{HOST}:{origin}/1k.html"],
        capture_output=True,
        text=True,
        check=True,
    )
    served = sum(int(count) for count in re.findall(r"\[200\]\s+(\d+) responses", done.stdout))
    # hey sends as many over each of its 20 connections
    assert served == requests // 20 * 20, f"{side.name}: {done.stdout}"
    time.sleep(0.2)
    return (side.cpu() - before) / served * 1e6


def crowd_cpu(side: Side, origin: int, tunnels: int, idle: float = 0.0) -> float:
    """Return the microseconds of CPU per new tunnel with one small request in it, of many devices at the same time.

    `idle` is what the side uses without any load, in seconds of CPU per second.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = f"GET /1k.html HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()

    def visit(device: int) -> None:
        os.sched_setaffinity(0, {1})  # of this thread
        for _ in range(tunnels // DEVICES):
            with socket.create_connection(("127.0.0.1", side.port), 20, (f"127.0.3.{1 + device}", 0)) as plain:
                plain.sendall(f"CONNECT {HOST}:{origin} HTTP/1.1\r\nHost: {HOST}:{origin}\r\n\r\n".encode())
                assert plain.recv(200).startswith(b"HTTP/1.1 200")
                with context.wrap_socket(plain, server_hostname=HOST) as tunnel:
                    tunnel.sendall(request)
                    assert tunnel.recv(4096).startswith(b"HTTP/1.1 200")

    before, began = side.cpu(), time.monotonic()
    with ThreadPoolExecutor(DEVICES) as devices:
        for _ in devices.map(visit, range(DEVICES)):
            pass
    time.sleep(SETTLE_S)
    used = side.cpu() - before - idle * (time.monotonic() - began)
    return used / (tunnels // DEVICES * DEVICES) * 1e6


def idle_cpu(side: Side) -> float:
    """Return the seconds of CPU per second that a side uses without any load, the least of several seconds."""

    def of_a_second() -> float:
        before = side.cpu()
        time.sleep(1)
        return side.cpu() - before

    return min(of_a_second() for _ in range(5))


def gigabyte_cpu(side: Side, origin: int, megabytes: int) -> float:
    """Return the CPU seconds per downloaded gigabyte."""
    before = side.cpu()
    command = [
        "taskset",
        "-c",
        "1",
        "curl",
        "-sko",
        "/dev/null",
        "-w",
        "%{size_download}",
        "-x",
        f"http://127.0.0.1:{side.port}",
    ]
    done = subprocess.run([*command, f"https://{HOST}:{origin}/big"], capture_output=True, text=True, check=True)
    assert int(done.stdout) == megabytes * 1_000_000, f"{side.name}: {done.stdout}"
    return (side.cpu() - before) / (megabytes / 1000)


def idle_memory(side: Side, origin: int, count: int) -> float:
    """Return the kilobytes per idle tunnel, after its ClientHello."""
    before, hello = side.memory(), client_hello()
    with contextlib.ExitStack() as stack:
        for number in range(count):
            client = stack.enter_context(
                socket.create_connection(("127.0.0.1", side.port), 10, (f"127.0.2.{1 + number % 50}", 0))
            )
            client.sendall(f"CONNECT {HOST}:{origin} HTTP/1.1\r\nHost: {HOST}:{origin}\r\n\r\n".encode())
            assert client.recv(200).startswith(b"HTTP/1.1 200")
            client.sendall(hello)
            assert client.recv(1) == b"\x16"
        return (side.memory() - before) / count / 1000


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def compare(
    name: str, unit: str, sides: tuple[Side, Side], pairs: int, measure: Callable[[Side], float]
) -> dict[str, object]:
    ours, theirs = sides
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(pairs):
        for side in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            found[side.name].append(measure(side))
    ratios = sorted(one / other for one, other in zip(found[ours.name], found[theirs.name], strict=True))
    medians = {side: round(statistics.median(values), 2) for side, values in found.items()}
    result = {
        "measure": name,
        "unit": unit,
        "peer": theirs.name,
        "hedgerow": medians[ours.name],
        "squid": medians[theirs.name],
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
    }
    print(json.dumps(result))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("pairs", 5), ("requests", 1500), ("megabytes", 400), ("idle", 2000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--only", choices=("gate", "whole"), help="the rows of the gate alone, or that of all processes"
    )
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    needs.root("which its peers start with")
    needs.programs("nginx", "squid", "hey", "curl")
    results: list[dict[str, object]] = []
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(small_internet())
        web, log = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        origin = free_port()
        stack.enter_context(nginx(net, web, origin, chosen.megabytes))
        recording = stack.enter_context(squid(net, log, origin, records=True))
        if chosen.only != "whole":
            results += gate_results(net, origin, recording, chosen)
        if chosen.only != "gate":
            results.append(whole_result(net, origin, recording, chosen))
    if chosen.write:
        write(results, chosen.pairs)


def gate_results(
    net: SmallInternet, origin: int, recording: Side, chosen: argparse.Namespace
) -> list[dict[str, object]]:
    """Measure the gate alone. `recording` is the Squid that keeps a record."""

    def tunnel(side: Side) -> float:
        return connection_cpu(side, origin, chosen.requests)

    with contextlib.ExitStack() as stack:
        peer, splice = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        sides = (stack.enter_context(hedgerow(net, origin)), stack.enter_context(squid(net, peer, origin)))
        splicing = (sides[0], stack.enter_context(squid(net, splice, origin, peeks=True)))
        recorded = (stack.enter_context(hedgerow(net, origin, records=True)), recording)
        for side in (*sides, splicing[1], *recorded):
            connection_cpu(side, origin, 300)
        return [
            compare("new tunnel", "µs CPU", sides, chosen.pairs, tunnel),
            compare("new tunnel", "µs CPU", splicing, chosen.pairs, tunnel),
            compare("new tunnel, recorded", "µs CPU", recorded, chosen.pairs, tunnel),
            compare(
                "bytes", "s CPU a GB", sides, chosen.pairs, lambda side: gigabyte_cpu(side, origin, chosen.megabytes)
            ),
            compare("idle tunnel", "kB", sides, 1, lambda side: idle_memory(side, origin, chosen.idle)),
        ]


def whole_result(net: SmallInternet, origin: int, recording: Side, chosen: argparse.Namespace) -> dict[str, object]:
    """Measure all processes, with recording on both sides."""
    with hedgerow(net, origin, records=True, whole=True) as ours:
        for side in (ours, recording):
            crowd_cpu(side, origin, DEVICES * 10)
        time.sleep(PAGES_LOADED_S)
        idle = {side.name: idle_cpu(side) for side in (ours, recording)}
        print("without load, ms of CPU per second:", {side: round(used * 1e3, 1) for side, used in idle.items()})

        def tunnel(side: Side) -> float:
            return crowd_cpu(side, origin, TUNNELS, idle[side.name])

        return compare("new tunnel, recorded, all processes", "µs CPU", (ours, recording), chosen.pairs, tunnel)


def write(results: list[dict[str, object]], pairs: int) -> None:
    """Write the figures as a table beside the others."""
    lines = [
        "# The tunnel lane beside Squid, measured by `make bench-proxy`",
        "",
        (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {pairs} pairs in a run,"
            " the proxy pinned to one core, the load to the other. What each figure is stands in"
            " `bench/proxy_tunnel.py`."
        ),
        "",
        "| figure | unit | peer | Hedgerow | peer | ratio (median of pairs) | spread | must | |",
        "|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for each in results:
        low, high = each["spread"]  # type: ignore[misc]
        cells = (
            each["measure"],
            each["unit"],
            each["peer"],
            each["hedgerow"],
            each["squid"],
            each["ratio"],
            f"{low}–{high}",
        )
        limit = MUST.get((str(each["measure"]), str(each["peer"])))
        must = against(each["ratio"], limit)
        if each["measure"] == "idle tunnel":
            must = against(each["hedgerow"], MUST_KB).replace("| ≤ 30", "| ≤ 30 kB")
        lines.append("| " + " | ".join(map(str, cells)) + f" {must}")
    (Path(__file__).parent / "results" / "proxy_tunnel.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
