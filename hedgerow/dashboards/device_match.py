"""Likeness of a new device to known ones: a phone that changed its MAC address looks like one that has just left. Pure.

The signs are the name that the device gives to the DHCP server, its maker, its kind, and whether the known device fell silent when the new
one came. DHCP fingerprints (option 55) are not among them, because servers do not write them to their lease files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hedgerow.network.discovery import is_randomised_mac
from hedgerow.policies.device_kinds import DeviceKind
from hedgerow.policies.model import DeviceId

MAX_MATCHES = 2
TOGETHER_S = 300.0
"""Seconds for which both may be seen: reports of the old address arrive late."""
JUST_LEFT_S, LATELY_LEFT_S = 900.0, 86_400.0

_SAME_NAME, _JUST_LEFT, _LATELY_LEFT, _SAME_MAKER, _SAME_KIND, _RANDOM_MAC = 3, 2, 1, 1, 1, 1
_LIKELY = 3


@dataclass(frozen=True, slots=True)
class DeviceTraits:
    """Traits by which a device is recognised. Instants are in seconds since the epoch, None if it was never seen."""

    id: DeviceId
    mac: str
    names: tuple[str, ...] = ()
    maker: str = ""
    kind: DeviceKind | None = None
    first_seen: float | None = None
    last_seen: float | None = None


def likely_matches(new: DeviceTraits, known: Iterable[DeviceTraits]) -> tuple[DeviceId, ...]:
    """Return the known devices that a new one may be, the likeliest first. There are none for a device without a MAC address."""
    if not new.mac:
        return ()
    scored = [(likeness(new, each), each.last_seen or 0.0, each.id) for each in known]
    return tuple(id for score, _, id in sorted(scored, reverse=True)[:MAX_MATCHES] if score >= _LIKELY)


def likeness(new: DeviceTraits, old: DeviceTraits) -> int:
    """Return a score: 0 if they cannot be the same device, since both are on the network or are of different kinds."""
    if new.first_seen is not None and old.last_seen is not None and old.last_seen > new.first_seen + TOGETHER_S:
        return 0
    if None not in (new.kind, old.kind) and new.kind is not old.kind:
        return 0
    score = _SAME_NAME if _plain(new.names) & _plain(old.names) else 0
    score += _SAME_MAKER if new.maker and new.maker == old.maker else 0
    score += _SAME_KIND if new.kind is not None and new.kind is old.kind else 0
    score += _RANDOM_MAC if any(is_randomised_mac(mac) for mac in (new.mac, old.mac) if mac) else 0
    if new.first_seen is not None and old.last_seen is not None:
        silent = new.first_seen - old.last_seen
        score += _JUST_LEFT if silent <= JUST_LEFT_S else _LATELY_LEFT if silent <= LATELY_LEFT_S else 0
    return score


def _plain(names: Collection[str]) -> set[str]:
    """Return names without case, punctuation and the domain that a DHCP server adds."""
    plain = {re.sub(r"[\W_]", "", name.partition(".")[0].casefold()) for name in names}
    return plain - {"", "android", "iphone", "ipad"}
