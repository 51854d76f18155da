"""Attack the web pages from one network and measure how long the parent waits for *Today*.

    .venv/bin/python bench/web_abuse.py [--only NAME …] [--tree PATH]

The parent asks ten times per second, over a new connection each time, from an address without a name in the policy.
`unread`: 24 clients of a child's device ask for all that is kept about it, after 20,000 of its queries, and read
nothing. `network`: 256 connections from eight addresses of one IPv6 network, each with 60 requests, of which nothing is
read; looked at at once and after a minute. `loop`: one device asks for its page again and again over 32 connections.
`--tree` names the checkout of another version. Runs in a network namespace of its own, as root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "bench")]

from small_internet.running import Hedgerow, network_section, running_hedgerow  # noqa: E402
from small_internet.whole import small_internet  # noqa: E402

HERE, NETWORK, PARENT, CHILD = "fd00:77::99", "fd00:77::{}", "fd00:88::1", "fd00:99::2"
CHILD_DNS = "127.0.0.2"
PEOPLE = f"""
people:
  mia: {{age: 9, devices: [mia-tablet], block: [news.example]}}
devices:
  mia-tablet: {{ip: [{CHILD_DNS}, "{CHILD}"]}}
"""
QUERIES = 20_000


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of a running Hedgerow, and the parent's session."""

    hedgerow: Hedgerow
    port: int
    cookie: str

    def head(self, path: str, *more: str) -> bytes:
        return "\r\n".join((f"GET {path} HTTP/1.1", f"Host: [{HERE}]:{self.port}", *more, "", "")).encode()

    def connect(self, source: str, data: bytes, buffer: int | None = None) -> socket.socket:
        client = socket.socket(socket.AF_INET6)
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(45)
        client.bind((source, 0))
        with contextlib.suppress(OSError):
            client.connect((HERE, self.port))
            client.sendall(data)
        return client

    def today(self) -> None:
        with self.connect(PARENT, self.head("/", f"Cookie: {self.cookie}", "Connection: close")) as client:
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        if not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(answer[:40])


def measure(pages: Pages, name: str, seconds: float) -> None:
    """Print what the parent waits for."""
    waited, failed, ends = list[float](), 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.perf_counter()
        try:
            pages.today()
        except OSError:
            failed += 1
        waited.append((time.perf_counter() - began) * 1000)
        time.sleep(0.1)
    waited.sort()
    median, worst = waited[len(waited) // 2], waited[-1]
    print(f"{name}: median {median:.0f} ms, longest {worst:.0f} ms, {failed} of {len(waited)} failed", flush=True)


def open_count(clients: list[socket.socket]) -> int:
    return sum(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1 for client in clients)


@contextlib.contextmanager
def attacking(pages: Pages, sources: list[str], data: bytes) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(pages.connect(source, data, buffer=2048)) for source in sources]


def unread(pages: Pages) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((CHILD_DNS, 0))
        for number in range(QUERIES):
            labels = (f"page-{number}-{os.urandom(8).hex()}", "a-rather-long-label-for-a-page", "news", "example")
            name = b"".join(bytes([len(each)]) + each.encode() for each in labels)
            client.sendto(
                struct.pack("!6H", number & 0xFFFF, 0x100, 1, 0, 0, 0) + name + b"\0\0\1\0\1", pages.hedgerow.dns
            )
            time.sleep(0.02 if number % 40 == 39 else 0)
    measure(pages, "after the queries", 4)
    with attacking(pages, [CHILD] * 24, pages.head("/device/kept")) as clients:
        time.sleep(3)
        measure(pages, "24 exports that nobody reads", 40)
        print(f"  {open_count(clients)} of them are open")


def network(pages: Pages) -> None:
    sources = [NETWORK.format(number) for number in range(1, 9) for _ in range(32)]
    with attacking(pages, sources, pages.head("/certificate") * 60) as clients:
        time.sleep(2)
        print(f"  {open_count(clients)} of {len(clients)} connections are open")
        measure(pages, "unread requests of one network", 6)
        time.sleep(55)
        print(f"  {open_count(clients)} of them are open")
        measure(pages, "a minute later", 4)


def loop(pages: Pages) -> None:
    stops = threading.Event()

    def ask() -> None:
        while not stops.is_set():
            with (
                contextlib.suppress(OSError),
                pages.connect(CHILD, pages.head("/device", "Connection: close")) as client,
            ):
                while client.recv(65536):
                    pass

    threads = [threading.Thread(target=ask) for _ in range(32)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    measure(pages, "one device asks again and again", 12)
    stops.set()
    for thread in threads:
        thread.join()


ATTACKS = {"unread": unread, "network": network, "loop": loop}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--tree", default=str(ROOT))
    asked = parser.parse_args()
    os.unshare(os.CLONE_NEWNET)
    addresses = [*(NETWORK.format(number) for number in range(1, 9)), HERE, PARENT, CHILD]
    for words in ("link set lo up", *(f"address add {each}/64 dev lo nodad" for each in addresses)):
        subprocess.run(["ip", *words.split()], check=True)
    for name in asked.only:
        with small_internet() as net:
            policy = network_section(net, lan=("127.0.0.0/24", "::1/128", "fd00::/8")) + PEOPLE
            with running_hedgerow(
                policy, web=f"[{HERE}]:0", environment=os.environ | {"PYTHONPATH": asked.tree}
            ) as hedgerow:
                cookie = "; ".join(f"{key}={value}" for key, value in hedgerow.cookies.items())
                pages = Pages(hedgerow, int(hedgerow.web.rpartition(":")[2]), cookie)
                pages.today()
                print(f"{name}, load {os.getloadavg()[0]:.0f}")
                measure(pages, "quiet", 4)
                ATTACKS[name](pages)


if __name__ == "__main__":
    main()
