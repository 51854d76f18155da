"""The page that lets a device keep its rules away from home: files for its system, and its id."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Query, Request
from starlette.responses import Response

from hedgerow.dashboards.api.away import away_response
from hedgerow.dashboards.away import AwayFile, away_document, away_file, away_settings
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.devices import client_id_edit
from hedgerow.dashboards.edits.household import find_device
from hedgerow.dashboards.pages.context import PageGroup, redirect_after_save
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.routes import MANAGE, get, post
from hedgerow.dashboards.words.languages import message

AWAY_PATH = "/devices/{device}/away"


class AwayPages(PageGroup):
    """`/devices/…/away` and below."""

    @get(AWAY_PATH, MANAGE)
    async def page(
        self, request: Request, device: str, form: AwayFile | None = None, home_wifi: Annotated[str, Query(max_length=32)] = ""
    ) -> Response:  # fmt: skip
        """Show the page or, with `form`, return that file. `home_wifi` is the network at home, if its router names the resolver."""
        if form is not None:
            names = [home_wifi] if home_wifi else []
            return away_response(away_document(self._context.control, form, device, names))
        control = self._context.control
        known = find_device(control.policy(), device)
        try:
            dns, client_id = away_settings(control, device)
        except InvalidInput:
            return self._page(request, "away.html", device=known, dns=control.encrypted_dns(), forms={})
        forms = {form.value for form in AwayFile if away_file(form, dns, device, client_id) is not None}
        host = dns.host(client_id)
        code = qr_code(host) if host is not None else None
        return self._page(request, "away.html", device=known, dns=dns, forms=forms, host=host, code=code, url=dns.url(client_id))

    @post(AWAY_PATH, MANAGE)
    async def new_id(self, request: Request, device: str) -> Response:
        """Give a device an id, or a new one, after which files with the old one are refused away from home."""
        edit = client_id_edit(self._context.policy(), device)
        change = await self._change(request, message("New id for encrypted DNS: %(device)s"), edit, device=device)
        return redirect_after_save(AWAY_PATH.format(device=quote(device, safe="")), change)
