"""Puts the gateway's rules in place, and looks at them, through `nft`. Everything it touches is the table `inet hedgerow`."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from hedgerow.network.access_state import DeviceStates
from hedgerow.network.gateway_rules import FAMILY, TABLE, Gateway, NftCommand, counters, form, render_removal, render_states, render_table

NFT_SECONDS = 20


class GatewayError(Exception):
    """nftables can't do what was asked; the text is one plain sentence."""


@dataclass(frozen=True, slots=True)
class InstalledTable:
    """The table as the kernel has it. `counters`: packets by what was done with them. `sets`: elements of each set.

    `form` is the same until somebody changes the rules or whom they are for.
    """

    counters: dict[str, int]
    sets: dict[str, list[Any]]
    form: str


def apply(gateway: Gateway, device_states: DeviceStates) -> None:
    """Replaces the table, all at once; on any error the old one stays. Raises GatewayError."""
    _nft(render_table(gateway, device_states))


def update_states(device_states: DeviceStates) -> None:
    """Makes the table that is in place follow another census. Raises GatewayError, also where it is not in place."""
    _nft(render_states(device_states))


def remove() -> None:
    """Takes the table away, if it is there. Raises GatewayError."""
    _nft(render_removal())


def check(gateway: Gateway, device_states: DeviceStates) -> None:
    """Lets nftables say whether it would take the rules, and changes nothing. Raises GatewayError."""
    _nft(render_table(gateway, device_states), "-c")


def installed_table() -> InstalledTable | None:
    """What is in place; None for nothing. Raises GatewayError."""
    listed = _run(("list", "table", FAMILY, TABLE))
    if listed is None:
        return None
    items: list[NftCommand] = json.loads(listed)["nftables"]
    sets = {item["set"]["name"]: item["set"].get("elem", []) for item in items if "set" in item}
    return InstalledTable(counters(items), sets, form(items))


def is_installed() -> bool:
    """A quick look; raises GatewayError."""
    listed: list[NftCommand] = json.loads(_run(("list", "tables", FAMILY)) or '{"nftables": []}')["nftables"]
    return any(item["table"]["name"] == TABLE for item in listed if "table" in item)


def _nft(commands: list[NftCommand], *options: str) -> None:
    if _run((*options, "-f", "-"), json.dumps({"nftables": commands})) is None:
        raise GatewayError("nftables has no such table: apply the gateway first.")


def _run(words: tuple[str, ...], text: str | None = None) -> str | None:
    """What `nft -j` prints; None where it says that there is no such table. Raises GatewayError."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if nft is None:
        raise GatewayError("There is no nft: install the package nftables.")
    try:
        done = subprocess.run([nft, "-j", *words], input=text, capture_output=True, text=True, timeout=NFT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise GatewayError(f"nft did not answer within {NFT_SECONDS} seconds.") from None
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip()
    if "Operation not permitted" in said:
        raise GatewayError("No permission to change nftables: run this as root.")
    if "No such file or directory" in said:
        return None
    raise GatewayError(f"nft refused: {said.splitlines()[0] if said else f'status {done.returncode}'}")
