"""The budget of statements."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import statements


def test_imports_and_docstrings_are_no_statements(tmp_path: Path) -> None:
    (tmp_path / "dns").mkdir()
    (tmp_path / "dns" / "a.py").write_text(
        '"""Text."""\nimport os\n\n\ndef f() -> None:\n    """Text."""\n    from os import path\n\n    f()\n'
    )
    (tmp_path / "b.py").write_text("a = 1; b = 2\n'''Attribute.'''\nif a:\n    b = 3\n")
    assert statements.by_package(tmp_path) == Counter({"dns": 2, statements.TOP_LEVEL: 4})


def test_more_than_the_budget_is_told() -> None:
    found = Counter({"dns": 7, "proxy": 5, "new": 1})
    assert statements.excess(found, {"dns": 5, "proxy": 5}) == [
        "dns: 7 statements, 2 more than its budget in tools/statements.py",
        "new: 1 statements and no budget in tools/statements.py",
    ]


def test_every_package_has_a_budget() -> None:
    assert statements.by_package().keys() == statements.BUDGETS.keys()
