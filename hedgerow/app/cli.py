"""The command line. Each command is a few lines over the parts; what it prints is for people, and with `--json` for scripts."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Annotated, NoReturn

import typer

from hedgerow import __version__
from hedgerow.app.files import error_text

COMMANDS = {
    "run": ("up",),
    "explain": ("explain",),
    "policy": ("check", "services"),
    "doctor": ("doctor",),
    "access": ("devices", "log", "pause", "resume", "grant", "requests", "password", "proxy-password"),
    "data": ("report", "kept", "erase", "top", "backup", "restore"),
    "time": ("budgets", "bonus", "code"),
}
"""By module of `hedgerow.app.commands`; the function of a command has its name."""
GROUPS = {"lists": "lists", "ca": "ca", "seat": "time", "gateway": "gateway", "notices": "notices"}
"""Commands with commands of their own, and the module whose `app` they are."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hedgerow {__version__}")
        raise typer.Exit


def root(
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Filters DNS and HTTP(S) for a home or a café, under one policy file."""


def make_cli(wanted: str | None = None) -> typer.Typer:
    """All of it; or as much as the command `wanted` takes: what the others import would cost each command a second of a small machine."""
    app = typer.Typer(
        name="hedgerow",
        help="Filters DNS and HTTP(S) for a home or a café, under one policy file.",
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
        make_cli(first if first in known else None)()
    except OSError as error:  # of files, such as a state directory that is somebody else's
        if error.filename is None:
            raise
        print(f"hedgerow: {error_text(error)}.", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
