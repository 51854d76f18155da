"""The command line. Commands print text for people and, with `--json`, JSON for scripts."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from hedgerow.features import FEATURES
from hedgerow.files import error_text
from hedgerow.version import full_version

COMMANDS: dict[str, str] = {
    "up": "run:up",
    "setup": "setup:setup",
    "explain": "explain:explain",
    "check": "policy:check",
    "services": "policy:services",
    "doctor": "doctor:doctor",
    "devices": "access:devices",
    "log": "access:log",
    "pause": "access:pause",
    "resume": "access:resume",
    "grant": "access:grant",
    "requests": "access:requests",
    "password": "access:password",
    "proxy-password": "access:proxy_password",
    "report": "data:report",
    "kept": "data:kept",
    "erase": "data:erase",
    "top": "data:top",
    "backup": "data:backup",
    "restore": "data:restore",
    "data": "downgrade:app",
    "budgets": "time:budgets",
    "bonus": "time:bonus",
    "homework": "time:homework",
    "later": "time:later",
    "code": "time:code",
    "lists": "lists:app",
    "ca": "ca:app",
    "seat": "time:app",
    "gateway": "gateway:app",
    "notices": "notices:app",
    "store": "store:app",
}
"""The core's commands by their words, each with its place below `hedgerow.app.commands`; an `app` is a group."""


def _own_part(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"hedgerow.app.commands.{module}"), name)


_TABLE: dict[str, tuple[str, Callable[[str], Any]]] = {words: (place, _own_part) for words, place in COMMANDS.items()}
_TABLE |= {words: (place, feature.part) for feature in FEATURES for words, place in feature.commands.items()}
"""All commands, also those of features: by their words, the place of each and the function that imports it."""
GROUP_NAMES = frozenset(words for words, (place, _) in _TABLE.items() if place.endswith(":app"))
"""The names of all groups."""
COMMAND_NAMES = frozenset(words.partition(" ")[0] for words in _TABLE)
"""The first words of all commands."""

_SUMMARY = "Filter DNS and HTTP(S) for a home or a café, with one policy file."


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hedgerow {full_version()}")
        raise typer.Exit


def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and commit.")
    ] = False,
) -> None:
    """Print the version, or run a command."""


def make_cli(wanted: str | None = None) -> typer.Typer:
    """Build the command line, or only the command `wanted`: importing the others would take a second on a small
    machine.
    """
    app = typer.Typer(
        name="hedgerow",
        help=_SUMMARY,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(root)
    groups: dict[str, typer.Typer] = {}
    for words, (place, load) in _TABLE.items():
        first, _, name = words.partition(" ")
        if wanted not in (None, first):
            continue
        if words in GROUP_NAMES:
            groups[first] = _copy(load(place))  # to which features add
        else:
            (groups[first] if name else app).command(name or first)(load(place))
    for name, group in groups.items():
        app.add_typer(group, name=name)
    return app


def _copy(group: typer.Typer) -> typer.Typer:
    copied = typer.Typer(help=group.info.help, no_args_is_help=True)
    copied.registered_commands = [*group.registered_commands]
    return copied


def main() -> NoReturn:
    first = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        gc.disable()  # what is imported stays
        command_line = make_cli(first if first in COMMAND_NAMES else None)
        gc.freeze()
        gc.enable()
        command_line()
    except OSError as error:  # such as a state directory without permission
        if error.filename is None:
            raise
        print(f"hedgerow: {error_text(error)}.", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


if __name__ == "__main__":
    main()
