"""Every command tells what it does, explains what it takes, and speaks to scripts where it has something to tell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from hedgerow.app import cli
from hedgerow.app.cli import GROUPS, make_cli

WITHOUT_JSON = {"up", "kept", "ca export"}
"""What runs on, what is JSON by itself, and what is a file."""
VERBS = {
    *("Allow", "Begin", "Bring", "Compile", "Count", "End", "Erase", "Explain", "Fetch", "Give", "Let", "Look", "Make", "Put"),
    *("Run", "Save", "Say", "Send", "Set", "Show", "Stop", "Take", "Use", "Watch", "Write"),
}


def _commands(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(found, "commands"):
        for name, each in found.commands.items():
            yield from _commands(each, (*path, name))
    else:
        yield " ".join(path), found


COMMANDS = dict(_commands(typer.main.get_command(make_cli())))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_in_one_voice_what_it_does(name: str) -> None:
    told = COMMANDS[name].help
    assert told.split()[0] in VERBS
    assert told.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_all_that_a_command_takes_is_explained(name: str) -> None:
    assert not [each.name for each in COMMANDS[name].params if not getattr(each, "help", None)]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_can_read_what_came_of_it(name: str) -> None:
    options = {option for each in COMMANDS[name].params for option in each.opts}
    assert ("--json" in options) == (name not in WITHOUT_JSON)


@pytest.mark.parametrize("name", [*GROUPS, *(name for names in cli.COMMANDS.values() for name in names)])
def test_a_command_alone_is_what_it_is_among_all(name: str) -> None:
    alone = dict(_commands(typer.main.get_command(make_cli(name))))
    assert alone.keys() == {each for each in COMMANDS if each.split()[0] == name}


def test_a_command_that_asks_the_running_hedgerow_loads_no_part_of_it() -> None:
    """On a small machine that would take seconds."""
    told = "import sys; from hedgerow.app.cli import make_cli; make_cli('pause'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", told], capture_output=True, text=True, check=True).stdout.split()
    assert "hedgerow.app.commands.access" in loaded
    assert not {"sqlalchemy", "fastapi", "pydantic", "pyroute2", "cryptography"} & set(loaded)
