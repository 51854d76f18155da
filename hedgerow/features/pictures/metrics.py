"""The metric of judged pictures."""

from __future__ import annotations

from hedgerow.dashboards.metrics import Metric, counter

JUDGED = "hedgerow_proxy_pictures_judged_total"

METRICS: tuple[Metric, ...] = (counter(JUDGED, "Pictures that were judged: shown, hidden or unchecked.", "outcome"),)
