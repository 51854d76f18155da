"""The counter of a café: seats as tiles, who sits there for how much longer, and the buttons that open, extend and end a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.api.codes import MAX_VOUCHERS_PER_ORDER, VoucherControl, VoucherOrder, audit, last_days
from hedgerow.dashboards.api.time import TimeControl
from hedgerow.dashboards.audit import audit_csv
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.pages.context import COUNTER_PATH, PageContext, principal_of, redirect_to
from hedgerow.dashboards.words import labels
from hedgerow.policies.model import Session

type Seat = Annotated[str, Form(max_length=253)]
type Minutes = Annotated[int, Form(ge=1, le=1440)]


@dataclass(frozen=True, slots=True)
class SeatTile:
    """A seat. `sitting` is None where it is free; `left` are whole minutes, None where no end is set."""

    seat: str
    session: Session | None
    left: int | None


class CounterPages:
    """`/counter` and its buttons."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route(COUNTER_PATH, self.counter, methods=["GET"])
        router.add_api_route(f"{COUNTER_PATH}/open", self.open, methods=["POST"])
        router.add_api_route(f"{COUNTER_PATH}/extend", self.extend, methods=["POST"])
        router.add_api_route(f"{COUNTER_PATH}/end", self.end, methods=["POST"])
        router.add_api_route(f"{COUNTER_PATH}/vouchers", self.print_vouchers, methods=["POST"])
        router.add_api_route(f"{COUNTER_PATH}/vouchers/withdraw", self.withdraw_vouchers, methods=["POST"])
        router.add_api_route(f"{COUNTER_PATH}/audit.csv", self.audit, methods=["GET"])

    async def counter(self, request: Request) -> Response:
        tiles = self._tiles()
        free = sum(1 for tile in tiles if tile.session is None)
        vouchers = await self._context.vouchers.open() if self._context.vouchers is not None else ()
        return self._context.renderer.page(request, "counter.html", tiles=tiles, free=free, vouchers=vouchers)

    async def print_vouchers(
        self,
        request: Request,
        count: Annotated[int, Form(ge=1, le=MAX_VOUCHERS_PER_ORDER)],
        band: Annotated[Literal["child", "adult"], Form()],
        minutes: Minutes,
        valid_days: Annotated[int, Form(ge=1, le=366)] = 30,
    ) -> Response:
        """A sheet of codes, shown once."""
        order = VoucherOrder(count=count, band=band, minutes=minutes, valid_days=valid_days)
        made = await self._vouchers().make(order, principal_of(request).name)
        return self._context.renderer.page(request, "vouchers.html", codes=made.codes, voucher=made.voucher)

    async def withdraw_vouchers(self) -> Response:
        await self._vouchers().withdraw()
        return redirect_to(COUNTER_PATH)

    async def audit(self) -> Response:
        """What was blocked at the seats in the last month, for an inspection: counts by day, without names."""
        rows = await run_in_threadpool(audit, self._context.reader, self._context.policy(), *last_days(self._context.clock()))
        headers = {"Content-Disposition": 'attachment; filename="hedgerow-audit.csv"'}
        return Response(audit_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)

    def _vouchers(self) -> VoucherControl:
        if self._context.vouchers is None:
            raise InvalidInput("Vouchers are not available here.")
        return self._context.vouchers

    async def open(self, request: Request, seat: Seat, band: Annotated[Literal["child", "adult"], Form()], minutes: Minutes) -> Response:
        """A guest sits down."""
        await self._time().start_session(seat, principal_of(request).name, person=None, band=band, minutes=minutes, name="")
        return redirect_to(COUNTER_PATH)

    async def extend(self, seat: Seat, minutes: Minutes) -> Response:
        """So many minutes on top of what is left."""
        tile = next((tile for tile in self._tiles() if tile.seat == seat), None)
        if tile is None or tile.session is None or tile.session.ends is None:
            raise InvalidInput("The session at that seat has no end time.")
        left = max(0.0, tile.session.ends - self._context.clock()) / 60
        await self._time().end_session(seat, left + minutes)
        return redirect_to(COUNTER_PATH)

    async def end(self, seat: Seat) -> Response:
        await self._time().end_session(seat, None)
        return redirect_to(COUNTER_PATH)

    def _time(self) -> TimeControl:
        if self._context.time is None:
            raise InvalidInput("Time is not counted here.")
        return self._context.time

    def _tiles(self) -> list[SeatTile]:
        now = self._context.clock()
        session = {each.device: each for each in self._time().sessions()}  # a later one counts over an earlier
        seats = [device for device in self._context.policy().devices.values() if device.is_seat]
        return [
            SeatTile(str(seat.id), found := session.get(seat.id), labels.minutes_left(found.ends if found else None, now)) for seat in seats
        ]
