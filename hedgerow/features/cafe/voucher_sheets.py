"""Sheets of new vouchers, to print."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import Response

from hedgerow.dashboards.guard import local_address
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.words.languages import language_of
from hedgerow.dashboards.words.session_kinds import kind_titles
from hedgerow.features.cafe.orders import MadeVouchers
from hedgerow.features.cafe.settings import cafe_of


def voucher_sheet(context: PageContext, request: Request, made: MadeVouchers) -> Response:
    """Return a page of new vouchers.

    Their QR codes lead a guest's phone to the seat's page, with the code filled in.
    """
    policy = context.policy()
    page = f"http://{context.control.reached_at(local_address(request.scope) or '127.0.0.1')}/device"
    rows = list(zip(made.codes, made.serials or [""] * len(made.codes), strict=True))
    kinds = kind_titles(policy, language_of(request))
    return context.renderer.page(
        request,
        "cafe/templates/vouchers.html",
        rows=rows,
        voucher=made.voucher,
        cafe=cafe_of(policy),
        kinds=kinds,
        code_of=lambda code: qr_code(f"{page}?{urlencode({'voucher': code})}", scale=2),
    )
