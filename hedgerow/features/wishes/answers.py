"""Wishes in control: what a child may ask for, and what an answer changes."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from hedgerow.blocklists.rules import Origin
from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.actions.operations import TimeControl
from hedgerow.dashboards.control import (
    BudgetRow,
    Control,
    DangerousOpening,
    InvalidInput,
    at_field,
    changed_since,
    check_recent,
)
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.notices import Notice, localized
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, language, message
from hedgerow.features.contract import Core
from hedgerow.features.wishes import own_words
from hedgerow.features.wishes.records import (
    LAPSES_S,
    UNANSWERED,
    Wish,
    WishKind,
    WishState,
    WishStore,
    is_openable,
    notice_key,
    question_key,
    reopen_requests,
)
from hedgerow.journal.access_store import NoSuchEntry, answer_request, end_grant, undo_later_bedtime, write_grant
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store
from hedgerow.journal.usage import give_bonus, undo_bonus
from hedgerow.policies.access_subject import AccessSubject
from hedgerow.policies.effective_users import EffectiveUsers
from hedgerow.policies.growing import day_at, first_instant, zone_of
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import DeviceId, Grant, Policy
from hedgerow.policies.notices import NoticeTopic
from hedgerow.policies.targets import budget_subject, check_grantable, parse_target
from hedgerow.policies.time_model import LATER_BEDTIME, Bonus

_ASKED = {
    WishKind.MINUTES: message("%(name)s asks for %(minutes)s more minutes."),
    WishKind.BEDTIME: message("%(name)s asks for a bedtime that is %(minutes)s minutes later."),
    WishKind.RULE: message("%(name)s asks why a rule is as it is."),
}
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WishForm:
    """A wish as it comes from a child's page."""

    person: str
    device: DeviceId
    kind: WishKind
    minutes: int = 0
    subject: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A gift that is not all: so many `minutes`, or what a rule closes for `days` or to the end of `last_day`."""

    minutes: int | None = None
    days: int | None = None
    last_day: str = ""

    @property
    def is_for_a_while(self) -> bool:
        return self.days is not None or bool(self.last_day.strip())

    def ends(self, now: float, zone: ZoneInfo) -> float:
        """Return the instant at which it ends. Raises `InvalidInput` for a day that is over or too far away."""
        from hedgerow.dashboards.edits.rules import parse_until  # with the editor of YAML

        if not (text := parse_until(self.last_day, now, zone)):
            return first_instant(day_at(now, zone) + timedelta(days=(self.days or 0) + 1), zone)
        if self.days is not None:
            raise InvalidInput("Give a number of days or a date, not both.").at("until")
        day = date.fromisoformat(text)
        if day > day_at(now, zone) + timedelta(days=own_words.MOST_DAYS):
            raise InvalidInput("Choose a day within a year.").at("until")
        return first_instant(day + timedelta(days=1), zone)


_ALL = Given()


class Wishes:
    """The wishes of this home, and their answers. The answer that is written first counts."""

    def __init__(
        self,
        *,
        store: Store,
        control: Control,
        times: TimeControl,
        editor: PolicyEditor,
        put_in_force: Callable[[], Awaitable[None]],
        notify: Callable[[list[Notice]], None],
        clock: Callable[[], float],
    ) -> None:
        self.store = WishStore(store)
        self._journal, self._control, self._times, self._editor = store, control, times, editor
        self._put_in_force, self._notify, self._clock = put_in_force, notify, clock
        self._one_by_one = asyncio.Lock()
        self._asked: dict[str, deque[float]] = {}

    def budgets_of(self, person: str) -> list[BudgetRow]:
        """Return the limits of a person to which minutes can be added, that with the fewest left first."""
        rows = (row for row in self._times.budgets() if row.whose == person and row.limit is not None)
        return sorted(rows, key=lambda row: row.left or 0)

    def bedtime_of(self, person: str) -> float | None:
        """Return tonight's bedtime of a person, None without one."""
        times = self._control.person_times([person]).get(person)
        return times.bedtime if times is not None else None

    def next_time(self, person: str) -> float | None:
        """Return when a person may ask again, None for now."""
        now = self._clock()
        asked = [at for at in self._asked.get(person, ()) if now - _HOUR_S < at <= now]
        return asked[0] + _HOUR_S if len(asked) >= own_words.ASKED_PER_HOUR else None

    async def ask(self, question: WishForm, clock_text: Callable[[float], str]) -> int:
        """Write a wish and tell the parents. It opens nothing. Raises `InvalidInput`.

        `clock_text` writes the instant from which on the child may ask again.
        """
        async with self._one_by_one:
            if (again := self.next_time(question.person)) is not None:
                raise own_words.too_often(clock_text(again))
            wish_id = await asyncio.to_thread(self._file, question)
            latest = deque[float](maxlen=own_words.ASKED_PER_HOUR)
            self._asked.setdefault(question.person, latest).append(self._clock())
        text = localized(_ASKED[question.kind], name=question.person, minutes=question.minutes)
        self._notify([Notice(NoticeTopic.REQUEST, notice_key(question.device, wish_id), text)])
        return wish_id

    def _file(self, question: WishForm) -> int:
        now, person = self._clock(), question.person
        base = None
        match question.kind:
            case WishKind.MINUTES:
                if question.subject not in {row.subject for row in self.budgets_of(person)}:
                    raise own_words.no_limit()
            case WishKind.BEDTIME:
                bedtime = self.bedtime_of(person)
                if bedtime is None:
                    raise own_words.no_bedtime()
                base = max(bedtime, now)
        return self.store.file({**asdict(question), "base": base}, now)

    async def grant(
        self, wish_id: int, author: Principal, actor: str, given: Given = _ALL, *, reader: Language | None = None
    ) -> Wish:
        """Say yes: to all that was asked for, or to less. In force on return. Raises `InvalidInput`."""
        async with self._one_by_one:
            wish = await asyncio.to_thread(_unanswered, self.store, wish_id)
            if wish.person not in self._control.policy().people:
                raise InvalidInput("The policy has no person called '%(person)s'.", person=wish.person)
            if wish.kind is WishKind.RULE and not given.is_for_a_while:
                await _change_rule(wish, author, reader or language("en"), self._control.policy(), self._editor)
                await asyncio.to_thread(self._answer, wish, actor, state=WishState.GRANTED)
            else:
                await asyncio.to_thread(self._give, wish, actor, given)
        await self._put_in_force()
        return await asyncio.to_thread(self.store.wish, wish_id)

    async def say(self, wish_id: int, state: WishState, actor: str, why: str = "") -> Wish:
        """Say no, or keep a wish open to talk about it, or close it. Raises `InvalidInput`."""
        wish = await asyncio.to_thread(_unanswered, self.store, wish_id)
        await asyncio.to_thread(self._answer, wish, actor, state=state, why=why or wish.why)
        return await asyncio.to_thread(self.store.wish, wish_id)

    async def talk_about(self, request_id: int, actor: str, why: str) -> Wish | None:
        """Answer a request for a site or an app, and keep it open to talk about. Raises `NoSuchEntry`.

        It is denied, so that a block page that waits says so. One of nobody in the policy is only denied, and None is
        returned.
        """
        policy, now = self._control.policy(), self._clock()
        wish_id = await asyncio.to_thread(_talk_about, self._journal, policy, request_id, actor=actor, why=why, now=now)
        await self._put_in_force()
        return None if wish_id is None else await asyncio.to_thread(self.store.wish, wish_id)

    async def close_own(self, wish_id: int, person: str) -> None:
        """Close a wish as the child that asked. Raises `InvalidInput` for any other."""
        try:
            wish = await asyncio.to_thread(self.store.wish, wish_id)
        except NoSuchEntry:
            raise own_words.not_yours() from None
        if wish.person != person or wish.state not in UNANSWERED:
            raise own_words.not_yours()
        await asyncio.to_thread(self._answer, wish, person, state=WishState.CLOSED, why=wish.why)

    async def undo(self, wish_id: int, actor: str) -> Wish:
        """Take back an answer of the last ten minutes, and what it gave. Raises `InvalidInput`.

        The wish is open again, or the request that was to be talked about. A changed rule is undone at *Changes*.
        """
        now = self._clock()
        wish = await asyncio.to_thread(self.store.wish, wish_id)
        if wish.state is WishState.OPEN or (wish.state is WishState.GRANTED and not wish.result):
            raise changed_since()
        check_recent(wish.answered_at or 0.0, now)
        await asyncio.to_thread(self._take_back, wish, actor, now)
        await self._put_in_force()
        base = None if wish.kind is WishKind.RULE else wish.base
        open_again = replace(wish, state=WishState.OPEN, given=0, base=base, result=None, why="")
        return replace(open_again, answered_at=None, answered_by=None)

    def _answer(self, wish: Wish, actor: str, *, state: WishState, why: str = "") -> None:
        with self._journal.begin() as connection:
            self._mark(connection, wish, actor, self._clock(), state=state, why=why)

    def _mark(self, connection: Connection, wish: Wish, actor: str, now: float, **values: object) -> None:
        """Write an answer. Raises `InvalidInput` if somebody else was first."""
        values |= {"answered_by": actor, "answered_at": now}
        try:
            self.store.change(connection, wish.id, UNANSWERED, **values)
        except NoSuchEntry:
            raise InvalidInput("Somebody has answered this already.") from None

    def _give(self, wish: Wish, actor: str, given: Given) -> None:
        """Write the answer with the minutes, the later bedtime or the permission that it gives: both, or neither."""
        now, minutes = self._clock(), wish.minutes if given.minutes is None else given.minutes
        if given.is_for_a_while:
            opening = _opening(self._control, wish, actor, given, now)
            with self._journal.begin() as connection:
                values = {"state": WishState.GRANTED, "result": opening.id, "base": opening.ends}
                self._mark(connection, wish, actor, now, **values)
                write_grant(self._journal, connection, opening)
            return
        if wish.has_lapsed(now):
            raise _too_late(wish)
        if EffectiveUsers(self._control.policy()).seat_of(wish.person) is not None:
            raise InvalidInput("%(name)s sits at a seat: give minutes at the counter.", name=wish.person)
        result = secrets.token_hex(6)
        answer = {"state": WishState.GRANTED, "given": minutes, "result": result}
        if wish.kind is WishKind.MINUTES:
            if wish.subject not in {row.subject for row in self.budgets_of(wish.person)}:
                raise InvalidInput("%(name)s has no time budget to add minutes to.", name=wish.person)
            subject = budget_subject(wish.subject, Services.load().by_id, self._control.policy().categories)
            bonus = Bonus(result, f"person:{wish.person}", subject, minutes, actor, now)
            with self._journal.begin() as connection:
                self._mark(connection, wish, actor, now, **answer)
                give_bonus(self._journal, connection, bonus)
            return
        base = wish.base or now
        if minutes != wish.minutes:  # so many from now on, if bedtime has begun
            base = max(base, now)
        ends = base + 60 * minutes
        if not now < ends < now + 2 * LAPSES_S:
            raise _too_late(wish)
        later = Grant(result, LATER_BEDTIME, actor, now, ends, person=wish.person)
        with self._journal.begin() as connection:
            self._mark(connection, wish, actor, now, **answer, base=base)
            write_grant(self._journal, connection, later)

    def _take_back(self, wish: Wish, actor: str, now: float) -> None:
        with self._journal.begin() as connection:
            values = {"state": WishState.OPEN, "given": 0, "result": None, "answered_at": None, "answered_by": None}
            if wish.kind is WishKind.RULE:
                values["base"] = None
            try:
                self.store.change(connection, wish.id, (wish.state,), **values, why="")
                if wish.state is WishState.TALKING and reopen_requests(self._journal, connection, wish):
                    self.store.delete(connection, wish.id)
                elif wish.result and wish.kind is WishKind.MINUTES:
                    undo_bonus(self._journal, connection, wish.result, actor)
                elif wish.result and wish.kind is WishKind.RULE:
                    end_grant(self._journal, connection, wish.result, actor, now)
                elif wish.result:
                    undo_later_bedtime(self._journal, connection, wish.result, actor, now)
            except NoSuchEntry:
                raise changed_since() from None


