"""Forgeries of a café's record: in its journal, in the file of the statements, and in that of the counter's entries."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Lock

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from hedgerow.app.cli import make_cli
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, EntryChain
from hedgerow.features.cafe.entry_chain import ChainedEntry
from hedgerow.features.statements.chain import CounterDay, SignedStatement, Statement, StatementKey, digest_of
from hedgerow.features.statements.counter_check import counter_day
from hedgerow.features.statements.store import StatementStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.retention import Retention, prune
from hedgerow.journal.store import Store
from hedgerow.journal.tables import statements as stated_table

FIRST, DAYS = 20_100, 3
LAST_DAY = "2025-01-14"
KEY, STRANGER = StatementKey.make(), StatementKey.make()
type Lines = list[str]


def statement_of(day: int, last: Statement | None, counter: CounterDay | None, key: StatementKey = KEY) -> Statement:
    when, next_day = (f"{date.fromordinal(date(1970, 1, 1).toordinal() + each)}" for each in (day, day + 1))
    return Statement(
        site="home",
        number=last.number + 1 if last is not None else 1,
        previous=digest_of(last.text) if last is not None else "",
        key=key.fingerprint,
        day=when,
        made_at=f"{next_day}T00:11:00Z",
        sessions={"child": 1, "adult": 1},
        adults_opened_by={key.number_of("Ana"): 1},
        adult_vouchers_by={},
        blocks={"adult": 12},
        filter_on=["00:00-24:00"],
        list_age_hours=5,
        coverage={"adult": "full"},
        policies=["0123456789abcdef"],
        conduct="",
        format=2,
        counter=counter,
    )


def fill(store: Store) -> None:
    """Leave days of a café with four entries each, a statement of each day, and the entries of a day that goes on."""
    counter, kept = CounterStore(store), StatementStore(store)
    for day in range(FIRST, FIRST + DAYS + 1):
        at = day * 86400.0 + 36000
        mine = CounterEntry(at, "Ana", CounterAction.OPEN, "seat-1", f"a{day}", "child", 60, due=200, currency="EUR")
        counter.add(mine)
        counter.add(replace(mine, at=at + 60, action=CounterAction.PAY, due=0, taken=200))
        counter.add(
            CounterEntry(at + 90, "Ben", CounterAction.OPEN, "seat-2", f"b{day}", "adult", 30, due=150, taken=150)
        )
        counter.add(CounterEntry(at + 99.5, "Ben", CounterAction.ALLOW, "seat-2", f"b{day}", note="chess.example"))
        if day < FIRST + DAYS:
            last = kept.last()
            made = statement_of(
                day, last, counter_day(EntryChain(store), day, last.counter if last is not None else None)
            )
            kept.add(made, KEY.sign(made.text))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("honest") / "journal.sqlite"
    with closing(open_journal(path)) as store:
        fill(store)
    return path


@pytest.fixture
def journal(honest: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(honest, tmp_path / "journal.sqlite"))


def export(journal: Path) -> tuple[Lines, Lines]:
    """Return the lines of the statements and of the counter's entries, as the API gives them."""
    with closing(open_journal(journal)) as store:
        signed, entries = StatementStore(store).chain(), EntryChain(store).entries()
    return [each.line for each in signed], [each.line for each in entries]


def verify(folder: Path, statements: Sequence[str], entries: Sequence[str], *options: str) -> Result:
    for name, lines in (("statements", statements), ("entries", entries)):
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "site.pem").write_text(KEY.public_pem)
    words = ["--verify", str(folder / "statements.jsonl"), "--key", str(folder / "site.pem")]
    words += ["--entries", str(folder / "entries.jsonl"), *options]
    return CliRunner().invoke(make_cli("seat"), ["seat", "audit", *words])


def test_an_honest_record_is_good(journal: Path, tmp_path: Path) -> None:
    result = verify(tmp_path, *export(journal), "--expect", LAST_DAY)
    assert result.exit_code == 0, result.stdout
    assert "home: 3 statements, 2025-01-12 to 2025-01-14, 16 entries of the counter." in result.stdout
    assert "4 entries of the counter are newer than the last statement" in result.stdout
    assert f"The chain ends at {LAST_DAY}." in result.stdout


