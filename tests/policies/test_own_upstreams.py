"""The upstreams of people and devices, as the policy gives them."""

from __future__ import annotations

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.explain import explain, find_device
from hedgerow.policies.reading.key_scopes import reserved_changes
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.policies.ruleset import Rulesets

POLICY = b"""
people:
  ana: {age: 40, devices: [laptop, phone, tv], upstream: ["tls://dns.quad9.net"]}
  ben: {age: 41, devices: [tv, pad, console], upstream: [9.9.9.10]}
devices:
  laptop: {ip: 192.168.1.2}
  phone: {ip: 192.168.1.3, upstream: ["https://dns.mullvad.net/dns-query", system]}
  tv: {ip: 192.168.1.4}
  pad: {hostname: pad}
  console: {ip: 192.168.1.6}
  printer: {ip: 192.168.1.5}
"""


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("laptop", ("tls://dns.quad9.net",)),
        ("phone", ("https://dns.mullvad.net/dns-query", "system")),
        ("tv", ()),  # its two users have different ones
        ("pad", ()),  # anybody can take its name
        ("console", ("9.9.9.10",)),
        ("printer", ()),
    ],
)
def test_a_device_has_its_own_or_its_persons(catalogue: Catalogue, device: str, expected: tuple[str, ...]) -> None:
    rulesets = Rulesets(parse_policy(POLICY, None), (), (), catalogue)
    found = find_device(rulesets, device)
    assert found is not None
    assert rulesets.ruleset(found, 0.0).upstream == expected
    assert explain(rulesets, catalogue, found, "example.org", 0.0).upstream == expected


def test_equal_rules_with_other_upstreams_are_not_one_ruleset(catalogue: Catalogue) -> None:
    rulesets = Rulesets(parse_policy(POLICY, None), (), (), catalogue)
    found = [find_device(rulesets, name) for name in ("laptop", "console")]
    assert len({rulesets.ruleset(each, 0.0).id for each in found if each is not None}) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"people: {ana: {upstream: [ftp://a.example]}}", "people.ana.upstream: .*an upstream must begin with"),
        (b"devices: {tv: {ip: 192.168.1.4, upstream: [here]}}", "devices.tv.upstream: 'here' is not a resolver"),
        (
            b"network: {dnssec: validate, upstream: ['tls://dns.quad9.net']}\npeople: {ana: {upstream: [9.9.9.9]}}",
            "people.ana.upstream: .* needs an encrypted upstream",
        ),
    ],
)
def test_mistakes_are_named(text: bytes, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_policy(text, None)


def test_only_an_admin_names_them() -> None:
    before = "people: {ana: {age: 9}}\ndevices: {tv: {ip: 192.168.1.4}}"
    after = "people: {ana: {age: 9, upstream: [9.9.9.9]}}\ndevices: {tv: {ip: 192.168.1.4, upstream: [9.9.9.10]}}"
    assert reserved_changes([before], [after]) == ("devices.tv.upstream", "people.ana.upstream")


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        ("ana: {age: 40, upstream: [9.9.9.9]}, ben: {age: 9, upstream: [9.9.9.9]}", ("people.ben.upstream",)),
        ("ana: {age: 40}, ben: {age: 9, upstream: [9.9.9.9]}", ("people.ana.upstream", "people.ben.upstream")),
        ("ana: {age: 40}, ben: {age: 9}", ("people.ana.upstream",)),
        ("anna: {age: 40, upstream: [9.9.9.9]}, ben: {age: 9}", ("people.anna.upstream",)),
        ("ana: {age: 41, upstream: [9.9.9.9]}, ben: {age: 10}", ()),
        ("ben: {age: 9}", ()),  # she has left
    ],
)
def test_only_an_admin_gives_one_to_another_or_removes_it(after: str, changed: tuple[str, ...]) -> None:
    before = "people: {ana: {age: 40, upstream: [9.9.9.9]}, ben: {age: 9}}"
    assert reserved_changes([before], [f"people: {{{after}}}"]) == changed
