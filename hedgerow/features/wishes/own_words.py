"""Refusals of a child's wish, which every language has."""

from __future__ import annotations

from hedgerow.dashboards.control import InvalidInput

MOST_MINUTES = 240
MOST_DAYS = 366
ASKED_PER_HOUR = 6


def no_number() -> InvalidInput:
    """Return the refusal of something that is not a number of minutes."""
    return InvalidInput("Choose a number of minutes from 1 to %(most)s.", most=MOST_MINUTES).at("minutes")


def too_often(time: str) -> InvalidInput:
    """Return the refusal of one question too many, with the time at which the next one is possible."""
    return InvalidInput(
        "You have asked %(count)s times in an hour. You can ask again at %(time)s.", count=ASKED_PER_HOUR, time=time
    )


def not_asked_here() -> InvalidInput:
    """Return the refusal on a device of nobody, of an adult, or at a seat."""
    return InvalidInput("Only a child of the family can ask for this, on a device of its own.")


def no_limit() -> InvalidInput:
    """Return the refusal of minutes where none are counted."""
    return InvalidInput("You have no daily limit for this, so there are no minutes to ask for.")


def no_bedtime() -> InvalidInput:
    """Return the refusal of a later bedtime where there is none."""
    return InvalidInput("You have no bedtime tonight, so there is nothing to ask for.")


def no_such_rule() -> InvalidInput:
    """Return the refusal of a rule that the child does not have."""
    return InvalidInput("This is not one of your rules. Look again at your page: it may have changed.")


def not_yours() -> InvalidInput:
    """Return the refusal to close a question of somebody else, or one that is closed."""
    return InvalidInput("This question is answered or closed already.")
