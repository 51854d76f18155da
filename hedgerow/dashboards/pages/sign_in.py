"""Signing in and signing out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from fastapi import Form, Request
from starlette.responses import Response

from hedgerow.dashboards.accounts import SESSION_LIFETIME_S
from hedgerow.dashboards.guard import SESSION_COOKIE, peer_address
from hedgerow.dashboards.pages.context import PageGroup, principal_of, redirect_to
from hedgerow.dashboards.pages.forms import at_field, refusal_of
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.routes import SIGN_IN, get, post
from hedgerow.dashboards.words.languages import language_of

if TYPE_CHECKING:
    from hedgerow.dashboards.openid import OpenIdSignIn

type FormText = Annotated[str, Form(max_length=600)]

CREDENTIAL_FILE = "oidc-secret"
"""File of the state directory with Hedgerow's secret at the OpenID Connect provider."""
PENDING_S = 600
"""Seconds for which a sign-in at the provider may be finished."""
_OPENID_PATH, _PENDING_COOKIE = "/sign-in/openid", "hedgerow_openid"


class SignInPages(PageGroup):
    """`/sign-in` and `/sign-out`."""

    _openid_sign_in: OpenIdSignIn | None = None

    @get("/sign-in", SIGN_IN)
    async def sign_in_form(self, request: Request) -> Response:
        if principal_of(request).session:
            return redirect_to("/")
        refusal = refusal_of(request)
        needs_code = isinstance(refusal, SignInRefused) and refusal.needs_code
        return self._form(request, needs_code=needs_code)

    @get("/sign-in/openid", SIGN_IN)
    async def begin_openid(self, request: Request) -> Response:
        """Send the browser to the OpenID Connect provider."""
        try:
            self._context.accounts.delays.check(client_of(request)[0])
            pending = await self._openid().begin(_origin(request))
        except SignInRefused as refused:
            return self._refused(request, refused)
        response = redirect_to(pending.url)
        # Lax: the provider's page leads back here, which a strict cookie would not survive.
        response.set_cookie(_PENDING_COOKIE, pending.cookie, max_age=PENDING_S, httponly=True, samesite="lax",
                            secure=request.url.scheme == "https", path=_OPENID_PATH)  # fmt: skip
        return response

    @get("/sign-in/openid/back", SIGN_IN)
    async def end_openid(self, request: Request) -> Response:
        """Begin a session for whoever comes back from the provider."""
        accounts, client = self._context.accounts, client_of(request)
        try:
            accounts.delays.check(client[0])
            identity = await self._openid().finish(request.cookies.get(_PENDING_COOKIE, ""), request.query_params, _origin(request))
            cookie = await accounts.sign_in_from(identity, *client)
        except SignInRefused as refused:
            accounts.delays.count_failure(client[0])
            return self._refused(request, refused)
        accounts.delays.forget(client[0])
        # A page that leads on: browsers send no strict cookie after a redirect that began at another site.
        response = with_session(request, self._page(request, "signed_in.html"), cookie)
        response.delete_cookie(_PENDING_COOKIE, path=_OPENID_PATH)
        return response

    @post("/sign-in", SIGN_IN)
    async def sign_in(self, request: Request, name: FormText = "", password: FormText = "", code: FormText = "") -> Response:
        """Begin a new session and end the one before. A session planted in the browser is worth nothing."""
        with at_field("password"):
            cookie = await self._context.accounts.sign_in(name.strip(), password, code.strip(), *client_of(request))
        before = principal_of(request).session
        if before:
            await self._context.accounts.end_session(before)
        return with_session(request, redirect_to("/"), cookie)

    @post("/sign-out", SIGN_IN)
    async def sign_out(self, request: Request) -> Response:
        session = principal_of(request).session
        if session:
            await self._context.accounts.end_session(session)
        response = redirect_to("/sign-in")
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response

    def _openid(self) -> OpenIdSignIn:
        if self._openid_sign_in is None:
            from hedgerow.dashboards.openid import OpenIdSignIn  # only where a policy names a provider, for its memory

            secret = Path(self._context.control.status().state) / CREDENTIAL_FILE
            self._openid_sign_in = OpenIdSignIn(lambda: self._context.policy().network.oidc, lambda: _text_of(secret), self._context.clock)
        return self._openid_sign_in

    def _refused(self, request: Request, refused: SignInRefused) -> Response:
        return self._form(request, refused.status, problem=language_of(request).gettext(refused.text, **refused.values))

    def _form(self, request: Request, status: int = 200, *, needs_code: bool = False, problem: str = "") -> Response:
        provider = self._context.policy().network.oidc
        label = (provider.label or urlsplit(provider.issuer).hostname) if provider is not None else ""
        return self._page(request, "sign_in.html", status, needs_code=needs_code, provider=label, problem=problem)


def with_session[R: Response](request: Request, response: R, cookie: str) -> R:
    """Give the browser the cookie of a session."""
    is_secure, max_age = request.url.scheme == "https", round(SESSION_LIFETIME_S)
    response.set_cookie(SESSION_COOKIE, cookie, max_age=max_age, httponly=True, samesite="strict", secure=is_secure, path="/")
    return response


def client_of(request: Request) -> tuple[str, str]:
    """Return the client's IP address and its User-Agent header."""
    return peer_address(request.scope), request.headers.get("user-agent", "")


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers['host']}"


def _text_of(path: Path) -> str:
    """Return the text of a file, empty if there is none. Raises OSError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
