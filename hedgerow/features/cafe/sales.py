"""Articles that a café sells, such as drinks and prints: paid at once, or put on the bill of a seat's session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from zoneinfo import ZoneInfo

from annotated_types import Ge, Le, MaxLen, MinLen

from hedgerow.app.control.sessions import device_called
from hedgerow.dashboards.actions.action import Order, Shown
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.cafe.business_day import business_day, business_day_start
from hedgerow.features.cafe.counter import CounterService, counter_of
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.rules import key_of, kind_of
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.contract import Core

MAX_COUNT = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleOrder(Order):
    """`count` articles of the policy, on the bill of the guest at `seat`, or paid at once without one.

    A negative count takes back what was sold.
    """

    article: Annotated[str, MinLen(1), MaxLen(60), Shown("An article of the policy.", "ARTICLE")]
    count: Annotated[int, Ge(-MAX_COUNT), Le(MAX_COUNT), Shown("How many.", option="--count")] = 1
    seat: Annotated[str, MaxLen(253), Shown("The seat on whose bill it is put.", metavar="SEAT", option="--seat")] = ""


class Sales:
    """Sales of articles at the counter."""

    def __init__(self, core: Core, counter: CounterService) -> None:
        self._core, self._counter = core, counter

    async def sell(self, order: SaleOrder, *, actor: str, request: str = "") -> None:
        """Write the entry of a sale.

        Raises `InvalidInput` for an unknown article, a free seat, and for more taken back than was sold.
        """
        key = key_of(request, CounterAction.ARTICLE, f"{order.seat} {order.article}")

        def sell() -> None:
            if self._counter.done_before(key) is None:
                self._counter.check_actor(actor)
                self._counter.store.add(self._entry(order, actor, key))

        await self._counter.in_turn(sell)

    def _entry(self, order: SaleOrder, actor: str, key: str | None) -> CounterEntry:
        now, cafe = self._core.clock(), cafe_of(self._core.policy)
        seat, session, kind = "", "", ""
        if order.seat:
            here = self._counter.session_at(device_called(order.seat, self._core.policy).id, now)
            if here is None:
                raise InvalidInput(
                    "Nobody sits at %(seat)s, so there is no bill: choose 'paid now' or another seat.", seat=order.seat
                ).at("seat")
            seat, session, kind = here.device, here.id, kind_of(here)
        price, currency = cafe.articles.get(order.article), cafe.currency
        if order.count < 0:
            price, currency = self._price_of_return(order, session, now)
        if price is None:
            raise InvalidInput(
                "The policy has no article '%(article)s' any more: load the page again.", article=order.article
            )
        due = price * order.count
        return CounterEntry(
            now,
            actor,
            CounterAction.ARTICLE,
            seat=seat,
            session=session,
            kind=kind,
            count=order.count,
            due=due,
            taken=0 if session else due,
            currency=currency,
            note=order.article,
            key=key,
        )

    def _price_of_return(self, order: SaleOrder, session: str, now: float) -> tuple[int, str]:
        """Return the price and currency at which an article was last sold: on this bill, or else today."""
        store, zone = self._counter.store, ZoneInfo(self._core.policy.network.timezone)
        since = business_day_start(business_day(now, zone), zone)
        entries = store.of_session(session) if session else store.entries(since, now + 1)
        sold = [
            each
            for each in entries
            if each.action is CounterAction.ARTICLE and each.note == order.article and each.session == session
        ]
        if sum(each.count for each in sold) + order.count < 0:
            raise InvalidInput("%(article)s: no more can be taken back than was sold.", article=order.article)
        last = next(each for each in reversed(sold) if each.count > 0)
        return last.due // last.count, last.currency


def sales_of(core: Core) -> Sales:
    """Make the part of control for articles."""
    return Sales(core, core.part(counter_of))
