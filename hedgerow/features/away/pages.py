"""The page that lets a device keep its rules away from home: its end of the tunnel, its files and its id."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Form, Query, Request
from markupsafe import Markup
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.household import can_be_inspected, find_device
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup, principal_of, redirect_after_save
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.routes import MANAGE, get, post
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.features.away.api import add_away_routes, add_tunnel_routes, away_response
from hedgerow.features.away.edits import client_id_edit, close_tunnel_edit, only_tunnel_edits
from hedgerow.features.away.files import (
    AwayFile,
    TunnelFile,
    TunnelShape,
    away_document,
    away_file,
    away_settings,
    open_tunnel,
)
from hedgerow.features.away.tunnel import tunnel_of
from hedgerow.policies.model import Device, Policy

AWAY_PATH = "/devices/{device}/away"


class PageForm(StrEnum):
    """Forms of a new end of the tunnel: a code on the page, or a file."""

    QR = "qr"
    WG_QUICK = "wg-quick"
    APPLE = "apple"


class AwayPages(PageGroup):
    """`/devices/…/away` and below."""

    @get(AWAY_PATH, MANAGE)
    async def page(
        self,
        request: Request,
        device: str,
        form: AwayFile | None = None,
        home_wifi: Annotated[str, Query(max_length=32)] = "",
    ) -> Response:
        """Show the page or, with `form`, return that file.

        `home_wifi` is the network at home, if its router names the resolver.
        """
        if form is not None:
            names = [home_wifi] if home_wifi else []
            return away_response(away_document(self._context.control, form, device, names))
        return self._away(request, device)

    def _away(self, request: Request, device: str, new_code: Markup | None = None) -> Response:
        """Show the page, with the QR code of a new end of the tunnel."""
        control, tunnel = self._context.control, self._context.part(tunnel_of)
        known = find_device(control.policy(), device)
        values: dict[str, Any] = {
            "device": known,
            "dns": control.encrypted_dns(),
            "forms": {},
            "code_of_tunnel": new_code,
        }
        values["end"], values["can_be_copied"] = tunnel.activity(known), _can_be_copied(control.policy(), known)
        values["problem"] = self._problem_of_tunnel(request)
        try:
            dns, client_id = away_settings(control, device)
        except InvalidInput:
            return self._page(request, "away/templates/away.html", **values)
        values["forms"] = {form.value for form in AwayFile if away_file(form, dns, device, client_id) is not None}
        values["host"], values["url"] = dns.host(client_id), dns.url(client_id)
        values["code"] = qr_code(values["host"]) if values["host"] is not None else None
        return self._page(request, "away/templates/away.html", **values)

    @post(AWAY_PATH + "/tunnel", MANAGE)
    async def open_tunnel(
        self,
        request: Request,
        device: str,
        form: Annotated[PageForm, Form()],
        only_dns: Annotated[bool, Form()] = False,
        home_wifi: Annotated[str, Form(max_length=32)] = "",
    ) -> Response:
        """Give a device an end of the tunnel, or a new key for it, as a file or as a code on the page."""
        context, shape = self._context, TunnelShape(only_dns, (home_wifi,) if home_wifi else ())
        summary = language_of(request).gettext(message("Tunnel home: %(device)s"), device=device)
        kind = TunnelFile.WG_QUICK if form is PageForm.QR else TunnelFile(form.value)
        home, author = self._context.part(tunnel_of).home(), principal_of(request)
        document = await open_tunnel(context.control, home, context.editor, author, summary, device, kind, shape)
        return (
            self._away(request, device, qr_code(document.data.decode(), is_long=True))
            if form is PageForm.QR
            else away_response(document)
        )

    @post(AWAY_PATH + "/tunnel/remove", MANAGE)
    async def close_tunnel(self, request: Request, device: str) -> Response:
        """Take a device's end of the tunnel away."""
        edit = close_tunnel_edit(self._context.policy(), device)
        change = await self._change(request, message("No tunnel home: %(device)s"), edit, device=device)
        return redirect_after_save(AWAY_PATH.format(device=quote(device, safe="")), change)

    @post(AWAY_PATH + "/tunnel/only", MANAGE)
    async def know_by_tunnel(self, request: Request, device: str) -> Response:
        """Know a device by its tunnel only: another one can copy its addresses."""
        edits = only_tunnel_edits(self._context.policy(), device)
        text = message("%(device)s is known by its tunnel only.")
        change = await self._change(request, text, *edits, device=device)
        return redirect_after_save(AWAY_PATH.format(device=quote(device, safe="")), change)

    def _problem_of_tunnel(self, request: Request) -> str:
        try:
            self._context.part(tunnel_of).home()
        except InvalidInput as error:
            return language_of(request).gettext(error.text, **error.values)
        return ""

    @post(AWAY_PATH, MANAGE)
    async def new_id(self, request: Request, device: str) -> Response:
        """Give a device an id, or a new one, after which files with the old one are refused away from home."""
        edit = client_id_edit(self._context.policy(), device)
        change = await self._change(request, message("New id for encrypted DNS: %(device)s"), edit, device=device)
        return redirect_after_save(AWAY_PATH.format(device=quote(device, safe="")), change)


def _named_device(context: PageContext, device: Device) -> dict[str, bool] | None:
    return {"can_be_copied": _can_be_copied(context.policy(), device)} if can_be_inspected(device) else None


def _can_be_copied(policy: Policy, device: Device) -> bool:
    """Return whether a child could have an adult's rules by the address of this device."""
    profiles = policy.profiles
    has_children = any(profiles[person.profile].is_for_children for person in policy.people.values())
    return bool(device.macs or device.networks) and has_children and not profiles[device.profile].is_for_children


EXTENSIONS = Extensions(
    cards=(Card(place=Place.DEVICE_CHANGE, template="away/templates/link.html", read=_named_device),),
    page_groups=(AwayPages,),
    api_routes=(add_away_routes, add_tunnel_routes),
)
