"""Explicit pictures hidden by a neural network, on devices whose HTTPS is inspected.

The extra `pictures` has what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import Check, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.dashboards.metrics import Metric
    from hedgerow.policies.reading.feature_keys import ScoreKey
    from hedgerow.proxy.scanners.scanner import ScoringScanner


def _score_keys() -> Sequence[ScoreKey]:
    from hedgerow.features.pictures.settings import PICTURE_SCAN

    return (PICTURE_SCAN,)


def _scanner() -> ScoringScanner | None:
    from hedgerow.features.pictures.scanner import PICTURES, is_installed

    return PICTURES if is_installed() else None


def _extensions() -> Extensions:
    from hedgerow.features.pictures.pages import EXTENSIONS

    return EXTENSIONS


def _checks() -> Sequence[Check]:
    from hedgerow.features.pictures.checks import check_pictures

    return (check_pictures,)


def _metrics() -> Sequence[Metric]:
    from hedgerow.features.pictures.metrics import METRICS

    return METRICS


FEATURE = Feature(
    name="pictures",
    summary="Explicit pictures hidden by a neural network, on devices whose HTTPS is inspected",
    score_keys=_score_keys,
    scanners={"picture_scan": _scanner},
    extensions=_extensions,
    checks=_checks,
    metrics=_metrics,
)
