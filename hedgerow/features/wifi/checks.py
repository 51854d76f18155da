"""The doctor's check of the children's Wi-Fi."""

from __future__ import annotations

import time
from collections.abc import Iterator

from hedgerow.app.doctor.findings import Finding, Health, Installation, good_finding
from hedgerow.features.wifi.report import WifiReport, WifiState
from hedgerow.features.wifi.settings import WifiSettings

_WHAT = "children's Wi-Fi"
_LOG = "see journalctl -u hedgerow-wifi"
_REMEDIES = {
    WifiState.NO_COUNTRY: ("the policy names no country, which decides on the channels", "add network.country"),
    WifiState.NO_RADIO: (
        "this machine has no radio, or no firmware for it",
        "plug in a Wi-Fi adapter; see docs/features/wifi.md",
    ),
    WifiState.NO_ACCESS_POINT: (
        "the radio can't open a Wi-Fi",
        "use an adapter that can be an access point (`iw phy`)",
    ),
    WifiState.NO_NETWORK: ("every network for its devices is in use elsewhere", "give the router another network"),
    WifiState.UNFILTERED: ("closed, since the gateway is not in place", "systemctl start hedgerow-gateway.path"),
    WifiState.STARTING: ("about to open", "wait a minute"),
    WifiState.OFF: ("about to open", "wait a minute"),
    WifiState.OFFLINE: (
        "open, but nothing leads to the internet",
        "plug in the cable to the router, and look whether it works",
    ),
}


def check_wifi(installation: Installation) -> Iterator[Finding]:
    """Check that the Wi-Fi of the policy is open."""
    policy = installation.policy
    settings = policy.settings(WifiSettings) if policy is not None else None
    if settings is not None:
        yield wifi_finding(settings, WifiReport.load(time.time()))


def wifi_finding(settings: WifiSettings, report: WifiReport | None) -> Finding:
    """Report on the Wi-Fi of a policy. `report` is None while its process does not run."""
    if report is None:
        return Finding(_WHAT, Health.BAD, "its process does not run", "systemctl enable --now hedgerow-wifi")
    if report.state is WifiState.OPEN:
        return good_finding(_WHAT, f"{settings.name} is open on {report.interface}, with {report.devices} devices")
    if report.state is WifiState.FAILED:
        return Finding(_WHAT, Health.BAD, report.reason, _LOG)
    found, mend = _REMEDIES[report.state]
    is_waiting = report.state in {WifiState.STARTING, WifiState.OFF, WifiState.OFFLINE}
    return Finding(_WHAT, Health.UNSURE if is_waiting else Health.BAD, found, mend)