def test_a_statement_names_nobody_and_has_the_sums_of_the_counter(journal: Path) -> None:
    (first, *_), _ = export(journal)
    stated = json.loads(first)["statement"]
    assert stated["counter"] | {"digest": ""} == {
        "first": 1,
        "last": 4,
        "digest": "",
        "due": {"EUR": 200, "": 150},
        "taken": {"EUR": 200, "": 150},
    }
    assert not any(name in first for name in ("Ana", "Ben", "seat-1", "chess", f"a{FIRST}"))


SQL = {
    "an amount was changed": ("UPDATE counter_entries SET taken = 20 WHERE number = 2", "entry 2 of the counter"),
    "an amount of today was changed": (
        "UPDATE counter_entries SET taken = 20 WHERE number = 16",
        "entry 16 of the counter (2025-01-15 10:01 UTC) was changed",
    ),
    "another did it": ("UPDATE counter_entries SET actor = 'Ben' WHERE number = 5", "entry 5 of the counter"),
    "another seat": ("UPDATE counter_entries SET seat = 'seat-3' WHERE number = 5", "entry 5 of the counter"),
    "an opening for an adult became one for a child": (
        "UPDATE counter_entries SET kind = 'child' WHERE number = 7",
        "entry 7 of the counter",
    ),
    "another minute": ("UPDATE counter_entries SET at = at + 60 WHERE number = 6", "was changed"),
    "another action": ("UPDATE counter_entries SET \"action\" = 'credit' WHERE number = 6", "was changed"),
    "an action that does not exist": ("UPDATE counter_entries SET \"action\" = 'gift' WHERE number = 6", "was changed"),
    "another note": ("UPDATE counter_entries SET note = '' WHERE number = 8", "was changed"),
    "an entry was dropped": ("DELETE FROM counter_entries WHERE number = 6", "entry 7 of the counter"),
    "the first entry was dropped": ("DELETE FROM counter_entries WHERE number = 1", "are missing"),
    "the last entry of a day was dropped": ("DELETE FROM counter_entries WHERE number = 8", "are missing"),
    "the entries of a day were dropped": ("DELETE FROM counter_entries WHERE number BETWEEN 5 AND 8", "are missing"),
    "the entries since a day were dropped": ("DELETE FROM counter_entries WHERE number > 10", "are missing"),
    "all entries were dropped": ("DELETE FROM counter_entries", "are missing"),
    "an entry was dropped and the others closed up": (
        "DELETE FROM counter_entries WHERE number = 6;"
        "UPDATE counter_entries SET number = -number WHERE number > 6;"
        "UPDATE counter_entries SET number = -number - 1 WHERE number < 0",
        "was changed",
    ),
    "two entries were exchanged": (
        "UPDATE counter_entries SET number = -5 WHERE number = 5;"
        "UPDATE counter_entries SET number = 5 WHERE number = 6;"
        "UPDATE counter_entries SET number = 6 WHERE number = -5",
        "was changed",
    ),
    "an entry was added without a number": (
        'INSERT INTO counter_entries (site, at, actor, "action", seat, session, kind, minutes, count, due, taken,'
        " currency, note) VALUES ('home', 1780000000, 'Ana', 'pay', '', '', '', 0, 1, 0, -200, 'EUR', '')",
        "was added by hand",
    ),
    "an entry was added as if from a backup": (
        'INSERT INTO counter_entries (site, at, actor, "action", seat, session, kind, minutes, count, due, taken,'
        " currency, note, previous) VALUES"
        " ('home', 1780000000, 'Ana', 'pay', '', '', '', 0, 1, 0, -200, 'EUR', '', 'backup of 2026-01-01')",
        "is outside of the chain: it is said to be of a backup of 2026-01-01",
    ),
    "an entry became one of a backup": (
        "UPDATE counter_entries SET number = NULL, previous = 'backup of 2026-01-01' WHERE number = 3",
        "is outside of the chain: it is said to be of a backup of 2026-01-01",
    ),
    "another currency": ("UPDATE counter_entries SET currency = 'USD' WHERE number = 1", "entry 1 of the counter"),
    "somebody of the staff got another name everywhere": (
        "UPDATE counter_entries SET actor = 'Cy' WHERE actor = 'Ana'",
        "entry 1 of the counter (2025-01-12 10:00 UTC) was changed",
    ),
    "an entry was moved to the next day": (
        "UPDATE counter_entries SET at = at + 86400 WHERE number = 4",
        "entry 4 of the counter (2025-01-13 10:01 UTC) was changed",
    ),
    "an entry lost its number": ("UPDATE counter_entries SET number = NULL WHERE number = 3", "was added by hand"),
    "an entry became one of another site": ("UPDATE counter_entries SET site = 'north' WHERE number = 3", "missing"),
    "what somebody paid was dropped on all days": (
        "DELETE FROM counter_entries WHERE number IN (2, 6, 10)",
        "entry 3 of the counter (2025-01-12 10:01 UTC) follows entry 1",
    ),
    "an entry of today was dated to a day to come": (
        "UPDATE counter_entries SET at = 9000000000 WHERE number = 16",
        "entry 16 of the counter (2255-03-14 16:00 UTC) was changed",
    ),
    "text instead of an amount": ("UPDATE counter_entries SET taken = 'x' WHERE number = 5", "was changed"),
    "a statement was deleted from the journal": ("DELETE FROM statements WHERE number = 2", "follows statement 1"),
    "a signature was replaced": (
        "UPDATE statements SET signature = 'AAAA' WHERE number = 3",
        "statement 3 (2025-01-14) is not signed as it stands",
    ),
    "an entry was added at the end": (
        'INSERT INTO counter_entries (site, at, actor, "action", seat, session, kind, minutes, count, due, taken,'
        " currency, note, number, previous, digest) VALUES"
        " ('home', 1780200000, 'Ana', 'pay', '', '', '', 0, 1, 0, -200, 'EUR', '', 17, 'x', 'y')",
        "entry 17 of the counter",
    ),
}


