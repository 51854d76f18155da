"""A trial of the inspection of pages every few seconds, and a copy of the lists in force, by Hedgerow itself."""

from __future__ import annotations

from collections.abc import Sequence

from hedgerow.features.contract import ControlService, Core, Feature


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.self_check.services import self_check_services

    return self_check_services(core)


FEATURE = Feature(
    name="self_check",
    summary="A trial of the inspection of pages every few seconds, and a copy of the lists in force",
    is_permanent=True,
    services=_services,
)
