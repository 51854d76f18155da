"""The counter of a café: seats as tiles, who sits there for how much longer, and the buttons that open, extend and end a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.api.time_routes import TimeControl
from hedgerow.dashboards.api.vouchers import MOST_AT_ONCE, VoucherControl, VoucherOrder, audit, last_days
from hedgerow.dashboards.audit_rows import audit_csv
from hedgerow.dashboards.pages import words
from hedgerow.dashboards.pages.site import COUNTER, Site, back_to, visitor_of
from hedgerow.policies.model import Sitting

type Seat = Annotated[str, Form(max_length=253)]
type Minutes = Annotated[int, Form(ge=1, le=1440)]


@dataclass(frozen=True, slots=True)
class Tile:
    """A seat. `sitting` is None where it is free; `left` are whole minutes, None where no end is set."""

    seat: str
    sitting: Sitting | None
    left: int | None


class CounterPages:
    """`/counter` and its buttons."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route(COUNTER, self.counter, methods=["GET"])
        router.add_api_route(f"{COUNTER}/open", self.open, methods=["POST"])
        router.add_api_route(f"{COUNTER}/extend", self.extend, methods=["POST"])
        router.add_api_route(f"{COUNTER}/end", self.end, methods=["POST"])
        router.add_api_route(f"{COUNTER}/vouchers", self.print_vouchers, methods=["POST"])
        router.add_api_route(f"{COUNTER}/vouchers/withdraw", self.withdraw_vouchers, methods=["POST"])
        router.add_api_route(f"{COUNTER}/audit.csv", self.audit, methods=["GET"])

    async def counter(self, request: Request) -> Response:
        tiles = self._tiles()
        free = sum(1 for tile in tiles if tile.sitting is None)
        vouchers = await self._site.vouchers.open() if self._site.vouchers is not None else ()
        return self._site.renderer.page(request, "counter.html", tiles=tiles, free=free, vouchers=vouchers)

    async def print_vouchers(
        self, request: Request, count: Annotated[int, Form(ge=1, le=MOST_AT_ONCE)], band: Annotated[Literal["child", "adult"], Form()],
        minutes: Minutes, valid_days: Annotated[int, Form(ge=1, le=366)] = 30,
    ) -> Response:  # fmt: skip
        """A sheet of codes, shown once."""
        order = VoucherOrder(count=count, band=band, minutes=minutes, valid_days=valid_days)
        made = await self._vouchers().make(order, visitor_of(request).name)
        return self._site.renderer.page(request, "vouchers.html", codes=made.codes, voucher=made.voucher)

    async def withdraw_vouchers(self) -> Response:
        await self._vouchers().withdraw()
        return back_to(COUNTER)

    async def audit(self) -> Response:
        """What was blocked at the seats in the last month, for an inspection: counts by day, without names."""
        rows = await run_in_threadpool(audit, self._site.reader, self._site.policy(), *last_days(self._site.clock()))
        headers = {"Content-Disposition": 'attachment; filename="hedgerow-audit.csv"'}
        return Response(audit_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)

    def _vouchers(self) -> VoucherControl:
        if self._site.vouchers is None:
            raise Unfit("Vouchers are not available here.")
        return self._site.vouchers

    async def open(self, request: Request, seat: Seat, band: Annotated[Literal["child", "adult"], Form()], minutes: Minutes) -> Response:
        """A guest sits down."""
        await self._time().sit(seat, visitor_of(request).name, person=None, band=band, minutes=minutes, name="")
        return back_to(COUNTER)

    async def extend(self, seat: Seat, minutes: Minutes) -> Response:
        """So many minutes on top of what is left."""
        tile = next((tile for tile in self._tiles() if tile.seat == seat), None)
        if tile is None or tile.sitting is None or tile.sitting.ends is None:
            raise Unfit("The session at that seat has no end time.")
        left = max(0.0, tile.sitting.ends - self._site.clock()) / 60
        await self._time().stand_up(seat, left + minutes)
        return back_to(COUNTER)

    async def end(self, seat: Seat) -> Response:
        await self._time().stand_up(seat, None)
        return back_to(COUNTER)

    def _time(self) -> TimeControl:
        if self._site.time is None:
            raise Unfit("Time is not counted here.")
        return self._site.time

    def _tiles(self) -> list[Tile]:
        now = self._site.clock()
        sitting = {each.device: each for each in self._time().sittings()}  # a later one counts over an earlier
        seats = [device for device in self._site.policy().devices.values() if device.is_seat]
        return [Tile(str(seat.id), found := sitting.get(seat.id), words.minutes_left(found.ends if found else None, now)) for seat in seats]
