"""The certificate of the network's CA, for the device that asks: its files, how to install them, and whether that has worked."""

from __future__ import annotations

import enum

from fastapi import APIRouter, Request
from starlette.responses import Response

from hedgerow.dashboards.api.guard import peer_address, reached_address
from hedgerow.dashboards.pages.languages import language_of, message
from hedgerow.dashboards.pages.qr_code import qr_code
from hedgerow.dashboards.pages.site import NOT_OURS, Site

TRUSTED_PATH = "/certificate/trusted.svg"
_SIGN = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24" role="img"><title>{title}</title>'
    '<path fill="#2a6b3c" d="M0 0h24v24H0z"/><path d="M6 12.5l4 4 8-9" fill="none" stroke="#fff" stroke-width="2.5"/></svg>'
)


class Kind(enum.Enum):
    """What a device is, as far as installing a certificate goes."""

    APPLE = "apple"
    ANDROID = "android"
    WINDOWS = "windows"
    MAC = "mac"
    LINUX = "linux"


def kind_of(user_agent: str) -> Kind | None:
    """What a browser says that it runs on; the iPad says that it is a Mac.

    >>> kind_of("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X)"), kind_of("Mozilla/5.0 (Linux; Android 15)"), kind_of("curl/8")
    (<Kind.APPLE: 'apple'>, <Kind.ANDROID: 'android'>, None)
    """
    signs = {
        "iPhone": Kind.APPLE, "iPad": Kind.APPLE, "Android": Kind.ANDROID, "Windows": Kind.WINDOWS, "Macintosh": Kind.MAC,
        "Linux": Kind.LINUX, "CrOS": Kind.LINUX,
    }  # fmt: skip
    return next((kind for sign, kind in signs.items() if sign in user_agent), None)


class CertificatePages:
    """`/certificate` and below, for every device of the network."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/certificate", self.page, methods=["GET"])
        router.add_api_route(TRUSTED_PATH, self.trusted, methods=["GET"])
        router.add_api_route("/certificate/{name}", self.file, methods=["GET"])

    async def page(self, request: Request) -> Response:
        if self._is_stranger(request):
            return self._refusal(request)
        control = self._site.control
        address, port = reached_address(request.scope), request.scope["server"][1]
        place = control.reached_at(address)
        # By address whatever name the page was found under: a name may have a certificate that everybody trusts.
        own = f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"
        answer = self._site.renderer.page(
            request,
            "certificate.html",
            certificate=control.certificate(),
            kind=kind_of(request.headers.get("user-agent", "")),
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
        found = self._site.control.certificate().files.get(name)
        if found is None:
            return self._site.renderer.error(request, 404, message("This page does not exist."))
        kind, data = found
        # Apple's and Android's systems open a profile or certificate by its type; a browser would only show what is text.
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type=kind, headers=headers)

    async def trusted(self, request: Request) -> Response:
        """A sign that only a device that trusts the CA gets to see: it is linked to over TLS, and belongs to a page that is not."""
        if self._is_stranger(request):
            return self._refusal(request)
        if request.url.scheme != "https":
            return self._site.renderer.error(request, 404, message("Only over TLS: without it this check would prove nothing."))
        headers = {
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors *",  # which counts more than X-Frame-Options
        }
        title = language_of(request).gettext("This device trusts the certificate.")
        return Response(_SIGN.format(title=title), media_type="image/svg+xml", headers=headers)

    def _is_stranger(self, request: Request) -> bool:
        return self._site.control.device_at(peer_address(request.scope)) is None

    def _refusal(self, request: Request) -> Response:
        return self._site.renderer.error(request, 403, NOT_OURS)
