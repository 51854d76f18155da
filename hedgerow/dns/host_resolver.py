"""The addresses of a host for a device, as it would get them by DNS, for the gate that connects in its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from ipaddress import ip_address
from struct import pack
from typing import Any, Final, NamedTuple

from hedgerow.dns import wire
from hedgerow.dns.answer_cache import URL_ALLOWED
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.upstreams.responses import address_texts, parse_response
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Ruleset

log = logging.getLogger(__name__)

RESOLUTION_DELAY: Final = 0.25
"""Seconds to wait for AAAA once A has addresses (RFC 8305, section 3): some nameservers never answer for AAAA."""

_ALLOWED: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)


class HostLookup(NamedTuple):
    """The addresses of a host: none if it is blocked or does not exist, or if the look-up `failed` because no upstream
    answered.
    """

    addresses: tuple[str, ...]
    decision: Decision
    failed: bool = False


class HostResolver:
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._late: set[asyncio.Task[HostLookup]] = set()

    async def find(self, ruleset: Ruleset, device: DeviceId, host: str, *, url_is_allowed: bool = False) -> HostLookup:
        """Return the addresses that the device would get for `host` by DNS, IPv4 first. An address resolves to itself.

        `url_is_allowed`: the URL was judged and allowed, so that the name is not judged again. What it resolves to is.
        """
        try:
            return HostLookup((str(ip_address(host)),), _ALLOWED)
        except ValueError:
            pass
        try:
            name = wire.name_of(host)
        except ValueError:
            return HostLookup((), _ALLOWED)
        decided = URL_ALLOWED if url_is_allowed else None
        four, six = await self._both(
            *(self._address(ruleset, device, name, rtype, decided) for rtype in (wire.A, wire.AAAA))
        )
        both = self._without_refused_type(ruleset, device, host, four, six)
        decision = next((each.decision for each in both if each.decision.verdict is Verdict.BLOCK), both[0].decision)
        if decision.verdict is Verdict.BLOCK:
            return HostLookup((), decision)
        texts = tuple(text for each in both for text in each.addresses)
        return HostLookup(texts, decision, failed=not texts and any(each.failed for each in both))

    async def _both(
        self, four: Coroutine[Any, Any, HostLookup], six: Coroutine[Any, Any, HostLookup]
    ) -> tuple[HostLookup, HostLookup]:
        """Return both results. The second one counts as empty if it is late and the first one has addresses."""
        loop = asyncio.get_running_loop()
        first, second = tasks = loop.create_task(four), loop.create_task(six)
        try:
            result = await first
            await asyncio.wait({second}, timeout=RESOLUTION_DELAY if result.addresses else None)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        if second.done():
            return result, second.result()
        self._late.add(second)  # its answer goes to the cache
        second.add_done_callback(self._on_late)
        return result, HostLookup((), result.decision)

    def _on_late(self, task: asyncio.Task[HostLookup]) -> None:
        self._late.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("The resolver failed", exc_info=error)

    def _without_refused_type(
        self, ruleset: Ruleset, device: DeviceId, host: str, four: HostLookup, six: HostLookup
    ) -> tuple[HostLookup, ...]:
        """Return only the other result if a rule refuses one type of address: that does not block the host."""
        for kind, result, other in (("A", four, six), ("AAAA", six, four)):
            if result.decision.verdict is Verdict.BLOCK and other.addresses:
                question = Request(device, RequestKind.DNS, host, dns_type=kind)
                if self._resolver.decide(ruleset, question).verdict is Verdict.BLOCK:
                    return (other,)
        return four, six

    async def _address(
        self, ruleset: Ruleset, device: DeviceId, name: bytes, rtype: int, decided: Decision | None
    ) -> HostLookup:
        data = b"\0\0\x01\0" + pack("!HHHH", 1, 0, 0, 0) + name + pack("!HH", rtype, wire.IN)
        answer = await self._resolver.answer(ruleset, device, data, "gate", decided)
        if answer.message is None or answer.decision is None:
            return HostLookup((), _ALLOWED, failed=True)
        decision = answer.decision
        if decision.verdict is Verdict.BLOCK:
            return HostLookup((), decision)
        response = parse_response(answer.message, data[wire.HEADER :])
        return HostLookup(tuple(address_texts(response)), decision, failed=response.rcode == wire.SERVFAIL)
