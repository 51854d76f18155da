"""Files by which devices keep their rules away from home: an end of the tunnel, or settings of encrypted DNS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.policies.model import Policy


def _has_devices_away(policy: Policy) -> bool:
    return any(device.client_id or device.tunnel for device in policy.devices.values())


def _extensions() -> Extensions:
    from hedgerow.features.away.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="away",
    summary="Files by which devices keep their rules away from home, through the tunnel or by encrypted DNS",
    uses=_has_devices_away,
    extensions=_extensions,
    commands={"away": "commands:app"},
)
