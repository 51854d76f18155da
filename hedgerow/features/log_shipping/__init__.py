"""Copies of what is recorded, for collectors of logs: in files, on syslog servers, or posted to a URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.metrics import Metric
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.log_shipping.settings import LOG_TO

    return (LOG_TO,)


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.log_shipping.event_log import event_log_service

    return (event_log_service(core),)


def _metrics() -> Sequence[Metric]:
    from hedgerow.features.log_shipping.metrics import METRICS

    return METRICS


FEATURE = Feature(
    name="log_shipping",
    summary="Copies of what is recorded, as JSON: in files, on syslog servers, or posted to a URL",
    policy_keys=_policy_keys,
    services=_services,
    metrics=_metrics,
)
