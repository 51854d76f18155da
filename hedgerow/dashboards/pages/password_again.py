"""The password again, before a change over plain HTTP, where others can read the cookie of a session.

The form that was sent waits in the page that asks, and goes on to where it was sent.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.credentials import ONCE, session_cookie
from hedgerow.dashboards.pages.context import (
    PageContext,
    PageGroup,
    client_of,
    is_of_others,
    principal_of,
    referring_page,
    with_session,
)
from hedgerow.dashboards.pages.forms import LOCAL_PATH, waiting_fields
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.routes import SIGN_IN, post
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.dashboards.words.languages import language_of

_PATH = "/account/again"


async def ask_again(
    context: PageContext,
    request: Request,
    refusal: InvalidInput,
    path: str,
    username: str = "",
    *,
    had_code: bool = False,
) -> Response:
    """Return the page that asks for the password, with the form that was sent to the quoted `path`.

    `username` is the account of a session that is over. Whether it has codes is nobody else's business, so the form has
    a field for one then if it had one before (`had_code`), or if the password was right.
    """
    own, is_secure = principal_of(request).name, request.url.scheme == "https"
    has_codes = any(row.name == own and row.totp for row in context.accounts.accounts())
    is_code_missing = isinstance(refusal, SignInRefused) and refusal.needs_code
    return context.renderer.page(
        request,
        "password_again.html",
        refusal.status,
        problem=language_of(request).gettext(refusal.text, **refusal.values),
        action=_PATH,
        form_path=path,
        name=own or username,
        needs_code=has_codes or is_code_missing or had_code,
        is_secure=is_secure,
        is_behind_proxy=not is_secure and request.headers.get("origin", "").startswith("https://"),
        host=request.headers.get("host", ""),
        fields=await waiting_fields(request),
        before=referring_page(request),
    )


class PasswordAgainPages(PageGroup):
    """`/account/again`."""

    @post(_PATH, *AccessScope, SIGN_IN)
    async def take_password(
        self,
        request: Request,
        password: Annotated[str, Form(alias="again-password", max_length=600)] = "",
        code: Annotated[str, Form(alias="again-code", max_length=60)] = "",
        path: Annotated[str, Form(alias="again-path", max_length=2000)] = "/",
        username: Annotated[str, Form(alias="again-username", max_length=200)] = "",
    ) -> Response:
        """Begin another session in the place of this one, whose cookie may be known, and send the form on.

        Who taps twice comes the second time with the cookie of a session that the first has ended.
        """
        accounts, principal, client = self._context.accounts, principal_of(request), client_of(request)
        name, is_once = principal.name or username, session_cookie(request.headers).startswith(ONCE)
        is_once = is_once or (not principal.name and is_of_others(self._context, client[0]))
        try:
            cookie = await accounts.sign_in(name, password, code.strip(), *client, is_once=is_once)
        except SignInRefused as refusal:
            return await ask_again(self._context, request, refusal, path, username, had_code=bool(code))
        if principal.session:
            await accounts.end_session(principal.session)
        # 307: the browser sends the form again (RFC 9110, section 15.4.8)
        return with_session(request, RedirectResponse(path if LOCAL_PATH.fullmatch(path) else "/", 307), cookie)
