"""The children's Wi-Fi in the web server of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hedgerow.features.wifi.report import WifiHome, WifiReport, WifiState, wifi_of


class FixedWifi(WifiHome):
    """A radio that could open a Wi-Fi, and a password that no form changes."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))

    def report(self, now: float) -> WifiReport | None:
        return WifiReport(WifiState.OPEN, now, ("wlan0",), "wlan0", "10.43.1.0/24", 2)

    def password(self) -> str:
        return "abcd-efgh-jkmn-pqrs"

    def renew_password(self) -> None:
        """Leave it as it is."""


def parts(**_core: object) -> dict[Any, Any]:
    """Return the Wi-Fi, by the function that makes the feature's own."""
    return {wifi_of: FixedWifi()}
