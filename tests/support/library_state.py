"""The attributes of libraries in a process, described so that those of two processes can be compared.

A process that has called `report_on_signal` writes its modules and their state to its standard error on `SIGNAL`.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

LIBRARIES = frozenset(
    {
        *("_ssl", "aioquic", "dateutil", "dnslib", "h11", "h2", "hpack", "http", "httpcore", "httpx", "hyperframe"),
        *("jinja2", "mitmproxy", "msgspec", "pylsqpack", "selectors", "socket", "ssl", "starlette", "subprocess"),
        *("uvicorn", "uvloop", "wsproto"),
    }
)
"""Those whose modules keep no state of a process, such as registries and caches of types."""
SIGNAL = signal.SIGRTMIN + 5
MARK = "library state: "
"""The beginning of the line."""

_LONG = 80
_SIMPLE = (str, bytes, int, float, bool, type(None))
_OF_THE_MODULE = frozenset(
    {"__builtins__", "__cached__", "__file__", "__loader__", "__path__", "__spec__", "__warningregistry__"}
)
_OF_THE_CLASS = frozenset({"_abc_impl", "__dict__", "__weakref__"})


def loaded() -> list[str]:
    """Return the names of this process's modules that belong to the libraries."""
    return sorted(
        name for name, module in sys.modules.items() if name.partition(".")[0] in LIBRARIES and module is not None
    )


def state(modules: Iterable[str]) -> dict[str, str]:
    """Return what is behind each name of these modules and their classes."""
    found = {}
    for name in modules:
        module = sys.modules[name]
        for attribute, value in vars(module).items():
            if attribute in _OF_THE_MODULE or isinstance(value, ModuleType):
                continue
            found[f"{name}.{attribute}"] = describe(value)
            if isinstance(value, type) and value.__module__ == name:
                members = ((member, each) for member, each in vars(value).items() if member not in _OF_THE_CLASS)
                found.update({f"{name}.{attribute}.{member}": describe(each) for member, each in members})
    return found


def describe(value: Any) -> str:
    """Return where a function or class comes from, the value of a constant, and the type of anything else."""
    if isinstance(value, property):
        return f"property({', '.join(describe(each) for each in (value.fget, value.fset, value.fdel))})"
    if isinstance(value, staticmethod | classmethod):
        return f"{type(value).__name__}({describe(value.__func__)})"
    if isinstance(value, FunctionType):
        wrapped = getattr(value, "__wrapped__", None)
        where = (
            f"{value.__module__}.{value.__qualname__}"
            f" {Path(value.__code__.co_filename).name}:{value.__code__.co_firstlineno}"
        )
        return f"{where} of {describe(wrapped)}" if wrapped is not None else where
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, _SIMPLE):
        text = repr(value)
        return text if len(text) < _LONG else f"{len(text)} characters, {hashlib.sha256(text.encode()).hexdigest()}"
    if isinstance(value, tuple):
        return f"({', '.join(map(describe, value))})"
    if callable(value):
        return f"{type(value).__qualname__} {getattr(value, '__qualname__', '')}"
    return type(value).__qualname__


def report_on_signal() -> None:
    """Write a line with this process's state to standard error on `SIGNAL`."""

    def report(*_: object) -> None:
        names = loaded()
        line = MARK + json.dumps({"pid": os.getpid(), "modules": names, "state": state(names)}) + "\n"
        os.write(sys.stderr.fileno(), line.encode())

    signal.signal(SIGNAL, report)


def main() -> None:
    """Print the state of the modules whose names are on standard input, in a process in which nothing else has run."""
    names = json.load(sys.stdin)
    for name in names:
        __import__(name)
    print(json.dumps(state(names)))


if __name__ == "__main__":
    main()
