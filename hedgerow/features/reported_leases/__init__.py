"""DHCP leases that other machines report by the API, for networks behind routers, where no MAC address arrives here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.reported_leases.table import lease_service

    return (lease_service(core),)


def _extensions() -> Extensions:
    from hedgerow.features.reported_leases.api import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="reported_leases",
    summary="Devices behind routers, known by the DHCP leases that other machines report",
    state_file="leases.json",
    services=_services,
    extensions=_extensions,
)
