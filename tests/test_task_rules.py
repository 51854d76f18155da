"""No task is started whose end nobody would see: the source itself, searched for each way to start one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import hedgerow

PACKAGE = Path(hedgerow.__file__).parent
FILES = sorted(file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py"))
MECHANISM = "watched_tasks.py"

ENDS_BY_ITSELF = "it ends by itself, and its errors reach the loop's handler when it is dropped"
AWAITED = "whoever started it awaits its result"
CATCHES_ALL = "it reports each error of a turn to the loop's handler, and goes on"

STARTS: dict[str, dict[str, str]] = {
    "app/processes.py": {
        "serve_until_message": AWAITED,
        "wait_for_store": AWAITED,
        "run_inspector": AWAITED,
        "run_gateway": AWAITED,
    },
    "app/gateway/process.py": {"keep_gateway": AWAITED},
    "app/supervisor.py": {"_retire": AWAITED, "_wait_settled": AWAITED},
    "app/control/upkeep/journal_setup.py": {"keep_events": AWAITED},
    "app/workers/upstreams.py": {"replace": ENDS_BY_ITSELF},
    "dashboards/deferred_app.py": {"load": AWAITED},
    "dashboards/notices.py": {"step": ENDS_BY_ITSELF},
    "dashboards/pages/live.py": {"changes": CATCHES_ALL},
    "dashboards/relay.py": {"_take": ENDS_BY_ITSELF},
    "dashboards/listener.py": {"_accept": ENDS_BY_ITSELF},
    "dns/host_resolver.py": {"_both": AWAITED},
    "dns/rewriter.py": {"start": ENDS_BY_ITSELF},
    "dns/server/tls.py": {"listen": CATCHES_ALL, "_begin": ENDS_BY_ITSELF, "_begin_behind_proxy": ENDS_BY_ITSELF},
    "dns/upstreams/factory.py": {"__call__": ENDS_BY_ITSELF},
    "dns/upstreams/https.py": {"__init__": ENDS_BY_ITSELF},
    "dns/upstreams/stream.py": {
        "send": ENDS_BY_ITSELF,
        "_leave": ENDS_BY_ITSELF,
        "_connected": ENDS_BY_ITSELF,
        "__init__": ENDS_BY_ITSELF,
    },
    "dns/upstreams/trust.py": {"check_upstreams": ENDS_BY_ITSELF},
    "journal/event_receiver.py": {"_take_connections": ENDS_BY_ITSELF},
    "journal/event_sender.py": {"_connect_and_send": ENDS_BY_ITSELF},
    "proxy/certificate_examiner.py": {"renew": ENDS_BY_ITSELF},
    "proxy/inspection/inspector.py": {"run": CATCHES_ALL},
    "proxy/scanners/workers.py": {"__init__": ENDS_BY_ITSELF},
    "proxy/sign_in.py": {"check": AWAITED},
    "sockets.py": {"connect_first": AWAITED},
}
for _file in (Path(__file__).parent / "features").glob("*/keys.yaml"):
    for _module, _functions in yaml.safe_load(_file.read_text()).get("starts", {}).items():
        STARTS[f"features/{_file.parent.name}/{_module}"] = _functions
"""Functions that start tasks which are no watched ones, and why nobody has to watch them."""

THREADS = {
    "blocklists/outgoing.py": "a timer, which ends with the request whose time it limits",
    "journal/postgresql_connection.py": (
        "it ends when the server answers; an error reaches the process' handler of threads"
    ),
}


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls with the name of the innermost function that they are in."""

    def visit(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Call]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Call):
            yield function, node
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    return visit(tree, "")


def _name(call: ast.Call) -> str:
    return (
        call.func.attr
        if isinstance(call.func, ast.Attribute)
        else call.func.id
        if isinstance(call.func, ast.Name)
        else ""
    )


def _groups(tree: ast.AST) -> set[str]:
    """Return the names of task groups, which await what they start."""
    found = set()
    for node in ast.walk(tree):
        for item in node.items if isinstance(node, ast.AsyncWith) else ():
            is_group = isinstance(item.context_expr, ast.Call) and _name(item.context_expr) == "TaskGroup"
            if is_group and isinstance(item.optional_vars, ast.Name):
                found.add(item.optional_vars.id)
    return found


def _starts(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    groups = _groups(tree)
    for function, call in _calls(tree):
        is_of_group = (
            isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id in groups
        )
        if _name(call) in ("create_task", "ensure_future") and not is_of_group:
            yield function, call


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {file: ast.parse((PACKAGE / file).read_text(encoding="utf-8")) for file in FILES}


def test_no_task_is_dropped_when_it_is_started(trees: dict[str, ast.Module]) -> None:
    """It may be collected while it runs, and nobody sees how it ends."""
    found = []
    for file, tree in trees.items():
        starts = [call for _, call in _starts(tree)]
        found += [(file, node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Expr) and node.value in starts]
    assert found == []


def test_every_task_is_watched_or_listed_here(trees: dict[str, ast.Module]) -> None:
    """Start a task as a watched one, or say above why nobody has to watch it."""
    found = {file: {function for function, _ in _starts(tree)} for file, tree in trees.items() if file != MECHANISM}
    assert {file: functions for file, functions in found.items() if functions} == {
        file: set(listed) for file, listed in STARTS.items()
    }


def test_every_thread_is_listed_here(trees: dict[str, ast.Module]) -> None:
    names = ("Thread", "Timer", "start_new_thread")
    assert {file for file, tree in trees.items() for _, call in _calls(tree) if _name(call) in names} == set(THREADS)


def test_errors_that_nobody_expects_are_reported_in_one_line(trees: dict[str, ast.Module]) -> None:
    """`log.exception` would write a traceback for each, however many a stranger may provoke."""
    found = {
        file for file, tree in trees.items() for _, call in _calls(tree) if _name(call) == "exception" and call.args
    }
    assert found == {MECHANISM}
