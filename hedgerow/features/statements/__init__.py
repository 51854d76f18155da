"""Signed statements of a café's days, in a chain that an inspection can check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.policies.model import Policy


def _has_seats(policy: Policy) -> bool:
    return any(device.is_seat for device in policy.devices.values())


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.statements.keeper import statement_service

    return (statement_service(core),)


def _extensions() -> Extensions:
    from hedgerow.features.statements.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="statements",
    summary="Signed statements of a café's days, in a chain that an inspection can check",
    needs=("cafe",),
    uses=_has_seats,
    uses_store=True,
    services=_services,
    extensions=_extensions,
    commands={"seat audit": "commands:audit"},
)
