"""The credentials in the head of a request: the cookie of a session, and the token of a script."""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

SESSION_COOKIE = "hedgerow_session"
ONCE, SECURE = "once-", "tls-"
"""First characters of the cookie and of the id of a session of some hours, and then of one that began over HTTPS."""


def make_session_cookie(*, is_once: bool, scheme: str) -> str:
    """Return the cookie of a new session."""
    return f"{ONCE if is_once else ''}{SECURE if scheme == 'https' else ''}{secrets.token_urlsafe(32)}"


def began_over_https(session_id: str) -> bool:
    """Return whether nobody has read the cookie of a session: a browser sends it over HTTPS only."""
    return session_id.removeprefix(ONCE).startswith(SECURE)


def kind_of_session(cookie: str) -> str:
    """Return the first characters of a cookie, with which its session's id begins."""
    once = ONCE if cookie.startswith(ONCE) else ""
    return once + (SECURE if cookie.startswith(SECURE, len(once)) else "")


def session_cookie(headers: Headers) -> str:
    """Return the cookie of a session, empty if there is none."""
    return cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE, "")


def bearer_token(headers: Headers) -> str:
    """Return the token of a script, empty if there is none."""
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""
