"""What a request on a kept or an inspected connection must not be, beside what mitmproxy refuses by itself. Pure.

A connection's first head is read by `http_head`; what follows must not be able to say more. A message that an origin could read in another
way than it was judged is refused, never repaired (RFC 9112, section 11.2).
"""

from __future__ import annotations

import re

from mitmproxy import http

from hedgerow.proxy.http_head import MAX_FIELDS, MAX_HEAD

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_TARGET = re.compile(rb"[\x00-\x20\x7f]")
_SPLITS = re.compile(rb"[\x00\r\n]")
_NOT_IN_HEAD = bytes({*range(0x20), 0x7F} - set(b"\t\r\n"))
# Some servers undo escapes before they resolve dots, others after: then a path is two paths.
_HIDDEN_PARENT = re.compile(rb"(?:%2f|%5c|\\|/)(?:\.|%2e){2}(?:%2f|%5c|\\)|(?:%2f|%5c|\\)(?:\.|%2e){2}(?:/|$)", re.IGNORECASE)
_VERSIONS = frozenset({b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"})


def request_fault(request: http.Request, *, names_whole_url: bool) -> str | None:
    """Why a request is refused, None if it is not. `names_whole_url`: it was sent as to a proxy, with an absolute URL.

    >>> request_fault(http.Request.make("CONNECT", "http://a.example/"), names_whole_url=True)
    'a CONNECT must be the first request of its connection'
    """
    data = request.data
    if data.method == b"CONNECT":
        return "a CONNECT must be the first request of its connection"
    if names_whole_url and data.scheme == b"https":
        return "a request through the proxy must be for http, or CONNECT"
    if data.http_version not in _VERSIONS or _TOKEN.fullmatch(data.method) is None:
        return "the request line is not method, target and HTTP/1.0 or HTTP/1.1"
    if data.http_version == b"HTTP/1.1" and b"host" not in data.headers:
        return "there must be one Host field"
    return _target_fault(data.method, data.path)


def _target_fault(method: bytes, target: bytes) -> str | None:
    if not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
        return "a request to a web server names a path"
    path = target.partition(b"?")[0]
    if _NOT_IN_TARGET.search(target) is not None or ((b".." in path or b"%" in path) and _HIDDEN_PARENT.search(path) is not None):
        return "the path can be read in two ways"
    return None


def response_fault(response: http.Response) -> str | None:
    """Why an answer is not passed on: a field that goes on in the next line would be two to an HTTP/1 client."""
    is_split = _SPLITS.search(b"".join([value for _, value in response.data.headers.fields])) is not None
    return "a field of the answer holds control characters" if is_split else None


def head_fault(head: bytes | bytearray) -> str | None:
    """Why the head of an HTTP/1 request is refused before it is read, None if it is not.

    >>> head_fault(b"GET / HTTP/2.0\\r\\nHost: a\\r\\n\\r\\n")
    'HTTP/2 is not spoken in lines'
    """
    if is_unclear_head(head):
        return "the head holds a bare CR or LF, or another control character"
    if is_folded(head):
        return "a field is folded over lines"
    return "HTTP/2 is not spoken in lines" if b" HTTP/2" in head[: head.find(b"\r\n")] else None


def is_too_long(head: bytes | bytearray) -> bool:
    """Whether a head, or what has come of one, is longer than the first of a connection may be."""
    return len(head) > MAX_HEAD or head.count(b"\r\n") > MAX_FIELDS + 2  # the first line and the last are no fields


def is_folded(head: bytes | bytearray) -> bool:
    """Whether a field goes on in the next line: the one who takes that line for another field reads another message."""
    return b"\r\n " in head or b"\r\n\t" in head


def is_unclear_head(head: bytes | bytearray) -> bool:
    """Whether an HTTP/1 head holds a bare CR or LF, or another control character but a tab.

    >>> is_unclear_head(b"GET / HTTP/1.1\\r\\n\\r\\n"), is_unclear_head(b"GET / HTTP/1.1\\nHost: a\\r\\n\\r\\n")
    (False, True)
    """
    if len(head.translate(None, _NOT_IN_HEAD)) != len(head):  # a tenth of what a regular expression takes
        return True
    return not head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n")
