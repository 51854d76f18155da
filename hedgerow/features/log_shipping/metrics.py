"""Metrics of the log of events."""

from __future__ import annotations

from hedgerow.dashboards.metrics import Metric, counter, gauge

WAITING = "hedgerow_event_log_waiting"
LOST = "hedgerow_event_log_lost_total"

METRICS: tuple[Metric, ...] = (
    gauge(WAITING, "Lines of the log of events that wait for the collectors of `log_to`."),
    counter(LOST, "Lines of the log of events that waited too long for a collector.", shown=((),)),
)
