"""Installing and inspecting the gateway's rules with `nft`.

It touches nothing but the tables `inet hedgerow` and `netdev hedgerow`.

Every function raises `GatewayError`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from hedgerow.network.access_state import DeviceStates
from hedgerow.network.admissions import ADMITTED_SETS
from hedgerow.network.gateway_rules import (
    Gateway,
    packet_counters,
    render_removal,
    render_states,
    render_table,
    table_fingerprint,
)
from hedgerow.network.nft_expressions import FAMILY, TABLE, NftCommand
from hedgerow.network.source_rules import TETHERING_SET
from hedgerow.network.traffic_rules import RECEIVED_SETS, SENT_SET, TrafficCounters, parse_counters

NFT_TIMEOUT_S = 20
TETHERING_LEVEL = "tethering"
"""Name of gauges that are not metrics: the instant at which a device, by its MAC address, was seen to forward."""


class GatewayError(Exception):
    """nftables refused a command. The message is one plain sentence."""


@dataclass(frozen=True, slots=True)
class InstalledTable:
    """The table in the kernel.

    counters: packets per rule comment.
    sets: the elements of each set.
    fingerprint: changes only if the rules or the devices that they are for change.
    """

    counters: dict[str, int]
    sets: dict[str, list[Any]]
    fingerprint: str

    def levels(self, now: float) -> dict[tuple[str, ...], float]:
        """Return the counters as metrics, and `now` for the MAC address of each device that forwards for others."""
        packets = {("hedgerow_gateway_packets_total", rule): float(count) for rule, count in self.counters.items()}
        forwarding = (element["elem"]["val"] for element in self.sets.get(TETHERING_SET, ()))
        return packets | {(TETHERING_LEVEL, mac): now for mac in forwarding}


def install(gateway: Gateway, device_states: DeviceStates) -> None:
    """Create or replace the table at once, with the admitted destinations that the old one has.

    On an error the old one stays.
    """
    old = installed_table()
    admitted = {name: old.sets[name] for name in ADMITTED_SETS.values() if name in old.sets} if old else {}
    apply(render_table(gateway, device_states, admitted))


def update_states(device_states: DeviceStates) -> None:
    """Give the installed table other device states. Also raises if there is no table."""
    apply(render_states(device_states))


def remove() -> None:
    """Remove the table if there is one."""
    apply(render_removal())


def check(gateway: Gateway, device_states: DeviceStates) -> None:
    """Raise if nftables would refuse the rules, and change nothing."""
    apply(render_table(gateway, device_states), "-c")


def installed_table() -> InstalledTable | None:
    """Return the table in the kernel, or None if there is none."""
    output = _nft("list", "table", FAMILY, TABLE)
    if output is None:
        return None
    items: list[NftCommand] = json.loads(output)["nftables"]
    sets = {item["set"]["name"]: item["set"].get("elem", []) for item in items if "set" in item}
    return InstalledTable(packet_counters(items), sets, table_fingerprint(items))


def is_installed() -> bool:
    """Return True if there is a table, without reading it."""
    items: list[NftCommand] = json.loads(_nft("list", "tables", FAMILY) or '{"nftables": []}')["nftables"]
    return any(item["table"]["name"] == TABLE for item in items if "table" in item)


def traffic_counters() -> TrafficCounters | None:
    """Return the bytes that were forwarded per device, or None if there is no table."""
    found = []
    for names in ((SENT_SET,), RECEIVED_SETS):
        counters: dict[str, int] = {}
        for name in names:
            output = _nft("list", "set", FAMILY, TABLE, name)
            if output is None:
                return None
            counters |= parse_counters(json.loads(output)["nftables"])
        found.append(counters)
    return TrafficCounters(*found)


def list_counters(family: str) -> list[NftCommand] | None:
    """Return the counters of our table of a family, or None if there is none."""
    output = _nft("list", "counters", "table", family, TABLE)
    if output is None:
        return None
    items: list[NftCommand] = json.loads(output)["nftables"]
    return items


def apply(commands: list[NftCommand], *options: str) -> None:
    """Carry out commands in one transaction, with options of `nft`."""
    if _nft(*options, "-f", "-", text=json.dumps({"nftables": commands})) is None:
        raise GatewayError("nftables has no such table: apply the gateway first.")


def _nft(*words: str, text: str | None = None) -> str | None:
    """Return the output of `nft -j`, or None if it reports that there is no such table."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if nft is None:
        raise GatewayError("nft was not found: install the package nftables.")
    try:
        done = subprocess.run(
            [nft, "-j", *words], input=text, capture_output=True, text=True, timeout=NFT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise GatewayError(f"nft did not answer within {NFT_TIMEOUT_S} seconds.") from None
    if done.returncode == 0:
        return done.stdout
    problem = done.stderr.strip()
    if "Operation not permitted" in problem:
        raise GatewayError("No permission to change nftables: run this as root.")
    if "No such file or directory" in problem:
        return None
    raise GatewayError(f"nft refused: {problem.splitlines()[0] if problem else f'status {done.returncode}'}")
