"""Attack the inspector from one device and measure another device's requests, and the memory of the whole.

    .venv/bin/python bench/abuse.py [--seconds 8] [--only NAME …] [--hedgerow PATH] [--out FILE] [--write]

One process sends as fast as it can, on one connection after the other; a second one asks for a small page every 20 ms,
by turns in an inspected connection that stays open, in a new inspected connection, and over plain HTTP. `--hedgerow`
names another version's command: the figures of the table's column "before" are those of 0.1.0. Needs nginx.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "bench")]

import needs  # noqa: E402
import brotli  # noqa: E402
from hpack import Encoder  # noqa: E402
from hyperframe import frame  # noqa: E402
from proxy_inspect import free_port, nginx  # noqa: E402
from small_internet import running  # noqa: E402
from small_internet.running import network_section, running_hedgerow  # noqa: E402
from small_internet.whole import small_internet  # noqa: E402

HOST = "news.example"
ATTACKER, VICTIM = "127.0.0.11", "127.0.0.12"
RESULTS = ROOT / "bench" / "results" / "abuse.md"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame.SettingsFrame(0).serialize()
MUST_MS, MUST_MB = 100.0, 50.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Target:
    """A running Hedgerow and the page to ask for."""

    proxy: tuple[str, int]
    ca: str
    plain: int
    secure: int


def connect(target: Target, source: str, protocol: str = "http/1.1") -> ssl.SSLSocket:
    """Open an inspected connection."""
    client = socket.create_connection(target.proxy, 30, (source, 0))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = f"{HOST}:{target.secure}".encode()
    client.sendall(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (name, name))
    if not client.recv(1000).startswith(b"HTTP/1.1 200"):
        raise ConnectionError("the tunnel was refused")
    context = ssl.create_default_context(cafile=target.ca)
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(client, server_hostname=HOST)


# Attacks: each is what one connection sends, without end.


def requests(path: str, *, reset: bool) -> Iterator[bytes]:
    encoder = Encoder()
    for batch in range(0, 1 << 30, 50):
        pieces = []
        for stream in range(2 * batch + 1, 2 * batch + 101, 2):
            fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)]
            pieces.append(
                frame.HeadersFrame(stream, encoder.encode(fields), flags=["END_HEADERS", "END_STREAM"]).serialize()
            )
            if reset:
                pieces.append(frame.RstStreamFrame(stream, error_code=8).serialize())
        yield b"".join(pieces)


def repeat(piece: bytes, size: int = 64 * 1024) -> Iterator[bytes]:
    many = piece * max(1, size // len(piece))
    while True:
        yield many


def continuations() -> Iterator[bytes]:
    yield frame.HeadersFrame(1, b"\x82\x84", flags=["END_STREAM"]).serialize()
    yield from repeat(frame.ContinuationFrame(1, b"").serialize())


def large_heads() -> Iterator[bytes]:
    """Heads of many fields that compress to one octet each."""
    for stream in range(1, 1 << 30, 2):
        block = b"\x82\x84\x87" + b"\x90" * 1900
        yield frame.HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"]).serialize()


def pipelined(path: str) -> Iterator[bytes]:
    yield from repeat(
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nSec-Fetch-Dest: document\r\n\r\n".encode()
    )


def upload() -> Iterator[bytes]:
    """A form for access requests, of any length."""
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", HOST), (":path", "/.well-known/hedgerow/ask")]
    for stream in range(1, 1 << 30, 2):
        yield frame.HeadersFrame(stream, Encoder().encode(fields), flags=["END_HEADERS"]).serialize()
        for _ in range(4096):
            yield frame.DataFrame(stream, bytes(16_384)).serialize()
        yield frame.DataFrame(stream, b"x" * 64, flags=["END_STREAM"]).serialize()


def swelling() -> Iterator[bytes]:
    """A page of some hundred octets that unpacks to 30 MB of the letter that stands for the longest words."""
    while True:
        yield (
            f"GET /swelling.html HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nSec-Fetch-Dest: "
            f"document\r\n\r\n".encode()
        )


def one_long_tag() -> Iterator[bytes]:
    """A page that is one tag of 61,000 characters, short enough to be scanned inline."""
    yield from pipelined("/tag.html")


def nothing() -> Iterator[bytes]:
    yield b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


ATTACKS: dict[str, tuple[str, int, Callable[[], Iterator[bytes]]]] = {
    "none": ("", 0, nothing),
    "rapid reset": ("h2", 1, lambda: requests("/1k.html", reset=True)),
    "rapid reset, 20 connections": ("h2", 20, lambda: requests("/1k.html", reset=True)),
    "requests that are blocked": ("h2", 1, lambda: requests("/secret", reset=False)),
    "SETTINGS": ("h2", 1, lambda: repeat(frame.SettingsFrame(0, settings={4: 65535}).serialize())),
    "PING": ("h2", 1, lambda: repeat(frame.PingFrame(0, opaque_data=b"12345678").serialize())),
    "PRIORITY": ("h2", 1, lambda: repeat(frame.PriorityFrame(1, stream_weight=3).serialize())),
    "PRIORITY, 20 connections": ("h2", 20, lambda: repeat(frame.PriorityFrame(1, stream_weight=3).serialize())),
    "WINDOW_UPDATE": ("h2", 1, lambda: repeat(frame.WindowUpdateFrame(0, window_increment=1).serialize())),
    "CONTINUATION": ("h2", 1, continuations),
    "large heads": ("h2", 1, large_heads),
    "pipelined requests, blocked": ("http/1.1", 1, lambda: pipelined("/secret")),
    "pipelined requests, 20 connections": ("http/1.1", 20, lambda: pipelined("/secret")),
    "a form without end": ("h2", 1, upload),
    "pages that swell": ("http/1.1", 4, swelling),
    "pages of one tag": ("http/1.1", 4, one_long_tag),
    "new connections": ("http/1.1", 8, nothing),
}


def attack(pipe: Pipe, target: Target, name: str, seconds: float) -> None:
    """Send until the time is over, and report connections and octets."""
    import threading

    protocol, count, make = ATTACKS[name]
    ends = time.monotonic() + seconds
    opened, sent, lock = [0], [0], threading.Lock()

    def one() -> None:
        while time.monotonic() < ends:
            with contextlib.suppress(OSError), connect(target, ATTACKER, protocol) as client:
                with lock:
                    opened[0] += 1
                client.settimeout(0.2)
                if protocol == "h2":
                    client.sendall(PREFACE)
                pieces = make()
                for piece in pieces:
                    if time.monotonic() > ends:
                        break
                    _send(client, piece, ends)
                    with lock:
                        sent[0] += len(piece)
                if make is nothing:
                    while client.recv(65536):
                        pass

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send((opened[0], sent[0]))


def _send(client: ssl.SSLSocket, piece: bytes, ends: float) -> None:
    """Send all of it, and read what comes, so that the other side is never stopped by a full window."""
    client.setblocking(False)
    view = memoryview(piece)
    while view and time.monotonic() < ends:
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not client.recv(65536):
                raise ConnectionError
        try:
            view = view[client.send(view[:16384]) :]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            time.sleep(0.001)
    client.setblocking(True)


def ask(client: socket.socket, path: str = "/1k.html") -> None:
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    seen = b""
    while b"\r\n\r\n" not in seen or len(seen.partition(b"\r\n\r\n")[2]) < 1024:
        piece = client.recv(65536)
        if not piece:
            raise ConnectionError("closed")
        seen += piece
    if not seen.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(seen[:40])


def suffer(pipe: Pipe, target: Target, seconds: float) -> None:
    """Ask by turns in three ways, and report the seconds that each took; a failure counts as 30."""
    kept = connect(target, VICTIM)
    ask(kept)

    def again() -> None:
        ask(kept)

    def anew() -> None:
        with connect(target, VICTIM) as client:
            ask(client)

    def plain() -> None:
        with socket.create_connection(target.proxy, 30, (VICTIM, 0)) as client:
            client.sendall(
                f"GET http://{HOST}:{target.plain}/1k.html HTTP/1.1\r\nHost: {HOST}:{target.plain}\r\n\r\n".encode()
            )
            seen = b""
            while len(seen) < 1024:
                piece = client.recv(65536)
                if not piece:
                    raise ConnectionError("closed")
                seen += piece

    anew(), plain()
    pipe.send("ready")
    pipe.recv()
    found: list[float] = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for way in (again, anew, plain):
            began = time.monotonic()
            try:
                way()
                found.append(time.monotonic() - began)
            except OSError as error:
                print(f"the victim failed: {error!r}", file=sys.stderr)
                found.append(30.0)
            time.sleep(0.02)
    pipe.send(found)


def memory_of(pids: Sequence[int]) -> float:
    """Return the proportional set size of processes in MB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure(hedgerow: Any, target: Target, name: str, seconds: float) -> dict[str, object]:
    ours, theirs = _SPAWN.Pipe()
    victim = _SPAWN.Process(target=suffer, args=(theirs, target, seconds))
    victim.start()
    assert ours.recv() == "ready"
    before = peak = memory_of(hedgerow.all_pids())
    reports, reporting = _SPAWN.Pipe()
    attacker = _SPAWN.Process(target=attack, args=(reporting, target, name, seconds))
    attacker.start()
    ours.send("go")
    ends = time.monotonic() + seconds + 60
    while not ours.poll(0.25):
        peak = max(peak, memory_of(hedgerow.all_pids()))
        assert time.monotonic() < ends, "the victim never came back"
    found = sorted(ours.recv())
    opened, sent = reports.recv()
    for process in (victim, attacker):
        process.join(30)
    row: dict[str, object] = {
        "attack": name,
        "connections_per_second": round(opened / seconds, 1),
        "mb_per_second": round(sent / seconds / 1e6, 2),
        "asked": len(found),
        "median_ms": round(found[len(found) // 2] * 1000, 1),
        "p99_ms": round(found[int(len(found) * 0.99)] * 1000, 1),
        "max_ms": round(found[-1] * 1000, 1),
        "memory_mb": round(before),
        "growth_mb": round(peak - before, 1),
    }
    print(json.dumps(row), flush=True)
    return row


def run(command: str | None, names: Sequence[str], seconds: float) -> list[dict[str, object]]:
    if command is not None:
        running.executable = lambda: command
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(small_internet())
        plain, secure = free_port(), free_port()
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (directory / "swelling.html").write_bytes(brotli.compress(("\ufdfa" * 10_000_000).encode()))
        (directory / "tag.html").write_text(f"<html><head><meta {'a' * 61_000}></head><body>hello</body></html>")
        stack.enter_context(nginx(net, directory, plain, secure))
        policy = (
            network_section(net).replace("  ports: [", f"  ports: [{plain}, {secure}, ")
            + f'people:\n  mia: {{age: 9, devices: [here, there], block: ["{HOST}/secret"]}}\n'
            f"devices:\n  here: {{ip: {ATTACKER}, trusts_ca: true}}\n  there: {{ip: {VICTIM}, trusts_ca: true}}\n"
        )
        if command is not None:
            policy = policy.replace("  lists: starter\n", "")  # which 0.1.0 does not know
        rows = []
        for name in names:
            with running_hedgerow(policy, upstream_authority=net.authority.root) as hedgerow:
                target = Target(hedgerow.proxy, str(hedgerow.authority), plain, secure)
                rows.append(measure(hedgerow, target, name, seconds))
        return rows


def report(rows: Sequence[dict[str, object]], before: dict[str, dict[str, object]]) -> str:
    """Format the figures as a page.

    What the machine does besides shows in the row without an attack, to which the limit is added.
    """
    usual = next((float(str(row["p99_ms"])) for row in rows if row["attack"] == "none"), 0.0)
    lines = [
        "# Attacks on the inspector, and another device's requests meanwhile, measured by `make bench-abuse`",
        "",
        (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}. One device attacks;"
            " another one asks for a"
        ),
        (
            "page of 1 kB every 20 ms. *p99* is of the other device's requests in ms, *memory* the growth of all"
            " processes of Hedgerow in MB"
        ),
        "(proportional set size). *Before* is version 0.1.0; a request without an answer within 30 s counts as 30 s.",
        (
            f"Must: p99 at most {MUST_MS:.0f} ms above that without an attack ({usual:.0f} ms in this run), memory"
            f" below +{MUST_MB:.0f} MB."
        ),
        "The other device's figures include what else runs on the machine. How: `bench/abuse.py`.",
        "",
        (
            "| attack | connections/s before | now | MB/s before | now | p99 before | now | longest before | now |"
            " memory before | now | |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        old = before.get(str(row["attack"]), {})
        cells = [str(row["attack"])]
        for key in ("connections_per_second", "mb_per_second", "p99_ms", "max_ms", "growth_mb"):
            cells += [str(old.get(key, "")), str(row[key])]
        is_met = float(str(row["p99_ms"])) < usual + MUST_MS and float(str(row["growth_mb"])) < MUST_MB
        lines.append(f"| {' | '.join(cells)} | {'met' if is_met else '**missed**'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--only", nargs="*", choices=list(ATTACKS), help="attacks to try")
    parser.add_argument("--hedgerow", help="the command of another version")
    parser.add_argument("--out", type=Path, help="a file for the figures in JSON")
    parser.add_argument("--before", type=Path, help="figures of another version, from --out")
    parser.add_argument("--write", action="store_true", help="write bench/results/abuse.md")
    chosen = parser.parse_args()
    needs.programs("nginx")
    rows = run(chosen.hedgerow, chosen.only or list(ATTACKS), chosen.seconds)
    if chosen.out:
        chosen.out.write_text(json.dumps(rows, indent=1) + "\n")
    if chosen.write:
        old = json.loads(chosen.before.read_text()) if chosen.before else []
        RESULTS.write_text(report(rows, {each["attack"]: each for each in old}), encoding="utf-8")


if __name__ == "__main__":
    main()
