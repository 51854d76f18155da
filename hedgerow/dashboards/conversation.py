"""Conversation starters of the weekly report: three questions that fit a person's age, about wishes first and never about guilt. Pure.

Topics that a child should not have to explain, such as pornography or self-harm, are never named, whatever the age: a question about them
would accuse. What was asked for or took more time is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hedgerow.dashboards.words.languages import Language, message
from hedgerow.journal.reader import RequestRow
from hedgerow.policies.model import Person
from hedgerow.policies.service_ages import AGE_BANDS

_COUNT = 3
_OLDER_FROM = 13
_YOUNG_BELOW = 8
_UNKNOWN_AGE = _YOUNG_BELOW
"""Age for the questions where neither an age nor a built-in profile tells it."""

NAMEABLE_TOPICS = frozenset({"social", "video", "games", "shopping", "ai-chat", "messaging", "forums"})
"""Topics that a question may name. All others are sensitive, or mean nothing to a child."""

_YOUNG = (
    message("What did %(name)s like best on the screen this week? Can you do it together?"),
    message("Did anything on the screen make %(name)s sad or scared?"),
    message("Whom does %(name)s run to when something on the screen is strange?"),
)
_CHILD = (
    message("What was the best thing that %(name)s saw or made online this week?"),
    message("Is there something that does not work for %(name)s but should?"),
    message("Whom would %(name)s tell if something on the internet felt wrong?"),
)
_OLDER = (
    message("What would %(name)s show you from this week, a video, a game or something of their own?"),
    message("Which rule here would %(name)s change, and how would you know that it works?"),
    message("What would %(name)s do if a friend were bullied or pressed for pictures online? Do you both know where to get help?"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """A topic or service with its title, and its minutes or blocks of this week and the one before."""

    name: str
    title: str
    now: int
    before: int


def age_of(person: Person) -> int:
    """Return a person's age, or the lowest one of their built-in profile."""
    by_profile = {profile: age for age, profile in AGE_BANDS.items()}
    return person.age if person.age is not None else by_profile.get(person.profile, _UNKNOWN_AGE)


def conversation_starters(
    person: Person, time: Sequence[Change], blocked: Sequence[Change], requests: Sequence[RequestRow], reader: Language
) -> tuple[str, ...]:  # fmt: skip
    """Return three questions. `time` and `blocked` are this week's topics and services, `requests` what was asked for, the latest first."""
    name, age, questions = person.name, age_of(person), []
    if requests:
        text = message("What did %(name)s want to do at %(what)s, and is there a good way to do it?")
        questions.append(reader.gettext(text, name=name, what=requests[0].host))
    if age >= _YOUNG_BELOW:
        questions += _about_changes(person.name, age, time, blocked, reader)
    general = _YOUNG if age < _YOUNG_BELOW else _CHILD if age < _OLDER_FROM else _OLDER
    questions += [reader.gettext(text, name=name) for text in general]
    return tuple(questions[:_COUNT])


def _about_changes(name: str, age: int, time: Sequence[Change], blocked: Sequence[Change], reader: Language) -> list[str]:
    questions = []
    has_before = any(change.before for change in (*time, *blocked))  # in the first week every topic is new
    more = next((change for change in time if has_before and change.now > 2 * max(change.before, 30)), None)
    if more is not None:
        text = message("%(what)s took more time than in other weeks. What is good about it at the moment?")
        questions.append(reader.gettext(text, what=more.title))
    wanted = [change for change in blocked if change.name in NAMEABLE_TOPICS]
    grown = next((change for change in wanted if has_before and change.now > 2 * max(change.before, 5)), None)
    if grown is not None:
        text = message("%(what)s: blocked more often this week. Did something new come up at school or among friends?")
        questions.append(reader.gettext(text, what=grown.title))
    elif wanted and wanted[0].now and age >= _OLDER_FROM:
        text = message("%(what)s: blocked most often this week. Does %(name)s find that rule fair, and what would be a better one?")
        questions.append(reader.gettext(text, name=name, what=wanted[0].title))
    return questions
