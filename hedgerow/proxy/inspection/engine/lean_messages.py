"""Faster header fields and messages for mitmproxy, which behave the same for every caller.

mitmproxy converts every name of every field at each lookup and checks the type of each attribute of a message, and a request takes dozens
of lookups. It also asks the kernel for random numbers to name objects that never leave the process, and creates for each layer a
connection that nobody opens.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import count
from types import SimpleNamespace
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.proxy import commands
from mitmproxy.proxy.context import Context

from hedgerow.proxy.inspection.engine.patches import replace

_CODEC = ("utf-8", "surrogateescape")
_NOTHING_JOINED: tuple[object, dict[bytes, bytes]] = (None, {})


@lru_cache(512)
def _key(name: str | bytes) -> bytes:
    return (name.encode(*_CODEC) if isinstance(name, str) else name).lower()


def _init(self: http.Headers, fields: Iterable[tuple[bytes, bytes]] = (), **more: str | bytes) -> None:
    self.fields = tuple([(name, value) for name, value in fields])
    for name, text in more.items():
        self[name.replace("_", "-")] = text


def _get_all(self: http.Headers, name: str | bytes) -> list[str]:
    key = _key(name)
    return [value.decode(*_CODEC) for each, value in self.fields if each.lower() == key]


def values_of(headers: http.Headers) -> dict[bytes, bytes]:
    """Return the values by name in lower case; nobody may change them.

    They are joined once for each tuple of fields: a request of a browser has twenty, and as many look-ups.
    """
    fields = headers.fields
    joined: tuple[object, dict[bytes, bytes]] = headers.__dict__.get("_joined", _NOTHING_JOINED)
    if joined[0] is fields:
        return joined[1]
    values = dict[bytes, bytes]()
    for name, value in fields:
        key = name.lower()
        values[key] = values[key] + b", " + value if key in values else value
    headers.__dict__["_joined"] = (fields, values)
    return values


def add_field(headers: http.Headers, name: bytes, value: bytes) -> None:
    """Add a field that is not there yet."""
    values = {**values_of(headers), name.lower(): value}
    headers.fields = fields = (*headers.fields, (name, value))
    headers.__dict__["_joined"] = (fields, values)


def headers_of(fields: Iterable[tuple[bytes, bytes]], values: dict[bytes, bytes]) -> http.Headers:
    """Return header fields whose values by name are known, none of them there twice."""
    headers = http.Headers.__new__(http.Headers)
    headers.fields = tuple(fields)
    headers.__dict__["_joined"] = (headers.fields, values)
    return headers


def lean[T](kind: type[T], **values: Any) -> T:
    """Return an object of a dataclass of mitmproxy's connections, whose initialiser would set thirty defaults that the class has too.

    `values` are those without a default, see `patches.WITHOUT_DEFAULT`, and any others.
    """
    made = object.__new__(kind)
    made.__dict__.update(values)
    return made


def lean_context(client: Client, options: Any, server_id: str) -> Context:
    """Return the context of a client's layers, with a server that is not known yet."""
    context = Context.__new__(Context)
    context.client, context.options, context.layers = client, options, []
    context.server = lean(Server, id=server_id, address=None)
    return context


def _get(self: http.Headers, name: str | bytes, default: Any = None) -> Any:
    value = values_of(self).get(_key(name))
    return default if value is None else value.decode(*_CODEC)


def _contains(self: http.Headers, name: object) -> bool:
    return isinstance(name, str | bytes) and _key(name) in values_of(self)


@lru_cache(1024)
def _decode_authority(authority: bytes) -> str:
    try:
        return authority.decode("idna")
    except UnicodeError:
        return authority.decode(*_CODEC)


def _fork(self: Context) -> Context:
    context = Context.__new__(Context)
    context.client, context.server, context.options, context.layers = self.client, self.server, self.options, self.layers.copy()
    return context


@cache
def _field_names(hook: Any) -> tuple[str, ...]:
    return tuple(hook.__dataclass_fields__)


def _args(self: commands.StartHook) -> list[Any]:
    hook: Any = type(self)
    return [getattr(self, name) for name in _field_names(hook)]


def install() -> None:
    """Make the header fields, messages and contexts of this process lean. Call it once."""
    for name, function in {"__init__": _init, "get_all": _get_all, "get": _get, "__contains__": _contains}.items():
        replace(f"mitmproxy.http:Headers.{name}", function)
    replace("mitmproxy.http:MessageData.__post_init__", lambda _self: None)
    authority: Any = http.Request.authority
    replace("mitmproxy.http:Request.authority", property(lambda self: _decode_authority(self.data.authority), authority.fset))
    numbers = count(1)
    for module in ("connection", "flow"):
        replace(f"mitmproxy.{module}:uuid", SimpleNamespace(uuid4=lambda: next(numbers)))
    replace("mitmproxy.proxy.context:Context.fork", _fork)
    replace("mitmproxy.proxy.commands:StartHook.args", _args)
    replace("mitmproxy.proxy.commands:StartHook.__new__", lambda cls, *_args, **_named: object.__new__(cls))
    replace("mitmproxy.connection:Server.__setattr__", object.__setattr__)
    # No two connections have one id, and none is loaded from a file.
    replace("mitmproxy.connection:Connection.__hash__", object.__hash__)
    replace("mitmproxy.connection:Connection.__eq__", object.__eq__)
