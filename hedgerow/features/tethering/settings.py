"""The key `devices.NAME.tethers`: the device forwards for containers and virtual machines of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from hedgerow.policies.model import Policy
from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import managed

NAME = "tethers"


@dataclass(frozen=True, slots=True)
class TetheringSettings:
    """The names of the devices that may forward."""

    KEY: ClassVar[str] = f"devices.*.{NAME}"

    devices: tuple[str, ...]


def allowed_devices(policy: Policy) -> tuple[str, ...]:
    """Return the names of the devices that may forward."""
    settings = policy.settings(TetheringSettings)
    return settings.devices if settings is not None else ()


def _read(raw: Mapping[str, bool], reader: KeyReader) -> TetheringSettings | None:
    names = tuple(name for name, tethers in raw.items() if tethers)
    for name in names:
        if not reader.policy.devices[name].macs:
            reader.add_problem(name, NAME, text=f"'{name}' needs a `mac`, by which the gateway knows what it forwards")
    return TetheringSettings(names) if names else None


TETHERS = FeatureKey(
    settings=TetheringSettings,
    kind=bool,
    declaration=managed(
        False,
        description="The device forwards for containers and virtual machines of its own, whose traffic is its own."
        " Otherwise, what an adult's device forwards has the rules of devices without a name.",
    ),
    read=_read,
)
