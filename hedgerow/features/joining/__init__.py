"""A second machine for the same network, set up from one line, and the authority that all machines of a site share."""

from __future__ import annotations

from collections.abc import Sequence

from hedgerow.features.contract import ControlService, Core, Feature


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.joining.authority import authority_service

    return (authority_service(core),)


FEATURE = Feature(
    name="joining",
    summary="A second machine for the same network, set up from one line that the first one prints",
    uses_store=True,
    services=_services,
    commands={"invite": "commands:invite", "join": "commands:join"},
)
