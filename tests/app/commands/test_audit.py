"""`hedgerow seat audit --verify`: what it prints, its exit status, and that it needs no running Hedgerow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from journal_rows import KEY, statement_of
from typer.testing import CliRunner, Result

from hedgerow.app.commands.time import app
from hedgerow.journal.statements import SignedStatement, StatementKey, digest_of


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
    return CliRunner().invoke(app, words)


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
    assert CliRunner().invoke(app, ["audit", "--verify", str(folder / "statements.jsonl")]).exit_code == 2
    (folder / "statements.jsonl").unlink()
    assert verify(folder).exit_code == 2
