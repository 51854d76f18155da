"""What gets round the filter on the device that asks: its browser tries each way, and the page says what holds and how to mend the rest.

Nothing is tried before somebody presses the button, since what is tried are requests to other people's servers.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import Response

from hedgerow.dashboards.api.guard import CHECK_ZONE, HERE_PATH, peer_address, reached_address
from hedgerow.dashboards.pages.site import HERE, NOT_OURS, Site

_SIGN = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24" role="img">'
    '<title>This device asks Hedgerow.</title><path fill="#2a6b3c" d="M0 0h24v24H0z"/>'
    '<path d="M6 12.5l4 4 8-9" fill="none" stroke="#fff" stroke-width="2.5"/></svg>'
)


@dataclass(frozen=True, slots=True)
class Way:
    """A way round. It is open when `url` can be read; `kind` sorts the advice."""

    name: str
    url: str
    kind: str


# Both publishers let pages of other sites read these answers (Access-Control-Allow-Origin: *), as their documentation of DNS over HTTPS
# in JSON says; so an answer that can be read came from them and not from a block page of ours.
_CLOUDFLARE, _GOOGLE = "/dns-query?name=example.com&type=A", "/resolve?name=example.com&type=A"
WAYS = (
    Way("Cloudflare", f"https://cloudflare-dns.com{_CLOUDFLARE}", "name"),
    Way("Google", f"https://dns.google{_GOOGLE}", "name"),
    Way("1.1.1.1", f"https://1.1.1.1{_CLOUDFLARE}", "address"),
    Way("8.8.8.8", f"https://8.8.8.8{_GOOGLE}", "address"),
    Way("2606:4700:4700::1111", f"https://[2606:4700:4700::1111]{_CLOUDFLARE}", "six"),
    Way("2001:4860:4860::8888", f"https://[2001:4860:4860::8888]{_GOOGLE}", "six"),
)
"""Encrypted DNS by name, by address, and over IPv6."""


class CheckPages:
    """`/check` and below, for every device of the network."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/check", self.page, methods=["GET"])
        router.add_api_route(HERE_PATH, self.here, methods=["GET"])
        router.add_api_route("/static/check.js", self.script, methods=["GET"])

    async def page(self, request: Request) -> Response:
        view = self._site.control.device_at(peer_address(request.scope))
        if view is None:
            return self._site.renderer.error(request, 403, NOT_OURS)
        place = urlsplit(f"http://{self._site.control.reached_at(reached_address(request.scope))}")
        here = _check_url(place.hostname or "", place.port)
        answer = self._site.renderer.page(request, "check.html", view=view, here=here, ways=WAYS)
        own = f"{place.scheme}://*.{CHECK_ZONE}:{place.port}"
        # Sources of a policy cannot be addresses of IPv6: with a list of them browsers would try none of these, and all would look closed.
        answer.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' {own}; object-src {own}; frame-src {own}; "
            f"connect-src https:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        return answer

    async def here(self) -> Response:
        """A sign that only a device gets to see whose names are answered by us."""
        headers = {
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors *",  # which counts more than X-Frame-Options
        }
        return Response(_SIGN, media_type="image/svg+xml", headers=headers)

    async def script(self) -> Response:
        return Response((HERE / "static" / "check.js").read_bytes(), media_type="text/javascript")


def _check_url(host: str, port: int | None) -> str | None:
    """The sign under a name that leads to `host` and that no cache has met; None where the page was reached over IPv6."""
    try:
        written = str(IPv4Address(host)).replace(".", "-")
    except ValueError:
        return None
    return f"http://{secrets.token_hex(4)}.{written}.{CHECK_ZONE}:{port}{HERE_PATH}"
