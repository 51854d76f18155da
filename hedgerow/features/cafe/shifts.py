"""Reports of a café's counter, made of its entries alone: a shift or a day in numbers, and its sessions. Pure."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.data_export import csv_cell
from hedgerow.features.cafe.business_day import business_day, business_day_start
from hedgerow.features.cafe.cash import CashCount
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.members import Member
from hedgerow.features.cafe.session_entries import (
    in_effect,
    outage_minutes,
    paid_by_members,
    shares_of_balances,
    undoes_opening,
    unused_minutes,
)

_EARLY = {CounterAction.END: 1, CounterAction.REOPEN: -1}
_ENTRY_FIELDS = ("actor", "action", "seat", "session", "kind", "minutes", "count", "due", "taken", "currency", "note")


MAX_DAYS = 400
_FIRST_YEAR, _LAST_YEAR = 1970, 2100


@dataclass(frozen=True, slots=True)
class ReportDays:
    """Days of business from `first` to `last`, and their instants: from `since` until `before`."""

    first: date
    last: date
    since: float
    before: float

    @classmethod
    def of(cls, first: date | None, last: date | None, timezone: str, now: float) -> ReportDays:
        """Return a period of at most `MAX_DAYS` days; by default today, or the one day that is given.

        >>> ReportDays.of(None, date(2026, 11, 27), "UTC", 0.0)  # doctest: +NORMALIZE_WHITESPACE
        ReportDays(first=datetime.date(2026, 11, 27), last=datetime.date(2026, 11, 27), since=1795755600.0,
        before=1795842000.0)
        """
        zone = ZoneInfo(timezone)
        last = last or first or business_day(now, zone)
        first = first or last
        if first > last or (last - first).days >= MAX_DAYS:
            raise InvalidInput(
                "Choose at most %(days)s days, of which the first does not come after the last.", days=MAX_DAYS
            )
        if not _FIRST_YEAR <= first.year <= last.year <= _LAST_YEAR:
            raise InvalidInput("Choose days of this century.")
        return cls(first, last, business_day_start(first, zone), business_day_start(last + timedelta(days=1), zone))


@dataclass(frozen=True, slots=True)
class KindTotals:
    """Sessions or vouchers of one kind: their number, minutes and value. Minutes that were added or not used count."""

    kind: str
    count: int
    minutes: int
    value: int


@dataclass(frozen=True, slots=True)
class ArticleTotals:
    """Number and value of one article that was sold."""

    article: str
    count: int
    value: int


@dataclass(frozen=True, slots=True)
class Debt:
    """Amount that a guest still has to pay for a session, negative if money is to be given back. `actor` opened it.

    `entry` is the id of the session's first entry. `to_balance` is how much of what is to be given back goes to the
    balance of the member who has paid it.
    """

    session: str
    entry: int
    seat: str
    kind: str
    actor: str
    since: float
    amount: int
    currency: str
    to_balance: int = 0


@dataclass(frozen=True, slots=True)
class ShiftReport:
    """Totals of the counter over some time, of one person or of all. `takings` are what was paid, by currency.

    `paid_in` is what of it members paid into their balances. `from_balances` is what they paid from there, which no
    till has taken; both by currency.

    `unpaid` are the debts of the sessions that were opened in this time, as they are now, and `counts` those of the
    till. `outage_minutes` were given back to guests after outages. `adult_sessions` also counts what was opened beyond
    a session's rules although it is kept from children. `undone` counts openings and minutes that were taken back; such
    openings are in `adult_sessions`, but not in `sessions`.
    """

    sessions: tuple[KindTotals, ...]
    vouchers: tuple[KindTotals, ...]
    vouchers_used: int
    adult_sessions: int
    early_ends: int
    credits: int
    wrong_pins: int
    takings: dict[str, int]
    unpaid: tuple[Debt, ...] = ()
    counts: tuple[CashCount, ...] = ()
    outage_minutes: int = 0
    articles: tuple[ArticleTotals, ...] = ()
    paid_in: dict[str, int] = field(default_factory=dict)
    from_balances: dict[str, int] = field(default_factory=dict)
    undone: int = 0


@dataclass(slots=True)
class SessionHistory:
    """A session as its entries tell. `owed` is what is still to be paid; `ended` None: by itself, or not yet."""

    id: str
    seat: str
    kind: str
    opened: float
    actor: str
    ended: float | None = None
    ended_by: str = ""
    minutes: int = 0
    owed: int = 0
    paid: int = 0
    currency: str = ""
    entries: list[CounterEntry] = field(default_factory=list)

    @property
    def unused(self) -> int:
        """Return the minutes that were paid before and not used, for which there is no voucher yet."""
        return unused_minutes(self.entries)

    @property
    def lines(self) -> list[CounterEntry]:
        """Return the entries that are lines of a receipt: the minutes with their price, and articles.

        What was undone is left out.
        """
        return [
            each
            for each in in_effect(self.entries)
            if each.action is CounterAction.ARTICLE or _minutes(each) or (each.due and each.action is CounterAction.END)
        ]

    @property
    def paid_by_balance(self) -> int:
        """Return what balances of members have paid."""
        return sum(paid_by_members(self.entries).values())

    def to_balance(self, members: Iterable[Member]) -> int:
        """Return how much of what is to be given back goes to balances of these members, who have paid it."""
        return sum(share for _, share in shares_of_balances(self.entries, -self.owed, self.currency, members))


def shift_report(
    entries: Iterable[CounterEntry], is_adult: Callable[[str], bool], debts: Iterable[Debt] = ()
) -> ShiftReport:
    """Return the report of these entries, with those of the debts that began with one of them."""
    listed = list(entries)
    begun = [
        each
        for each in listed
        if each.action is CounterAction.OPEN or (each.action is CounterAction.REDEEM and _begins(each, listed))
    ]
    undone = [each for each in listed if undoes_opening(each)]
    changes = [each for each in listed if each.session and each.action is not CounterAction.ARTICLE]
    return ShiftReport(
        _totals([*begun, *(replace(each, count=-1) for each in undone)], changes),
        _totals(printed := [each for each in listed if each.action is CounterAction.PRINT], printed),
        _count(listed, CounterAction.REDEEM),
        sum(is_adult(each.kind) for each in begun) + _count(listed, CounterAction.ALLOW_ADULT),
        sum(_EARLY.get(each.action, 0) for each in listed if each.minutes > 0),
        _count(listed, CounterAction.CREDIT),
        _count(listed, CounterAction.WRONG_PIN),
        _taken(listed),
        debts_within(listed, debts),
        tuple(CashCount.of(each) for each in listed if each.action is CounterAction.COUNT),
        outage_minutes(listed),
        article_totals(listed),
        _taken(each for each in listed if each.action is CounterAction.DEPOSIT),
        _taken(replace(each, taken=-each.taken) for each in listed if each.action is CounterAction.CHARGE),
        _count(listed, CounterAction.UNDO),
    )


def _taken(entries: Iterable[CounterEntry]) -> dict[str, int]:
    """Return what was taken, by currency."""
    sums: Counter[str] = Counter()
    for each in entries:
        if each.taken:
            sums[each.currency] += each.taken
    return dict(sums)


def article_totals(entries: Iterable[CounterEntry]) -> tuple[ArticleTotals, ...]:
    """Return what was sold of each article, by name."""
    counts: Counter[str] = Counter()
    values: Counter[str] = Counter()
    for each in entries:
        if each.action is CounterAction.ARTICLE:
            counts[each.note] += each.count
            values[each.note] += each.due
    return tuple(ArticleTotals(name, counts[name], values[name]) for name in sorted(counts))


def debts_of(entries: Iterable[CounterEntry], members: Iterable[Member]) -> tuple[Debt, ...]:
    """Return the debts of sessions, the oldest first, given all entries of each (`CounterStore.unpaid`) and the members
    to whose balances money can go back.
    """
    known = tuple(members)
    histories = [each for each in session_histories(entries) if each.owed]
    return tuple(
        Debt(
            each.id,
            each.entries[0].id,
            each.seat,
            each.kind,
            each.actor,
            each.opened,
            each.owed,
            each.currency,
            each.to_balance(known),
        )
        for each in reversed(histories)
    )


def debts_within(entries: Iterable[CounterEntry], debts: Iterable[Debt]) -> tuple[Debt, ...]:
    """Return the debts that began with one of these entries."""
    known = {each.id for each in entries}
    return tuple(each for each in debts if each.entry in known)


def _count(entries: Iterable[CounterEntry], action: CounterAction) -> int:
    return sum(each.count for each in entries if each.action is action)


def _begins(entry: CounterEntry, entries: Iterable[CounterEntry]) -> bool:
    """Return whether a voucher began a session, rather than extended one."""
    return next((each.id for each in entries if each.session == entry.session), 0) == entry.id


def _totals(counted: Iterable[CounterEntry], valued: Iterable[CounterEntry]) -> tuple[KindTotals, ...]:
    counts: Counter[str] = Counter()
    minutes: defaultdict[str, int] = defaultdict(int)
    values: defaultdict[str, int] = defaultdict(int)
    for each in counted:
        counts[each.kind] += each.count
    for each in valued:
        minutes[each.kind] += _minutes(each) * each.count
        values[each.kind] += each.due
    return tuple(KindTotals(kind, counts[kind], minutes[kind], values[kind]) for kind in sorted({*counts, *minutes}))


def _minutes(entry: CounterEntry) -> int:
    """Return the minutes that an entry adds to what a guest has."""
    match entry.action:
        case (
            CounterAction.OPEN
            | CounterAction.REDEEM
            | CounterAction.EXTEND
            | CounterAction.PRINT
            | CounterAction.REOPEN
        ):
            return entry.minutes
        case CounterAction.END | CounterAction.UNDO:
            return -entry.minutes
        case _:
            return 0


def session_histories(entries: Iterable[CounterEntry]) -> tuple[SessionHistory, ...]:
    """Return the sessions that entries are about, the newest first."""
    found: dict[str, SessionHistory] = {}
    for each in entries:
        if not each.session:
            continue
        history = found.setdefault(
            each.session, SessionHistory(each.session, each.seat, each.kind, each.at, each.actor)
        )
        history.seat = each.note if each.action is CounterAction.MOVE else each.seat
        history.minutes += _minutes(each)
        history.owed += each.due - each.taken
        history.paid += each.taken
        history.currency = each.currency or history.currency
        history.entries.append(each)
        if each.action is CounterAction.END or undoes_opening(each):
            history.ended, history.ended_by = each.at, each.actor
        elif each.action is CounterAction.REOPEN:
            history.ended, history.ended_by = None, ""
    return tuple(reversed(found.values()))


def entries_csv(entries: Iterable[CounterEntry], zone: ZoneInfo, debts: Iterable[Debt] = ()) -> str:
    """Return entries as CSV (RFC 4180), with times of the site's zone. Spreadsheets take no text as a formula.

    `unpaid` is what is still owed for the session that an entry begins.
    """
    text, unpaid = io.StringIO(newline=""), {each.entry: each.amount for each in debts}
    writer = csv.writer(text)
    writer.writerow(["number", "at", *_ENTRY_FIELDS, "unpaid"])
    for each in entries:
        at = datetime.fromtimestamp(each.at, zone).isoformat(timespec="seconds")
        fields = (csv_cell(getattr(each, name)) for name in _ENTRY_FIELDS)
        writer.writerow([each.id, at, *fields, unpaid.get(each.id, 0)])
    return text.getvalue()
