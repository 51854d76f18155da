"""The command line. Commands print text for people and, with `--json`, JSON for scripts."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Annotated, NoReturn

import typer

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
GROUPS = {"lists": "lists", "ca": "ca", "seat": "time", "gateway": "gateway", "notices": "notices", "store": "store", "away": "away",
          "organisation": "organisation"}  # fmt: skip
"""Groups of commands, and the module of each one's `app`."""


_SUMMARY = "Filter DNS and HTTP(S) for a home or a café, with one policy file."


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hedgerow {full_version()}")
        raise typer.Exit


def root(
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and commit.")] = False,
) -> None:
    """Print the version, or run a command."""


def make_cli(wanted: str | None = None) -> typer.Typer:
    """Build the command line, or only the command `wanted`: importing the others would take a second on a small machine."""
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
    for name, module in GROUPS.items():
        if wanted in (None, name):
            app.add_typer(_module(module).app, name=name)
    return app


def _module(name: str) -> ModuleType:
    return import_module(f"hedgerow.app.commands.{name}")


def main() -> NoReturn:
    first = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    known = {*GROUPS, *(name for names in COMMANDS.values() for name in names)}
    try:
        gc.disable()  # what is imported stays
        command_line = make_cli(first if first in known else None)
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
