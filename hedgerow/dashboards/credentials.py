"""The credentials in the head of a request: the cookie of a session, and the token of a script."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

SESSION_COOKIE = "hedgerow_session"


def session_cookie(headers: Headers) -> str:
    """Return the cookie of a session, empty if there is none."""
    return cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE, "")


def bearer_token(headers: Headers) -> str:
    """Return the token of a script, empty if there is none."""
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""
