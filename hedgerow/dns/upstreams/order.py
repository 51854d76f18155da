"""The order in which channels are asked, by strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hedgerow.dns.upstreams.health import UpstreamHealth
from hedgerow.dns.upstreams.upstream import Channel
from hedgerow.policies.network import UpstreamStrategy

_PROBE_INTERVAL: Final = 30.0  # seconds after which a slower upstream is measured again, beside the fastest
_MAX_PARALLEL: Final = 3


def order_channels(
    usable: Sequence[Channel], health: Mapping[str, UpstreamHealth], strategy: UpstreamStrategy, now: float
) -> list[list[Channel]]:
    """Return the channels to ask at once, those after that, and so on."""
    if len(usable) == 1:
        return [[usable[0]]]
    available = [channel for channel in usable if health[channel.name].backoff_until <= now]
    backing_off = [channel for channel in usable if channel not in available] if len(available) < len(usable) else []
    match strategy:
        case UpstreamStrategy.PARALLEL:
            rounds = [available[:_MAX_PARALLEL], *([channel] for channel in available[_MAX_PARALLEL:])] if available else []
        case UpstreamStrategy.FASTEST if available:
            available.sort(key=lambda channel: _speed(health[channel.name]))
            old = [channel for channel in available[1:] if now - health[channel.name].asked_at > _PROBE_INTERVAL]
            rounds = [[available[0], *old[:1]], *([channel] for channel in available[1:] if channel not in old[:1])]
        case _:
            rounds = [[channel] for channel in available]
    return rounds + [[channel] for channel in backing_off]


def _speed(health: UpstreamHealth) -> tuple[bool, float]:
    """Return a sort key. A channel that failed last, or has not answered yet, is only tried beside others."""
    is_new = health.asked_at == float("-inf")
    return health.fails > 0, health.seconds or (0.0 if is_new else float("inf"))
