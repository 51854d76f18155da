"""The setup code: the proof that the person who sets the first password can see the terminal of this machine.

It is made at each start, kept in memory only, and worthless once there is an account.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Letters and digits that nobody confuses: no I, L, O, 0 or 1."""

LENGTH = 8

FREE_TRIES = 20
"""Wrong tries in a row of all clients together; 31^8 codes leave a guesser nothing to hope for."""

SECONDS_PER_TRY = 30.0
"""Time after which one more try is free."""


def _make_code() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


@dataclass(slots=True)
class SetupCode:
    """A code with one limit of wrong tries for all clients together: a limit per address would give each device its own guesses.

    >>> SetupCode(code="ABCDEFGH").accepts("abcd efgh"), SetupCode(code="ABCDEFGH").text
    (True, 'ABCD-EFGH')
    """

    clock: Callable[[], float] = time.monotonic
    code: str = field(default_factory=_make_code, repr=False)
    _tries: float = FREE_TRIES
    _counted_at: float | None = None

    @property
    def text(self) -> str:
        """The code as it is shown, in two groups."""
        return f"{self.code[: LENGTH // 2]}-{self.code[LENGTH // 2 :]}"

    def seconds_to_wait(self) -> float:
        """Return the time until the next try, or 0 if one is free."""
        now = self.clock()
        if self._counted_at is not None:
            self._tries = min(FREE_TRIES, self._tries + (now - self._counted_at) / SECONDS_PER_TRY)
        self._counted_at = now
        return max(0.0, (1 - self._tries) * SECONDS_PER_TRY)

    def accepts(self, typed: str) -> bool:
        """Compare a code in constant time, in either case and with any spaces and dashes. A wrong one takes a try."""
        plain = "".join(typed.split()).replace("-", "").upper()
        if self.seconds_to_wait() > 0:
            return False
        if hmac.compare_digest(plain.encode(), self.code.encode()):
            return True
        self._tries -= 1
        return False
