"""Home Assistant's view of the home, and its commands, by an MQTT broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.home_assistant.settings import MQTT

    return (MQTT,)


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.home_assistant.bridge import bridge_service

    return (bridge_service(core),)


FEATURE = Feature(
    name="home_assistant",
    summary="Children, requests and the filter's state in Home Assistant, by an MQTT broker",
    policy_keys=_policy_keys,
    services=_services,
)
