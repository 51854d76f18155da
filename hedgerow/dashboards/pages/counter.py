"""The counter of a café: seats as tiles, with buttons to open, extend and end sessions; vouchers and the audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.api.codes import MAX_VOUCHERS_PER_ORDER, VoucherControl, VoucherOrder
from hedgerow.dashboards.audit import audit, audit_csv, audit_period
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.pages.context import COUNTER_PATH, PageGroup, principal_of, redirect_to
from hedgerow.dashboards.routes import OPERATE, READ, get, post
from hedgerow.dashboards.words import labels
from hedgerow.policies.model import Session

type Seat = Annotated[str, Form(max_length=253)]
type Minutes = Annotated[int, Form(ge=1, le=1440)]
type AgeBand = Annotated[Literal["child", "adult"], Form()]


@dataclass(frozen=True, slots=True)
class SeatTile:
    """A seat. `session` is None if it is free; `left` is in whole minutes, None without an end."""

    seat: str
    session: Session | None
    left: int | None


class CounterPages(PageGroup):
    """`/counter` and its forms."""

    @get(COUNTER_PATH, OPERATE, READ)
    async def counter(self, request: Request) -> Response:
        tiles = self._tiles()
        free = sum(1 for tile in tiles if tile.session is None)
        vouchers = await self._context.vouchers.open() if self._context.vouchers is not None else ()
        return self._page(request, "counter.html", tiles=tiles, free=free, vouchers=vouchers)

    @get(f"{COUNTER_PATH}/seats", OPERATE, READ)
    async def seats(self, request: Request) -> Response:
        """Return the tiles alone, for `live.js`."""
        return self._page(request, "counter_seats.html", tiles=self._tiles())

    @post(f"{COUNTER_PATH}/open", OPERATE)
    async def open(self, request: Request, seat: Seat, band: AgeBand, minutes: Minutes) -> Response:
        """Open a session for a guest."""
        time = self._context.timekeeper()
        await time.start_session(seat, principal_of(request).name, person=None, band=band, minutes=minutes, name="")
        return redirect_to(COUNTER_PATH)

    @post(f"{COUNTER_PATH}/extend", OPERATE)
    async def extend(self, seat: Seat, minutes: Minutes) -> Response:
        """Add minutes to a session."""
        tile = next((tile for tile in self._tiles() if tile.seat == seat), None)
        if tile is None or tile.session is None or tile.session.ends is None:
            raise InvalidInput("The session at that seat has no end time.")
        left = max(0.0, tile.session.ends - self._context.clock()) / 60
        await self._context.timekeeper().end_session(seat, left + minutes)
        return redirect_to(COUNTER_PATH)

    @post(f"{COUNTER_PATH}/end", OPERATE)
    async def end(self, seat: Seat) -> Response:
        await self._context.timekeeper().end_session(seat, None)
        return redirect_to(COUNTER_PATH)

    @post(f"{COUNTER_PATH}/vouchers", OPERATE)
    async def print_vouchers(
        self,
        request: Request,
        count: Annotated[int, Form(ge=1, le=MAX_VOUCHERS_PER_ORDER)],
        band: AgeBand,
        minutes: Minutes,
        valid_days: Annotated[int, Form(ge=1, le=366)] = 30,
    ) -> Response:
        """Show a sheet of new codes, once."""
        order = VoucherOrder(count=count, band=band, minutes=minutes, valid_days=valid_days)
        made = await self._vouchers().make(order, principal_of(request).name)
        return self._page(request, "vouchers.html", codes=made.codes, voucher=made.voucher)

    @post(f"{COUNTER_PATH}/vouchers/withdraw", OPERATE)
    async def withdraw_vouchers(self) -> Response:
        await self._vouchers().withdraw()
        return redirect_to(COUNTER_PATH)

    @get(f"{COUNTER_PATH}/audit.csv", OPERATE, READ)
    async def audit(self) -> Response:
        """Return the last month's audit for an inspection."""
        rows = await run_in_threadpool(audit, self._context.reader, self._context.policy(), *audit_period(self._context.clock()))
        headers = {"Content-Disposition": 'attachment; filename="hedgerow-audit.csv"'}
        return Response(audit_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)

    def _vouchers(self) -> VoucherControl:
        if self._context.vouchers is None:
            raise InvalidInput("Vouchers are not available here.")
        return self._context.vouchers

    def _tiles(self) -> list[SeatTile]:
        now = self._context.clock()
        sessions = {each.device: each for each in self._context.timekeeper().sessions()}  # a later session replaces an earlier one
        seats = [device.id for device in self._context.policy().devices.values() if device.is_seat]
        return [
            SeatTile(seat, session := sessions.get(seat), labels.minutes_left(session.ends if session else None, now)) for seat in seats
        ]
