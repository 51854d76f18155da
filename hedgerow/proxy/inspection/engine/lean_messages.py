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
from mitmproxy.proxy import commands
from mitmproxy.proxy.context import Context

from hedgerow.proxy.inspection.engine.patches import replace

_CODEC = ("utf-8", "surrogateescape")


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


def _get(self: http.Headers, name: str | bytes, default: Any = None) -> Any:
    key, joined = _key(name), None
    for each, value in self.fields:
        if each.lower() == key:
            joined = value if joined is None else joined + b", " + value
    return default if joined is None else joined.decode(*_CODEC)


def _contains(self: http.Headers, name: object) -> bool:
    if not isinstance(name, str | bytes):
        return False
    key = _key(name)
    for each, _ in self.fields:  # noqa: SIM110  any() takes twice the time
        if each.lower() == key:
            return True
    return False


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
    numbers = count(1)
    for module in ("connection", "flow"):
        replace(f"mitmproxy.{module}:uuid", SimpleNamespace(uuid4=lambda: next(numbers)))
    replace("mitmproxy.proxy.context:Context.fork", _fork)
    replace("mitmproxy.proxy.commands:StartHook.args", _args)
    replace("mitmproxy.proxy.commands:StartHook.__new__", lambda cls, *_args, **_named: object.__new__(cls))
    replace("mitmproxy.connection:Server.__setattr__", object.__setattr__)
