"""Two machines for one home: joined by one line, alike within moments, and each enough alone."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from joined_machines import join
from postgres_server import PostgresServer, running_server
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.running import (
    Hedgerow,
    executable,
    hedgerow_again,
    hedgerow_command,
    network_section,
    running_hedgerow,
    wait_until,
)

TABLET, SEAT, OTHER_SEAT = "127.0.0.2", "127.0.0.6", "127.0.0.7"
PEOPLE = """
unopened_seats: closed
people:
  mia: {age: 9, devices: [tablet], block: [secret.example, news.example, later.example], budget: {games: 30m}}
devices:
  tablet: {ip: 127.0.0.2}
seats:
  seat-1: {ip: 127.0.0.6}
  seat-2: {ip: 127.0.0.7}
"""
BLOCKED = ["0.0.0.0"]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        server.execute("ALTER ROLE hedgerow CREATEROLE")
        yield server


def is_blocked(node: Hedgerow, host: str, source: str = TABLET) -> bool:
    return kdig_addresses(node.dns, host, source=source) == BLOCKED


def facts(node: Hedgerow, *words: str) -> object:
    done = hedgerow_command(*words, "--json", "--state", str(node.state))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def typed(node: Hedgerow, field: str, code: str, source: str) -> int:
    """Type a code at a device's own page. Returns the status: 303 if it was taken."""
    words = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--interface",
        source,
        "-H",
        f"Origin: {node.web}",
        "-d",
        f"code={code}",
    ]
    done = subprocess.run(
        [*words, f"{node.web}/device/{field}"], capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout)


class Delays:
    """The seconds after which changes at one machine held at the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        began = time.monotonic()
        wait_until(condition, 20, what)
        self.seconds[what] = round(time.monotonic() - began, 2)


def test_two_machines_for_one_home(internet: SmallInternet, server: PostgresServer, tmp_path: Path) -> None:
    policy = network_section(internet) + f'  store: "{server.address(server.database()).url}"\n' + PEOPLE
    places = [tmp_path / name for name in ("one", "other")]
    for place in places:
        place.mkdir()
    delays = Delays()
    with ExitStack() as second_runs, ExitStack() as first_runs:
        one = first_runs.enter_context(running_hedgerow(policy, directory=places[0]))
        join(one, places[1])
        other = second_runs.enter_context(hedgerow_again(places[1], places[1] / "log"))
        wait_until(lambda: curl(f"{other.web}/healthz").status == 200, 60, "its pages answer")
        assert one.authority.read_text() == other.authority.read_text(), "devices trust both by one certificate"
        assert facts(other, "store", "check")["rights"] == "manages its site"  # type: ignore[index]
        assert facts(one, "ca", "rotate", "--yes")

        one.edit_policy(policy.replace("later.example]", "later.example, first.example]"))
        delays.until("a changed file", lambda: is_blocked(other, "first.example"))
        other.edit_policy(other.policy_path.read_text().replace("first.example]", "first.example, second.example]"))
        delays.until("a changed file there", lambda: is_blocked(one, "second.example"))
        before = one.policy_path.read_text()
        other.edit_policy("people: {mia: {agee: 9}}")
        wait_until(lambda: "mistakes" in other.run("doctor").stdout, 20, "the mistake is known there")
        assert one.policy_path.read_text() == before
        other.edit_policy(before)

        assert one.run("grant", "tablet", "secret.example", "--for", "hour").returncode == 0
        delays.until("a grant", lambda: not is_blocked(other, "secret.example"))
        assert other.run("pause", "tablet").returncode == 0
        delays.until("a pause", lambda: is_blocked(one, "www.wikipedia.org"))
        assert one.run("resume", "tablet").returncode == 0
        delays.until("its end", lambda: not is_blocked(other, "www.wikipedia.org"))
        digits = facts(one, "code", "mia", "--open", "news.example")["digits"]  # type: ignore[index]
        assert typed(other, "code", digits, TABLET) == 303
        assert typed(one, "code", digits, TABLET) == 422, "it was used there"
        delays.until("what a code opened", lambda: not is_blocked(one, "news.example"))
        voucher = hedgerow_command(
            "seat", "vouchers", "1", "--minutes", "60", "--as", "child", "--state", str(other.state)
        ).stdout.strip()
        assert typed(one, "voucher", voucher, SEAT) == 303
        assert typed(other, "voucher", voucher, OTHER_SEAT) == 422
        delays.until("a session", lambda: [row["device"] for row in facts(other, "seat", "list")] == ["seat-1"])  # type: ignore[attr-defined]
        assert facts(other, "bonus", "mia", "15", "--for", "games")
        delays.until("minutes on top", lambda: {row["limit"] for row in facts(one, "budgets")} == {45})  # type: ignore[attr-defined]
        password = [executable(), "password", "ana", "--json", "--state"]
        for node, is_new in ((one, True), (other, False)):
            made = subprocess.run(
                [*password, str(node.state)], input="four words and more\n", capture_output=True, text=True, check=True
            )
            assert json.loads(made.stdout)["new"] == is_new
            delays.until("an account", lambda: curl(f"{other.web}/").headers.get("location") == ["/sign-in"])
        assert [row["actor"] for row in facts(other, "store", "versions")][-1] == "invite"  # type: ignore[attr-defined]
        wait_until(lambda: facts(one, "ca", "show") == facts(other, "ca", "show"), 60, "the new certificate authority")
        print("seconds until a change held on the other machine:", delays.seconds)

        first_runs.close()
        server.stop()
        assert is_blocked(other, "later.example"), "alone, it goes on"
        assert not is_blocked(other, "secret.example"), "with the grants that it knows"
        other.edit_policy(before.replace("second.example]", "second.example, third.example]"))
        wait_until(lambda: is_blocked(other, "third.example"), 20, "a new rule in its own file holds there")
        server.start()
        one = first_runs.enter_context(hedgerow_again(places[0], places[0] / "log"))
        wait_until(lambda: is_blocked(one, "third.example"), 60, "and on the first one, once it is back")
