"""The command line. Commands print text for people and, with `--json`, JSON for scripts."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Annotated, NoReturn

import typer

from hedgerow.features import FEATURES
from hedgerow.files import error_text
from hedgerow.version import full_version

COMMANDS = {
    "run": ("up",),
    "setup": ("setup",),
    "explain": ("explain",),
    "policy": ("check", "services"),
    "doctor": ("doctor",),
    "access": ("devices", "log", "pause", "resume", "grant", "requests", "password", "proxy-password"),
    "data": ("report", "kept", "erase", "top", "backup", "restore"),
    "join": ("invite", "join"),
    "time": ("budgets", "bonus", "homework", "later", "code"),
}
"""Commands by module of `hedgerow.app.commands`; a command's function has its name."""
GROUPS = {
    "lists": "lists",
    "ca": "ca",
    "seat": "time",
    "gateway": "gateway",
    "notices": "notices",
    "store": "store",
    "away": "away",
}
"""Groups of commands, and the module of each one's `app`."""
_OF_FEATURES = {words: place for feature in FEATURES for words, place in feature.commands.items()}
GROUP_NAMES = frozenset(GROUPS) | {words for words, place in _OF_FEATURES.items() if place.endswith(":app")}
"""The names of all groups, also those of features."""
COMMAND_NAMES = (
    GROUP_NAMES
    | {name for names in COMMANDS.values() for name in names}
    | {words.partition(" ")[0] for words in _OF_FEATURES}
)
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
    for module, name in ((module, name) for module, names in COMMANDS.items() for name in names):
        if wanted in (None, name):
            app.command(name)(getattr(_module(module), name.replace("-", "_")))
    groups = {name: _module(module).app for name, module in GROUPS.items() if wanted in (None, name)}
    _add_features(app, groups, wanted)
    for name, group in groups.items():
        app.add_typer(group, name=name)
    return app


def _add_features(app: typer.Typer, groups: dict[str, typer.Typer], wanted: str | None) -> None:
    """Add the commands of features to the command line, or to copies of its groups."""
    for feature in FEATURES:
        for words, place in feature.commands.items():
            first, _, name = words.partition(" ")
            if wanted not in (None, first):
                continue
            if place.endswith(":app"):
                groups[first] = feature.part(place)
            elif name:
                groups[first] = _copy(groups[first])
                groups[first].command(name)(feature.part(place))
            else:
                app.command(first)(feature.part(place))


def _copy(group: typer.Typer) -> typer.Typer:
    copied = typer.Typer(help=group.info.help, no_args_is_help=True)
    copied.registered_commands = [*group.registered_commands]
    return copied


def _module(name: str) -> ModuleType:
    return import_module(f"hedgerow.app.commands.{name}")


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
