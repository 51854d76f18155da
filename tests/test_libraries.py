"""Other libraries and the interpreter are used as they are: no module of ours replaces a part of one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "hedgerow"

SETTINGS = {
    "app/control/lists/list_jobs.py": ["tempfile.tempdir"],
    "features/pictures/judge.py": ["ImageFile.LOAD_TRUNCATED_IMAGES", "Image.MAX_IMAGE_PIXELS"],
    "watched_tasks.py": ["threading.excepthook", "sys.unraisablehook"],
}
"""Attributes of which the documentation of Python and Pillow says that a program may set them."""

MUTATORS = frozenset({"clear", "pop", "popitem", "setdefault", "update"})
"""Methods that change `sys.modules`."""

CONTAINER_MUTATORS = MUTATORS | {
    "add",
    "append",
    "appendleft",
    "discard",
    "extend",
    "insert",
    "popleft",
    "remove",
    "reverse",
    "sort",
}
"""Methods that change a container."""


def is_modules(node: ast.expr) -> bool:
    """Return whether an expression is `sys.modules`."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "modules"
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
    )


def foreign_names(tree: ast.Module) -> set[str]:
    """Return the names that a module gets by importing something that is not ours."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [(each.asname or each.name.partition(".")[0], each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [(each.asname or each.name, node.module or "") for each in node.names]
        else:
            continue
        names |= {name for name, origin in found if origin.partition(".")[0] != "hedgerow"}
    return names


def root_of(node: ast.expr) -> str:
    """Return the name at the left end of `a.b.c`; empty if there is none."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def is_own(node: ast.expr) -> bool:
    """Return whether an expression is `object` or `super()`, by which a class sets attributes of its own objects."""
    return ast.unparse(node) in {"object", "super()"}


def replacements(source: str) -> Iterator[str]:
    """Yield the statements that change `sys.modules` or an attribute of an imported module or class."""
    tree = ast.parse(source)
    foreign = foreign_names(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ctx=ast.Store() | ast.Del()) if root_of(node.value) in foreign:
                yield ast.unparse(node)
            case ast.Subscript(value=place, ctx=ast.Store() | ast.Del()) if is_modules(place):
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(value=place, attr=name)) if is_modules(place) and name in MUTATORS:
                yield ast.unparse(node)
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[place, *_]) if root_of(place) != "self":
                yield ast.unparse(node)
            case ast.Attribute(attr="from_address" | "memmove" | "memset"):  # of ctypes: writing to any memory
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="__set__" | "__setattr__" | "__delattr__", value=place)) if (
                not is_own(place)
            ):
                yield ast.unparse(node)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_foreign_private(place: ast.expr) -> bool:
    """Return whether an expression is a private attribute of another object than `self` and `cls`."""
    return (
        isinstance(place, ast.Attribute) and is_private(place.attr) and ast.unparse(place.value) not in {"self", "cls"}
    )


def private_writes(source: str) -> Iterator[str]:
    """Yield the private attributes that a module sets, deletes or changes on other objects than `self` and `cls`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(ctx=ast.Store() | ast.Del()) if is_foreign_private(node):
                yield ast.unparse(node)
            case ast.Subscript(value=place, ctx=ast.Store() | ast.Del()) if is_foreign_private(place):
                yield ast.unparse(node)
            case ast.Attribute(attr=name, value=place) if name in CONTAINER_MUTATORS and is_foreign_private(place):
                yield ast.unparse(node)
            case ast.Attribute(attr=name, value=ast.Call(func=ast.Name(id="vars"), args=[place])) if (
                name in CONTAINER_MUTATORS
            ):
                if ast.unparse(place) != "self":
                    yield ast.unparse(node)


def test_each_write_of_a_private_attribute_is_found() -> None:
    source = """
self._own = cls._own = other.public = None
other._private = self.part._private = None
del other._other
other._table[1] = self._own[1] = None
other._table.clear()
self._own.clear()
finalize(self, self.part._table.clear)
vars(self).clear()
vars(other).clear()
"""
    found = [
        "other._other",
        "other._private",
        "other._table.clear",
        "other._table[1]",
        "self.part._private",
        "self.part._table.clear",
    ]
    assert sorted(private_writes(source)) == [*found, "vars(other).clear"]


def test_no_module_writes_private_state_of_another_object() -> None:
    found = {
        str(path.relative_to(PACKAGE)): sorted(private_writes(path.read_text()))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    assert {path: writes for path, writes in found.items() if writes} == {}


def test_each_way_to_replace_a_part_is_found() -> None:
    source = """
import sys, json
import xml.dom as dom
from http import client as other
from hedgerow import codec
sys.modules["json"] = None
del sys.modules["json"]
sys.modules.update({})
json.dumps = dom.parse = None
other.HTTPConnection.connect = None
setattr(json, "loads", None)
setattr(self, "loads", None)
object.__setattr__(self, "loads", None)
json.JSONDecoder.decode.__set__(self, None)
ctypes.memmove(0, 0, 0)
codec.encode = self.json = sys.modules
"""
    assert sorted(replacements(source)) == sorted(
        [
            "sys.modules['json']",
            "sys.modules['json']",
            "sys.modules.update({})",
            "json.dumps",
            "dom.parse",
            "other.HTTPConnection.connect",
            "setattr(json, 'loads', None)",
            "json.JSONDecoder.decode.__set__(self, None)",
            "ctypes.memmove",
        ]
    )


def test_no_module_replaces_a_part_of_a_library_or_the_interpreter() -> None:
    found = {
        str(path.relative_to(PACKAGE)): [*replacements(path.read_text())] for path in sorted(PACKAGE.rglob("*.py"))
    }
    # a feature may be left out
    wanted = {path: statements for path, statements in SETTINGS.items() if (PACKAGE / path).exists()}
    assert {path: statements for path, statements in found.items() if statements} == wanted
