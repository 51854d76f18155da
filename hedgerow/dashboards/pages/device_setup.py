"""Setup pages that every device may open: installing the CA certificate, and testing the filter."""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import HTTPException, Query, Request
from starlette.responses import Response

from hedgerow.dashboards.guard import CHECK_ZONE, RESOLVER_CHECK_PATH, local_address
from hedgerow.dashboards.pages.context import PageGroup, principal_of
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.routes import DEVICES, MANAGE, get
from hedgerow.dashboards.words.languages import language_of
from hedgerow.policies.device_kinds import DeviceKind, guess_kind
from hedgerow.policies.model import Device, DeviceId

TRUSTED_PATH = "/certificate/trusted.svg"
_TICK = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24"'
    ' role="img"><title>{title}</title><path fill="#2a6b3c" d="M0 0h24v24H0z"/><path d="M6 12.5l4 4 8-9" fill="none"'
    ' stroke="#fff" stroke-width="2.5"/></svg>'
)


class DevicePlatform(enum.Enum):
    """Operating systems with different steps to install a certificate."""

    APPLE = "apple"
    ANDROID = "android"
    WINDOWS = "windows"
    MAC = "mac"
    LINUX = "linux"


_PLATFORM_SIGNS = {
    "iPhone": DevicePlatform.APPLE,
    "iPad": DevicePlatform.APPLE,
    "Android": DevicePlatform.ANDROID,
    "Windows": DevicePlatform.WINDOWS,
    "Macintosh": DevicePlatform.MAC,
    "Linux": DevicePlatform.LINUX,
    "CrOS": DevicePlatform.LINUX,
}


_POCKET = frozenset({DevicePlatform.APPLE, DevicePlatform.ANDROID})
_DESK = frozenset({DevicePlatform.WINDOWS, DevicePlatform.MAC, DevicePlatform.LINUX})
_PLATFORMS_OF: dict[DeviceKind | None, frozenset[DevicePlatform]] = {
    **dict.fromkeys(DeviceKind, frozenset[DevicePlatform]()),
    **dict.fromkeys((DeviceKind.PHONE, DeviceKind.TABLET), _POCKET),
    DeviceKind.COMPUTER: _DESK,
    None: _POCKET | _DESK,
}
"""Platforms that a kind of device may have. The others, such as televisions, take no certificate."""


def platform_of(user_agent: str) -> DevicePlatform | None:
    """Return the platform that a User-Agent header names. Newer iPads name the Mac.

    >>> (platform_of("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X)"), platform_of("Mozilla/5.0 (Linux; Android 15)"),
    ... platform_of("curl/8"))
    (<DevicePlatform.APPLE: 'apple'>, <DevicePlatform.ANDROID: 'android'>, None)
    """  # noqa: E501
    return next((platform for sign, platform in _PLATFORM_SIGNS.items() if sign in user_agent), None)


def _platforms_of(device: Device) -> frozenset[DevicePlatform]:
    return _PLATFORMS_OF[device.kind or guess_kind(device.id)]


