"""The addresses of names that stand for others, such as an engine's safe twin, also for when the upstreams are away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hedgerow.dns.cache import STALE_SECONDS
from hedgerow.dns.upstreams.inquiries import Upstreams, is_bogus
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import Ask, UpstreamError

_MAX_KEPT: Final = 256  # there are some twenty twins


class Twins:
    """Asks for them. What was said lately is kept for a day, and given where no upstream answers (RFC 8767)."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._kept: dict[bytes, tuple[float, Response]] = {}

    def forget(self) -> None:
        self._kept.clear()

    async def ask(self, upstreams: Upstreams, question: bytes) -> tuple[Response, bool]:
        """The answer, and whether it is an old one. Raises UpstreamError."""
        try:
            response = await upstreams.ask(Ask(question))
        except UpstreamError as fault:
            born, old = self._kept.get(question, (0.0, None))
            if old is None or is_bogus(fault) or self._steady() - born > STALE_SECONDS:
                raise
            return old, True
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[question] = self._steady(), response
        return response, False
