"""Trust in upstreams: the certificate authorities of encrypted ones, and proof that they validate DNSSEC."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from struct import pack
from typing import Final

from hedgerow.dns import wire
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.upstream import Channel, UpstreamQuestion
from hedgerow.dns.wire import Malformed

log = logging.getLogger(__name__)


class TrustStore:
    """The system's CAs and those of a PEM file. Contexts are made on demand and shared, since each holds all CAs."""

    def __init__(self, extra_cas: Path | None = None) -> None:
        self.extra_cas = extra_cas
        self._contexts: dict[str | None, ssl.SSLContext] = {}

    def context(self, protocol: str | None = None) -> ssl.SSLContext:
        """Return a context for TLS over TCP that offers one ALPN protocol or none.

        Raises OSError or ssl.SSLError for a bad file.
        """
        context = self._contexts.get(protocol)
        if context is None:
            context = self._contexts[protocol] = ssl.create_default_context()
            if self.extra_cas is not None:
                context.load_verify_locations(self.extra_cas)
            if protocol is not None:
                context.set_alpn_protocols([protocol])
        return context


_PROOF: Final = UpstreamQuestion(b"\0" + pack("!HH", wire.SOA, wire.IN), dnssec=True)
_PROOF_SECONDS: Final = 2.0
_RECHECK_SECONDS: Final = 3600.0
_RECHECK_PARTIAL_SECONDS: Final = 60.0  # when some have not answered
_RECHECK_FAILED_SECONDS: Final = 10.0  # when none has


class ValidatingUpstreams:
    """The channels that have proved to validate DNSSEC. `names` is empty until `check_upstreams` has run."""

    def __init__(self, channels: Sequence[Channel], clock: Callable[[], float]) -> None:
        self.names: frozenset[str] = frozenset()
        self._channels = channels
        self._clock = clock
        self._due = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._has_asked = False

    @property
    def is_due(self) -> bool:
        return self._clock() >= self._due

    def check_upstreams(self, then: Callable[[], None]) -> None:
        """Ask all channels, then call `then`. Does nothing while that is in progress."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._check_upstreams(then))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _check_upstreams(self, then: Callable[[], None]) -> None:
        verdicts = await asyncio.gather(*map(_validates, self._channels))
        validating = {channel.name: good for channel, good in zip(self._channels, verdicts, strict=True)}
        names = frozenset(name for name, good in validating.items() if good or (good is None and name in self.names))
        if not names and (self.names or not self._has_asked):
            log.error("No upstream proves that it validates DNSSEC: with `dnssec: validate` no name can be looked up")
        elif names != self.names:
            log.info(
                "Upstreams that prove that they validate DNSSEC: %s",
                ", ".join(name for name in validating if name in names),
            )
        self.names, self._has_asked = names, True
        is_whole = all(good is not None for good in verdicts)
        self._due = self._clock() + (
            _RECHECK_FAILED_SECONDS if not self.names else _RECHECK_SECONDS if is_whole else _RECHECK_PARTIAL_SECONDS
        )
        self._task = None
        then()


async def _validates(channel: Channel) -> bool | None:
    """Return whether a channel validates DNSSEC, None if it gave no answer."""
    answer: asyncio.Future[bytes | Exception] = asyncio.get_running_loop().create_future()
    try:
        cancel = channel.send(
            _PROOF, _PROOF.question, lambda message: None if answer.done() else answer.set_result(message)
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(_PROOF_SECONDS):
            message = await answer
    except TimeoutError:
        cancel()
        return None
    if isinstance(message, Exception):
        return None
    try:
        response = responses.parse_response(message, _PROOF.question)
    except Malformed:
        return False
    if response.rcode == wire.SERVFAIL:
        return None
    return response.rcode == wire.NOERROR and response.authentic
