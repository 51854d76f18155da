"""Seats of a café: their tiles on the page of the counter, and their number by state."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hedgerow.dashboards.actions.orders import PaymentWay
from hedgerow.dashboards.control import UNDO_S
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import Language
from hedgerow.features.cafe.api import SeatTraffic
from hedgerow.features.cafe.counter_store import CounterEntry, balance
from hedgerow.features.cafe.members import Member, payer_of
from hedgerow.features.cafe.session_entries import (
    due_at_end,
    given_minutes,
    last_step,
    payment_of,
    session_due,
    tariff_of,
)
from hedgerow.features.cafe.settings import CafeSettings
from hedgerow.policies.model import Pause, Policy, Session
from hedgerow.policies.seats import SEAT_PREFIX

MORE_MINUTES = (15, 30)
"""Minutes that the counter offers on top of a session."""


@dataclass(frozen=True, slots=True)
class MoreTime:
    """Minutes that the counter offers on top of a session, with their prices, and how they are paid by default.

    `payer` is the member whose balance has paid for the session, if one has.
    """

    prices: dict[int, int]
    currency: str
    pays: PaymentWay
    payer: Member | None = None


@dataclass(frozen=True, slots=True)
class SeatTile:
    """A seat. `session` is None if it is free; `left` is in whole minutes, None without an end. `kind` is empty without
    a session.

    `traffic` is None where nothing counts it. `owed` is what the guest owes if the session ends now. `over` is the
    instant at which the time of its last guest ended by itself, a short while ago. `step` is the opening, or the
    minutes, that can be undone.
    """

    seat: str
    session: Session | None
    left: int | None
    pause_ends: float | None = None
    kind: str = ""
    traffic: SeatTraffic | None = None
    owed: int = 0
    currency: str = ""
    more: MoreTime | None = None
    over: float | None = None
    step: CounterEntry | None = None


def tile_of(
    seat: str, session: Session | None, pause_ends: float | None, traffic: SeatTraffic | None, now: float
) -> SeatTile:
    """Return the tile of a seat."""
    stands_still = max(0.0, pause_ends - now) if pause_ends is not None else 0.0
    left = (
        labels.minutes_left(session.ends - stands_still if session.ends is not None else None, now)
        if session is not None
        else None
    )
    kind = (session.profile or "").removeprefix(SEAT_PREFIX) if session is not None else ""
    return SeatTile(seat, session, left, pause_ends, kind, traffic)


def more_time(
    entries: Sequence[CounterEntry], kind: str, cafe: CafeSettings, members: Iterable[Member]
) -> MoreTime | None:
    """Return the minutes that can be added to a session with these entries; None if they cost nothing."""
    tariff, given = tariff_of(entries, cafe.tariff(kind)), given_minutes(entries)
    prices = {minutes: tariff.price_of_more(given, minutes) for minutes in MORE_MINUTES}
    if not any(prices.values()):
        return None
    payer = payer_of(entries, members)
    pays = PaymentWay.BALANCE if payer is not None else PaymentWay(payment_of(entries))
    return MoreTime(prices, (entries[0].currency if entries else "") or cafe.currency, pays, payer)


def with_entries(
    tile: SeatTile, entries: Sequence[CounterEntry], cafe: CafeSettings, members: Iterable[Member], now: float
) -> SeatTile:
    """Return the tile of a taken seat with what the entries of its session say about money, and what can be undone."""
    session, step = tile.session, last_step(entries)
    assert session is not None
    stands_still = max(0.0, tile.pause_ends - now) if tile.pause_ends is not None else 0.0
    sold = replace(session, ends=session.ends - stands_still) if session.ends is not None else session
    due = due_at_end(entries, sold, tariff_of(entries, cafe.tariff(tile.kind)), now)
    return replace(
        tile,
        owed=balance(entries) + due - session_due(entries),
        currency=next((each.currency for each in entries if each.currency), cafe.currency),
        more=more_time(entries, tile.kind, cafe, members),
        step=step if step is not None and step.at >= now - UNDO_S else None,
    )


def opening_costs(
    cafe: CafeSettings, kinds: Iterable[str], lengths: Iterable[int], reader: Language
) -> dict[str, dict[str, tuple[int, str]]]:
    """Return the prices of sessions by kind and minutes, each also as text; nothing where sessions have no prices."""
    if not cafe.sessions:
        return {}
    prices = {kind: {f"{each}": cafe.session_price(kind, each) for each in lengths} for kind in kinds}
    return {
        kind: {minutes: (price, reader.money(price, cafe.currency)) for minutes, price in row.items()}
        for kind, row in prices.items()
    }


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by value.

    >>> sorted(("seat-10", "seat-2", "bar"), key=natural_order)
    ['bar', 'seat-2', 'seat-10']
    """
    return [(int(part), "") if part.isdigit() else (0, part.casefold()) for part in re.split(r"(\d+)", name)]


def count_seat_states(
    policy: Policy, sessions: Iterable[Session], pauses: Iterable[Pause]
) -> dict[tuple[str, ...], float]:
    """Return the numbers of seats that are free, open for a child or an adult, or paused.

    Nothing for a policy without seats.
    """
    seats = [device.id for device in policy.devices.values() if device.is_seat]
    profiles = {session.device: policy.profiles.get(session.profile or "") for session in sessions}
    open_for = {
        seat: "child" if profile is None or profile.is_for_children else "adult" for seat, profile in profiles.items()
    }
    states = open_for | {pause.device: "paused" for pause in pauses if pause.device in open_for}
    found = Counter(states.get(seat, "free") for seat in seats)
    return {(state,): float(found[state]) for state in ("free", "child", "adult", "paused")} if seats else {}
