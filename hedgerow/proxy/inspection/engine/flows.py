"""HTTP flows, messages, header fields and connections: subclasses of mitmproxy's that cost less and otherwise behave
the same.

mitmproxy converts every name of every field at each lookup and checks the type of each attribute of a message, and a
request takes dozens of lookups. It also asks the kernel for random numbers to name objects that never leave the
process, and creates for each layer a connection that nobody opens.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from functools import lru_cache
from itertools import count
from typing import Any, Self

from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.proxy import commands
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import http as _layers

layers: Any = _layers  # mitmproxy exports nothing explicitly

type Commands = Generator[commands.Command, Any, None]
"""The commands of a layer, as it yields them."""

type Fields = tuple[tuple[bytes, bytes], ...]

_CODEC = ("utf-8", "surrogateescape")
_numbers = count(1)


class HeaderFields(http.Headers):
    """Header fields that are joined by name once for each tuple of fields: a browser sends twenty, which are looked up
    as often.
    """

    _joined: tuple[object, dict[bytes, bytes]] = (None, {})

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = (), values: dict[bytes, bytes] | None = None) -> None:
        """`values` are those of the fields by name in lower case, if they are known."""
        self.fields = tuple(fields)
        if values is not None:
            self._joined = (self.fields, values)

    def values_by_name(self) -> dict[bytes, bytes]:
        """Return the values by name in lower case. The caller must not change them."""
        fields = self.fields
        if self._joined[0] is not fields:
            self._joined = (fields, _join(fields))
        return self._joined[1]

    def add(self, key: str | bytes, value: str | bytes) -> None:
        name, octets = (each.encode(*_CODEC) if isinstance(each, str) else each for each in (key, value))
        before, lower = self.values_by_name(), name.lower()
        self.fields = (*self.fields, (name, octets))
        self._joined = (self.fields, {**before, lower: before[lower] + b", " + octets if lower in before else octets})

    def get(self, key: str | bytes, default: Any = None) -> Any:
        value = self.values_by_name().get(_key(key))
        return default if value is None else value.decode(*_CODEC)

    def get_all(self, name: str | bytes) -> list[str]:
        key = _key(name)
        return [value.decode(*_CODEC) for each, value in self.fields if each.lower() == key]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | bytes) and _key(key) in self.values_by_name()


def values_of(headers: http.Headers) -> dict[bytes, bytes]:
    """Return the values by name in lower case. The caller must not change them."""
    return headers.values_by_name() if isinstance(headers, HeaderFields) else _join(headers.fields)


@lru_cache(512)
def _key(name: str | bytes) -> bytes:
    return (name.encode(*_CODEC) if isinstance(name, str) else name).lower()


def _join(fields: Fields) -> dict[bytes, bytes]:
    values = dict[bytes, bytes]()
    for name, value in fields:
        key = name.lower()
        values[key] = values[key] + b", " + value if key in values else value
    return values


class _RequestData(http.RequestData):
    def __post_init__(self) -> None:
        """Check no types."""


class _ResponseData(http.ResponseData):
    def __post_init__(self) -> None:
        """Check no types."""


class HttpRequest(http.Request):
    """A request. `received` is the time of its head."""

    data: _RequestData

    def __init__(
        self,
        *,
        method: bytes,
        path: bytes,
        headers: HeaderFields,
        http_version: bytes = b"HTTP/1.1",
        scheme: bytes = b"",
        authority: bytes = b"",
        host: str = "",
        port: int = 0,
        received: float | None = None,
    ) -> None:
        start = time.time() if received is None else received
        self.data = _RequestData(
            http_version, headers, None, None, start, None, host, port, method, scheme, authority, path
        )

    @property
    def authority(self) -> str:
        return _decode_authority(self.data.authority)

    @authority.setter
    def authority(self, value: str | bytes) -> None:
        self.data.authority = value if isinstance(value, bytes) else value.encode("idna")


class HttpResponse(http.Response):
    """A response. `content` is None while its body is on its way."""

    data: _ResponseData

    def __init__(
        self,
        status_code: int,
        reason: bytes,
        headers: HeaderFields,
        content: bytes | None = None,
        http_version: bytes = b"HTTP/1.1",
    ) -> None:
        self.data = _ResponseData(http_version, headers, content, None, 0.0, None, status_code, reason)


@lru_cache(1024)
def _decode_authority(authority: bytes) -> str:
    try:
        return authority.decode("idna")
    except UnicodeError:
        return authority.decode(*_CODEC)


class InspectedFlow(http.HTTPFlow):
    """A request and its response, under a number that is unique in this process."""

    request: HttpRequest

    def __init__(self, client: Client, server: Server, request: HttpRequest) -> None:
        self.id = str(next(_numbers))
        self.client_conn, self.server_conn, self.request = client, server, request
        self.live, self.intercepted = True, False
        self.timestamp_created = request.data.timestamp_start
        self.marked = self.comment = ""
        self.is_replay = None
        self.metadata = {}


class _Identity:
    """Connections by their identity: none is loaded from a file, so that no two of them have one id."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @classmethod
    def make(cls, **values: Any) -> Self:
        """Return a connection.

        `values` are those without a default and any others: the initialiser would set thirty defaults again.
        """
        made = object.__new__(cls)
        made.__dict__.update(values)
        return made


class InspectedClient(_Identity, Client):
    """A client's connection."""


class OriginServer(_Identity, Server):
    """A connection to an origin.

    It may have served another client of the same device before, unless it `must_be_new`.
    """

    __setattr__ = object.__setattr__

    must_be_new = False
    is_used_again = False

    @classmethod
    def at(cls, address: tuple[str, int], *, tls: bool, sni: str | None) -> Self:
        """Return a connection that is to be opened, under the name `sni` if there is one."""
        return cls.make(id=f"s{next(_numbers)}", address=address, tls=tls, sni=(sni or address[0]) if tls else None)


class LayerContext(Context):
    """The context of a client's layers. The origin is not known yet."""

    def __init__(self, client: Client, options: Any, server: OriginServer) -> None:
        self.client, self.options, self.server, self.layers = client, options, server, []

    def fork(self) -> LayerContext:
        forked = LayerContext(self.client, self.options, self.server)  # type: ignore[arg-type]
        forked.layers = self.layers.copy()
        return forked
