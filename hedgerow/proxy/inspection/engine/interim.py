"""Answers before the answer, such as early hints (RFC 9110, section 15.2; RFC 8297): who speaks for others passes them on. Pure."""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

from http import HTTPStatus

from mitmproxy import http
from mitmproxy.net.http.validate import validate_headers

from hedgerow.proxy.inspection.engine.request_fault import response_fault

_NAMES = {status.value: status.phrase for status in HTTPStatus if status < 200}


def is_interim(response: http.Response) -> bool:
    """Whether another answer will follow. 101 is the last one of its connection."""
    return 100 <= response.status_code < 200 and response.status_code != 101


def may_pass(response: http.Response) -> bool:
    """Whether an answer is of this kind, can be read in one way only, and speaks of no body."""
    try:
        validate_headers(response)
    except ValueError:
        return False
    fields = response.headers
    return is_interim(response) and response_fault(response) is None and not ("content-length" in fields or "transfer-encoding" in fields)


def as_http1(response: http.Response) -> http.Response:
    """The same for an HTTP/1 client."""
    found = response.copy()
    found.http_version = "HTTP/1.1"
    found.reason = found.reason or _NAMES.get(found.status_code, "Interim")
    return found
