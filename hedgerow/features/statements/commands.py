"""The command `hedgerow seat audit`: what was blocked at the seats, and the signed statements."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.app.commands.options import (
    JsonOption,
    StateOption,
    call_api,
    call_api_text,
    fail,
    print_result,
    printable,
)
from hedgerow.features.cafe.audit import AuditRow, audit_csv

if TYPE_CHECKING:
    from hedgerow.features.statements.chain import ChainReport
    from hedgerow.features.statements.counter_check import EntriesReport

UNDECIDED = 2
"""Exit status of a check without a statement, or up to a day that is not over."""

_KeyFiles = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="The site's public key; several if it has changed.")
]
_StoreKeyFiles = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="The public key of the store's owner, whose receipts are checked then."),
]
_EarlierFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file of the same site from before, with which FILE has to begin."),
]
_EntriesFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write the counter's entries to FILE; with --verify, check them against the statements."
    ),
]
_ExpectedDay = Annotated[
    datetime | None,
    typer.Option(
        "--expect",
        metavar="YYYY-MM-DD",
        formats=["%Y-%m-%d"],
        help="With --verify: the day up to which there have to be statements.",
    ),
]


@dataclass(frozen=True, slots=True)
class _Check:
    """The files that `--verify` checks, and those against which it does."""

    statements: Path
    keys: list[Path]
    store_keys: list[Path]
    earlier: Path | None
    entries: Path | None
    expected: str


def audit(
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="YYYY-MM-DD", help="The first day (default: a month before the last)."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="The last day (default: today).")
    ] = None,
    statements: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the signed statements of all days to FILE, or to - for standard output."
        ),
    ] = None,
    entries: _EntriesFile = None,
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="The site whose statements a store for several has.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the public key of this machine to FILE.")
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check a file of statements with --key. Needs no running Hedgerow."),
    ] = None,
    key: _KeyFiles = None,
    store_key: _StoreKeyFiles = None,
    earlier: _EarlierFile = None,
    expect: _ExpectedDay = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an inspector what was blocked at the seats each day (CSV), or write and check the signed statements."""
    if verify is not None:
        day = f"{expect:%Y-%m-%d}" if expect is not None else ""
        _verify_statements(_Check(verify, key or [], store_key or [], earlier, entries, day), as_json=as_json)
        return
    of_site = {"site": site} if site else {}
    written = []
    if public_key is not None:
        written.append(_write_file(public_key, call_api_text(state, "/audit/key"), "the public key"))
    if statements is not None:
        text = call_api_text(state, "/audit/statements", **of_site)
        written.append(_write_file(statements, text, _span(text)))
    if entries is not None:
        text = call_api_text(state, "/audit/entries", **of_site)
        written.append(_write_file(entries, text, _entries_of_counter(len(text.splitlines()))))
    for sentence in written:  # on standard error, since standard output may be one of the files
        print(sentence, file=sys.stderr)
    if not written:
        rows = call_api(
            state, "GET", "/audit", **{name: day for name, day in (("first", first), ("last", last)) if day}
        )
        print(json.dumps(rows, indent=1) if as_json else audit_csv(AuditRow(**row) for row in rows), end="")


def _write_file(file: Path, text: str, what: str) -> str:
    """Write a file, or standard output for `-`, and return a sentence about `what` it has.

    Ends the command if that fails.
    """
    try:
        sys.stdout.write(text) if str(file) == "-" else file.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"Can't write {file}: {error.strerror}.")
    return f"{'Standard output' if str(file) == '-' else file}: {what}."


def _span(text: str) -> str:
    """Return the number of statements in a text of their lines, and their first and last day."""
    days = [json.loads(line)["statement"]["day"] for line in text.splitlines()]
    if not days:
        return "no statements, since the first one is made when the first day (of UTC) is over"
    return _statements(days)


def _statements(days: Sequence[str]) -> str:
    return f"{len(days)} statement{'s' if len(days) > 1 else ''}, {days[0]} to {days[-1]}"


def _entries_of_counter(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'} of the counter"


def _verify_statements(check: _Check, *, as_json: bool) -> None:
    """Check a chain of statements, and print the result. Ends the command with status 1 if something is wrong, and with
    `UNDECIDED` if there is nothing to check yet.
    """
    if not check.keys:
        fail("Name the site's public key: --key FILE")
    try:
        found, entries = _checked(check)
    except OSError as error:
        fail(f"Can't read {error.filename}: {error.strerror}.")
    except ValueError as error:
        fail(f"A file can't be used: {error}.")
    days = [each.day for each in found.statements]
    off = {each.day: each.minutes_off for each in found.statements if each.minutes_off}
    problems, notes = found.problems, found.notes
    if entries is not None:
        problems, notes = (*problems, *entries.problems), (*notes, *entries.notes)
    facts = {
        "good": not problems and (None if found.is_early or not days else True),
        "site": found.statements[0].site if days else "",
        "statements": len(days),
        "receipts": found.receipts,
        "entries": entries.entries if entries is not None else None,
        "first": days[0] if days else None,
        "last": days[-1] if days else None,
        "problems": problems,
        "gaps": found.gaps,
        "notes": notes,
        "minutes_off": off,
    }
    span = f"{facts['site']}: {_statements(days)}" if days else "No statements"
    receipts = f", {found.receipts} with a receipt of the store" if check.store_keys else ""
    of_counter = f", {_entries_of_counter(entries.entries)}" if entries is not None else ""
    print_result(
        as_json,
        facts,
        printable(f"{span}{receipts}{of_counter}."),
        *(f"WRONG: {printable(each)}." for each in problems),
        *(f"Gap: no statement for {each}." for each in found.gaps),
        *(f"Note: {printable(each)}." for each in notes),
        *(f"Filter off: {day}, {minutes} minutes." for day, minutes in off.items()),
        *(f"The chain ends at {each}." for each in days[-1:]),
        _verdict(bool(problems), len(days), is_early=found.is_early),
    )
    if problems or facts["good"] is None:
        raise typer.Exit(1 if problems else UNDECIDED)


def _verdict(has_problems: bool, count: int, *, is_early: bool) -> str:
    """Return the last sentence about a chain of `count` statements."""
    if has_problems:
        return "The chain is broken."
    if not count:
        return (
            "No statement was checked: the first one is made when the first day (of UTC) is over. If there were any"
            " before, name the last file that you have (--earlier FILE), or a day that is over (--expect YYYY-MM-DD)."
        )
    if is_early:
        return "The chain is whole so far, and every statement in it is signed with the key. Check again at that time."
    return "The chain is whole, and every statement is signed with the key."


def _checked(check: _Check) -> tuple[ChainReport, EntriesReport | None]:
    """Check the files. Raises OSError and ValueError."""
    from hedgerow.app.signing_keys import public_key  # with cryptography, and only here
    from hedgerow.features.statements.chain import verify_chain
    from hedgerow.features.statements.counter_check import check_lines

    known, receivers = ([public_key(path.read_bytes()) for path in paths] for paths in (check.keys, check.store_keys))
    before = check.earlier.read_bytes().splitlines() if check.earlier is not None else []
    with check.statements.open("rb") as lines:
        found = verify_chain(lines, known, receivers, before, f"{datetime.now(UTC):%Y-%m-%d}", check.expected)
    if check.entries is None:
        return found, None
    with check.entries.open("rb") as lines:
        return found, check_lines(lines, found.statements)
