"""Requests, grants and pauses."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import hedgerow
from hedgerow.journal.access_store import OPEN_REQUESTS_LIMIT, GrantStore, NoSuchEntry
from hedgerow.journal.reader import JournalReader
from hedgerow.policies.model import AccessRequest, DeviceId, Grant

NOW = 1_780_000_000.0
MIA = DeviceId("mia-tablet")


def asked(host="example.org", when=NOW, note="", device=MIA):
    return AccessRequest(when, device, "mia", host, f"https://{host}/", "category: games", note)


def grant(key="g1", ends=NOW + 3600, subject="example.org"):
    return Grant(key, subject, "web page", NOW, ends, MIA)


@pytest.fixture
def store(journal):
    return GrantStore(journal, clock=lambda: NOW)


def test_a_repeated_request_is_counted_once(journal, store):
    first = store.file(asked())
    assert store.file(asked(when=NOW + 60, note="please")) == first
    (request,) = JournalReader(journal).requests()
    assert (request.asked, request.at, request.last_at, request.note) == (2, NOW, NOW + 60, "please")
    assert store.file(asked(device=DeviceId("tom-laptop"))) != first
    assert JournalReader(journal).count_open_requests() == 2


def test_each_person_at_a_shared_device_asks_for_themselves(journal, store):
    """An answer is for the person who asked."""
    persons = ("mia", "tom", None)
    numbers = [store.file(replace(asked(), person=person)) for person in persons]
    assert [store.file(replace(asked(), person=person)) for person in persons] == numbers
    found = {(row.person, row.asked) for row in JournalReader(journal).requests()}
    assert found == {(person, 2) for person in persons}


def test_open_requests_per_device_are_limited(store):
    for number in range(OPEN_REQUESTS_LIMIT):
        assert store.file(asked(f"{number}.example")) is not None
    assert store.file(asked("one-more.example")) is None
    assert store.file(asked("one-more.example", device=DeviceId("tom-laptop"))) is not None


def test_an_approved_request_becomes_a_grant(journal, store):
    number = store.file(asked())
    store.approve(number, grant())
    reader = JournalReader(journal)
    assert reader.grants(NOW) == (grant(),)
    assert reader.grants(NOW + 3600) == ()
    (request,) = reader.requests("approved")
    assert (request.grant_id, request.answered_by, request.answered_at) == ("g1", "web page", NOW)
    assert reader.requests() == ()


def test_a_request_can_be_answered_once(journal, store):
    number = store.file(asked())
    store.deny(number, "web page")
    with pytest.raises(NoSuchEntry):
        store.approve(number, grant())
    # Both or neither: the answer failed, so there is no grant.
    assert JournalReader(journal).grants(NOW) == ()
    with pytest.raises(NoSuchEntry):
        store.deny(number + 1, "web page")
    with pytest.raises(NoSuchEntry):
        store.request(number + 1)
    assert store.file(asked()) != number


def test_a_grant_without_end_holds_until_revoked(journal, store):
    store.give(grant(ends=None))
    assert JournalReader(journal).grants(NOW + 1e9) == (grant(ends=None),)
    store.revoke("g1", "web page")
    assert JournalReader(journal).grants(NOW) == ()
    with pytest.raises(NoSuchEntry):
        store.revoke("g1", "web page")


def test_a_pause_holds_for_its_device_or_person_only(journal, store):
    reader = JournalReader(journal)
    everybody = store.pause("web page")
    mia = store.pause("web page", person="mia", ends=NOW + 60)
    tablet = store.pause("web page", device=MIA)
    assert set(reader.pauses(NOW)) == {everybody, mia, tablet}
    assert set(reader.pauses(NOW + 60)) == {everybody, tablet}
    longer = store.pause("web page", person="mia", ends=NOW + 120)
    assert set(reader.pauses(NOW)) == {everybody, longer, tablet}
    assert store.resume("web page") == 1
    assert set(reader.pauses(NOW)) == {longer, tablet}
    assert store.resume("web page", person="tom") == 0


def test_pauses_are_written_in_one_place() -> None:
    """Undo, the quiet hour and a café's clock change them too: what a row means must not depend on the way."""
    package = Path(hedgerow.__file__).parent
    writers = [file.name for file in package.rglob("*.py") if re.search(r"(insert|update)\(pauses\)", file.read_text())]
    assert writers == ["access_store.py"]
