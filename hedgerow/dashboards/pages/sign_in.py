"""Signing in and signing out."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import Response

from hedgerow.dashboards.control import at_field
from hedgerow.dashboards.guard import LOCAL_PEERS, SESSION_COOKIE, peer_address
from hedgerow.dashboards.pages.context import (
    PageContext,
    PageGroup,
    client_of,
    is_of_others,
    principal_of,
    redirect_to,
    with_session,
)
from hedgerow.dashboards.pages.forms import refusal_of
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.routes import SIGN_IN, get, post
from hedgerow.dashboards.words.languages import language_of
from hedgerow.policies.model import Policy

type FormText = Annotated[str, Form(max_length=600)]


class SignInPages(PageGroup):
    """`/sign-in` and `/sign-out`."""

    @get("/sign-in", SIGN_IN)
    async def sign_in_form(self, request: Request) -> Response:
        if principal_of(request).session:
            return redirect_to("/")
        refusal = refusal_of(request)
        needs_code = isinstance(refusal, SignInRefused) and refusal.needs_code
        return self._page(
            request,
            "sign_in.html",
            needs_code=needs_code,
            problem="",
            resumes=_open_step(self._context, request) != "/",
        )

    @post("/sign-in", SIGN_IN)
    async def sign_in(
        self, request: Request, name: FormText = "", password: FormText = "", code: FormText = ""
    ) -> Response:
        """Begin a new session and end the one before. A session planted in the browser is worth nothing."""
        accounts, client = self._context.accounts, client_of(request)
        is_once = is_of_others(self._context, client[0])
        with at_field("password"):
            cookie = await accounts.sign_in(name.strip(), password, code.strip(), *client, is_once=is_once)
        before = principal_of(request).session
        if before:
            await accounts.end_session(before)
        return with_session(request, redirect_to(_open_step(self._context, request)), cookie)

    @post("/sign-out", SIGN_IN)
    async def sign_out(self, request: Request) -> Response:
        session = principal_of(request).session
        if session:
            await self._context.accounts.end_session(session)
        response = redirect_to("/sign-in")
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response


def _open_step(context: PageContext, request: Request) -> str:
    """Return the path of the step at which the guide of the first start goes on, or `/` if it is done."""
    policy, address = context.policy(), peer_address(request.scope)
    view = context.control.device_at(address)
    if view is None or not view.may_resume or (address in LOCAL_PEERS and policy.people):
        return "/"
    return f"/start/{next_step(policy)}"


def next_step(policy: Policy) -> str:
    """Return the first step of the guide that has not been answered, if no device has a name."""
    return "connect" if policy.people else "people" if policy.network.country else "place"


def refused_page(context: PageContext, request: Request, refused: SignInRefused) -> Response:
    """Return the sign-in page with the reason why somebody was refused."""
    problem = language_of(request).gettext(refused.text, **refused.values)
    return context.renderer.page(
        request, "sign_in.html", refused.status, needs_code=False, problem=problem, resumes=False
    )
