"""The children's own Wi-Fi, which this machine opens with a radio of its own and filters as their gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import Check, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.dashboards.metrics import Metric
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.wifi.settings import WIFI

    return (WIFI,)


def _extensions() -> Extensions:
    from hedgerow.features.wifi.pages import EXTENSIONS

    return EXTENSIONS


def _checks() -> Sequence[Check]:
    from hedgerow.features.wifi.checks import check_wifi

    return (check_wifi,)


def _metrics() -> Sequence[Metric]:
    from hedgerow.features.wifi.metrics import METRICS

    return METRICS


FEATURE = Feature(
    name="wifi",
    summary="A Wi-Fi for the children, opened and filtered by this machine",
    policy_keys=_policy_keys,
    extensions=_extensions,
    checks=_checks,
    metrics=_metrics,
    commands={"wifi": "commands:app"},
)
