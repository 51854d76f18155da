"""Promises of parents, and refusals, which every language has."""

from __future__ import annotations

from dataclasses import dataclass

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.words.languages import message
from hedgerow.policies.model import Privacy


@dataclass(frozen=True, slots=True)
class ReadyPromise:
    """A promise to choose: its name in the journal, and its message."""

    name: str
    text: str


PROMISES = (
    ReadyPromise("together", message("We look at what is stored only together with you.")),
    ReadyPromise("weekly", message("We look at most once a week, and tell you when we do.")),
    ReadyPromise("ask", message("We talk with you before we change a rule.")),
    ReadyPromise("why", message("When we say no, we tell you why.")),
    ReadyPromise("calm", message("You can tell us if something bad happens online. We will not be angry.")),
    ReadyPromise("table", message("At meals, we put our phones away too.")),
)
"""The promises that parents can choose, in their order on the page."""

SEEN = {
    Privacy.FULL: message("Your parents can see which sites and pages you open."),
    Privacy.DOMAIN: message("Your parents can see which sites you open, but not the pages."),
    Privacy.CATEGORY: message("Your parents see what was closed and how often, but not which sites you open."),
    Privacy.NONE: message("Nobody sees what you do. Nothing is stored."),
}
"""What parents see of a child."""


def changed_meanwhile() -> InvalidInput:
    """Return the refusal of a yes to something that has changed since the page was opened."""
    return InvalidInput("The rules have changed since you opened this page. Read them again, and then say yes.")


def not_here() -> InvalidInput:
    """Return the refusal on a device of nobody, of an adult, or at a seat."""
    return InvalidInput("Only a child of the family can do this, on a device of its own.")


def not_counted() -> InvalidInput:
    """Return the refusal of a goal about something whose minutes are not counted."""
    return InvalidInput("The minutes of this are not counted. Choose something else.")


def no_minutes(most: int) -> InvalidInput:
    """Return the refusal of something that is not a number of minutes."""
    return InvalidInput("Choose a number of minutes from 1 to %(most)s.", most=most).at("minutes")


def no_time() -> InvalidInput:
    """Return the refusal of something that is not a time."""
    return InvalidInput("Enter a beginning and an end, such as 20:30 and 22:00.")


def too_many_goals(most: int) -> InvalidInput:
    """Return the refusal of one goal too many."""
    return InvalidInput("You can have %(most)s goals. Remove one first.", most=most)
