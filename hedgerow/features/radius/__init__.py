"""Users of devices by RADIUS accounting, as access points and switches report them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.radius.settings import RADIUS

    return (RADIUS,)


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.radius.accounting import accounting_service

    return (accounting_service(core),)


FEATURE = Feature(
    name="radius",
    summary="Users of devices, as access points and switches report them by RADIUS accounting",
    policy_keys=_policy_keys,
    services=_services,
)
