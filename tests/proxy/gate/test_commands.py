"""The state table: every state can be reached and left, and the diagram in the documentation shows it as it is."""

from __future__ import annotations

from pathlib import Path

from state_diagram import state_diagram, with_diagram

from hedgerow.proxy.gate.commands import TRANSITIONS, WAITING, Close, State

DOCUMENT = Path(__file__).parents[3] / "docs" / "proxy.md"
FINAL = {State.TUNNELLED, State.INSPECTED, State.CLOSED}


def test_every_state_is_reached_and_left() -> None:
    assert set(TRANSITIONS) == set(State)
    reached = {State.PROXY_REQUEST, State.DETECTING}
    while more := {target for state in reached for target in TRANSITIONS[state].values()} - reached:
        reached |= more
    assert reached == set(State)
    assert {state for state, row in TRANSITIONS.items() if not row} == FINAL


def test_every_connection_can_be_closed() -> None:
    assert all(TRANSITIONS[state][Close] is State.CLOSED for state in State if state not in FINAL)
    assert not WAITING & FINAL


def test_the_diagram_in_the_documentation_is_that_of_the_table() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == with_diagram(document), "run: python tools/state_diagram.py docs/proxy.md"
    for state, row in TRANSITIONS.items():
        for command, target in row.items():
            shown = command is Close or any(
                line.strip().startswith(f"{state.name} --> {target.name}:") and command.__name__ in line
                for line in state_diagram().splitlines()
            )
            assert shown, (state, command)
