"""The help of every command, and `--json` for scripts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from hedgerow.app.cli import COMMAND_NAMES, make_cli

WITHOUT_JSON = {"up", "kept", "seat program", "ca export", "gateway run", "wifi run", "away dns", "away add"}
"""Commands that run on, that print JSON anyway, or that write a file."""
VERBS = {
    *(
        "Add",
        "Allow",
        "Begin",
        "Check",
        "Close",
        "Compile",
        "Connect",
        "Copy",
        "Count",
        "Cover",
        "End",
        "Erase",
        "Explain",
        "Extend",
        "Fetch",
        "Give",
        "Invite",
    ),
    *(
        "Make",
        "Move",
        "Open",
        "Offer",
        "Pause",
        "Pay",
        "Print",
        "Put",
        "Record",
        "Remove",
        "Replace",
        "Restore",
        "Run",
        "Save",
        "Say",
        "Sell",
        "Send",
        "Set",
        "Show",
        "Shut",
        "Start",
        "Take",
        "Try",
        "Unlock",
        "Use",
        "Watch",
        "Write",
    ),
}


def _commands(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(found, "commands"):
        for name, each in found.commands.items():
            yield from _commands(each, (*path, name))
    else:
        yield " ".join(path), found


COMMANDS = dict(_commands(typer.main.get_command(make_cli())))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_an_imperative_verb(name: str) -> None:
    text = COMMANDS[name].help
    assert text.split()[0] in VERBS
    assert text.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_has_help(name: str) -> None:
    assert not [each.name for each in COMMANDS[name].params if not getattr(each, "help", None)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_with_a_result_has_json(name: str) -> None:
    options = {option for each in COMMANDS[name].params for option in each.opts}
    assert ("--json" in options) == (name not in WITHOUT_JSON)


@pytest.mark.parametrize("name", sorted(COMMAND_NAMES))
def test_a_command_built_alone_is_the_same(name: str) -> None:
    alone = dict(_commands(typer.main.get_command(make_cli(name))))
    assert alone.keys() == {each for each in COMMANDS if each.split()[0] == name}


def test_an_api_command_imports_no_heavy_libraries() -> None:
    """Importing them would take seconds on a small machine."""
    program = "import sys; from hedgerow.app.cli import make_cli; make_cli('pause'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "hedgerow.app.commands.access" in loaded
    assert not {"sqlalchemy", "fastapi", "pydantic", "pyroute2", "cryptography"} & set(loaded)
