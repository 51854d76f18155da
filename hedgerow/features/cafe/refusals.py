"""Requests at a café's counter that are refused because of another one."""

from __future__ import annotations

from hedgerow.dashboards.control import InvalidInput


class NobodyOnDuty(InvalidInput):
    """The café has staff, and nobody of them has taken over in this browser."""

    of_form = False


class SeatTaken(InvalidInput):
    """There is a session at the seat that was to be opened, and nobody confirmed that it ends. `more` has its id."""

    status = 409


class TillChanged(InvalidInput):
    """Refusal of a count, since something was paid or counted after its maker had seen what is expected."""

    status = 409


class AlreadyDone(InvalidInput):
    """A request was carried out before, and its result cannot be given again."""

    status = 409
