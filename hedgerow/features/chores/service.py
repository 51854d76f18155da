"""Chores in the journal: what a person has reported today, and the confirmation that gives the minutes."""

from __future__ import annotations

import secrets
import time
from zoneinfo import ZoneInfo

from sqlalchemy import select

from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.chores.settings import NAME, Chore, chores_of
from hedgerow.features.contract import Confirmation, Earned
from hedgerow.journal.access_store import answer_request, write_grant
from hedgerow.journal.store import JournalEntry, Store, write_entries
from hedgerow.journal.tables import access_requests
from hedgerow.journal.usage import give_bonus
from hedgerow.policies.model import Grant, Policy
from hedgerow.policies.time_model import Bonus
from hedgerow.policies.times.budget import day_of

_REQUEST = access_requests.c


def day_of_person(policy: Policy, person: str, now: float) -> tuple[float, float]:
    """Return when a person's day began and when it ends, in the person's time zone."""
    _, morning, midnight = day_of(now, ZoneInfo(policy.people[person].timezone or policy.network.timezone))
    return morning, midnight


def chores_today(policy: Policy, store: Store, person: str | None, now: float) -> tuple[tuple[Chore, str], ...]:
    """Return the chores of a person's day, each with the state of its request, empty if there is none."""
    chores = chores_of(policy, person)
    if person is None or not chores:
        return ()
    morning, _ = day_of_person(policy, person, now)
    states = states_of(store, person, morning)
    return tuple((chore, states.get(chore.name, "")) for chore in chores)


def states_of(store: Store, person: str, since: float) -> dict[str, str]:
    """Return the state of the chores that a person has reported since an instant, by name."""
    is_theirs = (_REQUEST.person == person) & (_REQUEST.chore != "") & (_REQUEST.last_at >= since)
    query = store.select(access_requests).where(is_theirs).order_by(_REQUEST.id)
    return {row.chore: row.state for row in store.rows(query)}


def confirm(asked: Confirmation) -> Earned:
    """Return the minutes of a chore. With the last one of the day, schedules `unless: chores` no longer apply.

    Raises `InvalidInput`.
    """
    person, policy, now = asked.request.person or "", asked.policy, time.time()
    chores = chores_of(policy, person)
    chore = next((each for each in chores if each.name == asked.request.chore), None)
    if chore is None:
        raise InvalidInput("The policy does not have this chore any more.")
    morning, midnight = day_of_person(policy, person, now)
    bonus = Bonus(secrets.token_hex(6), f"person:{person}", chore.subject, chore.minutes, asked.actor, now)
    day_off = Grant(secrets.token_hex(6), NAME, asked.actor, now, midnight, person=person)
    names = frozenset(each.name for each in chores)
    return Earned(
        bonus=bonus,
        write=lambda *entries: write_confirmation(
            asked.store, asked.request.id, bonus, day_off, *entries, names=names, since=morning
        ),
    )


def write_confirmation(
    store: Store,
    request_id: int,
    bonus: Bonus,
    day_off: Grant,
    *entries: JournalEntry,
    names: frozenset[str],
    since: float,
) -> None:
    """Answer a chore's open request with the minutes that it earns, and with `day_off` if it was the last of `names`.

    Raises `NoSuchEntry`.
    """
    with store.begin() as connection:
        answer_request(
            store, connection, request_id, state="approved", actor=bonus.actor, grant_id=bonus.id, now=bonus.at
        )
        if bonus.minutes:
            give_bonus(store, connection, bonus)
        is_done = (_REQUEST.person == day_off.person) & (_REQUEST.state == "approved") & (_REQUEST.last_at >= since)
        done = connection.scalars(select(_REQUEST.chore).where(store.own(access_requests), is_done)).all()
        if names <= set(done):
            write_grant(store, connection, day_off)
        write_entries(store, connection, entries)
