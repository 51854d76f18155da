"""Responses of the proxy itself, and the form that suits a client. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ResponseForm(Enum):
    """Form of a response: a page, one for a frame, JSON for programs, one for scripts, a service worker, or an empty
    body.
    """

    PAGE = "page"
    FRAME = "frame"
    DATA = "data"
    SCRIPT = "script"
    WORKER = "worker"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class ProxyResponse:
    """An HTTP response, without the framing fields that the connection adds."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def to_bytes(self, *, head_only: bool = False) -> bytes:
        """The response in HTTP/1.1, after which the connection ends."""
        lines = [f"HTTP/1.1 {self.status} {_PHRASES[self.status]}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if head_only else self.body)


_PHRASES = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


_FORMS = {
    "document": ResponseForm.PAGE,
    **dict.fromkeys(("iframe", "frame", "embed", "object"), ResponseForm.FRAME),
    "empty": ResponseForm.SCRIPT,
    "serviceworker": ResponseForm.WORKER,
}
"""Forms by Sec-Fetch-Dest."""


def response_form(resource: str, accept: str, requested_with: str = "", mode: str = "") -> ResponseForm:
    """The form that suits a request, by its Sec-Fetch-Dest, Accept, X-Requested-With and Sec-Fetch-Mode fields.

    Scripts of any site may read what a browser does not open as a page.

    >>> response_form("image", "image/avif,*/*"), response_form("", "text/html,*/*"), response_form("empty", "*/*")
    (<ResponseForm.NOTHING: 'nothing'>, <ResponseForm.PAGE: 'page'>, <ResponseForm.SCRIPT: 'script'>)
    """
    if mode not in {"", "navigate"} and resource in {"", "document", "iframe", "frame", "embed", "object"}:
        return ResponseForm.SCRIPT
    if resource:
        return _FORMS.get(resource, ResponseForm.NOTHING)
    if requested_with:
        return ResponseForm.SCRIPT
    if "application/json" in accept and "text/html" not in accept:
        return ResponseForm.DATA
    if accept.startswith(("image/", "video/", "audio/", "text/css")):
        return ResponseForm.NOTHING
    return ResponseForm.PAGE
