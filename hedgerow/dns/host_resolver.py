"""Where a host is for a device: the addresses that it would get by DNS, for who connects in its place."""

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
"""Seconds that somebody who has IPv4 addresses waits for the others (RFC 8305, section 3): some nameservers never answer for AAAA."""

_ALLOWED: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)


class HostLookup(NamedTuple):
    """Where a host is for a device: none if it is blocked, or does not exist, or `failed` (no upstream answered)."""

    addresses: tuple[str, ...]
    decision: Decision
    failed: bool = False


class HostResolver:
    """Asks a resolver, under a device's rules."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._late: set[asyncio.Task[HostLookup]] = set()

    async def find(self, ruleset: Ruleset, device: DeviceId, host: str, *, url_is_allowed: bool = False) -> HostLookup:
        """The addresses that the device would get for `host` by DNS, IPv4 first; an address is its own address.

        `page_is_open`: whoever asks has judged the URL that is wanted, so that the name as such does not count; what it stands for does.
        """
        try:
            return HostLookup((str(ip_address(host)),), _ALLOWED)
        except ValueError:
            pass
        try:
            name = wire.name_of(host)
        except ValueError:
            return HostLookup((), _ALLOWED)
        known = URL_ALLOWED if url_is_allowed else None
        four, six = await self._both(*(self._address(ruleset, device, name, rtype, known) for rtype in (wire.A, wire.AAAA)))
        both = self._without_refused_type(ruleset, device, host, four, six)
        decision = next((found.decision for found in both if found.decision.verdict is Verdict.BLOCK), both[0].decision)
        if decision.verdict is Verdict.BLOCK:
            return HostLookup((), decision)
        texts = tuple(text for found in both for text in found.addresses)
        return HostLookup(texts, decision, failed=not texts and any(found.failed for found in both))

    async def _both(self, four: Coroutine[Any, Any, HostLookup], six: Coroutine[Any, Any, HostLookup]) -> tuple[HostLookup, HostLookup]:
        """What both came to; the second is as if there were none where it is late and the first has addresses."""
        loop = asyncio.get_running_loop()
        first, second = tasks = loop.create_task(four), loop.create_task(six)
        try:
            found = await first
            await asyncio.wait({second}, timeout=RESOLUTION_DELAY if found.addresses else None)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        if second.done():
            return found, second.result()
        self._late.add(second)  # its answer is kept for who asks next
        second.add_done_callback(self._came_late)
        return found, HostLookup((), found.decision)

    def _came_late(self, task: asyncio.Task[HostLookup]) -> None:
        self._late.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the resolver failed", exc_info=error)

    def _without_refused_type(
        self, ruleset: Ruleset, device: DeviceId, host: str, four: HostLookup, six: HostLookup
    ) -> tuple[HostLookup, ...]:
        """Only the other, where the question for one type of address is refused as such: that is no block of the host."""
        for kind, found, other in (("A", four, six), ("AAAA", six, four)):
            if found.decision.verdict is Verdict.BLOCK and other.addresses:
                question = Request(device, RequestKind.DNS, host, dns_type=kind)
                if self._resolver.decide(ruleset, question).verdict is Verdict.BLOCK:
                    return (other,)
        return four, six

    async def _address(self, ruleset: Ruleset, device: DeviceId, name: bytes, rtype: int, known: Decision | None) -> HostLookup:
        data = b"\0\0\x01\0" + pack("!HHHH", 1, 0, 0, 0) + name + pack("!HH", rtype, wire.IN)
        answer = await self._resolver.answer(ruleset, device, data, "gate", known)
        if answer.message is None or answer.entry is None or answer.entry.decision is None:
            return HostLookup((), _ALLOWED, failed=True)
        decision = answer.entry.decision
        if decision.verdict is Verdict.BLOCK:
            return HostLookup((), decision)
        response = parse_response(answer.message, data[wire.HEADER :])
        return HostLookup(tuple(address_texts(response)), decision, failed=response.rcode == wire.SERVFAIL)
