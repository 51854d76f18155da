"""A whole Hedgerow with its store on a PostgreSQL server that goes away and comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer, running_server
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.running import (
    Hedgerow,
    hedgerow_again,
    hedgerow_command,
    network_section,
    running_hedgerow,
    wait_until,
)

TABLET = "127.0.0.2"
PEOPLE = """
people:
  mia: {age: 9, devices: [tablet], block: [secret.example]}
devices:
  tablet: {ip: 127.0.0.2}
"""
BLOCKED = ["0.0.0.0"]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


def hosts(server: PostgresServer, database: str) -> list[str]:
    """Return the hosts of all decisions, as another program reads them."""
    rows = server.execute("SELECT host FROM decisions JOIN hosts_seen USING (site, host_key) ORDER BY id", database)
    return [str(host) for (host,) in rows]


def ask(running: Hedgerow, host: str) -> None:
    assert kdig_addresses(running.dns, host, source=TABLET) == BLOCKED


def test_filtering_goes_on_without_the_store(internet: SmallInternet, server: PostgresServer, tmp_path: Path) -> None:
    database = server.database()
    url = server.address(database).url
    policy = network_section(internet) + f'  store: "{url}"\n' + PEOPLE
    with running_hedgerow(policy, directory=tmp_path) as running:
        ask(running, "before.secret.example")
        wait_until(lambda: hosts(server, database) == ["before.secret.example"], 20, "the decision is in the store")
        assert running.run("grant", "tablet", "granted.secret.example", "--for", "hour").returncode == 0
        allowed = running.run("explain", "tablet", "granted.secret.example", "--json").stdout
        assert json.loads(allowed)["decision"]["verdict"] == "allow"
        log = json.loads(running.run("log", "--json").stdout)
        assert "before.secret.example" in str(log)

        server.stop()
        ask(running, "during.secret.example")
        wait_until(lambda: list((running.state / "spool").glob("*.json")), 30, "what happens waits on the disk")
        running.edit_policy(policy.replace("secret.example]", "secret.example, other.example]"))
        wait_until(
            lambda: kdig_addresses(running.dns, "other.example", source=TABLET) == BLOCKED, 20, "a new rule is in force"
        )
        assert kdig_addresses(running.dns, "granted.secret.example", source=TABLET) != BLOCKED, "a grant stays in force"
        assert "events wait on the disk" in running.run("doctor").stdout
        assert len(running.pids("control")) == 1

        server.start()
        ask(running, "after.secret.example")
        wait_until(lambda: "after.secret.example" in hosts(server, database), 30, "the store is written again")
        found = [
            host
            for host in hosts(server, database)
            if host.endswith(".secret.example") and not host.startswith("granted")
        ]
        assert found == ["before.secret.example", "during.secret.example", "after.secret.example"]
        server.stop()
        ask(running, "last.secret.example")
        wait_until(lambda: list((running.state / "spool").glob("*.json")), 30, "the last decision is known to control")
    # It ended while the store was away, and starts while it still is.
    with hedgerow_again(tmp_path, tmp_path / "again.txt") as running:
        ask(running, "alone.secret.example")
        assert kdig_addresses(running.dns, "granted.secret.example", source=TABLET) != BLOCKED
        assert curl(f"{running.web}/").status == 503
        server.start()
        wait_until(lambda: curl(f"{running.web}/healthz").status == 200, 60, "control serves")
        wait_until(lambda: "alone.secret.example" in hosts(server, database), 30, "nothing was lost")
        found = hosts(server, database)
        assert len([host for host in found if host == "last.secret.example"]) == 1
        assert len([host for host in found if host == "alone.secret.example"]) == 1
    # Another node has migrated the tables to a version that this one does not know.
    ((version,),) = server.execute("SELECT version_num FROM alembic_version", database)
    server.execute("UPDATE alembic_version SET version_num = '9999'", database)
    with hedgerow_again(tmp_path, tmp_path / "newer.txt") as running:
        ask(running, "newer.secret.example")
        wait_until(
            lambda: "a newer Hedgerow wrote it" in curl(f"{running.web}/").body.decode(), 30, "the page says why"
        )
        wait_until(lambda: list((running.state / "spool").glob("*.json")), 30, "what happens waits on the disk")
    with hedgerow_again(tmp_path, tmp_path / "older.txt") as running:  # and after a restart
        server.execute(f"UPDATE alembic_version SET version_num = '{version}'", database)
        wait_until(lambda: hosts(server, database).count("newer.secret.example") == 1, 60, "nothing was lost")


def test_a_site_gets_a_role_of_its_own(server: PostgresServer, tmp_path: Path) -> None:
    owner = server.address(server.database()).url

    def run(*words: str, status: int = 0) -> str:
        done = hedgerow_command("store", *words, "--state", str(tmp_path))
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    assert "permission denied to create role" in run("grant", "cafe-3", "--store", owner, status=1)
    server.execute("ALTER ROLE hedgerow CREATEROLE")
    made = json.loads(run("grant", "cafe-3", "--store", owner, "--json"))
    assert (made["site"], len(made["password"])) == ("cafe-3", 32)
    assert made["role"].endswith("_cafe_3")
    assert "site cafe-3" in run("check", made["store"])
    assert "Only the role that owns the store" in run("grant", "cafe-4", "--store", made["store"], status=2)
    assert "no name of a site" in run("grant", "Café 3", "--store", owner, status=2)
    run("revoke", made["role"], "--store", owner)
    assert "not permitted to log in" in run("check", made["store"], status=1)
    assert "has no rights to this store" in run("revoke", made["role"], "--store", owner, status=2)


def test_a_home_moves_to_a_server(internet: SmallInternet, server: PostgresServer, tmp_path: Path) -> None:
    with running_hedgerow(network_section(internet) + PEOPLE, directory=tmp_path) as running:
        ask(running, "old.secret.example")
        wait_until(lambda: "old.secret.example" in running.run("log", "--json").stdout, 20, "it is recorded")
        database = server.database()
        url = server.address(database).url
        refused = hedgerow_command("store", "copy", str(running.state), url)
        assert "Hedgerow is running" in refused.stderr
    done = hedgerow_command("store", "copy", str(tmp_path / "state"), url)
    assert done.returncode == 0, done.stderr
    assert hosts(server, database) == ["old.secret.example"]
    options = ["--store", url]
    with running_hedgerow(network_section(internet) + PEOPLE, directory=tmp_path, options=options) as running:
        assert "old.secret.example" in running.run("log", "--json").stdout
        checked = hedgerow_command("store", "check", "--state", str(running.state), "--json")
        assert json.loads(checked.stdout)["engine"] == "PostgreSQL"
    back = hedgerow_command("store", "copy", url, str(tmp_path / "back"))
    assert back.returncode == 0, back.stderr
    assert (tmp_path / "back" / "journal.sqlite").exists()


def test_a_password_on_the_command_line_is_refused(tmp_path: Path) -> None:
    started = hedgerow_command(
        "up", "--store", "postgresql://h:geheim@db.example/h", "--state", str(tmp_path / "state"), cwd=tmp_path
    )
    assert started.returncode == 2
    assert "contains a password" in started.stderr
    assert "geheim" not in started.stderr
