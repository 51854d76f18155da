"""The file of corrections that one home exports and another takes over."""

from __future__ import annotations

import pytest

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.corrections import corrections_by_topic, parse_exceptions, parse_site, render_exceptions
from hedgerow.policies.reading.load import parse_policy


def test_what_is_exported_can_be_taken_over() -> None:
    policy = parse_policy(b"corrections: {drugs: [b.example], adult: [c.example, a.example, b.example]}", None)
    by_topic = corrections_by_topic(policy)
    assert by_topic == {"adult": ["a.example", "b.example", "c.example"], "drugs": ["b.example"]}
    assert parse_exceptions(render_exceptions("adult", by_topic["adult"])) == by_topic["adult"]


@pytest.mark.parametrize(
    "text", ["", "! only a comment", "a.example", "||a.example^", "@@||com^", "@@||a.example^$script"]
)
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_exceptions(text)


def test_the_site_of_an_address() -> None:
    assert parse_site("WWW.Example.org/page") == "example.org"
    for wrong in ("localhost", "192.0.2.1", "co.uk", ""):
        with pytest.raises(InvalidInput):
            parse_site(wrong)
