"""Statements of a café: what a check of their chain finds, and who can change them in the store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from postgres_server import PostgresServer
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, IntegrityError
from typer.testing import CliRunner, Result

from hedgerow.app.cli import make_cli
from hedgerow.app.signing_keys import public_key
from hedgerow.features.statements.chain import (
    Receipt,
    SignedStatement,
    Statement,
    StatementKey,
    digest_of,
    filtering_minute,
    minute_ranges,
    verify_chain,
)
from hedgerow.features.statements.store import StatementStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.postgresql_rights import grant_site, make_role
from hedgerow.journal.store import Store
from hedgerow.journal.tables import statements
from hedgerow.journal.usage import UsageStore

FIRST = date(2026, 11, 1)
KEY, STORE_KEY, STRANGER = (StatementKey.make() for _ in range(3))
PUBLIC, STORE_PUBLIC = public_key(KEY.public_pem.encode()), public_key(STORE_KEY.public_pem.encode())
DAY = 20_000


def statement_of(number: int, day: str, previous: str = "", key: StatementKey = KEY, site: str = "home") -> Statement:
    """Return a statement of a busy day, by default the first."""
    return Statement(
        site,
        number,
        previous,
        key.fingerprint,
        day,
        f"{date.fromisoformat(day) + timedelta(days=1)}T00:11:00Z",
        {"child": 9, "adult": 2},
        {key.number_of("Ana"): 2},
        {},
        {"adult": 12, "social": 40},
        ["00:00-12:00", "12:30-24:00"],
        5,
        {"adult": "full"},
        ["0123456789abcdef"],
        "",
    )


def receipt_for(stated: Statement, at: int | None = None, key: StatementKey = STORE_KEY) -> Receipt:
    day_end = (date.fromisoformat(stated.day) - date(1970, 1, 1)).days * 86400 + 86400
    unsigned = Receipt(at if at is not None else day_end + 300, key.fingerprint, "")
    return replace(unsigned, signature=key.sign(unsigned.text(stated.site, stated.number, digest_of(stated.text))))


def chain(count: int, *, received: bool = False) -> list[SignedStatement]:
    found: list[SignedStatement] = []
    for number in range(1, count + 1):
        previous = digest_of(found[-1].statement.text) if found else ""
        stated = statement_of(number, f"{FIRST + timedelta(days=number - 1)}", previous)
        found.append(SignedStatement(stated, KEY.sign(stated.text), receipt_for(stated) if received else None))
    return found


def lines(found: list[SignedStatement]) -> list[bytes]:
    return [f"{each.line}\n".encode() for each in found]


def test_a_good_chain() -> None:
    report = verify_chain(lines(chain(5)), [PUBLIC])
    assert (report.problems, report.gaps, report.notes, report.receipts) == ((), (), (), 0)
    assert [each.minutes_off for each in report.statements] == [30] * 5


def changed(line: bytes, **values: object) -> bytes:
    read = json.loads(line)
    read["statement"] |= values
    return json.dumps(read, sort_keys=True, separators=(",", ":")).encode()


def resigned(signed: SignedStatement, signer: StatementKey = KEY, **values: object) -> bytes:
    stated = replace(signed.statement, **values)  # type: ignore[arg-type]
    return SignedStatement(stated, signer.sign(stated.text)).line.encode()


TAMPERED: dict[str, tuple[Callable[[list[SignedStatement]], list[bytes]], str]] = {
    "a number was changed": (
        lambda c: [*lines(c[:2]), changed(lines(c)[2], blocks={}), *lines(c[3:])],
        "not signed as it stands",
    ),
    "one is missing": (lambda c: lines(c[:2] + c[3:]), "statement 4 (2026-11-04) follows statement 2"),
    "the first is missing": (lambda c: lines(c[1:]), "those before it are missing"),
    "two are swapped": (lambda c: lines([c[0], c[2], c[1], *c[3:]]), "follows statement"),
    "one comes twice": (lambda c: lines([*c[:2], c[1], *c[2:]]), "follows statement 2"),
    "one was signed again, with other numbers": (
        lambda c: [*lines(c[:2]), resigned(c[2], blocks={}), *lines(c[3:])],
        "was not made after this statement 3",
    ),
    "another key signed one": (lambda c: [*lines(c[:4]), resigned(c[4], STRANGER)], "is not signed as it stands"),
    "another key signed and says so": (
        lambda c: [*lines(c[:4]), resigned(c[4], STRANGER, key=STRANGER.fingerprint)],
        "another key",
    ),
    "another site": (lambda c: [*lines(c[:4]), resigned(c[4], site="elsewhere")], "of another site"),
    "a day comes twice": (lambda c: [*lines(c[:4]), resigned(c[4], day="2026-11-04")], "comes before"),
    "more was written into one": (
        lambda c: [*lines(c[:4]), changed(lines(c)[4], guests=["mia"])],
        "not as Hedgerow writes it",
    ),
    "spaces": (lambda c: [*lines(c[:4]), lines(c)[4].replace(b":", b": ")], "not as Hedgerow writes it"),
    "an endless day": (
        lambda c: [*lines(c[:4]), resigned(c[4], filter_on=["00:00-24:00", "00:00-24:00"])],
        "more than a day has",
    ),
    "made in advance": (
        lambda c: [*lines(c[:4]), resigned(c[4], made_at="2026-11-05T23:59:00Z")],
        "statement 5 (2026-11-05) was made before its day was over",
    ),
    "made at no instant": (lambda c: [*lines(c[:4]), resigned(c[4], made_at="2026-11-06T00:20:00")], "says no instant"),
    "of a day to come": (
        lambda c: [*lines(c[:4]), resigned(c[4], day="2099-01-01", made_at="2099-01-02T00:20:00Z")],
        "statement 5 (2099-01-01) is of a day that is not over",
    ),
    "no JSON": (lambda c: [*lines(c[:4]), b"\xff{["], "line 5 is no statement"),
    "a very long line": (lambda c: [*lines(c[:4]), resigned(c[4], conduct="x" * 70_000)], "too long"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_done_to_a_chain_is_found(name: str) -> None:
    tamper, problem = TAMPERED[name]
    assert any(problem in each for each in verify_chain(tamper(chain(5)), [PUBLIC], today="2026-11-20").problems)


def test_a_receipt_from_before_the_end_of_the_day() -> None:
    found = chain(3, received=True)
    found[1] = replace(found[1], receipt=receipt_for(found[1].statement, at=receipt_for(found[0].statement).at))
    (problem,) = verify_chain(lines(found), [PUBLIC], [STORE_PUBLIC]).problems
    assert problem == "statement 2 (2026-11-02) was at the store before its day was over"


def test_missing_days_are_gaps_though_the_chain_is_whole() -> None:
    found = chain(2)
    stated = statement_of(3, "2026-11-07", digest_of(found[1].statement.text))
    found.append(SignedStatement(stated, KEY.sign(stated.text)))
    report = verify_chain(lines(found), [PUBLIC], today="2026-11-20")
    assert (report.problems, report.gaps) == ((), ("2026-11-03 to 2026-11-06",))
    assert report.notes == ("the last statement is of 2026-11-07, 13 days ago",)


def test_a_new_key_is_noted_and_needs_both() -> None:
    found = chain(2)
    stated = statement_of(3, "2026-11-03", digest_of(found[1].statement.text), STRANGER)
    found.append(SignedStatement(stated, STRANGER.sign(stated.text)))
    assert verify_chain(lines(found), [PUBLIC]).problems
    report = verify_chain(lines(found), [PUBLIC, public_key(STRANGER.public_pem.encode())])
    assert (report.problems, report.notes) == ((), (f"from 2026-11-03 on, the key {STRANGER.fingerprint} signs",))


def test_receipts_of_the_store() -> None:
    good = chain(4, received=True)
    report = verify_chain(lines(good), [PUBLIC], [STORE_PUBLIC])
    assert (report.problems, report.receipts) == ((), 4)
    newest_waits = [*good[:3], replace(good[3], receipt=None)]
    assert verify_chain(lines(newest_waits), [PUBLIC], [STORE_PUBLIC]).problems == ()
    hidden = [good[0], replace(good[1], receipt=None), *good[2:]]
    assert verify_chain(lines(hidden), [PUBLIC], [STORE_PUBLIC]).problems == (
        "statement 2 (2026-11-02) has no receipt of the store",
    )
    own = [replace(each, receipt=receipt_for(each.statement, key=KEY)) for each in good]
    assert (
        "the receipt of statement 1 (2026-11-01) is not the store's"
        in verify_chain(lines(own), [PUBLIC], [STORE_PUBLIC]).problems
    )
    assert verify_chain(lines(chain(4)), [PUBLIC], [STORE_PUBLIC]).problems == (
        "no statement has a receipt of the store",
    )
    late = receipt_for(good[0].statement, at=int(good[3].receipt.at) if good[3].receipt else 0)
    report = verify_chain(lines([replace(good[0], receipt=late), *good[1:]]), [PUBLIC], [STORE_PUBLIC])
    assert report.notes == ("the statement of 2026-11-01 reached the store 3 days after its day",)


def test_a_rewritten_past_differs_from_an_earlier_file() -> None:
    before = lines(chain(3))
    assert verify_chain(lines(chain(5)), [PUBLIC], earlier=before).problems == ()
    first = replace(chain(1)[0].statement, blocks={})
    other = SignedStatement(first, KEY.sign(first.text))
    second = statement_of(2, "2026-11-02", digest_of(first.text))
    rewritten = lines([other, SignedStatement(second, KEY.sign(second.text))])
    assert verify_chain(rewritten, [PUBLIC]).problems == ()
    assert "statement 1 (2026-11-01) was another one" in verify_chain(rewritten, [PUBLIC], earlier=before).problems[0]


def add(store: Store, number: int, previous: str = "") -> Statement:
    stated = statement_of(number, f"{FIRST + timedelta(days=number - 1)}", previous, site=store.site)
    StatementStore(store).add(stated, KEY.sign(stated.text))
    return stated


def test_a_chain_in_the_store(journal: Store) -> None:
    kept = StatementStore(journal)
    assert (kept.last(), kept.chain()) == (None, ())
    first = add(journal, 1)
    second = add(journal, 2, digest_of(first.text))
    with pytest.raises(IntegrityError):  # another node was faster
        add(journal, 2, digest_of(first.text))
    assert kept.last() == second
    assert verify_chain((each.line for each in kept.chain()), [PUBLIC]).problems == ()


def test_the_day_of_the_store(journal: Store) -> None:
    before = time.time() // 86400
    assert StatementStore(journal).today() in (
        {before, time.time() // 86400} if journal.dialect.is_partitioned else {None}
    )


def test_minutes_of_the_filter(journal: Store) -> None:
    start = DAY * 1440
    minutes = [start - 1, start, start + 1, start + 61, start + 1439, start + 1440]
    UsageStore(journal).add([filtering_minute(minute) for minute in minutes])
    kept = StatementStore(journal)
    assert minute_ranges(kept.minutes_on(DAY)) == ["00:00-00:02", "01:01-01:02", "23:59-24:00"]


@pytest.fixture
def cafe(postgres: PostgresServer) -> Iterator[tuple[Store, Store]]:
    """The store as its owner and as the manager of a café see it."""
    postgres.execute("ALTER ROLE hedgerow CREATEROLE")
    database = postgres.database()
    with closing(open_journal(postgres.address(database))) as owner:
        with owner.begin() as connection:
            make_role(connection, f"{database}_cafe", "a password")
            grant_site(connection, f"{database}_cafe", "cafe", may_manage=True)
        with closing(open_journal(postgres.address(database, f"{database}_cafe"))) as site:
            yield owner, site
    postgres.drop(database)


REWRITING = (
    "UPDATE statements SET body = '{}'",
    "UPDATE statements SET receipt = '{}'",
    "DELETE FROM statements",
    "TRUNCATE statements",
    "ALTER TABLE statements DISABLE TRIGGER ALL",
    "DROP TRIGGER chain_statement ON statements",
    "DROP TABLE statements",
)


def test_a_site_cannot_rewrite_its_past(cafe: tuple[Store, Store]) -> None:
    _, site = cafe
    first = add(site, 1)
    for statement in REWRITING:
        with site.connect() as connection, pytest.raises(DatabaseError, match=r"permission denied|must be owner"):
            connection.execute(text(statement))
    with pytest.raises(DatabaseError, match="does not follow"):
        add(site, 3, digest_of(first.text))
    with pytest.raises(DatabaseError, match="does not follow"):
        add(site, 2, "another past")
    assert [each.statement for each in StatementStore(site).chain()] == [first]


def test_the_store_says_when_a_statement_came_and_its_owner_signs_that(cafe: tuple[Store, Store]) -> None:
    owner, site = cafe
    first = add(site, 1)
    forged = "UPDATE statements SET received_at = 0"
    with site.connect() as connection, pytest.raises(DatabaseError, match="permission denied"):
        connection.execute(text(forged))
    row = {
        "number": 2,
        "digest": "",
        "previous": digest_of(first.text),
        "body": "{}",
        "signature": "",
        "received_at": 0.0,
        "receipt": "{}",
    }
    row["digest"] = digest_of("{}")
    with site.connect() as connection:
        connection.execute(site.insert(statements).values(row))
        received, receipt = connection.execute(
            text("SELECT received_at, receipt FROM statements WHERE number = 2")
        ).one()
        assert (received > 1e9, receipt) == (True, None)

    def sign(site: str, number: int, digest: str, at: int) -> Receipt:
        unsigned = Receipt(at, STORE_KEY.fingerprint, "")
        return replace(unsigned, signature=STORE_KEY.sign(unsigned.text(site, number, digest)))

    assert StatementStore(owner).sign_receipts(sign) == 1
    assert StatementStore(owner).sign_receipts(sign) == 0
    report = verify_chain((each.line for each in StatementStore(site).chain()), [PUBLIC], [STORE_PUBLIC])
    assert (report.problems, report.receipts) == ((), 1)


# The command `hedgerow seat audit --verify`, which needs no running Hedgerow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    first = statement_of(1, "2026-11-01")
    second = statement_of(2, "2026-11-03", digest_of(first.text))
    lines = [SignedStatement(each, KEY.sign(each.text)).line for each in (first, second)]
    (tmp_path / "statements.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "site.pem").write_text(KEY.public_pem)
    return tmp_path


def verify(folder: Path, *options: str, key: str = "site.pem") -> Result:
    words = ["audit", "--verify", str(folder / "statements.jsonl"), "--key", str(folder / key), *options]
    return CliRunner().invoke(make_cli("seat"), ["seat", *words])


def test_a_whole_chain(folder: Path) -> None:
    result = verify(folder)
    assert result.exit_code == 0
    assert "home: 2 statements, 2026-11-01 to 2026-11-03." in result.stdout
    assert "Gap: no statement for 2026-11-02." in result.stdout
    assert "Filter off: 2026-11-01, 30 minutes." in result.stdout
    facts = json.loads(verify(folder, "--json").stdout)
    assert (facts["good"], facts["statements"], facts["gaps"]) == (True, 2, ["2026-11-02"])


def test_a_changed_number(folder: Path) -> None:
    file = folder / "statements.jsonl"
    file.write_text(file.read_text().replace('"adult":12', '"adult":11', 1))
    result = verify(folder)
    assert result.exit_code == 1
    assert "WRONG: statement 1 (2026-11-01) is not signed as it stands" in result.stdout
    assert "The chain is broken." in result.stdout


def test_nothing_is_wrong_before_the_first_day_is_over(folder: Path) -> None:
    earlier = folder / "earlier.jsonl"
    (folder / "statements.jsonl").rename(earlier)
    (folder / "statements.jsonl").touch()
    result = verify(folder)
    assert result.exit_code == 2, result.stdout
    assert result.stdout.startswith("No statements.\nNo statement was checked: ")
    facts = json.loads(verify(folder, "--json").stdout)
    assert (facts["good"], facts["problems"], facts["last"]) == (None, [], None)
    for options, problem in (
        (("--expect", "2026-11-03"), "there is no statement: those until 2026-11-03 are missing"),
        (("--earlier", str(earlier)), "statement 1 (2026-11-01) was another one, or was there, in the earlier file"),
    ):
        result = verify(folder, *options)
        assert result.exit_code == 1
        assert f"WRONG: {problem}." in result.stdout
        assert "The chain is broken." in result.stdout


def test_a_day_that_is_not_over_has_no_statement_yet(folder: Path) -> None:
    """Neither an empty chain nor a whole one is broken because of that, and one that lacks earlier days is."""
    today = datetime.now(UTC).date()
    made = f"it is made at 00:02 UTC on {today + timedelta(days=1)}"
    chain = folder / "statements.jsonl"
    for days, status in ((0, 2), (1, 2), (5, 1)):
        stated = statement_of(1, f"{today - timedelta(days=days)}")
        chain.write_text(f"{SignedStatement(stated, KEY.sign(stated.text)).line}\n" if days else "")
        result = verify(folder, "--expect", f"{today}")
        assert result.exit_code == status, result.stdout
        assert f"Note: there is no statement of {today} yet: {made}." in result.stdout
        assert ("broken" in result.stdout) == (status == 1)
        facts = json.loads(verify(folder, "--expect", f"{today}", "--json").stdout)
        assert facts["good"] is (False if days == 5 else None)
    far = verify(folder, "--expect", f"{today + timedelta(days=9)}").stdout
    assert f"00:02 UTC on {today + timedelta(days=10)}" in far


def test_the_key_of_somebody_else(folder: Path) -> None:
    (folder / "other.pem").write_text(StatementKey.make().public_pem)
    assert verify(folder, key="other.pem").exit_code == 1


@pytest.mark.parametrize("content", ["", "no key", KEY.pem.decode()], ids=["empty", "text", "private"])
def test_a_file_that_is_no_public_key(folder: Path, content: str) -> None:
    (folder / "wrong.pem").write_text(content)
    result = verify(folder, key="wrong.pem")
    assert (result.exit_code, result.stdout) == (2, "")


def test_missing_files_and_a_missing_key(folder: Path) -> None:
    assert verify(folder, key="missing.pem").exit_code == 2
    assert (
        CliRunner().invoke(make_cli("seat"), ["seat", "audit", "--verify", str(folder / "statements.jsonl")]).exit_code
        == 2
    )
    (folder / "statements.jsonl").unlink()
    assert verify(folder).exit_code == 2