class CertificatePages(PageGroup):
    """`/certificate` and below."""

    @get("/certificate", DEVICES)
    async def page(self, request: Request, device: Annotated[str, Query(max_length=253)] = "") -> Response:
        """Show the steps for the device that opens it or, for the people in charge, for another `device`."""
        self._device(request)
        address, port = local_address(request.scope), request.scope["server"][1]
        place = self._context.control.reached_at(address)
        # By address, whatever name the page was opened under: a name may have a certificate that everybody trusts.
        own = f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"
        response = self._page(
            request,
            "certificate.html",
            certificate=self._context.control.certificate(),
            target=(target := self._target(request, device)),
            shown=[each.value for each in DevicePlatform if target is None or each in _platforms_of(target)],
            others=self._others(target),
            kind=platform_of(request.headers.get("user-agent", "")) if target is None else None,
            place=f"http://{place}/certificate",
            code=qr_code(f"http://{place}/certificate"),
            check=own + TRUSTED_PATH,
            trusted=TRUSTED_PATH,
            own=own,
            port=port,
        )
        tried = f"{own} https://hedgerow.internal:{port}"
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'self'; script-src 'self'; manifest-src 'self'; img-src 'self' {tried};"
            f" object-src {tried}; frame-src {tried}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        return response

    def _target(self, request: Request, device: str) -> Device | None:
        """Return the device that somebody in charge asks for, None for any other."""
        return self._context.policy().devices.get(DeviceId(device)) if MANAGE in principal_of(request).scopes else None

    def _others(self, target: Device | None) -> list[str]:
        """Return the other devices of the same person whose pages are not checked yet."""
        if target is None or target.person is None:
            return []
        own = self._context.index().devices_of.get(target.person, ())
        return [each.id for each in own if each.id != target.id and not each.trusts_ca]

    @get(TRUSTED_PATH, DEVICES)
    async def trusted(self, request: Request) -> Response:
        """Return a tick that only devices that trust the CA display: a page without TLS embeds it over TLS."""
        self._device(request)
        if request.url.scheme != "https":
            raise HTTPException(404)
        return _tick(language_of(request).gettext("This device trusts the certificate."))

    @get("/certificate/{name}", DEVICES)
    async def file(self, request: Request, name: str) -> Response:
        self._device(request)
        file = self._context.control.certificate().files.get(name)
        if file is None:
            raise HTTPException(404)
        media_type, data = file
        # Apple's and Android's systems open a profile or certificate by its type. Browsers would only display a text.
        return Response(data, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _tick(title: str) -> Response:
    headers = {
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors *",  # takes precedence over X-Frame-Options
    }
    return Response(_TICK.format(title=title), media_type="image/svg+xml", headers=headers)


@dataclass(frozen=True, slots=True)
class BypassProbe:
    """A public DoH resolver. It can bypass the filter if a script can read `url`; `kind` selects the advice."""

    name: str
    url: str
    kind: str


# Both publishers send Access-Control-Allow-Origin: * with these answers, as their documentation of DNS over HTTPS in
# JSON says, so an answer that a script can read came from them and not from our block page.
_CLOUDFLARE, _GOOGLE = "/dns-query?name=example.com&type=A", "/resolve?name=example.com&type=A"
BYPASS_PROBES = (
    BypassProbe("Cloudflare", f"https://cloudflare-dns.com{_CLOUDFLARE}", "name"),
    BypassProbe("Google", f"https://dns.google{_GOOGLE}", "name"),
    BypassProbe("1.1.1.1", f"https://1.1.1.1{_CLOUDFLARE}", "address"),
    BypassProbe("8.8.8.8", f"https://8.8.8.8{_GOOGLE}", "address"),
    BypassProbe("2606:4700:4700::1111", f"https://[2606:4700:4700::1111]{_CLOUDFLARE}", "six"),
    BypassProbe("2001:4860:4860::8888", f"https://[2001:4860:4860::8888]{_GOOGLE}", "six"),
)
"""Encrypted DNS by name, by IPv4 address and by IPv6 address."""


class CheckPages(PageGroup):
    """`/check` and below."""

    @get("/check", DEVICES)
    async def page(self, request: Request) -> Response:
        view = self._device(request)
        local = local_address(request.scope)
        place = urlsplit(f"http://{self._context.control.reached_at(local)}")
        here = _check_url(place.hostname or "", place.port)
        response = self._page(request, "check.html", view=view, here=here, local=local, ways=BYPASS_PROBES)
        own = f"{place.scheme}://*.{CHECK_ZONE}:{place.port}"
        # A policy cannot name IPv6 addresses as sources. With a list of sources, browsers would block those probes and
        # report them as safe.
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' {own}; object-src {own};"
            f" frame-src {own}; connect-src https:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        return response

    @get(RESOLVER_CHECK_PATH, DEVICES)
    async def here(self) -> Response:
        """Return a tick that only devices with our resolver display."""
        return _tick("This device asks Hedgerow.")


def _check_url(host: str, port: int | None) -> str | None:
    """Return the URL of the tick under a fresh name that resolves to `host`, or None for an IPv6 address."""
    try:
        label = str(IPv4Address(host)).replace(".", "-")
    except ValueError:
        return None
    return f"http://{secrets.token_hex(4)}.{label}.{CHECK_ZONE}:{port}{RESOLVER_CHECK_PATH}"
