"""Which seats a café has: added, renamed and removed on the page of devices. Who sits there is the counter's."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.pages.devices import FormText
from hedgerow.dashboards.pages.languages import language_of, message
from hedgerow.dashboards.pages.people import checked_name
from hedgerow.dashboards.pages.site import Site, saved_at, visitor_of
from hedgerow.dashboards.policy_text import Edit, exclude, put, remove, rename
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.network_settings import parse_mac, parse_network


class SeatPages:
    """The forms about seats on `/devices`. They change the policy, so they are for those who manage it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/devices/seat", self.add, methods=["POST"])
        router.add_api_route("/devices/seat/rename", self.rename, methods=["POST"])
        router.add_api_route("/devices/seat/remove", self.remove, methods=["POST"])

    async def add(self, request: Request, seat: FormText, place: FormText) -> Response:
        """A seat by its address, a block of addresses, or its MAC."""
        edits = _adding_edits(self._site.policy(), seat, place.strip())
        return await self._change(request, message("Add the seat %(seat)s"), {"seat": seat}, *edits)

    async def rename(self, request: Request, seat: FormText, name: FormText) -> Response:
        policy = self._site.policy()
        self._check_free(policy, seat)
        new = checked_name(name, policy.devices)
        return await self._change(
            request, message("Rename the seat %(seat)s to %(name)s"), {"seat": seat, "name": new}, rename(("seats", seat), new)
        )

    async def remove(self, request: Request, seat: FormText) -> Response:
        self._check_free(self._site.policy(), seat)
        return await self._change(request, message("Remove the seat %(seat)s"), {"seat": seat}, remove(("seats", seat)))

    def _check_free(self, policy: Policy, seat: str) -> None:
        """A session is kept under its seat's name: it would never end."""
        if seat not in policy.devices or not policy.devices[seat].is_seat:
            raise Unfit("There is no seat '%(seat)s' in the policy.", seat=seat)
        if self._site.time is not None and any(each.device == seat for each in self._site.time.sittings()):
            raise Unfit("Somebody is sitting at %(seat)s: end the session first.", seat=seat)

    async def _change(self, request: Request, summary: str, values: dict[str, str], *edits: Edit) -> Response:
        said = language_of(request).gettext(summary, **values)
        return saved_at("/devices", await self._site.desk.change(visitor_of(request).name, said, *edits))


def _adding_edits(policy: Policy, seat: str, place: str) -> list[Edit]:
    """Raises `Unfit`. What was somebody's device by nothing but that address is a seat from now on."""
    name, mac = checked_name(seat, policy.devices), parse_mac(place)
    if mac is None and parse_network(place) is None:
        raise Unfit("'%(seen_as)s' is neither a MAC address nor an IP address.", seen_as=place)
    entry = {"mac": mac} if mac else {"cidr" if "/" in place else "ip": place}
    return [put(("seats", name), entry), *(exclude(("people", other, "devices"), place) for other in policy.people)]
