"""The lab's nameservers: a root server and one for all zones, both Knot DNS, which also serves DNS over QUIC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from small_internet.authority import Leaf

from lab.spaces import Space

ROOT4, AUTHORITY4, TUNNEL4 = "198.41.0.4", "45.55.10.54", "45.55.10.55"
"""Addresses of the root, of the zones, and of a private nameserver for `t.tunnel.example`."""
_SOA = "3600 IN SOA ns.example. nobody.example. 1 3600 600 86400 60"


def nameservers(
    space: Space, folder: Path, hosts: Mapping[str, Sequence[str]], leaf: Leaf, quic: Sequence[str]
) -> Path:
    """Start both, and return the root hints. `hosts`: addresses by name; `quic`: the address of DNS over QUIC."""
    zones: dict[str, list[str]] = {"example": [f"ns.example. 300 IN A {AUTHORITY4}"]}
    zones["tunnel.example"] = [
        "data.tunnel.example. 1 IN TXT hello",
        "t.tunnel.example. 300 IN NS ns.t-tunnel.example.",
    ]
    zones["example"] += ["tunnel.example. 300 IN NS ns.example.", f"ns.t-tunnel.example. 300 IN A {TUNNEL4}"]
    for host, addresses in hosts.items():
        zone = "example" if host.endswith(".example") else host.split(".", 1)[1] if host.startswith("www.") else host
        zones.setdefault(zone, []).extend(
            f"{host}. 300 IN {'AAAA' if ':' in address else 'A'} {address}" for address in addresses
        )
    tops = [zone for zone in zones if zone != "tunnel.example"]
    root = [f"{zone}. 300 IN NS ns.example." for zone in tops]
    root += [f"ns.example. 300 IN A {AUTHORITY4}", f"a.root.example-net. 300 IN A {ROOT4}"]
    _serve(space, folder / "root", {".": [*root, ". 300 IN NS a.root.example-net."]}, [f"{ROOT4}@53"])
    quic_lines = [f"  listen-quic: [{', '.join(f'{each}@853' for each in quic)}]"]
    quic_lines += [f"  cert-file: {leaf.certificate}", f"  key-file: {leaf.key}"]
    named = {zone: [*records, f"{zone}. 300 IN NS ns.example."] for zone, records in zones.items()}
    _serve(space, folder / "zones", named, [f"{AUTHORITY4}@53"], quic_lines)
    hints = folder / "root.hints"
    hints.write_text(f". 300 IN NS a.root.example-net.\na.root.example-net. 300 IN A {ROOT4}\n")
    return hints


def _serve(
    space: Space, folder: Path, zones: Mapping[str, Sequence[str]], listen: Sequence[str], more: Sequence[str] = ()
) -> None:
    folder.mkdir()
    lines = [
        "server:",
        f"  listen: [{', '.join(listen)}]",
        f"  rundir: {folder}",
        "  user: root",
        *more,
        "database:",
        f"  storage: {folder}",
    ]
    lines += [
        "log:",
        "  - target: stderr",
        "    any: warning",
        "template:",
        "  - id: default",
        f"    storage: {folder}",
        "zone:",
    ]
    for number, (zone, records) in enumerate(zones.items()):
        (folder / f"{number}.zone").write_text("\n".join([f"{zone.rstrip('.')}. {_SOA}", *records]) + "\n")
        lines += [
            f"  - domain: {zone}",
            f"    file: {number}.zone",
            "    zonefile-load: whole",
            "    journal-content: none",
        ]
    (folder / "knot.conf").write_text("\n".join(lines) + "\n")
    space.start("knotd", "-c", str(folder / "knot.conf"), stderr=folder / "knot.log")
