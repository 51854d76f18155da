"""Clients of tests wait for a busy machine: httpx gives up after five seconds where nobody says how long."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TypeGuard

TESTS = Path(__file__).parent.parent
ASKING = frozenset(
    {"AsyncClient", "Client", "delete", "get", "head", "options", "patch", "post", "put", "request", "stream"}
)


def _is_impatient(node: ast.AST) -> TypeGuard[ast.Call]:
    """Return True for a call of httpx whose keywords do not say a timeout."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "httpx"
        and node.func.attr in ASKING
        and not any(keyword.arg in (None, "timeout") for keyword in node.keywords)
    )


def test_every_call_of_httpx_says_how_long_it_waits() -> None:
    texts = {file.relative_to(TESTS): file.read_text(encoding="utf-8") for file in TESTS.rglob("*.py")}
    assert [
        f"{file}:{node.lineno}"
        for file, text in texts.items()
        if "httpx" in text
        for node in ast.walk(ast.parse(text))
        if _is_impatient(node)
    ] == []
