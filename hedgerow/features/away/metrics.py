"""Metrics of the tunnel home."""

from __future__ import annotations

from hedgerow.dashboards.metrics import Metric, counter, gauge

METRICS: tuple[Metric, ...] = (
    gauge(
        "hedgerow_tunnel_devices",
        "Devices with a tunnel home: connected, or silent for three minutes or more.",
        "state",
    ),
    counter(
        "hedgerow_tunnel_bytes_total", "Bytes from (in) and to (out) devices through the tunnel home.", "direction"
    ),
)
