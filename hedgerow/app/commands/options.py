"""Options, output and API calls that several commands share.

Hosts, notes and lines of lists are untrusted text: they are printed without control characters and without rich's
markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import unquote

import typer

from hedgerow.app.ipc import control_client, control_hangs, problem_of_control
from hedgerow.app.settings import Settings, default_state

if TYPE_CHECKING:  # `hedgerow up` calls no API and prints no table
    import httpx
    from rich.table import Table
import time

PolicyOption = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="The policy file (default: hedgerow.yaml here).")
]
StateOption = Annotated[Path | None, typer.Option("--state", metavar="DIR", help="The state directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OnlyAddressOption = Annotated[
    bool, typer.Option("--only-address", help="Only this address, not the service that it belongs to.")
]
SureOption = Annotated[bool, typer.Option("--yes", help="Open it even if it is dangerous.")]

_CONFIRMATIONS = {
    "sure": "Add --yes to open it all the same.",
    "replaces": "Add --replace to end that session and open the seat.",
}
"""What to add to a command, by the field that the API asks for (`confirm`)."""

_PATIENCE_S = 2.0
_REQUEST_TIMEOUT_S = 600.0  # rewriting a long journal takes minutes


NOT_IN_FORCE = 3
"""Exit status of a command whose change is saved, but not yet in force on DNS and proxy."""
_UNLIMITED_WIDTH = 10_000  # of a pipe


def fail(message: str, status: int = 2) -> NoReturn:
    """End the command with one sentence on standard error and an exit status."""
    print(f"hedgerow: {message}", file=sys.stderr)
    raise typer.Exit(status)


def print_problems(problems: Iterable[object]) -> None:
    """Print one problem per line on standard error."""
    for problem in problems:
        print(problem, file=sys.stderr)


def print_result(as_json: bool, facts: Mapping[str, Any], *lines: str) -> None:
    """Print the result of a command: its facts for a script, or lines for people."""
    for line in (json.dumps(facts, ensure_ascii=False),) if as_json else lines:
        print(line)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


def state_directory(state: Path | None) -> Path:
    """The absolute path of `--state`, or of the default."""
    return (state or default_state()).absolute()


def find_policy(path: Path | None) -> Path | None:
    """The file of `--policy`, `hedgerow.yaml` here, or None for the built-in default policy."""
    if path is not None:
        return path.absolute()
    here = Path("hedgerow.yaml").absolute()
    return here if here.exists() else None


def call_api(state: Path | None, method: str, path: str, **body: Any) -> Any:
    """Call the API of the running Hedgerow. Ends the command if none runs or if it refuses."""
    answer = _request(state, method, path, **body)
    return answer.json() if answer.content else None


def call_api_text(state: Path | None, path: str, **query: Any) -> str:
    """Like `call_api`, for a response that is not JSON."""
    return _request(state, "GET", path, **query).text


def call_api_bytes(state: Path | None, path: str, method: str = "GET", **body: Any) -> bytes:
    """Like `call_api`, for a file.

    It exists only once, so that a change not in force yet is not a failure, but said on standard error.
    """
    return _request(state, method, path, is_strict=False, **body).content


def _request(state: Path | None, method: str, path: str, *, is_strict: bool = True, **body: Any) -> httpx.Response:
    import httpx

    folder = state_directory(state)
    try:
        settings = Settings.load(folder)
    except (OSError, ValueError) as error:
        fail(
            f"No Hedgerow has run with the state directory {folder}, or you may not read it: {getattr(error, 'strerror', error)}."  # noqa: E501
        )
    query = body if method == "GET" else None
    if control_hangs(settings, _PATIENCE_S):
        fail(
            f"Hedgerow does not answer at {settings.control_socket}: its process control has done nothing for"
            f" {_PATIENCE_S:.0f} seconds, and is restarted soon if that goes on. Nothing was changed."
        )
    try:
        with control_client(settings, _REQUEST_TIMEOUT_S) as client:
            answer = client.request(method, f"/api/v1{path}", params=query, json=None if method == "GET" else body)
    except httpx.HTTPError:
        problem = problem_of_control(settings)
        fail(f"Hedgerow does not answer at {settings.control_socket}: {problem or 'is it running?'}")
    if answer.is_error:
        fail(_error_detail(answer))
    problem = unquote(answer.headers.get("Hedgerow-Problem", ""))
    if is_strict and answer.headers.get("Hedgerow-In-Force") == "?0":
        fail(problem, NOT_IN_FORCE)
    if problem:
        print(f"hedgerow: {problem}", file=sys.stderr)
    return answer


def _error_detail(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return f"Hedgerow answered {answer.status_code}."
    detail = str(problem.get("detail") or problem.get("title") or answer.status_code)
    wrong = [f"{str(each['field']).rpartition('.')[2]}: {each['message']}" for each in problem.get("errors", ())]
    if problem.get("confirm") in _CONFIRMATIONS:
        wrong.append(_CONFIRMATIONS[problem["confirm"]])
    return f"{detail} {'; '.join(wrong)}" if wrong else detail


def printable(text: str) -> str:
    r"""Return the text with control characters, and those that change the writing direction, as escapes.

    >>> printable("red\x1b[31m")
    'red\\x1b[31m'
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def format_time(instant: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Format seconds since the epoch on the clock of this machine's zone."""
    return time.strftime(form, time.localtime(instant))


def add_row(table: Table, *cells: str, style: str = "") -> None:
    """Add a row whose cells are plain text: brackets are brackets, never rich's markup."""
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells), style=style)


def print_rows(
    facts: Any, titles: Iterable[str], rows: Iterable[Iterable[str]], nothing: str = "", *, as_json: bool
) -> None:
    """Print facts as JSON for a script, or their rows as a table with these titles."""
    if as_json:
        return print_json(facts)
    from rich.table import Table

    table = Table(*titles)
    for row in rows:
        add_row(table, *row)
    return print_table(table, nothing)


def print_table(table: Table, nothing: str) -> None:
    """Print a table, or the sentence `nothing` if it has no rows.

    On a narrow terminal each cell gets a line of its own, below the row's first. In a pipe each row is one line without
    a frame.
    """
    from rich.console import Console  # not every command prints a table
    from rich.text import Text

    console = Console()
    if not table.row_count:
        print(nothing)
    elif not console.is_terminal:
        table.box = None
        Console(width=_UNLIMITED_WIDTH).print(table, soft_wrap=True)
    elif console.measure(table, options=console.options.update_width(_UNLIMITED_WIDTH)).minimum <= console.width:
        console.print(table)
    else:
        titles = [str(column.header) for column in table.columns]
        for cells in zip(*(column.cells for column in table.columns), strict=True):
            first, *others = ((title, cell) for title, cell in zip(titles, cells, strict=True) if str(cell))
            console.print(first[1], style="bold", soft_wrap=True)
            for title, cell in others:
                console.print(Text.assemble(f"  {title}: ", cell), soft_wrap=True)
