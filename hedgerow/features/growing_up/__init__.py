"""Growing up: a change of profile by age is announced for thirty days, can be put off, and never comes unannounced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.policies.model import Policy


def _uses(policy: Policy) -> bool:
    from hedgerow.policies.growing import knows_births

    return knows_births(policy)


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.growing_up.keeper import growth_service

    return (growth_service(core),)


def _extensions() -> Extensions:
    from hedgerow.features.growing_up.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="growing_up",
    summary="Changes of profile by the month of birth, announced for thirty days to parent and child",
    uses=_uses,
    services=_services,
    extensions=_extensions,
)
