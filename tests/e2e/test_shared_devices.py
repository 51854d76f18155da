"""A device that several people share, in a home without seats: who signs in there, for how long, and in whose rules."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow

DEVICE = "127.0.0.6"
POLICY = """
people:
  mia: {age: 9, devices: [television], block: [news.example]}
  ana: {profile: adult, devices: [television]}
devices:
  television: {ip: 127.0.0.6}
"""


@pytest.fixture(scope="module")
def home(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + POLICY) as each:
        yield each


def seat(home: Hedgerow, *words: str, fails: bool = False) -> str:
    done = hedgerow_command("seat", *words, "--state", str(home.state))
    assert bool(done.returncode) == fails, done.stderr or done.stdout
    return done.stdout + done.stderr


def is_open(home: Hedgerow) -> bool:
    return kdig_addresses(home.dns, "news.example", source=DEVICE) != ["0.0.0.0"]


def test_a_person_signs_in_takes_a_break_and_leaves(home: Hedgerow) -> None:
    assert not is_open(home), "without a session, the strictest of both counts"
    seat(home, "open", "television", "--person", "ana", "--minutes", "60")
    assert is_open(home)
    (before,) = json.loads(seat(home, "list", "--json"))
    seat(home, "extend", "television", "15")
    seat(home, "pause", "television", "--minutes", "30")
    assert not is_open(home)
    assert "is paused already" in seat(home, "pause", "television", fails=True)
    seat(home, "resume", "television")
    assert is_open(home)
    (after,) = json.loads(seat(home, "list", "--json"))
    assert after["person"] == "ana"
    assert 0 <= after["ends"] - before["ends"] - 15 * 60 < 60, "the break cost no time and gave none"
    seat(home, "end", "television")
    assert not is_open(home)
    assert "no session" in seat(home, "end", "television", fails=True)


def test_what_needs_a_seat_is_refused(home: Hedgerow) -> None:
    assert "is not a seat" in seat(home, "open", "television", "--as", "child", fails=True)
    assert "does not share" in seat(home, "open", "television", "--person", "tom", fails=True)
    assert "Only guests at seats can move" in seat(home, "move", "television", "television", fails=True)
