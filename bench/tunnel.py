"""Measure the tunnel home beside plain WireGuard, and twenty phones at once, in one run.

    .venv/bin/python bench/tunnel.py [--rounds 5] [--megabytes 200] [--phones 20] [--write]

`--write` keeps the figures in bench/results/tunnel.md; `make bench-tunnel` does. Needs root and what the laboratory
needs (tests/lab).

In the laboratory's network namespaces a tablet on a mobile network fetches one file by HTTPS. Plain: through
wireguard-go on the router and nothing of ours. Unfiltered and filtered: through the tunnel home, as a device of an
adult and of a child. The sides alternate; medians are printed. CPU is that of wireguard-go and, apart from it, of
Hedgerow's processes on the router; wireguard-go on the tablet and the web server share the machine. Where the kernel
has WireGuard, both would be faster by the same.

Twenty phones, each on a mobile network of its own, then open their tunnels, ask for a blocked and an allowed name, and
fetch at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # which Python leaves out where it runs safely
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import needs
from gateway import SITE, TICK, children_of
from lab import House, Space, house
from lab.away import join_mobile_network, roaming, tunnelled
from lab.house import NUMBERS, POLICY, ROUTER_OUTSIDE
from lab.internet import BIG_FILE
from lab.spaces import spaces

RESULTS = Path(__file__).parent / "results" / "tunnel.md"
OWN4, PLAIN4, PLAIN_PORT, PLAIN_LINK = "10.87.214.1", "10.99.7", 51999, "plain0"
PATIENCE_S = 60.0
SIDES = {"plain": "plain WireGuard", "parent": "the tunnel home, unfiltered", "tablet": "the tunnel home, filtered"}


@dataclass(frozen=True, slots=True)
class Fetch:
    """One fetch: megabytes per second, and seconds of CPU per gigabyte of wireguard-go and of Hedgerow's other
    processes.
    """

    speed: float
    wireguard: float
    hedgerow: float


def policy(phones: int) -> str:
    """Return the household's policy with a tunnel and a child's phones."""
    names = [f"phone-{number}" for number in range(1, phones + 1)]
    text = POLICY.replace("  timezone: UTC\n", f"  timezone: UTC\n  tunnel: {{endpoint: {ROUTER_OUTSIDE}}}\n")
    text = text.replace("devices: [tablet]", f"devices: [{', '.join(['tablet', *names])}]")
    macs = "".join(f'  {name}: {{mac: "02:00:00:00:60:{number:02x}"}}\n' for number, name in enumerate(names, 1))
    return text.replace("devices:\n", f"devices:\n{macs}")


def cpu(pids: list[int]) -> dict[bool, float]:
    """Return the CPU seconds used by wireguard-go (True) and by others."""
    used = {True: 0.0, False: 0.0}
    for pid in pids:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        fields = rest.split()
        used[name.endswith("(wireguard-go")] += (int(fields[11]) + int(fields[12])) / TICK
    return used


def until(is_so: object, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.2)


def fetch(device: Space, pids: list[int], octets: int) -> Fetch:
    before = cpu(pids)
    words = ("curl", "-4sk", "-o", "/dev/null", "-w", "%{speed_download} %{size_download}", "-r", f"0-{octets - 1}")
    done = device.run(*words, f"https://{SITE}{BIG_FILE}", seconds=180)
    speed, size = done.stdout.split()
    assert int(size) == octets, done.stdout + done.stderr
    after = cpu(pids)
    spent = {kind: (after[kind] - before[kind]) / octets * 1e9 for kind in after}
    return Fetch(float(speed) / 1e6, spent[True], spent[False])


def processes(whole: House) -> list[int]:
    assert whole.process is not None
    return [whole.process.pid, *children_of(whole.process.pid)]


def new_keys(space: Space) -> tuple[str, str]:
    private = space.must("wg", "genkey").strip()
    return private, space.run("wg", "pubkey", text=private).stdout.strip()


@contextlib.contextmanager
def plain_server(whole: House) -> Iterator[tuple[str, list[int]]]:
    """Start a WireGuard server without Hedgerow on the router.

    Gives a client's configuration, and the server's process.
    """
    (own, public), (client, client_public) = new_keys(whole.router), new_keys(whole.router)
    process = whole.router.start("wireguard-go", "-f", PLAIN_LINK)
    try:
        until(lambda: (whole.folder / "wireguard" / f"{PLAIN_LINK}.sock").exists(), "wireguard-go starts")
        key = whole.folder / "plain.key"
        key.write_text(own)
        peer = ("peer", client_public, "allowed-ips", f"{PLAIN4}.2/32")
        whole.router.must("wg", "set", PLAIN_LINK, "listen-port", str(PLAIN_PORT), "private-key", str(key), *peer)
        whole.router.ip("address", "add", f"{PLAIN4}.1/24", "dev", PLAIN_LINK)
        whole.router.ip("link", "set", PLAIN_LINK, "up", "mtu", "1420")
        lines = (
            "[Interface]",
            f"PrivateKey = {client}",
            f"Address = {PLAIN4}.2/32",
            "DNS = 9.9.9.9",
            "",
            "[Peer]",
            f"PublicKey = {public}",
        )
        pids = [process.pid, *children_of(process.pid)]
        yield "\n".join((*lines, f"Endpoint = {ROUTER_OUTSIDE}:{PLAIN_PORT}", "AllowedIPs = 0.0.0.0/0", "")), pids
    finally:
        process.terminate()
        process.wait(10)


def end_of(whole: House, who: str) -> str:
    """Return a device's file. On a busy machine, the policy may not be in force in time, and the command says so."""
    found = whole.hedgerow("away", "add", who, must=False).stdout
    return found or whole.hedgerow("away", "add", who).stdout