def wishes_of(core: Core) -> Wishes:
    """Make the part of control for wishes."""
    return Wishes(
        store=core.store,
        control=core.control,
        times=core.times,
        editor=core.editor,
        put_in_force=core.snapshots.put_in_force,
        notify=core.notify,
        clock=core.clock,
    )


async def _change_rule(wish: Wish, author: Principal, reader: Language, policy: Policy, editor: PolicyEditor) -> None:
    """Let the rule that closes something open it. Raises `InvalidInput`."""
    from hedgerow.dashboards.edits.rules import parse_subject, rule_edits  # with the editor of YAML

    if AccessScope.MANAGE not in author.scopes:
        raise InvalidInput("Your account may not change rules.")
    if not is_openable(wish.subject):
        raise _not_by_a_tap(wish)
    note = reader.gettext(message("proposed by %(name)s"), name=wish.person)
    edits = rule_edits(policy, wish.person, parse_subject(policy, wish.subject), allows=True, note=note)
    text = message("%(what)s open for %(name)s, who proposed it")
    summary = reader.gettext(text, what=title_of(wish.subject, reader), name=wish.person)
    try:
        await editor.change(author, summary, *edits)
    except DangerousOpening:
        raise _is_dangerous(wish, reader) from None


def _opening(control: Control, wish: Wish, actor: str, given: Given, now: float) -> Grant:
    """Return a permission that ends by itself, for what a rule closes. Raises `InvalidInput`."""
    policy = control.policy()
    if wish.kind is not WishKind.RULE:
        raise InvalidInput("Only what a rule closes can be opened for days.")
    what = AccessSubject(_grantable(wish, policy), wish.person, None, wish.subject)
    if control.dangers(what):
        raise _is_dangerous(wish, language("en"))
    with at_field("until"):
        ends = given.ends(now, zone_of(policy.people[wish.person], policy))
    return Grant(secrets.token_hex(6), what.what, actor, now, ends, person=wish.person)


