"""Servers that files share run only while their users do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from shared_servers import SharedServers


def item(file: str, *fixtures: str) -> Any:
    return SimpleNamespace(nodeid=f"{file}::test_it", fixturenames=fixtures)


@contextlib.contextmanager
def noted(events: list[str]) -> Iterator[str]:
    events.append("start")
    yield "server"
    events.append("end")


def test_a_server_runs_while_the_next_file_uses_it() -> None:
    servers, events = SharedServers(), list[str]()
    first, second, own = (item(f"tests/lab/test_{name}.py", "house") for name in "abc")
    other = item("tests/e2e/test_d.py", "house")  # a fixture of its own with this name
    servers.note_users([first, second, own, other])
    for following in (first, second, item("tests/lab/test_b.py")):
        assert servers.running("house", noted(events)) == "server"
        servers.end_unused(following)
    assert events == ["start"]
    servers.end_unused(other)
    assert events == ["start", "end"]
    servers.running("house", noted(events))
    servers.end_unused(None)
    assert events == ["start", "end"] * 2


def test_users_of_a_server_come_one_after_the_other() -> None:
    servers = SharedServers()
    items = [
        item("tests/dns/test_a.py"),
        item("tests/e2e/test_b.py", "family"),
        item("tests/lab/test_c.py", "tmp_path"),
        item("tests/lab/test_d.py", "house"),
        item("tests/e2e/test_b.py"),
    ]
    servers.note_users(items)
    ordered = [each.nodeid.partition("/test_")[2][0] for each in sorted(items, key=servers.turn_of)]
    assert ordered == ["d", "b", "b", "a", "c"]
