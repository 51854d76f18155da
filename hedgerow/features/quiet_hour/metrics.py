"""Metric of the quiet hour."""

from __future__ import annotations

from hedgerow.dashboards.metrics import Metric, gauge

CLOSED = "hedgerow_quiet_hour_closed"

METRICS: tuple[Metric, ...] = (gauge(CLOSED, "People and devices that a quiet hour closes now, 0 without one."),)
