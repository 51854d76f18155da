"""mitmproxy's header fields, messages and the objects around them, the same to whoever uses them, without what costs most in them.

They convert every name of every field at each look-up, and check the type of every attribute of each message; a request takes dozens
of look-ups. Random numbers from the kernel name what never leaves the process, a connection that nobody opens is made for each layer, and
every hook looks up what its own fields are called.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import count
from types import SimpleNamespace
from typing import Any

from mitmproxy import connection, flow, http
from mitmproxy.proxy import commands
from mitmproxy.proxy.context import Context

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
    key, found = _key(name), None
    for each, value in self.fields:
        if each.lower() == key:
            found = value if found is None else found + b", " + value
    return default if found is None else found.decode(*_CODEC)


def _contains(self: http.Headers, name: object) -> bool:
    if not isinstance(name, str | bytes):
        return False
    key = _key(name)
    for each, _ in self.fields:  # noqa: SIM110  any() takes twice as long
        if each.lower() == key:
            return True
    return False


def _fork(self: Context) -> Context:
    context = Context.__new__(Context)
    context.client, context.server, context.options, context.layers = self.client, self.server, self.options, self.layers.copy()
    return context


@cache
def _names(hook: Any) -> tuple[str, ...]:
    return tuple(hook.__dataclass_fields__)


def _args(self: commands.StartHook) -> list[Any]:
    hook: Any = type(self)
    return [getattr(self, name) for name in _names(hook)]


def install() -> None:
    """Make all header fields, messages and what goes with them in this process lean. Call it once."""
    headers: Any = http.Headers
    headers.__init__, headers.get_all, headers.get, headers.__contains__ = _init, _get_all, _get, _contains
    data: Any = http.MessageData
    data.__post_init__ = lambda _self: None
    numbers = count(1)
    modules: Any = (connection, flow)
    for module in modules:
        module.uuid = SimpleNamespace(uuid4=lambda: next(numbers))
    Context.fork = _fork  # type: ignore[method-assign]
    hook: Any = commands.StartHook
    hook.args, hook.__new__ = _args, lambda cls, *_args, **_named: object.__new__(cls)
    server: Any = connection.Server
    del server.__setattr__
