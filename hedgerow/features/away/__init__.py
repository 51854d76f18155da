"""The tunnel home, and the files by which devices keep their rules away: its ends, or settings of encrypted DNS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import Check, ControlService, Core, Feature, GatewayCore

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.dashboards.metrics import Metric
    from hedgerow.policies.model import Policy


def _uses(policy: Policy) -> bool:
    devices = policy.devices.values()
    return policy.network.tunnel is not None or any(device.client_id is not None for device in devices)


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.away.tunnel import tunnel_service

    return (tunnel_service(core),)


def _gateway_services(core: GatewayCore) -> Sequence[ControlService]:
    from hedgerow.features.away.tunnel_keeper import TunnelKeeper
    from hedgerow.task_state import Area

    keeper = TunnelKeeper(core)
    return (ControlService(name="tunnel", area=Area.TUNNEL, run=keeper.run, close=keeper.close),)


def _gateway_leftovers() -> bool:
    from hedgerow.features.away.wireguard import has_interface

    return has_interface()


def _extensions() -> Extensions:
    from hedgerow.features.away.pages import EXTENSIONS

    return EXTENSIONS


def _checks() -> Sequence[Check]:
    from hedgerow.features.away.checks import check_tunnel

    return (check_tunnel,)


def _metrics() -> Sequence[Metric]:
    from hedgerow.features.away.metrics import METRICS

    return METRICS


FEATURE = Feature(
    name="away",
    summary="Files by which devices keep their rules away from home, through the tunnel or by encrypted DNS",
    uses=_uses,
    services=_services,
    gateway_services=_gateway_services,
    gateway_leftovers=_gateway_leftovers,
    extensions=_extensions,
    checks=_checks,
    metrics=_metrics,
    commands={"away": "commands:app"},
)
