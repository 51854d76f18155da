"""Forms of the block page: origin checks, fields and tickets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.names import host_of_url
from hedgerow.policies.model import DeviceId
from hedgerow.policies.text.notes import NOTE_LIMIT
from hedgerow.proxy.page_forms import (
    MAX_FORM_BYTES,
    TICKET_LIFETIME,
    accepts_ticket,
    form_fields,
    is_from_same_origin,
    is_navigation,
    issue_ticket,
    parse_ask_form,
    parse_poll_count,
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"origin": "https://a.example"}, True),
        ({"origin": "https://A.Example:443"}, True),
        ({"referer": "https://a.example/page?x"}, True),
        ({"origin": "https://a.example", "sec-fetch-site": "same-origin"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": "null", "referer": "https://a.example/"}, False),
        ({"origin": "http://a.example"}, False),
        ({"origin": "https://a.example:8443"}, False),
        ({"origin": "https://b.example"}, False),
        ({"origin": "https://a.example.evil.example"}, False),
        ({"origin": "https://a.example", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "https://a.example", "sec-fetch-site": "same-site"}, False),
        ({"origin": "https://[", "sec-fetch-site": "same-origin"}, False),
    ],
)
def test_same_origin(fields: dict[str, str], expected: bool) -> None:
    assert is_from_same_origin("https", "a.example", 443, lambda name: fields.get(name, "")) is expected


@pytest.mark.parametrize(
    ("body", "url", "note"),
    [
        (b"url=https%3A%2F%2Fa.example%2Fx%3Fy&note=for+school", "https://a.example/x?y", "for school"),
        (b"url=https%3A%2F%2Fb.example%2F&note=", "fallback", ""),
        (b"url=javascript%3Aalert(1)", "fallback", ""),
        (b"url=http%3A%2F%2Fphish.example%5C%40a.example%2F", "fallback", ""),  # browsers read a backslash as a slash
        (b"url=http%3A%2F%2Fuser%40a.example%2F", "fallback", ""),
        (b"note=a%0D%0Ab%00c%E2%80%AEd", "fallback", "a b c d"),
        (b"note=" + b"x" * 1000, "fallback", "x" * NOTE_LIMIT),
        (b"note=" + b"x" * (MAX_FORM_BYTES + 1), "fallback", ""),
        (b"\xff\xfe", "fallback", ""),
        (b"", "fallback", ""),
    ],
)
def test_forms(body: bytes, url: str, note: str) -> None:
    assert parse_ask_form(form_fields(body), "a.example", "fallback") == (url, note)


@given(st.binary(max_size=400))
def test_any_form_can_be_parsed(body: bytes) -> None:
    url, note = parse_ask_form(form_fields(body), "a.example", "fallback")
    assert url == "fallback" or host_of_url(url) == "a.example"
    assert len(note) <= NOTE_LIMIT


def test_a_form_with_too_many_fields_is_ignored() -> None:
    body = b"url=https://a.example/x&code=123&accept=yes&times=1&" + b"&".join(
        b"x%d=1" % number for number in range(20)
    )
    assert parse_ask_form(form_fields(body), "a.example", "https://a.example/") == ("https://a.example/", "")
    assert (form_fields(body), parse_poll_count(body.decode())) == ({}, 9999)


@given(st.binary(max_size=200))
def test_any_form_can_be_read_for_the_number_of_polls(body: bytes) -> None:
    parse_poll_count(body.decode("latin-1"))


def test_a_ticket_is_valid_for_one_host_and_device_until_it_expires() -> None:
    key, mia, now = b"k" * 32, DeviceId("mia"), 1e9
    ticket = issue_ticket(key, "a.example", mia, now)
    assert form_fields(f"url=x&ticket={ticket}".encode())["ticket"] == ticket
    assert accepts_ticket(key, ticket, "a.example", mia, now + TICKET_LIFETIME - 1)
    assert not accepts_ticket(key, ticket, "a.example", mia, now + TICKET_LIFETIME + 1)
    assert not accepts_ticket(b"x" * 32, ticket, "a.example", mia, now)
    assert not accepts_ticket(key, ticket, "b.example", mia, now)
    assert not accepts_ticket(key, ticket, "a.example", DeviceId("tom"), now)
    later = f"{now + 10 * TICKET_LIFETIME:.0f}-{ticket.partition('-')[2]}"
    assert not accepts_ticket(key, later, "a.example", mia, now)


@given(st.text(max_size=100))
def test_a_malformed_ticket_is_refused(ticket: str) -> None:
    assert not accepts_ticket(b"k" * 32, ticket, "a.example", DeviceId("mia"), 0.0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, True),
        ({"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, False),
        ({"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, False),
        ({"sec-fetch-mode": "same-origin"}, False),
        ({"sec-fetch-dest": "empty"}, False),
    ],
)
def test_navigation(fields: dict[str, str], expected: bool) -> None:
    assert is_navigation(lambda name: fields.get(name, "")) is expected
