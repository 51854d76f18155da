"""The programs:

Hedgerow and Unbound as forwarders under test, Knot DNS as a signed authoritative server, Unbound as a validator.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from small_internet.authority import Leaf
from small_internet.running import parse_address, running_hedgerow
from small_internet.whole import SmallInternet

HOME = "127.0.0.1"
NAME = "dns.home.example"


@dataclass(frozen=True, slots=True)
class Resolver:
    """A running resolver. `ports` has those of the transports that it serves."""

    name: str
    ports: Mapping[str, int] = field(default_factory=dict)


def free_port() -> int:
    """Return a port that is free for UDP and TCP."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        ):
            stream.bind((HOME, 0))
            with contextlib.suppress(OSError):
                datagram.bind((HOME, stream.getsockname()[1]))
                return int(stream.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], port: int) -> Iterator[None]:
    """Run a server until the end of the block. Returns when it accepts connections."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((HOME, port), 0.5):
                break
            assert process.poll() is None, f"{command[0]} does not run"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def hedgerow(upstream: int, forward: Mapping[str, int] | None = None) -> Iterator[Resolver]:
    """Hedgerow for an adult, to whom nothing is blocked."""
    policy = (
        f"network:\n  timezone: UTC\n  lists: starter\n  unknown_devices: adult\n  lan: [127.0.0.0/8]\n  "
        f"server_name: {NAME}\n"
        f'  upstream: ["{HOME}:{upstream}"]\n  reachable: [127.0.0.0/8]\n'
        f"  forward: {{{', '.join(f'{zone}: "{HOME}:{port}"' for zone, port in (forward or {}).items())}}}\n"
    )
    places = tuple(word for name in ("dot", "doh", "doq") for word in (f"--{name}", f"{HOME}:0"))
    with running_hedgerow(policy, options=places) as running:
        ports = {
            name: parse_address(re.search(rf" {name}=(\S+)", running.ready_line)[1])[1]  # type: ignore[index]
            for name in ("dot", "doh", "doq")
        }
        yield Resolver("Hedgerow", {"udp": running.dns[1], "tcp": running.dns[1], **ports})


@contextlib.contextmanager
def unbound(
    net: SmallInternet, upstream: int, forward: Mapping[str, int] | None = None, anchors: str = ""
) -> Iterator[Resolver]:
    """Unbound as a forwarder; with `anchors`, DS records, as one that validates."""
    leaf: Leaf = net.authority.leaf(NAME)
    port, dot, doh = (free_port() for _ in range(3))
    modules = "validator iterator" if anchors else "iterator"
    zones = {".": upstream, **(forward or {})}
    with tempfile.TemporaryDirectory() as place:
        config = Path(place) / "unbound.conf"
        config.write_text(
            f'server:\n directory: "{place}"\n username: ""\n chroot: ""\n pidfile: ""\n num-threads: 1\n '
            f"use-syslog: no\n"
            + "".join(f" interface: {HOME}@{each}\n" for each in (port, dot, doh))
            + f' tls-port: {dot}\n https-port: {doh}\n tls-service-key: "{leaf.key}"\n tls-service-pem: '
            f'"{leaf.certificate}"\n'
            f' module-config: "{modules}"\n do-not-query-localhost: no\n local-zone: "test." nodefault\n '
            f"edns-tcp-keepalive: yes\n"
            + "".join(f' trust-anchor: "{line}"\n' for line in anchors.splitlines())
            + "remote-control:\n control-enable: no\n"
            + "".join(
                f'forward-zone:\n name: "{zone}"\n forward-addr: {HOME}@{other}\n' for zone, other in zones.items()
            )
        )
        with started(["unbound", "-d", "-c", str(config)], port):
            yield Resolver("Unbound", {"udp": port, "tcp": port, "dot": dot, "doh": doh})


def forwarder(
    name: str, net: SmallInternet, upstream: int, forward: Mapping[str, int] | None = None
) -> contextlib.AbstractContextManager[Resolver]:
    """Return the program of this name as a forwarder."""
    return hedgerow(upstream, forward) if name == "Hedgerow" else unbound(net, upstream, forward)


@contextlib.contextmanager
def knot(zones: Mapping[str, str], signed: Collection[str] = ()) -> Iterator[tuple[int, Path]]:
    """Knot DNS as the authoritative server of these zones.

    Yields its port and its directory, which keeps the keys of those `signed`.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        text = (
            f"server:\n  listen: {HOME}@{port}\n  rundir: {place}\n  udp-workers: 1\n  tcp-workers: 1\n  "
            f"background-workers: 1\n"
            f"database:\n  storage: {place}\npolicy:\n  - id: nsec3\n    nsec3: on\n    algorithm: "
            f"ecdsap256sha256\nzone:\n"
        )
        for zone, records in zones.items():
            (folder / f"{zone}.zone").write_text(
                f"$ORIGIN {zone}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
                + records
            )
            text += f"  - domain: {zone}.\n    file: {place}/{zone}.zone\n"
            text += "    dnssec-signing: on\n    dnssec-policy: nsec3\n" if zone in signed else ""
        (folder / "knot.conf").write_text(text)
        with started(["knotd", "-c", str(folder / "knot.conf")], port):
            yield port, folder


def ds_records(folder: Path, zone: str) -> str:
    """Return the DS records of a zone that `knot` signs."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        said = subprocess.run(
            ["keymgr", "-c", str(folder / "knot.conf"), zone, "ds"], capture_output=True, text=True, check=False
        ).stdout
        if lines := [line for line in said.splitlines() if " DS " in line]:
            return lines[0]
        time.sleep(0.1)
    raise AssertionError("the zone has no key")


@dataclass(frozen=True, slots=True)
class Stand:
    """A resolver under test over the small internet, with Knot DNS at `authoritative` for three zones of its own.

    `anchors` are DS records of the two that are signed. That of `forged.example` is wrong.
    """

    net: SmallInternet
    resolver: Resolver
    authoritative: int
    anchors: str


@contextlib.contextmanager
def stand(name: str, net: SmallInternet, zones: Mapping[str, str]) -> Iterator[Stand]:
    """Start the resolver of this name and what it needs.

    `zones` are the records of `corp`, `signed` and `forged`, all below `example`.
    """
    names = {f"{zone}.example": records for zone, records in zones.items()}
    with knot(names, ("signed.example", "forged.example")) as (port, folder):
        anchor = ds_records(folder, "signed.example")
        with forwarder(name, net, net.nameserver.port, dict.fromkeys(names, port)) as resolver:
            yield Stand(net, resolver, port, f"{anchor}\n{anchor.replace('signed.example', 'forged.example')}")
