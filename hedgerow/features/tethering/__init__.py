"""Adults' devices that forward what others send: a notice, a question on the pages, and the key that allows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature, GatewayCore

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.policies.model import Policy
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.tethering.settings import TETHERS

    return (TETHERS,)


def _uses(policy: Policy) -> bool:
    """Return whether the policy knows a device by its MAC address: the gateway may begin at any time."""
    return any(device.macs for device in policy.devices.values())


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.tethering.watch import tethering_service

    return (tethering_service(core),)


def _gateway_services(core: GatewayCore) -> Sequence[ControlService]:
    from hedgerow.features.tethering.allowed import allowed_service

    return (allowed_service(core),)


def _extensions() -> Extensions:
    from hedgerow.features.tethering.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="tethering",
    summary="Adults' devices that forward what others send: a notice, a question, and the key that allows it",
    uses=_uses,
    policy_keys=_policy_keys,
    services=_services,
    gateway_services=_gateway_services,
    extensions=_extensions,
)
