"""Parser of the heads of HTTP/1 requests, and of the first lines of responses (RFC 9112). Pure.

Stricter than most servers on purpose: a proxy and the server behind it must never read one message in two ways (request
smuggling). So every ambiguity is refused, not repaired: Transfer-Encoding with Content-Length, either of them twice,
bare CR or LF, folded lines, NUL and other control characters, spaces around field names.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from hedgerow.blocklists.names import host_of_url, parse_host

MAX_HEAD = 64 * 1024
MAX_TARGET = 32 * 1024
MAX_FIELDS = 1024
_MAX_CACHED_HEAD = 1024

CONNECTION_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""The response to a CONNECT that is allowed."""

_END = "\r\n\r\n"
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rf"({_TCHAR}) ([\x21-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"(HTTP/1\.[0-9])[ \t]+([1-9][0-9]{2})(?:[ \t]+(.*))?", re.DOTALL)
_RAW_REQUEST_LINE = re.compile(rf"({_TCHAR}) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_FIELD = re.compile(rf"(?<=\n)({_TCHAR}+):([\t\x20-\x7e\x80-\xff]*+)(?:\r\n|\Z)")  # a whole line; `++` never gives back
_FIRST_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\r")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\\]+)(?::([0-9]{1,5}))?")
_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:([A-Za-z0-9._~!$&'()*+,;=:%-]*)@)?([^/?#]*)([^#]*)(?:#.*)?")
_HOP_BY_HOP = frozenset({"proxy-connection", "proxy-authorization", "keep-alive"})


class HeadError(Exception):
    """The client's request may not be forwarded. `status` is that of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request line and its fields. Names are as sent, values without surrounding white space."""

    method: str
    target: str
    minor: int
    fields: tuple[tuple[str, str], ...]
    _first: dict[str, str] = field(init=False, repr=False, compare=False)  # values by name in lower case

    def __post_init__(self) -> None:
        object.__setattr__(self, "_first", {name.lower(): value for name, value in reversed(self.fields)})

    def get(self, name: str, default: str = "") -> str:
        """The first value of a field; `name` in lower case."""
        return self._first.get(name, default)

    def values(self, name: str) -> tuple[str, ...]:
        """All values of a field, in order; `name` in lower case."""
        if name not in self._first:
            return ()
        return tuple([value for key, value in self.fields if key.lower() == name])

    @property
    def initiator(self) -> str:
        """The host of the page that makes the request (from Referer or Origin), or an empty string."""
        return host_of_url(self.get("referer") or self.get("origin")) or ""


@dataclass(frozen=True, slots=True)
class Authority:
    """Host and port of a request, canonical.

    >>> str(Authority("2001:db8::1", 443))
    '[2001:db8::1]:443'
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def as_in_url(self, scheme: str) -> str:
        """The host, and the port unless it is the scheme's default.

        >>> Authority("2001:db8::1", 80).as_in_url("http"), Authority("a.example", 80).as_in_url("https")
        ('[2001:db8::1]', 'a.example:80')
        """
        return str(self).removesuffix(f":{_DEFAULT_PORTS.get(scheme)}")


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """An absolute-form request target. `userinfo` is the user name and password in it, if any."""

    scheme: str
    authority: Authority
    path: str
    userinfo: str | None = None

    @property
    def url(self) -> str:
        """The URL in canonical form, without a default port and without user name and password."""
        return f"{self.scheme}://{self.authority.as_in_url(self.scheme)}{self.path}"


_DEFAULT_PORTS = {"http": 80, "https": 443}


def parse_status_line(line: bytes) -> tuple[bytes, int, bytes] | None:
    """Return version, status and reason of a response's first line, without its end; None if it is not one of HTTP/1.

    >>> parse_status_line(b"HTTP/1.1 407 Proxy Authentication Required")
    (b'HTTP/1.1', 407, b'Proxy Authentication Required')
    """
    match = _STATUS_LINE.fullmatch(line)
    return None if match is None else (match[1], int(match[2]), match[3] or b"")


@dataclass(slots=True, eq=False)
class ReceiveBuffer:
    """Bytes of a connection that are not processed yet."""

    data: bytearray = field(default_factory=bytearray)
    lines: int = 0  # ends of lines in the octets in which the end of a head was looked for
    _searched: int = 0  # the number of these

    def __len__(self) -> int:
        return len(self.data)

    def take(self, size: int) -> bytes:
        """Remove the first `size` bytes, or fewer if there are fewer, and return them."""
        data = self.data
        if size >= len(data):
            taken = bytes(data)
            data.clear()
        else:
            with memoryview(data) as view:
                taken = bytes(view[:size])
            del data[:size]
        self._searched = self.lines = 0
        return taken

    def drop(self, size: int) -> None:
        """Remove the first `size` bytes."""
        if size:
            del self.data[:size]
            self._searched = self.lines = 0

    def find_head(self) -> int:
        """Return the length of the head with which the data begins, up to the end of its empty line; 0 if it is
        incomplete.
        """
        data = self.data
        if data.startswith((b"\n", b"\r\n")):
            return 1 if data[0] == ord("\n") else 2
        found = _EMPTY_LINE.search(data, max(0, self._searched - 2))
        end = len(data) if found is None else found.end()
        self.lines += data.count(b"\n", self._searched, end)
        self._searched = end
        return 0 if found is None else end


@dataclass(slots=True, eq=False, repr=False)
class HeadReader:
    """Reader of a head: it collects bytes until the head is complete.

    The work is linear in the bytes, however small the pieces.

    `rest` holds the bytes after the head once `feed` has returned it.
    """

    rest: bytes = b""
    _buffer: ReceiveBuffer = field(default_factory=ReceiveBuffer)
    _has_begun: bool = False

    def feed(self, data: bytes) -> RequestHead | None:
        """The head, or None while bytes are missing.

        Raises HeadError: for the first byte and the request line as soon as they are read, for what is too long, and
        for the fields once the head is complete. A bare LF in the fields is refused then, not when it arrives.
        """
        buffer, lines = self._buffer, self._buffer.lines
        buffer.data += data
        if not self._has_begun and len(buffer) >= 2:
            self._has_begun = True
            if buffer.data.startswith(b"\r\n"):  # RFC 9112, section 2.2: an empty line before a request is ignored
                buffer.drop(2)
        if buffer and buffer.data[0] not in _FIRST_BYTES:
            raise HeadError(400, "this is not HTTP")
        size = buffer.find_head()
        if (size - len(_END) if size else len(buffer)) > MAX_HEAD:
            raise HeadError(431, "the request head is too long")
        if not size:
            if buffer.lines and not lines:  # a client that does not speak HTTP is not left until the timeout
                _parse_line(buffer.data.partition(b"\r\n")[0].decode("latin-1"))
            return None
        text, self.rest = buffer.take(size).decode("latin-1").removesuffix(_END), bytes(buffer.data)
        return _parse_cached(text) if size < _MAX_CACHED_HEAD and text.startswith("CONNECT ") else parse_head(text)


@lru_cache(512)
def _parse_cached(text: str) -> RequestHead:
    """Parse a CONNECT, whose head a browser repeats for each connection to a host."""
    return parse_head(text)


def parse_head(text: str, *, has_raw_target: bool = False) -> RequestHead:
    """Parse a whole head, as Latin-1 and without the empty line at its end. Raises HeadError.

    `has_raw_target` allows octets that a URL should encode: some apps send them, and most servers take them.
    """
    line = text.partition("\r\n")[0]
    method, target, minor = _parse_line(line, _RAW_REQUEST_LINE if has_raw_target else _REQUEST_LINE)
    if text.count("\n") > MAX_FIELDS:
        raise HeadError(431, "there are too many fields")
    found = _FIELD.findall(text, len(line))
    if sum([len(name) + len(value) + 3 for name, value in found]) != len(text) - len(line):
        is_folded = "\r\n " in text or "\r\n\t" in text
        fault = "a field is folded over several lines" if is_folded else "a field is not a name, a colon and a value"
        raise HeadError(400, fault)
    head = RequestHead(method, target, minor, tuple([(name, value.strip(" \t")) for name, value in found]))
    _check_framing(head)
    return head


def _parse_line(line: str, pattern: re.Pattern[str] = _REQUEST_LINE) -> tuple[str, str, int]:
    """Parse method, target and minor version."""
    if line.startswith("PRI * HTTP/2"):
        raise HeadError(505, "this proxy does not accept HTTP/2 without TLS")
    match = pattern.fullmatch(line)
    if match is None:
        raise HeadError(400, "the request line is not method, target and HTTP/1.0 or HTTP/1.1")
    if len(match[2]) > MAX_TARGET:
        raise HeadError(414, "the request target is too long")
    return match[1], match[2], int(match[3])


def _check_framing(head: RequestHead) -> None:
    """Refuse a head that two readers could understand differently: the end of the body, or the host."""
    lengths, codings, hosts = head.values("content-length"), head.values("transfer-encoding"), head.values("host")
    if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
        raise HeadError(400, "the length of the body is given twice")
    if lengths and re.fullmatch(r"[0-9]{1,18}", lengths[0]) is None:
        raise HeadError(400, "Content-Length is not a number")
    if codings and head.minor == 0:
        raise HeadError(400, "HTTP/1.0 has no Transfer-Encoding")
    if codings and codings[0].lower() != "chunked":
        raise HeadError(501, "the only supported Transfer-Encoding is chunked")
    if len(hosts) > 1 or (not hosts and head.minor == 1):
        raise HeadError(400, "there must be one Host field")


@lru_cache(4096)
def parse_authority(text: str, default_port: int | None = None) -> Authority:
    """Parse `host:port` as in CONNECT and Host. The port is required without `default_port`. Raises HeadError.

    >>> parse_authority("WWW.Example.org:443")
    Authority(host='www.example.org', port=443)
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise HeadError(400, "this is not a host and a port")
    host = parse_host(match[1].strip("[]"))
    port = int(match[2]) if match[2] else default_port
    if host is None or port is None or not 0 < port < 65536:
        raise HeadError(400, "this is not a host and a port")
    return Authority(host, port)


def parse_target(target: str, schemes: tuple[str, ...] = ("http",)) -> RequestTarget:
    """Parse an absolute-form target with one of `schemes`. Raises HeadError."""
    if target.startswith("/") or target == "*":
        raise HeadError(400, "this is a proxy: the request must name the whole URL")
    match = _ABSOLUTE.fullmatch(target)
    scheme = match[1].lower() if match is not None else ""
    if match is None or scheme not in schemes:
        raise HeadError(400, "a request through the proxy must be for http, or CONNECT")
    path = match[4]
    return RequestTarget(
        scheme,
        parse_authority(match[3], _DEFAULT_PORTS[scheme]),
        path if path.startswith("/") else "/" + path,
        match[2],
    )


def basic_credentials(userinfo: str) -> str:
    """The value of an Authorization field for the user name and password of a URL (RFC 3986, section 3.2.1; RFC 7617).

    >>> basic_credentials("ana:a%20b")
    'Basic YW5hOmEgYg=='
    """
    user, _, password = userinfo.partition(":")
    return "Basic " + base64.b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)).decode()


def forward_head(head: RequestHead, target: str, host: str, userinfo: str | None = None) -> bytes:
    """The head as it is forwarded: `target` and Host replaced, and fields that are for the proxy removed."""
    dropped = _HOP_BY_HOP | {"host"}
    lines = [f"{head.method} {target} HTTP/1.{head.minor}", f"Host: {host}"]
    if userinfo is not None and not head.get("authorization"):
        lines.append(f"Authorization: {basic_credentials(userinfo)}")
    lines += [f"{name}: {value}" for name, value in head.fields if name.lower() not in dropped]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
