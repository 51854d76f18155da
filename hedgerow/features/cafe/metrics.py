"""Metrics of seats."""

from __future__ import annotations

from hedgerow.dashboards.metrics import Metric, counter, gauge

SEATS, MOVED, MOVED_NOW = "hedgerow_seats", "hedgerow_seat_bytes_total", "hedgerow_seat_bytes_per_second"

METRICS: tuple[Metric, ...] = (
    counter(
        MOVED,
        "Bytes to (down) and from (up) a café's seat, while the policy limits the bandwidth of seats.",
        "seat",
        "direction",
    ),
    gauge(MOVED_NOW, "The same in the last seconds.", "seat", "direction"),
    gauge(SEATS, "Seats of a café by state: free, child, adult, paused.", "state"),
)
