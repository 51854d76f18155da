"""Metrics of the children's Wi-Fi."""

from __future__ import annotations

from hedgerow.dashboards.metrics import Metric, gauge

OPEN, DEVICES = "hedgerow_wifi_open", "hedgerow_wifi_devices"

METRICS: tuple[Metric, ...] = (
    gauge(OPEN, "1 while the children's Wi-Fi is open, 0 while the policy has one that is not."),
    gauge(DEVICES, "Devices that are connected to the children's Wi-Fi."),
)
