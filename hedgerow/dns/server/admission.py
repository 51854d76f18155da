"""Admission of answers by the gateway: a guarded device may open connections to no other addresses than those in its
answers.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from hedgerow.dns.cache import CacheEntry
from hedgerow.dns.server.clients import ClientEntry

MAX_ADMITTED: Final = 2048  # cached answers that are known to be admitted for one client

type MessageCallback = Callable[[bytes | None], None]
type Admit = Callable[[bytes, tuple[bytes, ...], int, Callable[[bool], None]], bool]
"""Have addresses, with their TTL, admitted for a source:

True if they are, else the callback is called within a moment.
"""


class Deferred(Enum):
    """An answer that a callback will receive. None would mean that there is no answer."""

    DEFERRED = auto()


DEFERRED: Final = Deferred.DEFERRED


class AnswerAdmission:
    """Answers that wait until the gateway admits their addresses. `admit` is None where there is no gateway."""

    def __init__(self, admit: Admit | None) -> None:
        self._admit = admit

    @property
    def is_needed(self) -> bool:
        return self._admit is not None

    def release(
        self, client: ClientEntry, entry: CacheEntry | None, message: bytes | None, on_answer: MessageCallback
    ) -> bytes | Deferred | None:
        """Return an answer, or defer it until its addresses are admitted for this client."""
        admitted, source = client.admitted, client.client.source
        if admitted is None or source is None or entry is None or self._admit is None:
            return message

        def done(is_admitted: bool) -> None:
            if is_admitted:
                admitted.add(entry)
            on_answer(message)

        if len(admitted) >= MAX_ADMITTED:
            admitted.clear()
        addresses, ttl = entry.addresses
        if addresses and not self._admit(source, addresses, ttl, done):
            return DEFERRED
        admitted.add(entry)
        return message
