"""The articles of the counter's page, and bills of sessions as CSV."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import COUNTER_PATH
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.pages.feedback import Feedback
from hedgerow.dashboards.routes import OPERATE, READ, get
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import message
from hedgerow.features.cafe.counter_store import CounterAction, CounterStore
from hedgerow.features.cafe.done_texts import lead_to
from hedgerow.features.cafe.sales import SaleOrder, sales_of
from hedgerow.features.cafe.seat_tiles import natural_order
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.cafe.shifts import entries_csv


@action(
    "POST",
    "/counter/articles",
    is_once=True,
    form=FormOf(f"{COUNTER_PATH}/sell"),
    command=CommandOf(
        lambda article, count, seat: f"{count} × {article}: {f'on the bill of {seat}' if seat else 'paid'}.",
        {"article": "article", "count": "count", "seat": "seat"},
    ),
)
async def sell(core: Operations, caller: Caller, order: SaleOrder) -> None:
    """Sell an article of the policy: paid at once, or on the bill of the guest at a seat."""
    await core.part(sales_of).sell(order, actor=caller.actor, request=caller.key)


def open_bills(context: PageContext) -> list[str]:
    """Return the seats with a session, in natural order."""
    devices = context.policy().devices
    seats = {each.device for each in context.time.sessions() if each.device in devices and devices[each.device].is_seat}
    return sorted(seats, key=natural_order)


class SalePages(PageGroup):
    """Articles and bills."""

    @get(f"{COUNTER_PATH}/articles", OPERATE, READ)
    async def articles(self, request: Request) -> Response:
        """Return only the articles, for `live.js`."""
        context = self._context
        return self._page(
            request,
            "cafe/templates/articles.html",
            cafe=cafe_of(context.policy()),
            bills=open_bills(context),
            once=secrets.token_hex(12),
        )

    @form(sell)
    async def sell(self, request: Request, caller: Caller, order: SaleOrder) -> Response:
        """Sell an article, and offer to undo that."""
        await sell.run(self._context, caller, order)
        fields = {"article": order.article, "count": f"{-order.count}", "seat": order.seat}
        fields |= {"once": secrets.token_hex(12)}
        return await lead_to(
            self._context,
            request,
            caller,
            COUNTER_PATH,
            lambda each: (
                each.action is CounterAction.ARTICLE and (each.note, each.count) == (order.article, order.count)
            ),
            lambda _entry: Feedback("", f"{COUNTER_PATH}/sell" if order.count > 0 else "", fields),
        )

    @get(f"{COUNTER_PATH}/bill.csv", OPERATE, READ)
    async def bill(self, session: Annotated[str, Query(max_length=40)]) -> Response:
        """Return the entries of a session: minutes, articles and payments."""
        entries = await run_in_threadpool(CounterStore(self._context.reader.store).of_session, session)
        if not entries:
            raise HTTPException(404, message("There is no such session."))
        text = entries_csv(entries, labels.zone(self._context.policy().network.timezone))
        headers = {"Content-Disposition": f'attachment; filename="hedgerow-bill-{entries[0].id}.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
