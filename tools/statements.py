"""Count the statements of each package, and hold its budget: `python tools/statements.py [--check]`.

A statement is a node of the syntax tree, so neither long lines nor blank ones count. Imports and docstrings are left
out. `--check` fails if a package has more than its budget. Raising a budget takes a decision record (`docs/adr/`);
lower it when a package shrinks.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hedgerow"
TOP_LEVEL = "top level"

BUDGETS = {
    "app": 8384,
    "blocklists": 4023,
    "dashboards": 7669,
    "dns": 4745,
    "features": 11790,
    "journal": 3589,
    "network": 1329,
    "policies": 5922,
    "proxy": 8757,
    TOP_LEVEL: 1466,
}
"""The most statements that each package may have."""


def statements(source: str) -> int:
    """Return the number of statements in a source text.

    >>> statements("'A docstring.'\\nimport os\\nif os.name:\\n    a = 1; b = 2\\n")
    3
    """
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt))
    return sum(1 for node in nodes if not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node))


def _is_text(node: ast.stmt) -> bool:
    """Return True for a docstring: of a module, a class, a function or an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def by_package(package: Path = PACKAGE) -> Counter[str]:
    """Return the number of statements by package."""
    found: Counter[str] = Counter()
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).parts
        found[parts[0] if len(parts) > 1 else TOP_LEVEL] += statements(file.read_text(encoding="utf-8"))
    return found


def excess(found: Counter[str], budgets: dict[str, int]) -> list[str]:
    """Return one sentence for each package that has more statements than its budget, or none."""
    return [
        f"{name}: {count} statements, {count - budgets[name]} more than its budget in tools/statements.py"
        if name in budgets
        else f"{name}: {count} statements and no budget in tools/statements.py"
        for name, count in sorted(found.items())
        if count > budgets.get(name, 0)
    ]


def main() -> None:
    """Print the table; with `--check`, fail if a package is above its budget."""
    found = by_package()
    for name, count in sorted(found.items()):
        print(f"{name:12} {count:6,} of {BUDGETS.get(name, 0):6,}")
    total, in_features = sum(found.values()), found["features"]
    print(f"{'in all':12} {total:6,}, {total - in_features:,} of them outside features")
    problems = excess(found, BUDGETS)
    if "--check" in sys.argv and problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
