"""Bandwidth of a café's seats: who may use how much, and the kernel's means for it as commands of nftables' JSON. Pure.

The table `netdev hedgerow` is at the interfaces with devices, since only there a packet shows the MAC address that it
goes to. It counts what each seat receives and sends, drops what a seat sends beyond its limit, and marks what a seat
receives with the seat's class of the queueing discipline (`QDISC`, HTB), which delays what is beyond the limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hedgerow.features.cafe.settings import Bandwidth, cafe_of
from hedgerow.network.access_state import without_overlaps
from hedgerow.network.nft_expressions import DROP, TABLE, NftCommand, NftExpression, payload
from hedgerow.policies.identity import networks_of
from hedgerow.policies.model import DeviceId
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.seats import SEAT_PREFIX
from hedgerow.policies.text.addresses import IpNetwork

FAMILY = "netdev"
QDISC = 0x5EA7 << 16
"""Handle of our queueing discipline, 5ea7: as `tc` writes it. Seat N has the class 5ea7:N."""

DIRECTIONS = {"down": ("egress", "daddr"), "up": ("ingress", "saddr")}
"""To the seat and from it: the hook, and the field of a packet that has the seat's address."""

BURST_BYTES = 65_536
"""What a seat may send at once beyond a second's worth of its limit, which nftables lets pass after a pause
(`nft_limit_init`).
"""


@dataclass(frozen=True, slots=True)
class SeatLine:
    """A seat's addresses, and the bandwidth of the kind of session that it has now; None for no limit."""

    seat: DeviceId
    macs: tuple[str, ...]
    networks: tuple[IpNetwork, ...]
    limit: Bandwidth | None = None


@dataclass(frozen=True, slots=True)
class SeatBytes:
    """Bytes to a seat (`down`) and from it (`up`)."""

    down: int = 0
    up: int = 0


def seat_lines(rulesets: Rulesets, now: float) -> tuple[SeatLine, ...]:
    """Return all seats in the order of the policy, which numbers them; none if the policy limits no bandwidth."""
    limits = cafe_of(rulesets.policy).bandwidth
    seats = [
        device
        for device in rulesets.policy.devices.values()
        if device.is_seat or (device.profile or "").startswith(SEAT_PREFIX)
    ]
    if not limits:
        return ()
    return tuple(
        SeatLine(
            seat.id,
            seat.macs,
            tuple(networks_of(seat)),
            limits.get(rulesets.ruleset(seat, now).profile.removeprefix(SEAT_PREFIX)),
        )
        for seat in seats
    )


def render_bandwidth(interfaces: Sequence[str], lines: Sequence[SeatLine]) -> list[NftCommand]:
    """Return the commands that replace the table in one transaction. Its counters begin at zero."""
    commands: list[NftCommand] = [*render_bandwidth_removal(), {"add": {"table": {"family": FAMILY, "name": TABLE}}}]
    for direction, (hook, field) in DIRECTIONS.items():
        chain = {"type": "filter", "hook": hook, "prio": 0, "policy": "accept", "dev": list(interfaces)}
        commands.append({"add": {"chain": _own(direction) | chain}})
        for number, line in enumerate(lines, 1):
            name = f"{direction}-{number}"
            commands += [{"add": {"counter": _own(name)}}, {"add": {"chain": _own(name)}}]
            commands.append(_rule(name, {"counter": name}, *_limit(direction, number, line.limit)))
        for protocol, addresses in _addresses(lines).items():
            seats = [[address, {"goto": {"target": f"{direction}-{number}"}}] for address, number in addresses]
            if seats:
                commands.append(_rule(direction, {"vmap": {"key": payload(protocol, field), "data": {"set": seats}}}))
    return commands


def render_bandwidth_removal() -> list[NftCommand]:
    """Return the commands that remove the table. They also succeed if there is none."""
    table = {"family": FAMILY, "name": TABLE}
    return [{"add": {"table": table}}, {"delete": {"table": table}}]


def parse_seat_bytes(listing: Iterable[NftCommand], lines: Sequence[SeatLine]) -> dict[DeviceId, SeatBytes]:
    """Return the bytes of each seat, from the output of `nft -j list counters`."""
    found = {item["counter"]["name"]: int(item["counter"]["bytes"]) for item in listing if "counter" in item}
    return {
        line.seat: SeatBytes(found.get(f"down-{number}", 0), found.get(f"up-{number}", 0))
        for number, line in enumerate(lines, 1)
    }


def increase(before: Mapping[DeviceId, SeatBytes], after: Mapping[DeviceId, SeatBytes]) -> dict[DeviceId, SeatBytes]:
    """Return the bytes between two readings of the same table."""
    none = SeatBytes()
    return {
        seat: SeatBytes(now.down - before.get(seat, none).down, now.up - before.get(seat, none).up)
        for seat, now in after.items()
    }


def _limit(direction: str, number: int, limit: Bandwidth | None) -> list[NftExpression]:
    """Return the rules for the packets of a seat: those to it get a class, and those from it are dropped beyond the
    limit.
    """
    if limit is None:
        return []
    if direction == "down":
        return [{"mangle": {"key": {"meta": {"key": "priority"}}, "value": f"{QDISC >> 16:x}:{number:x}"}}]
    rate = {
        "rate": limit.up // 8,
        "rate_unit": "bytes",
        "per": "second",
        "burst": BURST_BYTES,
        "burst_unit": "bytes",
        "inv": True,
    }
    return [{"limit": rate}, DROP]


def _addresses(lines: Sequence[SeatLine]) -> dict[str, list[tuple[Any, int]]]:
    """Return the seats' addresses with their numbers, by the protocol that has them."""
    found: dict[str, list[tuple[Any, int]]] = {"ether": [], "ip": [], "ip6": []}
    networks = [(network, number) for number, line in enumerate(lines, 1) for network in line.networks]
    found["ether"] = [(mac, number) for number, line in enumerate(lines, 1) for mac in line.macs]
    for network, number in without_overlaps(networks):
        prefix = {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
        found["ip" if network.version == 4 else "ip6"].append((prefix, number))
    return found


def _own(name: str) -> dict[str, Any]:
    return {"family": FAMILY, "table": TABLE, "name": name}


def _rule(chain: str, *expressions: NftExpression) -> NftCommand:
    return {"add": {"rule": {"family": FAMILY, "table": TABLE, "chain": chain, "expr": list(expressions)}}}
