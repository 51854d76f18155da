"""DNS over QUIC, and DNS over HTTPS by HTTP/3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.policies.model import Policy

_LISTENERS = {"doq": "listeners:open_doq", "doh3": "listeners:open_doh3"}


def _uses(policy: Policy) -> bool:
    return not _LISTENERS.keys().isdisjoint(policy.network.listen)


FEATURE = Feature(
    name="quic",
    summary="DNS over QUIC, and DNS over HTTPS by HTTP/3",
    uses=_uses,
    listeners=_LISTENERS,
)
