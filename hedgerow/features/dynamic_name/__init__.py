"""A name that follows the line's changing address, at a provider of dynamic DNS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import Check, ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.dynamic_name.settings import DDNS

    return (DDNS,)


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.dynamic_name.keeper import keeper_service

    return (keeper_service(core),)


def _checks() -> Sequence[Check]:
    from hedgerow.features.dynamic_name.checks import check_dynamic_name

    return (check_dynamic_name,)


FEATURE = Feature(
    name="dynamic_name",
    summary="A name that follows the line's changing address, at a provider of dynamic DNS",
    policy_keys=_policy_keys,
    services=_services,
    checks=_checks,
)
