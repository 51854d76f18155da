"""Addresses of stores: URLs such as postgresql://hedgerow@db.example/hedgerow, which never contain a password."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, unquote, urlsplit

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")


def store_url_mistake(text: str) -> str:
    """Return the mistake in the URL of a store, as the end of a sentence about it; empty if there is none. It never repeats a password.

    >>> store_url_mistake("postgresql://hedgerow@db.example/hedgerow"), store_url_mistake("mysql://db.example/hedgerow")
    ('', 'is not the URL of a PostgreSQL database, such as postgresql://hedgerow@db.example/hedgerow')
    """
    try:
        url = urlsplit(text)
        password = url.password or "".join(parse_qs(url.query).get("password", ()))
    except ValueError:
        return "is not a URL"
    if url.scheme not in _SCHEMES or url.fragment or not text.isprintable():
        return "is not the URL of a PostgreSQL database, such as postgresql://hedgerow@db.example/hedgerow"
    if password:
        return (
            "contains a password, which everybody would know who can read it: put it into the file store-password of the state "
            "directory, into ~/.pgpass, or into the environment as PGPASSWORD"
        )
    if len(url.path) < 2:
        return "names no database: put its name at the end, such as /hedgerow"
    return ""


def split_password(text: str) -> tuple[str, str]:
    """Return the URL of a store without its password, and the password, empty if there is none.

    >>> split_password("postgresql://ana:s3cret@db.example:5433/hedgerow")
    ('postgresql://ana@db.example:5433/hedgerow', 's3cret')
    """
    try:
        url = urlsplit(text)
        password, user = url.password or "", url.username or ""
    except ValueError:
        return text, ""
    if not password:
        return text, ""
    place = url.netloc.rpartition("@")[2]
    return url._replace(netloc=f"{quote(unquote(user))}@{place}").geturl(), unquote(password)
