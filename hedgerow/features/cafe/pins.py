"""Tries of PINs: bounded for whoever guesses, without a delay for anybody else.

A try belongs to the owner of the PIN and to a place: an account on a device. Wrong ones delay the next try at that
place only. All places together at which the owner's PIN was never right have a number of tries per day, so that nobody
guesses by walking from seat to seat; where it was right, the owner can always enter it.
"""

from __future__ import annotations

from collections.abc import Callable

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.passwords import SignInDelays
from hedgerow.policies.model import DeviceId
from hedgerow.proxy.limits import AttemptLimiter

STRANGE_TRIES, _DAY_S = 100, 86400.0
"""Tries per day of one person's PIN, at all places together where it was never right."""


class PinTries:
    """Tries of the PINs of all people. Names that nobody has count as one, the empty name."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._delays: dict[str, SignInDelays] = {}
        self._known: set[tuple[str, str]] = set()
        self._strange = AttemptLimiter(STRANGE_TRIES, _DAY_S)

    def begin(self, owner: str, place: str, name: str) -> None:
        """Count a try before the PIN is compared, so that many at once are not more tries.

        Raises `InvalidInput` with the `name` that was typed if it comes too early.
        """
        delays = self._delays.setdefault(owner, SignInDelays(self._clock))
        wait = delays.seconds_to_wait(place)
        if wait > 0:
            raise InvalidInput(
                "Too many wrong PINs for %(name)s here. Wait %(seconds)s seconds, or use another device.",
                name=name,
                seconds=max(1, round(wait)),
            )
        if (owner, place) not in self._known and not self._strange.allows(DeviceId(owner), self._clock()):
            raise InvalidInput(
                "Too many wrong PINs for %(name)s today. Use a device where it was right before, or have an admin set "
                "a new one.",
                name=name,
            )
        delays.count_failure(place)

    def was_right(self, owner: str, place: str) -> None:
        """Forget the wrong tries at a place, because the last one was right."""
        if (delays := self._delays.get(owner)) is not None:
            delays.forget(place)
        self._known.add((owner, place))

    def forget(self, owner: str) -> None:
        """Forget all tries of a PIN that is no longer in use."""
        self._delays.pop(owner, None)
        self._strange.forget(DeviceId(owner))
        self._known = {each for each in self._known if each[0] != owner}