def changed(line: str, part: str, **values: object) -> str:
    read = json.loads(line)
    read[part] |= values
    return json.dumps(read, sort_keys=True, separators=(",", ":"))


def linked_anew(entries: Lines, change: Callable[[list[ChainedEntry]], list[ChainedEntry]]) -> Lines:
    """Return changed entries with new links: a chain that is right in itself."""
    made: list[ChainedEntry] = []
    for each in change([ChainedEntry.parse(line) for line in entries]):
        last = (made[-1].number, made[-1].digest) if made else (0, "")
        made.append(ChainedEntry.after(last, each.entry))
    return [each.line for each in made]


def poorer(entries: list[ChainedEntry]) -> list[ChainedEntry]:
    return [replace(each, entry=each.entry | {"taken": 20}) if each.number == 2 else each for each in entries]


def signed_by_stranger(line: str) -> str:
    stated = SignedStatement(statement_of(FIRST + 2, None, None), "").statement
    read = json.loads(line)["statement"]
    stated = replace(
        stated,
        number=read["number"],
        previous=read["previous"],
        counter=CounterDay(**read["counter"]),
        sessions={},
    )
    return SignedStatement(stated, STRANGER.sign(stated.text)).line


def as_older_version(before: str, line: str) -> str:
    """Return a statement as a version makes it that does not know the counter's entries, in the one before either."""
    read, last = (json.loads(each)["statement"] for each in (line, before))
    del last["counter"]
    previous = digest_of(json.dumps(last, sort_keys=True, separators=(",", ":")))
    stated = replace(
        statement_of(FIRST, None, None),
        number=read["number"],
        previous=previous,
        day=read["day"],
        made_at=read["made_at"],
        format=1,
    )
    return SignedStatement(stated, KEY.sign(stated.text)).line


