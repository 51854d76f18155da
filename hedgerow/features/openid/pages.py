"""The way to the OpenID Connect provider and back, and its button on the sign-in page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import Request
from starlette.responses import Response

from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup, client_of, redirect_to, with_session
from hedgerow.dashboards.pages.sign_in import refused_page
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.routes import SIGN_IN, get
from hedgerow.features.openid.settings import OpenIdProvider

if TYPE_CHECKING:
    from hedgerow.features.openid.provider import OpenIdSignIn

CREDENTIAL_FILE = "oidc-secret"
"""File of the state directory with Hedgerow's secret at the OpenID Connect provider."""
PENDING_S = 600
"""Seconds for which a sign-in at the provider may be finished."""
_PATH, _PENDING_COOKIE = "/sign-in/openid", "hedgerow_openid"


class OpenIdPages(PageGroup):
    """`/sign-in/openid` and the page to which the provider sends browsers back."""

    _sign_in: OpenIdSignIn | None = None

    @get(_PATH, SIGN_IN)
    async def begin(self, request: Request) -> Response:
        """Send the browser to the OpenID Connect provider."""
        try:
            self._context.accounts.delays.check(client_of(request)[0])
            pending = await self._openid().begin(_origin(request))
        except SignInRefused as refused:
            return refused_page(self._context, request, refused)
        response = redirect_to(pending.url)
        # Lax: the provider's page leads back here, which a strict cookie would not survive.
        response.set_cookie(
            _PENDING_COOKIE,
            pending.cookie,
            max_age=PENDING_S,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
            path=_PATH,
        )
        return response

    @get(f"{_PATH}/back", SIGN_IN)
    async def end(self, request: Request) -> Response:
        """Begin a session for whoever comes back from the provider."""
        accounts, client = self._context.accounts, client_of(request)
        pending = request.cookies.get(_PENDING_COOKIE, "")
        try:
            accounts.delays.check(client[0])
            identity = await self._openid().finish(pending, request.query_params, _origin(request))
            cookie = await accounts.sign_in_from(identity, *client)
        except SignInRefused as refused:
            accounts.delays.count_failure(client[0])
            return refused_page(self._context, request, refused)
        accounts.delays.forget(client[0])
        # A page that leads on: browsers send no strict cookie after a redirect that began at another site.
        response = with_session(request, self._page(request, "openid/templates/signed_in.html"), cookie)
        response.delete_cookie(_PENDING_COOKIE, path=_PATH)
        return response

    def _openid(self) -> OpenIdSignIn:
        """Return the sign-ins at the provider. Their libraries are imported once somebody asks for them."""
        if self._sign_in is None:
            from hedgerow.features.openid.provider import OpenIdSignIn

            context, secret = self._context, Path(self._context.control.status().state) / CREDENTIAL_FILE
            self._sign_in = OpenIdSignIn(
                lambda: context.policy().settings(OpenIdProvider),
                lambda: _text_of(secret),
                context.clock,
                local=lambda: context.policy().network.own_places,
            )
        return self._sign_in


def _label(context: PageContext, _subject: object) -> str | None:
    """Return the provider's name on the sign-in page, or None if the policy names no provider."""
    provider = context.policy().settings(OpenIdProvider)
    return None if provider is None else provider.label or urlsplit(provider.issuer).hostname or ""


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers['host']}"


def _text_of(path: Path) -> str:
    """Return the text of a file, empty if there is none. Raises OSError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


EXTENSIONS = Extensions(
    cards=(Card(place=Place.SIGN_IN, template="openid/templates/sign_in.html", read=_label),),
    page_groups=(OpenIdPages,),
)
