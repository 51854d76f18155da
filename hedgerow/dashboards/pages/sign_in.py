"""Signing in and signing out."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from hedgerow.dashboards.accounts import SESSION_LIFETIME_S, SignInRefused
from hedgerow.dashboards.guard import SESSION_COOKIE, peer_address
from hedgerow.dashboards.pages.context import PageGroup, principal_of, redirect_to
from hedgerow.dashboards.routes import SIGN_IN, get, post
from hedgerow.dashboards.words.languages import language_of

type FormText = Annotated[str, Form(max_length=600)]


class SignInPages(PageGroup):
    """`/sign-in` and `/sign-out`."""

    @get("/sign-in", SIGN_IN)
    async def sign_in_form(self, request: Request) -> Response:
        return redirect_to("/") if principal_of(request).session else self._sign_in_page(request)

    @post("/sign-in", SIGN_IN)
    async def sign_in(self, request: Request, name: FormText = "", password: FormText = "", code: FormText = "") -> Response:
        """Begin a new session and end the one before. A session planted in the browser is worth nothing."""
        try:
            cookie = await self._context.accounts.sign_in(name.strip(), password, code.strip(), *client_of(request))
        except SignInRefused as refused:
            return self._sign_in_page(request, refused, name)
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

    def _sign_in_page(self, request: Request, refused: SignInRefused | None = None, name: str = "") -> Response:
        return self._page(
            request,
            "sign_in.html",
            refused.status if refused else 200,
            refused=language_of(request).gettext(refused.text, **refused.values) if refused else "",
            name=name,
            needs_code=refused is not None and refused.needs_code,
            has_password=self._context.accounts.has_any,
        )


def with_session(request: Request, response: RedirectResponse, cookie: str) -> RedirectResponse:
    """Give the browser the cookie of a session."""
    is_secure, max_age = request.url.scheme == "https", round(SESSION_LIFETIME_S)
    response.set_cookie(SESSION_COOKIE, cookie, max_age=max_age, httponly=True, samesite="strict", secure=is_secure, path="/")
    return response


def client_of(request: Request) -> tuple[str, str]:
    """Return the client's IP address and its User-Agent header."""
    return peer_address(request.scope), request.headers.get("user-agent", "")
