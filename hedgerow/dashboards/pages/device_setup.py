"""The certificate of the network's CA, for the device that asks: its files, how to install them, and whether that has worked."""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import Response

from hedgerow.dashboards.guard import CHECK_ZONE, RESOLVER_CHECK_PATH, local_address, peer_address
from hedgerow.dashboards.pages.context import NOT_IN_NETWORK, STATIC, PageContext
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.words.languages import language_of, message

TRUSTED_PATH = "/certificate/trusted.svg"
_TRUSTED_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24" role="img"><title>{title}</title>'
    '<path fill="#2a6b3c" d="M0 0h24v24H0z"/><path d="M6 12.5l4 4 8-9" fill="none" stroke="#fff" stroke-width="2.5"/></svg>'
)


class DevicePlatform(enum.Enum):
    """What a device is, as far as installing a certificate goes."""

    APPLE = "apple"
    ANDROID = "android"
    WINDOWS = "windows"
    MAC = "mac"
    LINUX = "linux"


def platform_of(user_agent: str) -> DevicePlatform | None:
    """What a browser says that it runs on; the iPad says that it is a Mac.

    >>> (platform_of("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X)"), platform_of("Mozilla/5.0 (Linux; Android 15)"),
    ... platform_of("curl/8"))
    (<DevicePlatform.APPLE: 'apple'>, <DevicePlatform.ANDROID: 'android'>, None)
    """
    signs = {
        "iPhone": DevicePlatform.APPLE,
        "iPad": DevicePlatform.APPLE,
        "Android": DevicePlatform.ANDROID,
        "Windows": DevicePlatform.WINDOWS,
        "Macintosh": DevicePlatform.MAC,
        "Linux": DevicePlatform.LINUX,
        "CrOS": DevicePlatform.LINUX,
    }
    return next((kind for sign, kind in signs.items() if sign in user_agent), None)


class CertificatePages:
    """`/certificate` and below, for every device of the network."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/certificate", self.page, methods=["GET"])
        router.add_api_route(TRUSTED_PATH, self.trusted, methods=["GET"])
        router.add_api_route("/certificate/{name}", self.file, methods=["GET"])

    async def page(self, request: Request) -> Response:
        if self._is_stranger(request):
            return self._refusal(request)
        control = self._context.control
        address, port = local_address(request.scope), request.scope["server"][1]
        place = control.reached_at(address)
        # By address whatever name the page was found under: a name may have a certificate that everybody trusts.
        own = f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"
        answer = self._context.renderer.page(
            request,
            "certificate.html",
            certificate=control.certificate(),
            kind=platform_of(request.headers.get("user-agent", "")),
            place=f"http://{place}/certificate",
            code=qr_code(f"http://{place}/certificate"),
            check=own + TRUSTED_PATH,
        )
        answer.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'self'; img-src 'self' {own}; object-src {own}; "
            f"frame-src {own}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        return answer

    async def file(self, request: Request, name: str) -> Response:
        if self._is_stranger(request):
            return self._refusal(request)
        found = self._context.control.certificate().files.get(name)
        if found is None:
            return self._context.renderer.error(request, 404, message("This page does not exist."))
        kind, data = found
        # Apple's and Android's systems open a profile or certificate by its type; a browser would only show what is text.
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type=kind, headers=headers)

    async def trusted(self, request: Request) -> Response:
        """A sign that only a device that trusts the CA gets to see: it is linked to over TLS, and belongs to a page that is not."""
        if self._is_stranger(request):
            return self._refusal(request)
        if request.url.scheme != "https":
            return self._context.renderer.error(request, 404, message("Only over TLS: without it this check would prove nothing."))
        headers = {
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors *",  # which counts more than X-Frame-Options
        }
        title = language_of(request).gettext("This device trusts the certificate.")
        return Response(_TRUSTED_SVG.format(title=title), media_type="image/svg+xml", headers=headers)

    def _is_stranger(self, request: Request) -> bool:
        return self._context.control.device_at(peer_address(request.scope)) is None

    def _refusal(self, request: Request) -> Response:
        return self._context.renderer.error(request, 403, NOT_IN_NETWORK)


_RESOLVER_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24" role="img">'
    '<title>This device asks Hedgerow.</title><path fill="#2a6b3c" d="M0 0h24v24H0z"/>'
    '<path d="M6 12.5l4 4 8-9" fill="none" stroke="#fff" stroke-width="2.5"/></svg>'
)


@dataclass(frozen=True, slots=True)
class BypassProbe:
    """A way round. It is open when `url` can be read; `kind` sorts the advice."""

    name: str
    url: str
    kind: str


# Both publishers let pages of other sites read these answers (Access-Control-Allow-Origin: *), as their documentation of DNS over HTTPS
# in JSON says; so an answer that can be read came from them and not from a block page of ours.
_CLOUDFLARE, _GOOGLE = "/dns-query?name=example.com&type=A", "/resolve?name=example.com&type=A"
BYPASS_PROBES = (
    BypassProbe("Cloudflare", f"https://cloudflare-dns.com{_CLOUDFLARE}", "name"),
    BypassProbe("Google", f"https://dns.google{_GOOGLE}", "name"),
    BypassProbe("1.1.1.1", f"https://1.1.1.1{_CLOUDFLARE}", "address"),
    BypassProbe("8.8.8.8", f"https://8.8.8.8{_GOOGLE}", "address"),
    BypassProbe("2606:4700:4700::1111", f"https://[2606:4700:4700::1111]{_CLOUDFLARE}", "six"),
    BypassProbe("2001:4860:4860::8888", f"https://[2001:4860:4860::8888]{_GOOGLE}", "six"),
)
"""Encrypted DNS by name, by address, and over IPv6."""


class CheckPages:
    """`/check` and below, for every device of the network."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/check", self.page, methods=["GET"])
        router.add_api_route(RESOLVER_CHECK_PATH, self.here, methods=["GET"])
        router.add_api_route("/static/check.js", self.script, methods=["GET"])

    async def page(self, request: Request) -> Response:
        view = self._context.control.device_at(peer_address(request.scope))
        if view is None:
            return self._context.renderer.error(request, 403, NOT_IN_NETWORK)
        place = urlsplit(f"http://{self._context.control.reached_at(local_address(request.scope))}")
        here = _check_url(place.hostname or "", place.port)
        answer = self._context.renderer.page(request, "check.html", view=view, here=here, ways=BYPASS_PROBES)
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
        return Response(_RESOLVER_SVG, media_type="image/svg+xml", headers=headers)

    async def script(self) -> Response:
        return Response((STATIC / "check.js").read_bytes(), media_type="text/javascript")


def _check_url(host: str, port: int | None) -> str | None:
    """The sign under a name that leads to `host` and that no cache has met; None where the page was reached over IPv6."""
    try:
        written = str(IPv4Address(host)).replace(".", "-")
    except ValueError:
        return None
    return f"http://{secrets.token_hex(4)}.{written}.{CHECK_ZONE}:{port}{RESOLVER_CHECK_PATH}"