def of_another_site() -> Lines:
    """Return the statements of another site with a key of its own."""
    made: list[SignedStatement] = []
    for day in range(FIRST, FIRST + DAYS):
        last = made[-1].statement if made else None
        stated = replace(statement_of(day, last, None, STRANGER), site="north")
        made.append(SignedStatement(stated, STRANGER.sign(stated.text)))
    return [each.line for each in made]


FILES: dict[str, tuple[Callable[[Lines, Lines], tuple[Lines, Lines]], str]] = {
    "the last day was dropped": (lambda s, e: (s[:-1], e), "the chain ends at 2025-01-13"),
    "the last day was dropped with its entries": (lambda s, e: (s[:-1], e[:8]), "the chain ends at 2025-01-13"),
    "an older journal was restored": (lambda s, e: (s[:2], e[:8]), "the chain ends at 2025-01-13"),
    "the statements are those of another site": (lambda _, e: (of_another_site(), e), "is signed with another key"),
    "a day is that of another site": (
        lambda s, e: ([s[0], of_another_site()[1], s[2]], e),
        "statement 2 (2025-01-13) is of another site, north",
    ),
    "a day was dropped": (lambda s, e: ([s[0], s[2]], e), "follows statement 1"),
    "the first day was dropped": (lambda s, e: (s[1:], e), "those before it are missing"),
    "two days were exchanged": (lambda s, e: ([s[1], s[0], s[2]], e), "those before it are missing"),
    "a day comes twice": (lambda s, e: ([s[0], s[1], s[1], s[2]], e), "follows statement 2"),
    "sessions were changed": (
        lambda s, e: ([changed(s[0], "statement", sessions={}), *s[1:]], e),
        "is not signed as it stands",
    ),
    "takings were changed": (
        lambda s, e: (
            [changed(s[0], "statement", counter=json.loads(s[0])["statement"]["counter"] | {"taken": {}}), *s[1:]],
            e,
        ),
        "is not signed as it stands",
    ),
    "somebody else signed a day": (lambda s, e: ([*s[:2], signed_by_stranger(s[2])], e), "is not signed as it stands"),
    "all entries were linked anew": (
        lambda s, e: (s, linked_anew(e, poorer)),
        "is not the one that statement 1 (2025-01-12) has signed",
    ),
    "an entry was taken out and all linked anew": (
        lambda s, e: (s, linked_anew(e, lambda found: found[:5] + found[6:])),
        "is not the one that statement 2",
    ),
    "an entry was put in and all linked anew": (
        lambda s, e: (s, linked_anew(e, lambda found: [*found[:5], found[1], *found[5:]])),
        "is not the one that statement 2",
    ),
    "two entries were exchanged and all linked anew": (
        lambda s, e: (s, linked_anew(e, lambda found: [*found[:4], found[5], found[4], *found[6:]])),
        "is not the one that statement 2",
    ),
    "lines of entries were exchanged": (lambda s, e: (s, [e[1], e[0], *e[2:]]), "follows entry"),
    "an entry comes twice": (lambda s, e: (s, [*e[:3], e[2], *e[3:]]), "follows entry 3"),
    "more was written into an entry": (
        lambda s, e: (s, [*e[:3], e[3][:-1] + ',"paid":1}', *e[4:]]),
        "is no entry of the counter: it is not as Hedgerow writes it",
    ),
    "a field of an entry comes twice": (
        lambda s, e: (s, [e[0].replace('"due":200', '"due":200,"due":20'), *e[1:]]),
        "is no entry of the counter",
    ),
    "an empty file of entries": (lambda s, _: (s, []), "are missing"),
}


FORGERIES = SQL | FILES


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_found(name: str, journal: Path, tmp_path: Path) -> None:
    forge, problem = FORGERIES[name]
    if isinstance(forge, str):
        with closing(open_journal(journal)) as store, store.begin() as connection:
            for each in forge.split(";"):
                assert connection.execute(text(each)).rowcount
    statements, entries = export(journal)
    if not isinstance(forge, str):
        statements, entries = forge(statements, entries)
    result = verify(tmp_path, statements, entries, "--expect", LAST_DAY)
    assert result.exit_code == 1, result.stdout
    assert any(line.startswith("WRONG: ") and problem in line for line in result.stdout.splitlines()), result.stdout
    assert "The chain is broken." in result.stdout


