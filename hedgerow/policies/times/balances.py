"""How all budgets of a policy stand at a moment, and which of them are used up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hedgerow.policies.model import Bonus, Policy, Spent
from hedgerow.policies.parties import Parties
from hedgerow.policies.times.budget import Marks, Standing, standing
from hedgerow.policies.times.timing import Allowance

type Account = tuple[str, str]
"""Whose minutes (`person:NAME` or `device:ID`), and of what: empty for all use, `category:NAME` or `service:NAME`."""


@dataclass(frozen=True, slots=True)
class Balance:
    """How one allowance of an account stands."""

    account: str
    subject: str
    allowance: Allowance
    standing: Standing


def balances(policy: Policy, marks: Mapping[Account, Marks], bonuses: Iterable[Bonus], now: float) -> tuple[Balance, ...]:
    """How every allowance stands at `now` (seconds since the epoch), given the minutes that were used and those given on top."""
    parties, given = Parties(policy), tuple(bonuses)
    named = [f"person:{name}" for name in policy.people] + [f"device:{id}" for id in policy.devices]
    found = []
    for account in dict.fromkeys([*named, *(account for account, _ in marks)]):
        party = parties.of_account(account)
        for allowance in party.budget[1] if party is not None else ():
            assert party is not None
            key = account, allowance.subject
            more = [each for each in given if (each.account, each.subject) == key]
            stands = standing(allowance, marks.get(key, {}), more, party.zone, party.free, now)
            found.append(Balance(account, allowance.subject, allowance, stands))
    return tuple(found)


def spent_of(balances: Iterable[Balance]) -> tuple[Spent, ...]:
    """All that is used up, or will be at the end of a minute that runs."""
    return tuple(
        Spent(each.account, each.subject, since, each.standing.until, each.standing.limit or 0, each.allowance.origin)
        for each in balances
        if (since := each.standing.since) is not None
    )
