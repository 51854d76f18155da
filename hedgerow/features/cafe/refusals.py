"""Requests at a café's counter that are refused because of another one."""

from __future__ import annotations

from hedgerow.dashboards.control import InvalidInput
from hedgerow.policies.text.locales import message


class NobodyOnDuty(InvalidInput):
    """The café has staff, and nobody of them has taken over in this browser."""

    of_form = False


class NoSession(InvalidInput):
    """There is no session at the seat any more, or it can't go on. Somebody else may have ended it."""

    status = 404
    of_form = False

    @classmethod
    def at_seat(cls, seat: str) -> NoSession:
        """Return the refusal of what was to be done with the session at a seat."""
        return cls(message("Nobody sits at %(seat)s any more: the session is over. Open the seat again."), seat=seat)


class SeatTaken(InvalidInput):
    """There is a session at the seat that was to be opened, and nobody confirmed that it ends. `more` has its id."""

    status = 409


class TillChanged(InvalidInput):
    """Refusal of a count, since something was paid or counted after its maker had seen what is expected."""

    status = 409


class AlreadyDone(InvalidInput):
    """A request was carried out before, and its result cannot be given again."""

    status = 409
