"""Choice of the helplines, reporting bodies and emergency numbers that a page shows, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hedgerow.policies.host_facts import INTERNATIONAL, Lifeline

_FIRST_VIEW = (frozenset({"children"}), frozenset({"children"}), frozenset({"everyone", "suicide"}), frozenset({"abuse"}))
"""Purposes of the helplines that are shown at once: two for children, one for anybody, one for victims of abuse."""
_REPORT_ORDER = {"grooming": 0, "online": 1, "abuse-images": 2}
_MIN_FIRST_VIEW = 3
_MAX_REPORT_VIEW = 4


@dataclass(frozen=True, slots=True)
class HelpChoices:
    """Help for a child in three kinds. `talk` are the three or four helplines that fit best, `more` all others.

    `report` is never empty. `emergency` is empty if no number is surely known.
    """

    talk: tuple[Lifeline, ...]
    more: tuple[Lifeline, ...]
    report: tuple[Lifeline, ...]
    emergency: tuple[Lifeline, ...]


def help_choices(lifelines: Sequence[Lifeline]) -> HelpChoices:
    """Sort the entries of a country and the international ones, as `Lifelines.for_country` returns them."""
    # Sorting is stable, so equal ones stay in the order of the file.
    ordered = sorted(lifelines, key=lambda each: not (each.phone or each.text or each.chat))
    emergency = tuple(each for each in ordered if "emergency" in each.kinds)
    report, talk = _reporting_bodies(ordered), _first_helplines([each for each in ordered if "talk" in each.kinds])
    rest = sorted((each for each in ordered if each not in (*talk, *emergency)), key=lambda each: each.country == INTERNATIONAL)
    return HelpChoices(talk, tuple(rest), report, emergency)


def _first_helplines(ordered: Sequence[Lifeline]) -> tuple[Lifeline, ...]:
    local = [each for each in ordered if each.country != INTERNATIONAL]
    first: list[Lifeline] = []
    for purposes in _FIRST_VIEW:
        first += [each for each in local if each.purpose in purposes and each not in first][:1]
    abroad = [each for each in ordered if each.country == INTERNATIONAL and each.purpose in {"children", "everyone"}]
    return (*first, *abroad[: max(0, _MIN_FIRST_VIEW - len(first))])


def _reporting_bodies(ordered: Sequence[Lifeline]) -> tuple[Lifeline, ...]:
    """Return those of the country, for people who approach children first, then the international ones."""
    bodies = [each for each in ordered if "report" in each.kinds]
    bodies.sort(key=lambda each: (each.country == INTERNATIONAL, _REPORT_ORDER.get(each.purpose, len(_REPORT_ORDER))))
    return tuple(bodies[:_MAX_REPORT_VIEW])
