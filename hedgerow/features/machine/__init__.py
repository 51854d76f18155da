"""The machine that Hedgerow runs on: its temperature, supply, memory and disk, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.dashboards.metrics import Metric


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.machine.watch import machine_service

    return (machine_service(core),)


def _extensions() -> Extensions:
    from hedgerow.features.machine.pages import EXTENSIONS

    return EXTENSIONS


def _metrics() -> Sequence[Metric]:
    from hedgerow.features.machine.metrics import METRICS

    return METRICS


FEATURE = Feature(
    name="machine",
    summary="Temperature, supply, memory and disk of the machine, and what is wrong with them",
    is_permanent=True,
    services=_services,
    extensions=_extensions,
    metrics=_metrics,
)
