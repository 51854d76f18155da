"""The key `network.wifi`: the children's Wi-Fi. Its country is `network.country`, and its password is in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import RawModel, reserved

MAX_NAME_OCTETS = 32  # IEEE 802.11, 9.4.2.2


@dataclass(frozen=True, slots=True)
class WifiSettings:
    """The Wi-Fi `name` (SSID). `isolate`: its devices can't reach each other. `strict` is the gateway's strict mode."""

    KEY: ClassVar[str] = "network.wifi"

    name: str
    isolate: bool = False
    strict: bool = False


class RawWifi(RawModel):
    """A Wi-Fi for the children, opened by this machine."""

    name: str = reserved(description="The name that devices see (SSID), 1 to 32 octets.")
    isolate: bool = reserved(False, description="Devices in it can't reach each other, such as a printer.")
    strict: bool = reserved(False, description="Only DNS, the web and the time pass: no calls, no games.")


def name_mistake(name: str) -> str:
    """Return what is wrong with the name of a Wi-Fi, empty if nothing is.

    >>> name_mistake("Children"), name_mistake("x" * 33)
    ('', 'a name has 1 to 32 octets')
    """
    if not name.isprintable() or name != name.strip():  # surrogates are not printable, and no octets
        return "a name has no control characters or outer spaces"
    return "" if 1 <= len(name.encode()) <= MAX_NAME_OCTETS else f"a name has 1 to {MAX_NAME_OCTETS} octets"


def _read(raw: RawWifi, reader: KeyReader) -> WifiSettings | None:
    mistake = name_mistake(raw.name)
    if mistake:
        reader.add_problem("name", text=f"'{raw.name}': {mistake}")
        return None
    return WifiSettings(raw.name, raw.isolate, raw.strict)


WIFI = FeatureKey(
    settings=WifiSettings,
    kind=RawWifi | None,
    declaration=reserved(None, description="A Wi-Fi for the children, opened and filtered by this machine."),
    read=_read,
)
