"""Requests, grants and pauses."""

import pytest

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
def ledger(journal):
    return GrantStore(journal, clock=lambda: NOW)


def test_asking_again_counts_and_does_not_bury_the_others(journal, ledger):
    first = ledger.file(asked())
    assert ledger.file(asked(when=NOW + 60, note="please")) == first
    (request,) = JournalReader(journal).requests()
    assert (request.asked, request.at, request.last_at, request.note) == (2, NOW, NOW + 60, "please")
    assert ledger.file(asked(device=DeviceId("tom-laptop"))) != first
    assert JournalReader(journal).count_open_requests() == 2


def test_a_device_has_a_bounded_number_of_open_requests(ledger):
    for number in range(OPEN_REQUESTS_LIMIT):
        assert ledger.file(asked(f"{number}.example")) is not None
    assert ledger.file(asked("one-more.example")) is None
    assert ledger.file(asked("one-more.example", device=DeviceId("tom-laptop"))) is not None


def test_an_approved_request_is_a_grant(journal, ledger):
    number = ledger.file(asked())
    ledger.approve(number, grant())
    reader = JournalReader(journal)
    assert reader.grants(NOW) == (grant(),)
    assert reader.grants(NOW + 3600) == ()
    (request,) = reader.requests("approved")
    assert (request.grant_id, request.answered_by, request.answered_at) == ("g1", "web page", NOW)
    assert reader.requests() == ()


def test_a_request_is_answered_once(journal, ledger):
    number = ledger.file(asked())
    ledger.deny(number, "web page")
    with pytest.raises(NoSuchEntry):
        ledger.approve(number, grant())
    # Both or neither: the answer failed, so nothing was given.
    assert JournalReader(journal).grants(NOW) == ()
    with pytest.raises(NoSuchEntry):
        ledger.deny(number + 1, "web page")
    with pytest.raises(NoSuchEntry):
        ledger.request(number + 1)
    assert ledger.file(asked()) != number


def test_a_grant_for_good_holds_until_revoked(journal, ledger):
    ledger.give(grant(ends=None))
    assert JournalReader(journal).grants(NOW + 1e9) == (grant(ends=None),)
    ledger.revoke("g1", "web page")
    assert JournalReader(journal).grants(NOW) == ()
    with pytest.raises(NoSuchEntry):
        ledger.revoke("g1", "web page")


def test_a_pause_is_of_exactly_whom_it_names(journal, ledger):
    reader = JournalReader(journal)
    everybody = ledger.pause("web page")
    mia = ledger.pause("web page", person="mia", ends=NOW + 60)
    tablet = ledger.pause("web page", device=MIA)
    assert set(reader.pauses(NOW)) == {everybody, mia, tablet}
    assert set(reader.pauses(NOW + 60)) == {everybody, tablet}
    longer = ledger.pause("web page", person="mia", ends=NOW + 120)
    assert set(reader.pauses(NOW)) == {everybody, longer, tablet}
    assert ledger.resume("web page") == 1
    assert set(reader.pauses(NOW)) == {longer, tablet}
    assert ledger.resume("web page", person="tom") == 0
