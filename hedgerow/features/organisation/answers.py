"""Answers of sites to a version of a policy above them: taken over, refused and why, none yet, or silent."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from hedgerow.blocklists.rules import Problem
from hedgerow.features.organisation.levels import ORGANISATION, UP_S, NodeRow, OrganisationStore, SiteState
from hedgerow.journal.policy_history import PolicyVersion

OWN = "site"
"""The level of a site's own policy, in answers."""
LOOK_S = 1.0
SETTLE_S = 3.0
"""Seconds after which sites that try a version first have reported whether they are well with it."""
_SECTIONS_OF_NAMES = ("people", "devices", "seats", "profiles", "notices", "schedules")
_QUOTED = re.compile(r"'.*'", re.DOTALL)  # from the first to the last: a value may have apostrophes of its own


class SiteAnswer(StrEnum):
    """Answer of a site's machine to a version. A newer one counts as taken over."""

    TAKEN = "taken"
    REFUSED = "refused"
    NONE_YET = "none-yet"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """The answer of a site's machine.

    `why` is its reason to refuse, without names. `problems` are those that it reports. `at` is its last report's time,
    None for a machine that has never reported.
    """

    site: str
    node: str
    answer: SiteAnswer
    at: float | None = None
    why: str = ""
    problems: tuple[str, ...] = ()


def answers_to(level: str, version: PolicyVersion, nodes: Iterable[NodeRow], now: float) -> tuple[NodeAnswer, ...]:
    """Return the answers of the machines that a version of the organisation, a group or a site is for."""
    if not level.startswith(ORGANISATION):
        return tuple(_answer(each, OWN, version.id, now) for each in nodes if each.site == level)
    name, group = ("organisation", None) if level == ORGANISATION else ("group", level.removeprefix(ORGANISATION))
    return tuple(
        _answer(each, name, version.id, now)
        for each in nodes
        if group in (None, each.group) and (not version.sites or each.site in version.sites)
    )


def _answer(row: NodeRow, level: str, number: int, now: float) -> NodeAnswer:
    state = row.state
    problems = state.problems if state is not None else ()
    taken, refused, refusal = _told(state, level) if state is not None else (0, 0, "")
    if refused != number and state is not None and taken >= number:
        answer = SiteAnswer.TAKEN
    elif refused >= number:
        answer = SiteAnswer.REFUSED
    else:
        answer = SiteAnswer.SILENT if now - row.at > UP_S else SiteAnswer.NONE_YET
    why = refusal if answer is SiteAnswer.REFUSED else ""
    return NodeAnswer(row.site, row.node, answer, row.at or None, why, problems)


def _told(state: SiteState, level: str) -> tuple[int, int, str]:
    """Return the version of a level that a machine has, the one that it refuses, and why."""
    if level == OWN:
        return state.own, state.own_refused, state.own_refusal
    return state.versions.get(level, 0), state.refused.get(level, 0), state.refusal


def read_answers(
    organisation: OrganisationStore, level: str, version: PolicyVersion, now: float
) -> tuple[NodeAnswer, ...]:
    """Read the answers to a version. Waits for the disk."""
    known = version.sites if level.startswith(ORGANISATION) else (level,)
    return answers_to(level, version, organisation.nodes(known), now)


def wait_for_answers(
    read: Callable[[], tuple[NodeAnswer, ...]], limit_s: float, *, pause: Callable[[float], object] = time.sleep
) -> tuple[NodeAnswer, ...]:
    """Read the answers until every machine that is not silent has answered, or for `limit_s` seconds."""
    ends = time.monotonic() + limit_s
    while True:
        answers = read()
        if time.monotonic() >= ends or not any(each.answer is SiteAnswer.NONE_YET for each in answers):
            return answers
        pause(LOOK_S)


def unwell(answers: Iterable[NodeAnswer], before: Iterable[NodeRow]) -> tuple[NodeAnswer, ...]:
    """Return the machines that have not taken over a version, or have problems that they did not have `before` it."""
    had = {(row.site, row.node): row.state.problems for row in before if row.state is not None}
    return tuple(
        each
        for each in answers
        if each.answer is not SiteAnswer.TAKEN or set(each.problems) - set(had.get((each.site, each.node), ()))
    )


def count_answers(answers: Iterable[NodeAnswer]) -> dict[SiteAnswer, int]:
    """Return the number of machines by answer."""
    found = Counter(each.answer for each in answers)
    return {answer: found[answer] for answer in SiteAnswer}


def describe_refusal(problems: Iterable[Problem], names: Collection[str]) -> str:
    """Return the mistakes for which a site refuses a version, for the office.

    They name no person, device or value of the site: `names`, names of entries, and what is in quotes become `…`.
    """
    return "; ".join(dict.fromkeys(_without_names(each, names) for each in problems))


def _without_names(problem: Problem, names: Collection[str]) -> str:
    keys = problem.path.split(".") if problem.path else []
    hidden = {*names, *(keys[1:2] if keys[:1] and keys[0] in _SECTIONS_OF_NAMES else ())}
    place = ".".join("…" if key in hidden else key for key in keys)
    text = _QUOTED.sub("…", problem.message)
    if hidden:
        text = re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(hidden, key=len, reverse=True)))})(?!\w)", "…", text)
    line = f"line {problem.line}: " if problem.line is not None else ""
    return f"{line}{place}: {text}" if place else f"{line}{text}"
