"""Policies above many sites: their versions and groups, by a store or a signed bundle, and the state of the sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.organisation.follower import follower_service

    return (follower_service(core),)


def _extensions() -> Extensions:
    from hedgerow.features.organisation.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="organisation",
    summary="Policies above many sites, by a store or a signed bundle, and the state of the sites",
    uses=lambda policy: policy.network.bundle is not None,
    uses_store=True,
    services=_services,
    extensions=_extensions,
    commands={"organisation": "commands:app"},
)
