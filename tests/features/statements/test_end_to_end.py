"""A café's signed statements from outside: written by a running Hedgerow, checked by the public key alone."""

from __future__ import annotations

import subprocess
import time
from contextlib import closing
from pathlib import Path

from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.running import hedgerow_command, network_section, running_hedgerow, wait_until

from hedgerow.features.statements.chain import day_text, filtering_minute
from hedgerow.journal.database import open_journal
from hedgerow.journal.usage import UsageStore

SEATS = "seats:\n  seat-1: {ip: 127.0.0.6}\n"


def ran_two_days_ago(folder: Path) -> None:
    """Leave what a run of two days ago has counted."""
    (folder / "state" / "statements").mkdir(mode=0o700, parents=True)
    (folder / "state").chmod(0o700)
    first = int(time.time() // 86400 - 2)
    (folder / "state" / "statements" / "first-day").write_text(day_text(first))
    with closing(open_journal(folder / "state" / "journal.sqlite")) as store:
        start = first * 1440
        UsageStore(store).add(filtering_minute(start + minute) for minute in range(600, 720))


def audit(*words: str) -> subprocess.CompletedProcess[str]:
    return hedgerow_command("seat", "audit", *words)


def test_statements_are_written_and_checked(whole_internet: SmallInternet, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.jsonl", tmp_path / "site.pem"
    with running_hedgerow(network_section(whole_internet) + SEATS, prepare=ran_two_days_ago) as running:

        def is_written() -> bool:
            done = audit("--state", str(running.state), "--statements", str(chain), "--public-key", str(key))
            assert done.returncode == 0, done.stderr
            assert f"{chain}: " in done.stderr
            assert f"{key}: the public key." in done.stderr
            return chain.read_text().count("\n") >= 1

        wait_until(is_written, 60, "the statement of a day that is over")
        local = ("--unix-socket", str(running.state / "run" / "control.sock"))
        assert b"nothing is missing or changed" in curl("http://localhost/counter/statements", options=local).body
    good = audit("--verify", str(chain), "--key", str(key))
    assert good.returncode == 0, good.stdout
    assert "home: " in good.stdout
    assert "1320 minutes" in good.stdout
    chain.write_text(chain.read_text().replace("10:00-12:00", "00:00-24:00"))
    bad = audit("--verify", str(chain), "--key", str(key))
    assert bad.returncode == 1
    assert "The chain is broken." in bad.stdout
