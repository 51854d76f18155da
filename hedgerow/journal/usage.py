"""Minutes that were used, minutes given on top, and sittings: what must be known again after a restart.

Minutes are those of a budget, or of a topic for the weekly report, as one number an hour: nothing of what was done in them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from sqlalchemy import Engine, Update, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.tables import bonuses, sittings, usage
from hedgerow.policies.model import DeviceId, Session
from hedgerow.policies.time_model import ActiveMinute, Bonus
from hedgerow.policies.times.budget import BudgetAccount

MAX_USAGE_HOURS = 24 * 35
"""A week's budget needs the week; a report of a month needs the month."""


class UsageStore:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def marks(self, since: float) -> dict[BudgetAccount, dict[int, int]]:
        """The minutes used from the hour of `since` on, as `policies.budget.Marks`."""
        found: defaultdict[BudgetAccount, dict[int, int]] = defaultdict(dict)
        with self._engine.connect() as connection:
            for row in connection.execute(select(usage).where(usage.c.hour >= int(since // 3600))):
                found[row.account, row.subject][row.hour] = row.minutes
        return dict(found)

    def add(self, used: Iterable[ActiveMinute]) -> None:
        """Adds minutes to those that are known; one that is known already changes nothing."""
        bits: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        for each in used:
            hour, minute = divmod(each.minute, 60)
            bits[each.account, each.subject, hour] |= 1 << minute
        if not bits:
            return
        statement = insert(usage)
        statement = statement.on_conflict_do_update(
            index_elements=list(usage.primary_key), set_={"minutes": usage.c.minutes.op("|")(statement.excluded.minutes)}
        )
        names = ("account", "subject", "hour")
        with self._engine.begin() as connection:
            connection.execute(statement, [dict(zip(names, key, strict=True)) | {"minutes": value} for key, value in bits.items()])

    def prune(self) -> None:
        """Forgets what no budget asks for any more."""
        now = self._clock()
        with self._engine.begin() as connection:
            connection.execute(usage.delete().where(usage.c.hour < now / 3600 - MAX_USAGE_HOURS))
            connection.execute(bonuses.delete().where(bonuses.c.at < now - MAX_USAGE_HOURS * 3600))
            connection.execute(sittings.delete().where(sittings.c.ends < now - MAX_USAGE_HOURS * 3600))

    def give(self, bonus: Bonus) -> None:
        with self._engine.begin() as connection:
            names = ("id", "account", "subject", "minutes", "giver", "at")
            connection.execute(bonuses.insert().values({name: getattr(bonus, name) for name in names}))

    def bonuses(self, since: float) -> tuple[Bonus, ...]:
        """Those given from `since` on."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(bonuses).where(bonuses.c.at >= since).order_by(bonuses.c.at)).all()
        return tuple(Bonus(row.id, row.account, row.subject, row.minutes, row.giver, row.at) for row in rows)

    def start_session(self, session: Session) -> None:
        """Begins a sitting, and ends the one before it at the same device."""
        names = ("id", "device", "giver", "name", "person", "profile", "starts", "ends")
        with self._engine.begin() as connection:
            connection.execute(_end_open_session(session.device, session.starts).values(ends=session.starts))
            connection.execute(sittings.insert().values({name: getattr(session, name) for name in names}))

    def end_session(self, device: DeviceId, at: float | None) -> None:
        """The sitting at a device ends at `at`, now for None. Raises `NoSuchEntry` where nobody sits."""
        now = self._clock()
        with self._engine.begin() as connection:
            if not connection.execute(_end_open_session(device, now).values(ends=now if at is None else at)).rowcount:
                raise NoSuchEntry(f"nobody sits at {device}")

    def accept(self, sitting_id: str) -> bool:
        """The guest of a sitting accepts the code of conduct; False where that is over, or was done before."""
        now, its = self._clock(), sittings.c
        with self._engine.begin() as connection:
            open_one = (its.id == sitting_id) & its.accepted.is_(None) & or_(its.ends.is_(None), its.ends > now)
            return bool(connection.execute(sittings.update().where(open_one).values(accepted=now)).rowcount)

    def last_session_end(self, device: DeviceId) -> float | None:
        """When the last sitting at a device that is over ended."""
        with self._engine.connect() as connection:
            found: float | None = connection.scalar(
                select(func.max(sittings.c.ends)).where(sittings.c.device == device, sittings.c.ends <= self._clock())
            )
        return found

    def sittings(self, now: float) -> tuple[Session, ...]:
        """Those that hold at `now` or will hold."""
        holds = or_(sittings.c.ends.is_(None), sittings.c.ends > now)
        with self._engine.connect() as connection:
            rows = connection.execute(select(sittings).where(holds).order_by(sittings.c.starts)).all()
        return tuple(
            Session(row.id, DeviceId(row.device), row.giver, row.starts, row.ends, row.person, row.profile, row.name, row.accepted)
            for row in rows
        )


def _end_open_session(device: DeviceId, now: float) -> Update:
    return sittings.update().where(sittings.c.device == device, or_(sittings.c.ends.is_(None), sittings.c.ends > now))
