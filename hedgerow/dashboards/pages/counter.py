"""The counter of a café: seats as tiles, with buttons to open, extend and end sessions; vouchers and the audit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.api.codes import MAX_VOUCHERS_PER_ORDER, VoucherControl, VoucherOrder
from hedgerow.dashboards.api.time import LATEST
from hedgerow.dashboards.audit import audit, audit_csv, audit_period
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.pages.context import COUNTER_PATH, PageGroup, principal_of, redirect_to
from hedgerow.dashboards.routes import OPERATE, READ, get, post
from hedgerow.dashboards.words import labels
from hedgerow.policies.model import Session

type Seat = Annotated[str, Form(max_length=253)]
type Minutes = Annotated[int, Form(ge=1, le=1440)]
type AgeBand = Literal["child", "adult"]

PAUSE_MINUTES = 60
"""Minutes after which a guest's pause ends by itself."""


@dataclass(frozen=True, slots=True)
class SeatTile:
    """A seat. `session` is None if it is free; `left` is in whole minutes, None without an end."""

    seat: str
    session: Session | None
    left: int | None
    pause_ends: float | None = None


class CounterPages(PageGroup):
    """`/counter` and its forms."""

    @get(COUNTER_PATH, OPERATE, READ)
    async def counter(
        self,
        request: Request,
        minutes: Annotated[int, Query(ge=1, le=1440)] = 60,
        band: AgeBand = "child",
        ended: Annotated[str, Query(max_length=40)] = "",
        seat: Annotated[str, Query(max_length=253)] = "",
        ends: Annotated[float | None, Query(ge=0, le=LATEST)] = None,
    ) -> Response:
        """Show the seats. `minutes` and `band` are chosen for the next guest; `ended`, `seat` and `ends` are of a session to be undone."""
        tiles = await self._tiles()
        vouchers = await self._context.vouchers.open() if self._context.vouchers is not None else ()
        choice, undo = {"minutes": minutes, "band": band}, {"session": ended, "seat": seat, "ends": ends}
        return self._page(request, "counter.html", tiles=tiles, vouchers=vouchers, choice=choice, undo=undo if ended else None)

    @get(f"{COUNTER_PATH}/seats", OPERATE, READ)
    async def seats(self, request: Request) -> Response:
        """Return the tiles alone, for `live.js`."""
        return self._page(request, "counter_seats.html", tiles=await self._tiles())

    @post(f"{COUNTER_PATH}/open", OPERATE)
    async def open(self, request: Request, seat: Seat, band: Annotated[AgeBand, Form()], minutes: Minutes) -> Response:
        """Open a session for a guest."""
        time = self._context.timekeeper()
        await time.start_session(seat, principal_of(request).name, person=None, band=band, minutes=minutes, name="")
        return redirect_to(f"{COUNTER_PATH}?minutes={minutes}&band={band}")

    @post(f"{COUNTER_PATH}/extend", OPERATE)
    async def extend(self, seat: Seat, minutes: Minutes) -> Response:
        """Add minutes to a session."""
        await self._context.timekeeper().extend_session(seat, minutes)
        return redirect_to(COUNTER_PATH)

    @post(f"{COUNTER_PATH}/move", OPERATE)
    async def move(self, seat: Seat, to: Seat) -> Response:
        """Move a guest to a free seat."""
        await self._context.timekeeper().move_session(seat, to)
        return redirect_to(COUNTER_PATH)

    @post(f"{COUNTER_PATH}/pause", OPERATE)
    async def pause(self, request: Request, seat: Seat) -> Response:
        """Close a seat while its guest is away; the session's time stands still."""
        await self._context.timekeeper().pause_session(seat, principal_of(request).name, PAUSE_MINUTES)
        return redirect_to(COUNTER_PATH)

    @post(f"{COUNTER_PATH}/resume", OPERATE)
    async def resume(self, request: Request, seat: Seat) -> Response:
        await self._context.timekeeper().resume_session(seat, principal_of(request).name)
        return redirect_to(COUNTER_PATH)

    @post(f"{COUNTER_PATH}/end", OPERATE)
    async def end(self, seat: Seat) -> Response:
        """End a session, and offer to undo that."""
        time = self._context.timekeeper()
        here = next((each for each in reversed(time.sessions()) if each.device == seat), None)
        await time.end_session(seat)
        if here is None:
            return redirect_to(COUNTER_PATH)
        undo = {"ended": here.id, "seat": seat} | ({"ends": f"{here.ends:.0f}"} if here.ends is not None else {})
        return redirect_to(f"{COUNTER_PATH}?{urlencode(undo)}")

    @post(f"{COUNTER_PATH}/reopen", OPERATE)
    async def reopen(
        self, session: Annotated[str, Form(max_length=40)], ends: Annotated[float | None, Form(ge=0, le=LATEST)] = None
    ) -> Response:
        """Undo the end of a session."""
        await self._context.timekeeper().reopen_session(session, ends)
        return redirect_to(COUNTER_PATH)

    @post(f"{COUNTER_PATH}/vouchers", OPERATE)
    async def print_vouchers(
        self,
        request: Request,
        count: Annotated[int, Form(ge=1, le=MAX_VOUCHERS_PER_ORDER)],
        band: Annotated[AgeBand, Form()],
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

    async def _tiles(self) -> list[SeatTile]:
        """Return the seats in natural order: seat-2 before seat-10."""
        now = self._context.clock()
        sessions = {each.device: each for each in self._context.timekeeper().sessions()}  # a later session replaces an earlier one
        pauses = {each.device: each.ends for each in await run_in_threadpool(self._context.reader.pauses, now)}
        seats = (device.id for device in self._context.policy().devices.values() if device.is_seat)
        return [_tile(seat, sessions.get(seat), pauses.get(seat), now) for seat in sorted(seats, key=_natural)]


def _tile(seat: str, session: Session | None, pause_ends: float | None, now: float) -> SeatTile:
    stands_still = max(0.0, pause_ends - now) if pause_ends is not None else 0.0
    left = labels.minutes_left(session.ends - stands_still if session.ends is not None else None, now) if session is not None else None
    return SeatTile(seat, session, left, pause_ends)


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by value.

    >>> sorted(("seat-10", "seat-2", "bar"), key=_natural)
    ['bar', 'seat-2', 'seat-10']
    """
    return [(int(part), "") if part.isdigit() else (0, part.casefold()) for part in re.split(r"(\d+)", name)]