def answers(device: Space, name: str, server: str) -> str:
    return device.run("kdig", "+short", "+time=1", "+retry=0", f"@{server}", name).stdout.strip()


def alone(whole: House, rounds: int, octets: int) -> dict[str, list[Fetch]]:
    """Fetch with one device, by each side in turn."""
    found: dict[str, list[Fetch]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            who = "tablet" if side == "plain" else side
            with roaming(whole, who, NUMBERS[who]) as device, contextlib.ExitStack() as stack:
                if side == "plain":
                    whole.hedgerow("gateway", "remove")
                    config, pids = stack.enter_context(plain_server(whole))
                else:
                    whole.hedgerow("gateway", "apply", "--no-strict")
                    config, pids = end_of(whole, who), []
                stack.enter_context(tunnelled(device, config, whole.folder))
                server = "9.9.9.9" if side == "plain" else OWN4
                until(lambda d=device, s=server: answers(d, SITE, s), f"{side}: names come through")
                found[side].append(fetch(device, pids or processes(whole), octets))
    return found


def together(whole: House, phones: list[Space], octets: int) -> str:
    """Open the tunnels of all phones, and have all of them fetch at once. Return a paragraph with what happened."""
    configs = [end_of(whole, f"phone-{number}") for number in range(1, len(phones) + 1)]
    with contextlib.ExitStack() as stack:
        for number, (phone, config) in enumerate(zip(phones, configs, strict=True), 1):
            net4, net6 = f"45.55.{100 + number}", f"2600:9000:54{number + 10}:"
            join_mobile_network(whole.net.space, phone, net4, net6, f"mobile{number}")
            stack.enter_context(tunnelled(phone, config, whole.folder, f"{net4}.1"))
        pool = stack.enter_context(ThreadPoolExecutor(len(phones)))
        list(pool.map(lambda phone: until(lambda: answers(phone, SITE, OWN4), "names come through"), phones))
        blocked = list(pool.map(lambda phone: answers(phone, "adult.example", OWN4), phones))
        pids, began = processes(whole), time.monotonic()
        before = cpu(pids)
        done = list(pool.map(lambda phone: fetch(phone, pids, octets), phones))
        took, after = time.monotonic() - began, cpu(pids)
        queries = list(pool.map(timed_queries, phones))
        until(lambda: connected(whole) == len(phones), "all phones are known as connected")
    total = len(phones) * octets
    slowest = max(octets / each.speed / 1e6 for each in done)
    quickest = min(octets / each.speed / 1e6 for each in done)
    latest = sorted(latency for each in queries for latency in each)
    lost = sum(20 - len(each) for each in queries)
    return (
        f"{len(phones)} phones at once: all known as connected, a blocked name is blocked on"
        f" {blocked.count('0.0.0.0')}. {octets / 1e6:.0f} MB each at once: {total / took / 1e6:.0f} MB/s in all,"
        f" {quickest:.1f} to {slowest:.1f} s each, {(after[True] - before[True]) / total * 1e9:.1f} s per GB in"
        f" wireguard-go and {(after[False] - before[False]) / total * 1e9:.1f} s per GB in Hedgerow. 20 queries each at"
        f" once: median {statistics.median(latest):.0f} ms, slowest {latest[-1]:.0f} ms, {lost} unanswered.\n"
    )


def connected(whole: House) -> int:
    """Return how many phones Hedgerow knows as connected; it looks every few seconds."""
    ends = json.loads(whole.hedgerow("away", "list", "--json").stdout)
    return sum(bool(each["handshake"]) for each in ends if each["device"].startswith("phone-"))


def timed_queries(phone: Space) -> list[float]:
    """Ask 20 times through the tunnel, and return the times of the answers in milliseconds."""
    text = phone.run("kdig", "+time=2", "+retry=0", f"@{OWN4}", *[SITE] * 20, seconds=60).stdout
    return [float(value) for value in re.findall(r"in ([0-9.]+) ms", text)]


def table(found: dict[str, list[Fetch]], many: str, rounds: int, megabytes: int) -> str:
    head = (
        f"# The tunnel home, measured by `make bench-tunnel`\n\n{platform.machine()}, {os.cpu_count()} cores for"
        f" tablet, router and server together, wireguard-go on both sides, Python {platform.python_version()}, {rounds}"
        f" rounds of {megabytes} MB in one run. What each figure is stands in `bench/tunnel.py`.\n\n| way | MB/s"
        " (median) | of the first row | spread | CPU of wireguard-go, s per GB | of Hedgerow, s per GB"
        " |\n|---|---:|---:|---:|---:|---:|\n"
    )
    base, lines = [each.speed for each in found["plain"]], []
    for side, fetches in found.items():
        ratios = [each.speed / first for each, first in zip(fetches, base, strict=True)]
        speed, outer, own = (
            statistics.median(values)
            for values in zip(*((f.speed, f.wireguard, f.hedgerow) for f in fetches), strict=True)
        )
        share, spread = statistics.median(ratios), f"{min(ratios):.2f}–{max(ratios):.2f}"
        lines.append(f"| {SIDES[side]} | {speed:.0f} | {share:.2f} | {spread} | {outer:.1f} | {own:.1f} |")
    return head + "\n".join(lines) + "\n\n" + many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--phones", type=int, default=20)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    needs.laboratory("wireguard-go", "wg")
    with (
        tempfile.TemporaryDirectory() as name,
        spaces(*(f"phone{number}" for number in range(1, given.phones + 1))) as phones,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        for number, phone in enumerate(phones):
            (folder / f"phone{number}.resolv.conf").touch()
            phone.files["/etc/resolv.conf"] = folder / f"phone{number}.resolv.conf"
        with house(folder, policy=policy(given.phones)) as whole:
            for who in ("parent", "tablet"):
                whole.meet(who)
            found = alone(whole, given.rounds, given.megabytes * 1_000_000)
            many = together(whole, phones, given.megabytes * 100_000)
    text = table(found, many, given.rounds, given.megabytes)
    print(text)
    if given.write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