def test_an_expected_day_that_was_never_stated_is_missing(journal: Path, tmp_path: Path) -> None:
    statements, entries = export(journal)
    assert verify(tmp_path, statements, entries, "--expect", "2025-01-13").exit_code == 0
    result = verify(tmp_path, statements, entries, "--expect", "2025-01-15")
    assert result.exit_code == 1
    assert "the chain ends at 2025-01-14: the statements until 2025-01-15 are missing" in result.stdout
    assert verify(tmp_path, statements, entries, "--expect", "yesterday").exit_code == 2


def test_days_of_an_older_version_between_are_noted(journal: Path, tmp_path: Path) -> None:
    statements, entries = export(journal)
    result = verify(tmp_path, [statements[0], as_older_version(*statements[:2])], entries)
    assert result.exit_code == 0, result.stdout
    assert "Note: from 2025-01-13 on, an older Hedgerow made statements without the counter's entries." in result.stdout


def test_what_an_older_version_took_is_signed_by_the_next_statement_that_can(journal: Path, tmp_path: Path) -> None:
    statements, _ = export(journal)
    with closing(open_journal(journal)) as store:
        for number, line in ((2, as_older_version(*statements[:2])), (3, "")):
            store.execute(stated_table.delete().where(stated_table.c.number >= number))
            if line:
                read = json.loads(line)
                made = Statement(**{name: value for name, value in read["statement"].items() if name != "counter"})
                StatementStore(store).add(made, read["signature"])
        last = StatementStore(store).last()
        assert last is not None
        assert last.counter is None
        made = statement_of(
            FIRST + 2, last, counter_day(EntryChain(store), FIRST + 2, StatementStore(store).last_counter())
        )
        StatementStore(store).add(made, KEY.sign(made.text))
    assert made.counter is not None
    assert (made.counter.first, made.counter.last) == (5, 12)
    result = verify(tmp_path, *export(journal))
    assert result.exit_code == 0, result.stdout
    left_out = replace(made, counter=replace(made.counter, first=9))
    lines = [*export(journal)[0][:2], SignedStatement(left_out, KEY.sign(left_out.text)).line]
    assert "begins with entry 9 of the counter, after entry 4" in verify(tmp_path, lines, export(journal)[1]).stdout


def test_entries_of_more_than_a_year_ago_may_be_deleted(journal: Path, tmp_path: Path) -> None:
    with closing(open_journal(journal)) as store:
        last = StatementStore(store).last()
        assert last is not None
        late = statement_of(FIRST + 401, last, counter_day(EntryChain(store), FIRST + 401, last.counter))
        StatementStore(store).add(late, KEY.sign(late.text))
        with store.begin() as connection:
            connection.execute(text("DELETE FROM counter_entries WHERE number < 7"))
    result = verify(tmp_path, *export(journal))
    assert result.exit_code == 0, result.stdout
    assert "the entries of the counter before number 7 are not in the file" in result.stdout


def test_an_entry_that_is_dated_back_is_covered_by_the_next_statement(journal: Path) -> None:
    with closing(open_journal(journal)) as store:
        counter, last = CounterStore(store), StatementStore(store).last()
        assert last is not None
        counter.add(CounterEntry(FIRST * 86400.0, "Ana", CounterAction.PAY, taken=5, currency="EUR"))
        found = counter_day(EntryChain(store), FIRST + DAYS, last.counter)
        assert (found.first, found.last, found.taken["EUR"]) == (13, 17, 205)


def test_the_last_entry_is_kept_for_the_next_one_to_follow(journal: Path) -> None:
    with closing(open_journal(journal)) as store:
        prune(store, Retention(summary_days=0), time.time(), Lock())
        (left,) = EntryChain(store).entries()
        CounterStore(store).add(CounterEntry(time.time(), "Ana", CounterAction.DUTY))
        assert [(each.number, each.previous == left.digest) for each in EntryChain(store).entries()] == [
            (16, False),
            (17, True),
        ]
