"""Agreements in the journal. Everything here waits for the disk: call it from a thread."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError

from hedgerow.features.agreement.own_words import changed_meanwhile
from hedgerow.features.agreement.terms import Agreement, Promises, Side, Terms, Yes
from hedgerow.journal.store import Store
from hedgerow.journal.tables import agreements

_A = agreements.c


class AgreementStore:
    """The agreements of this home."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_person(self, person: str) -> Agreement:
        """Return the agreement with a child, an empty one if there is none yet."""
        rows = self._store.rows(self._store.select(agreements).where(_A.person == person))
        return _agreement(rows[0]) if rows else Agreement(person=person)

    def all(self) -> tuple[Agreement, ...]:
        """Return the agreements with all children."""
        return tuple(map(_agreement, self._store.rows(self._store.select(agreements))))

    def save(self, changed: Agreement) -> Agreement:
        """Write an agreement that was read before, as its next version.

        Raises `InvalidInput` if somebody else has written it meanwhile, and changes nothing then.
        """
        values = _values(replace(changed, version=changed.version + 1))
        mine = (_A.person == changed.person) & (_A.version == changed.version)
        try:
            if changed.version == 0:
                self._store.execute(self._store.insert(agreements).values(person=changed.person, **values))
            elif not self._store.execute(self._store.update(agreements).where(mine).values(values)):
                raise changed_meanwhile()
        except IntegrityError:
            raise changed_meanwhile() from None
        return replace(changed, version=changed.version + 1)


def _values(agreement: Agreement) -> dict[str, Any]:
    values: dict[str, Any] = {
        "version": agreement.version,
        "promises": json.dumps(agreement.promises.names),
        "words": agreement.promises.words,
        "months": agreement.promises.months,
        "agreed_round": agreement.round,
        "parent": agreement.parent_name,
        "agreed_at": agreement.agreed_at,
        "look_at": agreement.look_at,
        "reminded": agreement.reminded,
    }
    for side in Side:
        yes = agreement.yes_of(side)
        terms = yes.terms.to_json() if yes.terms is not None else ""
        values |= {f"{side}_terms": terms, f"{side}_at": yes.at, f"{side}_round": yes.round}
    return values


def _agreement(row: Row[Any]) -> Agreement:
    said = {
        side.value: Yes(
            terms=Terms.from_json(getattr(row, f"{side}_terms")),
            at=getattr(row, f"{side}_at"),
            round=getattr(row, f"{side}_round"),
        )
        for side in Side
    }
    return Agreement(
        person=row.person,
        version=row.version,
        promises=Promises(names=tuple(json.loads(row.promises)), words=row.words, months=row.months),
        round=row.agreed_round,
        child=said[Side.CHILD],
        parent=said[Side.PARENT],
        parent_name=row.parent,
        agreed_at=row.agreed_at,
        look_at=row.look_at,
        reminded=row.reminded,
    )
