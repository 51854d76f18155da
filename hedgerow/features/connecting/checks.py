"""The doctor's check of the devices that do not use Hedgerow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from hedgerow.app.doctor.findings import Finding, Health, Installation, good_finding
from hedgerow.app.ipc import control_client

_MEND = "give it this machine as its only DNS server: /start/connect on the pages shows how"
_TIMEOUT_S = 10.0
_SHOWN = 5


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


def connection_findings(rows: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Report the devices of children that do not use Hedgerow."""
    what = "devices"
    connected = [row for row in rows if row["state"] in ("filtered", "websites")]
    waiting = [row["id"] for row in rows if row["is_childs"] and row["state"] == "never"]
    if waiting:
        names = ", ".join(waiting[:_SHOWN]) + (f" and {len(waiting) - _SHOWN} more" if waiting[_SHOWN:] else "")
        yield Finding(what, Health.UNSURE, f"not connected, so not filtered: {names}", _MEND)
    elif not connected:
        yield Finding(what, Health.UNSURE, "none uses Hedgerow, so nothing is filtered", _MEND)
    else:
        yield good_finding(what, f"{len(connected)} used Hedgerow in the last three days")
