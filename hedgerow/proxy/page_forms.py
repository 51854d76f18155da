"""Forms of the block page: tickets, origin checks and fields. Pure.

A form is answered on the very host that was blocked, so other pages could try to send one in a device's name. It must
therefore hold the ticket that a block page for this host and device was given, and the browser's own fields (Origin,
Referer, Fetch Metadata) must say that a page of this origin sent it by navigation. No script is given a block page to
read.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, urlsplit

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.model import DeviceId
from hedgerow.policies.text.notes import plain_note

MAX_FORM_BYTES = 16 * 1024
_MAX_URL_LENGTH = 2000

TICKET_LIFETIME = 12 * 3600.0
"""Seconds for which a block page's form is accepted."""


def issue_ticket(key: bytes, host: str, device: DeviceId, now: float) -> str:
    """A ticket that proves that a form is from a block page for this host and device; gates and inspectors share the
    key.

    >>> accepts_ticket(b"k" * 32, issue_ticket(b"k" * 32, "a.example", DeviceId("mia"), 1000.0), "a.example",
    ...  DeviceId("mia"), 2000.0)
    True
    """
    expires = f"{now + TICKET_LIFETIME:.0f}"
    return f"{expires}-{_sign(key, host, device, expires)}"


def ticket_time(ticket: str) -> float:
    """The instant at which an accepted ticket was issued, in whole seconds."""
    return float(ticket.partition("-")[0]) - TICKET_LIFETIME


def accepts_ticket(key: bytes, ticket: str, host: str, device: DeviceId, now: float) -> bool:
    """True if a block page for this host and device was given the ticket, and it has not expired."""
    expires, _, signature = ticket.partition("-")
    if not (expires.isascii() and expires.isdigit()) or not signature.isascii():
        return False
    return hmac.compare_digest(signature, _sign(key, host, device, expires)) and now < float(expires)


def _sign(key: bytes, host: str, device: DeviceId, expires: str) -> str:
    return hmac.digest(key, f"ask {expires} {host} {device}".encode(), "sha256").hex()


def is_navigation(field: Callable[[str], str]) -> bool:
    """True if a browser opens the response as a page of its own, or sends no Fetch Metadata.

    `field` returns a header's value or ''.
    """
    return field("sec-fetch-mode") in {"", "navigate"} and field("sec-fetch-dest") in {"", "document"}


def is_from_same_origin(scheme: str, host: str, port: int, field: Callable[[str], str]) -> bool:
    """True if a form was sent by a page of the origin that receives it. `field` returns a header's value or ''."""
    if field("sec-fetch-site") not in {"", "same-origin"}:
        return False
    sender = field("origin") or field("referer")
    try:
        parts = urlsplit(sender)
        sender_port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return False
    return (parts.scheme, parse_host(parts.hostname or ""), sender_port) == (scheme, host, port)


def parse_ask_form(fields: Mapping[str, str], host: str, fallback: str) -> tuple[str, str]:
    """The URL for which access is requested, and the note. `fallback` stands for a URL that is not of this host."""
    url = fields.get("url", "")[:_MAX_URL_LENGTH]
    note = plain_note(fields.get("note", ""))
    try:
        parts = urlsplit(url)
        # Else browsers may read another host.
        is_plain = "\\" not in url and "@" not in parts.netloc and url.isprintable() and " " not in url
        is_ours = is_plain and parts.scheme in {"http", "https"} and parse_host(parts.hostname or "") == host
    except ValueError:
        is_ours = False
    return (url if is_ours else fallback), note


def parse_poll_count(query: str) -> int:
    """The number of times that a waiting page has polled. Anything but a number counts as too many.

    >>> parse_poll_count("url=x&times=3"), parse_poll_count("url=x") > 1000
    (3, True)
    """
    times = form_fields(query.encode()).get("times", "")[:4]
    return int(times) if times.isascii() and times.isdigit() else 9999


def form_fields(body: bytes) -> dict[str, str]:
    """The first value of each field. A body that cannot be one of our forms has no fields."""
    if len(body) > MAX_FORM_BYTES:
        return {}
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8, errors="replace")
    except ValueError:  # more fields than any of our pages has
        return {}
    return {name: values[0] for name, values in fields.items()}
