"""The seats of a café on the core's pages: their entries in the policy, and the captive portal of a guest's device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Form, Request
from starlette.responses import JSONResponse, Response

from hedgerow.dashboards.control import DeviceView, InvalidInput, at_field
from hedgerow.dashboards.edits.household import parse_address, parse_name
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, put, remove, rename
from hedgerow.dashboards.extensions import Card, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup, redirect_after_save, redirect_to, referring_page
from hedgerow.dashboards.routes import DEVICES, MANAGE, get, post
from hedgerow.dashboards.words.languages import message
from hedgerow.features.cafe.calls import seat_calls_of
from hedgerow.features.cafe.vouchers import vouchers_of
from hedgerow.policies.model import Policy

type FormText = Annotated[str, Form(max_length=300)]


@dataclass(frozen=True, slots=True)
class SeatsCard:
    """The seats of the policy. `closes_unopened`: one without a session shows only its welcome page."""

    seats: tuple[str, ...]
    closes_unopened: bool


@dataclass(frozen=True, slots=True)
class OwnSeatCard:
    """A seat on its own page. `left` is in whole seconds, None without a session that `ends`.

    `is_called`: the staff has been called and has not answered yet. The page is up to date as long as the rest is the
    same, so the passing time is left out of the description.
    """

    seat: str
    is_called: bool
    ends: float | None = None
    is_paused: bool = False
    left: int | None = field(default=None, repr=False)


def add_seat_edits(policy: Policy, seat: str, address: str) -> list[Edit]:
    """Add a seat by its MAC, IP address or network.

    A person's device with that address becomes the seat. Raises `InvalidInput`.
    """
    name, (key, value) = parse_name(seat, policy.devices), parse_address(address)
    return [
        put(("seats", name), {key: value}),
        *(exclude(("people", other, "devices"), address) for other in policy.people),
    ]


class SeatPages(PageGroup):
    """Forms of seats on `/devices`."""

    @post("/devices/seat", MANAGE)
    async def add_seat(self, request: Request, seat: FormText = "", place: FormText = "") -> Response:
        """Add a seat by its IP address, network or MAC."""
        policy = self._context.policy()
        parse_name(seat, policy.devices)
        with at_field("place"):
            edits = add_seat_edits(policy, seat, place.strip())
        return await self._save(request, message("The seat %(seat)s added."), *edits, seat=seat)

    @post("/devices/seat/rename", MANAGE)
    async def rename_seat(self, request: Request, seat: FormText, name: FormText) -> Response:
        policy = self._context.policy()
        self._check_free(policy, seat)
        name = parse_name(name, policy.devices)
        return await self._save(
            request,
            message("The seat %(seat)s is now called %(name)s."),
            rename(("seats", seat), name),
            seat=seat,
            name=name,
        )

    @post("/devices/seat/remove", MANAGE)
    async def remove_seat(self, request: Request, seat: FormText) -> Response:
        self._check_free(self._context.policy(), seat)
        return await self._save(request, message("The seat %(seat)s removed."), remove(("seats", seat)), seat=seat)

    def _check_free(self, policy: Policy, seat: str) -> None:
        """Refuse a seat with an open session: the session is stored under the seat's name and would never end."""
        if seat not in policy.devices or not policy.devices[seat].is_seat:
            raise InvalidInput("There is no seat '%(seat)s' in the policy.", seat=seat)
        if any(each.device == seat for each in self._context.time.sessions()):
            raise InvalidInput("Somebody is sitting at %(seat)s: end the session first.", seat=seat)

    async def _save(self, request: Request, summary: str, *edits: Edit, **values: object) -> Response:
        return redirect_after_save(referring_page(request), await self._change(request, summary, *edits, **values))


class PortalPages(PageGroup):
    """The captive portal."""

    @get("/captive-portal", DEVICES)
    async def portal(self, request: Request) -> Response:
        """Return the captive-portal state (RFC 8908), whose URL DHCP option 114 and router advertisements carry (RFC
        8910).

        Ours are `conduct`, the text that the guest of this session has not accepted yet, and at a seat its name
        (`seat`) and whether the staff has been called (`called`).
        """
        view = self._device(request)
        place = f"{request.url.scheme}://{request.url.netloc}/device"
        state: dict[str, object] = {"captive": view.is_captive, "user-portal-url": place}
        if view.conduct:
            state["conduct"] = view.conduct
        if view.is_seat:
            state |= {"seat": view.device, "called": self._context.part(seat_calls_of).is_open(view.device)}
        if view.is_seat and view.session_ends is not None and not view.is_captive:
            state |= {
                "seconds-remaining": max(0, int(view.session_ends - self._context.clock())),
                "can-extend-session": True,
            }
        return JSONResponse(state, headers={"Cache-Control": "private"}, media_type="application/captive+json")

    @post("/device/call", DEVICES)
    async def call(self, request: Request) -> Response:
        """Call the staff to this seat."""
        view = self._device(request)
        if not view.is_seat or view.device not in self._context.policy().devices:
            raise InvalidInput("This device is not a seat.")
        self._context.part(seat_calls_of).call(view.device)
        return redirect_to("/device#seat")


class VoucherPages(PageGroup):
    """The form for vouchers on a seat's own page."""

    @post("/device/voucher", DEVICES)
    async def redeem(self, request: Request, code: Annotated[str, Form(max_length=300)] = "") -> Response:
        """Redeem a voucher."""
        await self._context.part(vouchers_of).redeem(self._device(request).device, code)
        return redirect_to("/device?used=voucher")


def _takes_vouchers(_context: PageContext, view: DeviceView) -> bool | None:
    return True if view.is_seat and not view.conduct else None


def _own_seat(context: PageContext, view: DeviceView) -> OwnSeatCard | None:
    if not view.is_seat or view.device not in context.policy().devices:
        return None
    now, is_called = context.clock(), context.part(seat_calls_of).is_open(view.device)
    if view.session_ends is None or view.is_captive:
        return OwnSeatCard(view.device, is_called)
    pauses = [each.ends for each in context.reader.pauses(now) if each.device == view.device]
    stands_still = max([0.0, *(ends - now for ends in pauses if ends is not None)])
    left = max(0, int(view.session_ends - stands_still - now))
    return OwnSeatCard(view.device, is_called, view.session_ends, bool(pauses), left)


def _seats(context: PageContext, is_wanted: bool) -> SeatsCard | None:
    index = context.index()
    seats = tuple(device.id for device in index.by_owner if device.is_seat) if index.has_seats else ()
    return SeatsCard(seats, index.policy.closes_unopened is not None) if seats or is_wanted else None


def _has_no_seats(context: PageContext, _nothing: object) -> bool | None:
    return None if context.index().has_seats else True


SEAT_CARDS = (
    Card(place=Place.OWN_PAGE_START, template="cafe/templates/own_voucher.html", read=_takes_vouchers),
    Card(place=Place.OWN_PAGE, template="cafe/templates/own_seat.html", read=_own_seat),
    Card(place=Place.DEVICES, template="cafe/templates/seats_of_policy.html", read=_seats),
    Card(place=Place.SETTINGS_LINKS, template="cafe/templates/settings.html", read=_has_no_seats),
)
