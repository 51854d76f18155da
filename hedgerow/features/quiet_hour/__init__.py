"""A quiet hour: the internet closed for all children of a home at once, and for nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.dashboards.metrics import Metric


def _extensions() -> Extensions:
    from hedgerow.features.quiet_hour.pages import EXTENSIONS

    return EXTENSIONS


def _metrics() -> Sequence[Metric]:
    from hedgerow.features.quiet_hour.metrics import METRICS

    return METRICS


FEATURE = Feature(
    name="quiet_hour",
    summary="The internet closed for all children at once for an hour, while adults stay online",
    extensions=_extensions,
    metrics=_metrics,
    commands={"quiet-hour": "commands:app"},
)
