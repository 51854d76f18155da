"""The day on which a site that is new here was registered, asked for at its registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.metrics import Metric
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.registration_age.settings import REGISTRATION_AGE

    return (REGISTRATION_AGE,)


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.registration_age.registrations import registrations_service

    return (registrations_service(core),)


def _metrics() -> Sequence[Metric]:
    from hedgerow.features.registration_age.metrics import METRICS

    return METRICS


FEATURE = Feature(
    name="registration_age",
    summary="The age of sites that are new here, as their registries know it",
    policy_keys=_policy_keys,
    services=_services,
    metrics=_metrics,
)
