"""Requests for access that are typed on a device's own page. A home with DNS only has no block page for HTTPS that could offer them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from hedgerow.blocklists.names import parse_host
from hedgerow.dashboards.control import DeviceView, ExplanationView, InvalidInput
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import AccessRequest, Verdict
from hedgerow.proxy.pages.block_page import NOTE_LIMIT, forbids_access_request


def meant_host(text: str) -> str:
    """Return the host of a site, a URL or a service as people type it. Raises `InvalidInput`.

    >>> meant_host("https://Scratch.mit.edu/ideas"), meant_host(" scratch.mit.edu "), meant_host("roblox")
    ('scratch.mit.edu', 'scratch.mit.edu', 'roblox.com')
    """
    text = " ".join(text.split())
    called = text.casefold()
    for service in Services.load().by_id.values():
        if service.domains and called in (service.title.casefold(), service.id):
            return service.domains[0]
    try:
        host = parse_host(urlsplit(text if "://" in text else f"//{text}").hostname or "")
    except ValueError:
        host = None
    if host is None or "." not in host:
        raise InvalidInput("Type the address of the site, such as scratch.mit.edu, or the name of an app.")
    return host


def request_of(view: DeviceView, host: str, note: str, points: Iterable[ExplanationView], now: float) -> AccessRequest:
    """Return the request for a host that is blocked at any enforcement point. Raises `InvalidInput` for others, which nobody can open."""
    decision = next((point.decision for point in points if point.decision.verdict is Verdict.BLOCK), None)
    if decision is None:
        raise InvalidInput("%(host)s is open here. If it does not work, it may need another blocked site: ask for that one.", host=host)
    if forbids_access_request(decision):
        raise InvalidInput("%(host)s cannot be asked for. Talk to the people who manage this network.", host=host)
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in note).split())[:NOTE_LIMIT]
    reason = f"{decision.reason.value}: {decision.what}" if decision.what else decision.reason.value
    return AccessRequest(now, view.device, view.person, host, "", reason, plain)
