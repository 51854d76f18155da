"""The doctor's checks of the devices that do not use Hedgerow, and of the DNS servers that the router hands out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import httpx

from hedgerow.app.doctor.findings import Finding, Health, Installation, good_finding
from hedgerow.app.ipc import control_client
from hedgerow.dashboards.recognised_devices import DeviceRole
from hedgerow.features.connecting.handed_out import ask_router
from hedgerow.network.own_addresses import own_addresses

_MEND = "give it this machine as its only DNS server: /start/connect on the pages shows how"
_MEND_ROUTER = "make this machine the only DNS server that it hands out: see /start/connect on the pages"
_TIMEOUT_S = 10.0
_SHOWN = 5
_ITSELF = (DeviceRole.OWN, DeviceRole.THING)
"""Devices that show nothing about those of people."""


def check_connections(installation: Installation) -> Iterator[Finding]:
    """Check that devices of children use Hedgerow."""
    if installation.settings is None:
        return
    try:
        with control_client(installation.settings, _TIMEOUT_S) as client:
            answer = client.get("/api/v1/connections")
            answer.raise_for_status()
    except httpx.HTTPError:
        return  # another check says that control does not answer
    yield from connection_findings(answer.json())


def check_router(installation: Installation) -> Iterator[Finding]:
    """Check that the router hands out this machine as the only DNS server. Needs root."""
    if installation.settings is None:
        return
    try:
        answer = ask_router()
    except OSError:
        return  # not root, or another program has the port
    if answer is not None:
        yield router_finding(*answer, own_addresses())


def router_finding(router: str, servers: Sequence[str], own: Collection[str]) -> Finding:
    """Report on the DNS servers that a router hands out to a machine with the addresses `own`."""
    others = [server for server in servers if server not in own]
    if servers and not others:
        return good_finding("router", f"{router} hands out this machine as the only DNS server")
    also = "also " if others != list(servers) else ""
    found = f"{router} {also}hands out {', '.join(others)} for DNS" if others else f"{router} hands out no DNS server"
    return Finding(
        "router",
        Health.UNSURE,
        f"{found}: a device that asks there is filtered only if that server asks this machine",
        _MEND_ROUTER,
    )


def connection_findings(rows: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Report the devices of children that do not use Hedgerow."""
    what = "devices"
    connected = [row for row in rows if row["state"] in ("filtered", "websites") and row["role"] not in _ITSELF]
    waiting = [row["id"] for row in rows if row["is_childs"] and row["state"] == "never"]
    if waiting:
        names = ", ".join(waiting[:_SHOWN]) + (f" and {len(waiting) - _SHOWN} more" if waiting[_SHOWN:] else "")
        yield Finding(what, Health.UNSURE, f"not connected: {names}", _MEND)
    elif not connected:
        yield Finding(what, Health.UNSURE, "none uses Hedgerow, so nothing is filtered", _MEND)
    else:
        yield good_finding(what, f"{len(connected)} used Hedgerow in the last three days")
