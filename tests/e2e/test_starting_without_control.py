"""Starts with a full or read-only disk, a journal or a snapshot that can't be used:

DNS and proxy filter all the same.
"""

from __future__ import annotations

import html
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.broken_disk import fill, small_disk
from small_internet.clients import curl, kdig_addresses
from small_internet.family import LISTS, STRANGER, TABLET, family_policy
from small_internet.running import Hedgerow, hedgerow_again, hedgerow_command, running_hedgerow, wait_until

needs_root = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")]
BLOCKED = ["0.0.0.0"]


def make_full(disk: Path) -> None:
    fill(disk)


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def make_journal_newer(disk: Path) -> None:
    connection = sqlite3.connect(disk / "state" / "journal.sqlite")
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def damage_snapshot(disk: Path) -> None:
    make_journal_newer(disk)
    (disk / "state" / "published" / "snapshot.json").write_bytes(b'{"serial": 1')


def damage_lists(disk: Path) -> None:
    make_journal_newer(disk)
    for path in (disk / "state" / "generations").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")


def assert_filtering(running: Hedgerow) -> None:
    assert kdig_addresses(running.dns, "news.example", source=TABLET) == BLOCKED, "by a rule of the policy"
    assert curl("http://news.example/", proxy=running.proxy, source=TABLET).status == 403


@pytest.mark.parametrize(
    ("harm", "finding", "problem"),
    [
        pytest.param(make_full, "state directory", "No space left on device", marks=needs_root),
        pytest.param(make_read_only, "control", "Read-only file system", marks=needs_root),
        (make_journal_newer, "control", "a newer Hedgerow wrote it"),
        (damage_snapshot, "control", "a newer Hedgerow wrote it"),
        (damage_lists, "control", "a newer Hedgerow wrote it"),
    ],
)
def test_filtering_starts_from_what_an_earlier_run_left(
    internet: SmallInternet, tmp_path: Path, harm: Callable[[Path], None], finding: str, problem: str
) -> None:
    is_mounted = harm in (make_full, make_read_only)
    with small_disk(tmp_path / "disk", 256 if is_mounted else None) as disk:
        with running_hedgerow(family_policy(internet), lists=LISTS, directory=disk) as running:
            assert_filtering(running)
        harm(disk)
        with hedgerow_again(disk, tmp_path / "log") as again:
            assert_filtering(again)
            assert problem in again.stderr
            doctor = json.loads(hedgerow_command("doctor", "--json", "--state", str(again.state)).stdout)
            assert [each["health"] for each in doctor if each["what"] == finding and problem in each["found"]] == [
                "bad"
            ]
            if harm is not make_full:
                assert problem in hedgerow_command("devices", "--state", str(again.state)).stderr
                page = curl(again.web, headers=["Accept-Language: de"])
                assert page.status == 503
                assert problem in html.unescape(page.text)
                assert "DNS und Proxy wenden weiter die Regeln vom" in page.text
                assert curl(f"{again.web}/healthz").status == curl(f"{again.web}/readyz").status == 503
                assert problem in curl(f"{again.web}/api/v1/status").json()["detail"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_first_start_on_a_full_disk_filters_and_control_follows(internet: SmallInternet, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        (disk / "hedgerow.yaml").write_text(family_policy(internet, lists=""))
        filler = fill(disk)
        with hedgerow_again(disk, tmp_path / "log") as running:
            assert_filtering(running)
            assert curl(f"{running.web}/healthz").status == 503
            assert kdig_addresses(running.dns, "pornhub.com", source=STRANGER) == BLOCKED, (
                "by the lists that come with it"
            )
            filler.unlink()
            assert running.process.stdout
            ready = wait_until(running.process.stdout.readline, 60, "the next line")
            while not ready.startswith("hedgerow ready"):
                ready = wait_until(running.process.stdout.readline, 60, "the next line")
            assert curl(f"{running.web}/sign-in").status != 503, "ready means that the pages answer"
            wait_until(lambda: curl(f"{running.web}/healthz").status == 200, 60, "all is well")
            assert_filtering(running)
            running.edit_policy(
                running.policy_path.read_text().replace("block: [news.example", "block: [bank.example, news.example")
            )
            wait_until(
                lambda: kdig_addresses(running.dns, "bank.example", source=TABLET) == BLOCKED,
                60,
                "changes come into force",
            )
