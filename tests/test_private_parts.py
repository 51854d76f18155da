"""Private parts of other libraries: each that Hedgerow uses is checked when it starts, and has its reason in
docs/dependencies.md.
"""

from __future__ import annotations

import ast
import dis
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

import hedgerow
from hedgerow.internals import AIOQUIC_ATTRIBUTES, AIOQUIC_PARAMETERS, H2_ATTRIBUTES, H2_PARAMETERS
from hedgerow.proxy.inspection.engine.compatibility import ATTRIBUTES, PARAMETERS

ROOT = Path(__file__).parents[1]
CHECKED_PARAMETERS = {**H2_PARAMETERS, **AIOQUIC_PARAMETERS, **PARAMETERS}
CHECKED_ATTRIBUTES = [*H2_ATTRIBUTES.values(), *AIOQUIC_ATTRIBUTES.values(), *ATTRIBUTES.values()]
DOCUMENTED_BY_PYTHON = frozenset({"_exit", "_replace", "_mapping"})
"""Names with an underscore that documentation offers: of `os`, named tuples and rows of SQLAlchemy."""
SPECIAL = frozenset({"abc", "builtins", "enum", "typing"})
"""Modules whose classes are part of the language."""
TYPES_ONLY = {"proxy/scanners/macros.py": {"_Decompress"}}
"""Names that only annotations use."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and len(name) > 1


def functions_of(kind: type) -> Iterator[tuple[str, FunctionType]]:
    for name, member in vars(kind).items():
        found = member.__func__ if isinstance(member, staticmethod | classmethod) else member
        found = found.func if isinstance(found, functools.cached_property) else found
        for each in (found.fget, found.fset, found.fdel) if isinstance(found, property) else (found,):
            if isinstance(each, FunctionType):
                yield name, inspect.unwrap(each)


def codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_in(constant)


@functools.cache
def private_names(kind: type) -> frozenset[str]:
    """Return the private names that a class's own functions use or are called."""
    found = set[str]()
    for name, function in functions_of(kind):
        found.add(name)
        for code in codes_in(function.__code__):
            found.update(code.co_names)
    return frozenset(filter(is_private, found))


def is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "hedgerow"


def classes() -> Iterator[type]:
    for found in pkgutil.walk_packages(hedgerow.__path__, "hedgerow."):
        if ".migrations" not in found.name and not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            yield from (each for each in vars(module).values() if isinstance(each, type) and is_ours(each))


def shared_names() -> set[str]:
    """Return the private names that classes of ours share with those of libraries from which they inherit."""
    found = set[str]()
    for kind in set(classes()):
        own = set().union(*(private_names(each) for each in kind.__mro__ if is_ours(each)))
        others = [each for each in kind.__mro__ if not is_ours(each) and each.__module__ not in SPECIAL]
        found |= own & set().union(*map(private_names, others))
    return found


WRITTEN = {"_local_max_streams_bidi", "_local_max_streams_uni"}
"""Inherited names that a subclass of ours assigns. docs/dependencies.md says why nothing public does."""


def written_names(kind: type) -> set[str]:
    """Return the private names that a class's own functions assign."""
    codes = (code for _, function in functions_of(kind) for code in codes_in(function.__code__))
    stores = (step.argval for code in codes for step in dis.get_instructions(code) if step.opname == "STORE_ATTR")
    return set(filter(is_private, stores))


def test_no_subclass_writes_another_private_part_than_those_without_a_public_way() -> None:
    found = set[str]()
    for kind in {each for each in classes() if not all(map(is_ours, each.__mro__[:-1]))}:
        others = [each for each in kind.__mro__ if not is_ours(each) and each.__module__ not in SPECIAL]
        found |= written_names(kind) & set().union(*map(private_names, others))
    assert found == WRITTEN


def test_each_private_part_of_a_base_class_is_checked_at_the_start() -> None:
    """A name of ours that is also one of the library's would replace it by accident, and is found, too."""
    methods = {re.split("[.:]", target)[-1] for target in CHECKED_PARAMETERS}
    attributes = {name for names in CHECKED_ATTRIBUTES for name in names.split()}
    assert sorted(shared_names()) == sorted(filter(is_private, methods | attributes))


def foreign_names(path: Path) -> Iterator[str]:
    """Yield the private modules and names that a module imports, and the private attributes of what it imports."""
    tree, imported = ast.parse(path.read_text(encoding="utf-8")), set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if not module.startswith("hedgerow"):
                imported.update(each.asname or each.name for each in names)
                yield from (f"{module}.{each.name}" for each in names if is_private(each.name))
                yield from (module for part in module.split(".") if is_private(part))
            case ast.Import(names=names):
                imported.update(each.asname or each.name for each in names if not each.name.startswith("hedgerow"))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, value=ast.Name(id=owner)) if is_private(name) and owner in imported:
                yield name


def test_each_private_module_is_checked_at_the_start() -> None:
    checked = " ".join(CHECKED_PARAMETERS)
    for path in (ROOT / "hedgerow").rglob("*.py"):
        known = DOCUMENTED_BY_PYTHON | TYPES_ONLY.get(str(path.relative_to(ROOT / "hedgerow")), set())
        for name in set(foreign_names(path)) - known:
            assert name.rpartition(".")[2] in re.split(r"\W", checked), f"{path}: {name}"


def test_each_private_part_has_its_reason() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    table = text.partition("## Private parts")[2].partition("## ")[0]
    modules = {name for path in (ROOT / "hedgerow" / "proxy").rglob("*.py") for name in foreign_names(path)}
    wanted = shared_names() | {name.rpartition(".")[2] for name in modules if name.startswith("mitmproxy")}
    assert {
        name for name in re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\|.*", table))) if is_private(name)
    } == wanted
