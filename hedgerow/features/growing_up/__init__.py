"""Growing up: a change of profile, or of what the law closes, is announced for thirty days and never comes before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.policies.model import Policy
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _uses(policy: Policy) -> bool:
    from hedgerow.policies.growing import knows_births

    return knows_births(policy)


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.growing_up.settings import FOLLOW_LAW

    return (FOLLOW_LAW,)


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.growing_up.keeper import growth_service

    return (growth_service(core),)


def _extensions() -> Extensions:
    from hedgerow.features.growing_up.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="growing_up",
    summary="Changes of profile by the month of birth, announced for thirty days to parent and child",
    policy_keys=_policy_keys,
    uses=_uses,
    services=_services,
    extensions=_extensions,
)
