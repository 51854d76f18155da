"""Services: blocking one breaks no other, except those that are known to share its domains, which an allow restores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide
from hedgerow.policies.host_facts import Service, Services
from hedgerow.policies.model import DeviceId, Request, RequestKind, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets

SERVICES = Services.load().by_id
# What cannot be given back without opening the whole of the service: the shop, the network that one also signs in by.
BY_THEIR_MAKERS = {
    ("amazon", "prime-video"),
    ("facebook", "instagram"),
    ("facebook", "messenger"),
    ("facebook", "oculus"),
    ("instagram", "threads"),
    ("twitter", "grok"),
}


def _closed(catalogue: Catalogue, rules: str, names: Iterator[str] | tuple[str, ...]) -> set[str]:
    policy = parse_policy(f"people: {{a: {{profile: adult, devices: [192.168.1.9], {rules}}}}}".encode(), None)
    rulesets = Rulesets(policy, (), (), catalogue)
    device = rulesets.devices.find("192.168.1.9")
    assert device is not None
    ruleset = rulesets.ruleset(device, 0.0)
    requests = (Request(DeviceId("a"), RequestKind.DNS, name) for name in names)
    return {each.host for each in requests if decide(ruleset, catalogue, each).verdict is Verdict.BLOCK}


def _names(service: Service) -> tuple[str, ...]:
    """Return the domains of a service and those that it needs."""
    return (*service.domains, *service.shared)


def _malicious(catalogue: Catalogue) -> set[str]:
    return _closed(catalogue, "", tuple(name for service in SERVICES.values() for name in _names(service)))


def test_adults_can_reach_every_service(catalogue: Catalogue) -> None:
    assert _malicious(catalogue) == set()


@pytest.mark.parametrize("id", list(SERVICES))
def test_blocking_a_service_breaks_no_other(catalogue: Catalogue, id: str) -> None:
    blocked, needed_by = SERVICES[id], Services.load().needed_by(id)
    others = [each for each in SERVICES.values() if each.id != id and each.part_of != id]
    closed = _closed(catalogue, f"block: [{id}]", tuple(name for other in others for name in _names(other)))
    own = {name for other, names in needed_by.items() for name in names}
    assert closed <= own, "a name of another service is closed that this one does not own"
    assert set(blocked.domains) == _closed(catalogue, f"block: [{id}]", blocked.domains)
    for other, names in needed_by.items():
        left = _closed(catalogue, f"block: [{id}], allow: [{other}]", _names(SERVICES[other]))
        assert left == set(names) - set(blocked.yields), other
        assert not left or (id, other) in BY_THEIR_MAKERS
        assert set(blocked.domains) - _closed(catalogue, f"block: [{id}], allow: [{other}]", blocked.domains) <= set(
            blocked.yields
        )