def _grantable(wish: Wish, policy: Policy) -> str:
    """Return what a permission for a wish opens. Raises `InvalidInput`."""
    try:
        if not is_openable(wish.subject):
            raise ValueError(wish.subject)
        target = parse_target(wish.subject, Services.load().by_id, policy.categories, Origin("wish"))
        check_grantable(target)
    except ValueError:
        raise _not_by_a_tap(wish) from None
    return target.name


def _not_by_a_tap(wish: Wish) -> InvalidInput:
    return InvalidInput("Change this on %(name)s's own page, and then close the question.", name=wish.person)


def _is_dangerous(wish: Wish, reader: Language) -> InvalidInput:
    return InvalidInput(
        "%(what)s is dangerous for a child. Change it on %(name)s's own page if you are sure.",
        what=title_of(wish.subject, reader),
        name=wish.person,
    )


def _unanswered(store: WishStore, wish_id: int) -> Wish:
    wish = store.wish(wish_id)
    if wish.state not in UNANSWERED:
        raise _answered(wish)
    return wish


def _talk_about(store: Store, policy: Policy, request_id: int, *, actor: str, why: str, now: float) -> int | None:
    waiting = JournalReader(store).requests()
    asked = next((row for row in waiting if row.id == request_id and not row.chore), None)
    if asked is None:
        raise NoSuchEntry(f"there is no open request {request_id}")
    same = [row.id for row in waiting if row.id == request_id or row.is_answered_with(asked, policy)]
    person, wish_id = asked.person, None
    with store.begin() as connection:
        if person is not None and person in policy.people:
            wish_id = WishStore(store).insert_talk(connection, asked, person, actor=actor, why=why, now=now)
        question = None if wish_id is None else question_key(wish_id)
        for each in same:
            answer_request(store, connection, each, state="denied", actor=actor, now=now, grant_id=question, why=why)
    return wish_id


def _answered(wish: Wish) -> InvalidInput:
    if wish.answered_by:
        return InvalidInput("%(name)s has answered this already.", name=wish.answered_by)
    return InvalidInput("Somebody has answered this already.")


def _too_late(wish: Wish) -> InvalidInput:
    return InvalidInput("It is too late for that: %(name)s asked for another day.", name=wish.person)
