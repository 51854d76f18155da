"""A device that invents names fills no disk: beyond a bound, the journal counts them under their domain."""

from __future__ import annotations

from hedgerow.journal.name_quotas import MOST_PER_DEVICE, MOST_PER_DOMAIN, NameQuotas
from hedgerow.journal.recorder import _Buffer
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

DAY = 86_400.0


def seen(host: str, device: str = "tablet", when: float = 20_000 * DAY) -> Observation:
    return Observation(
        when, DeviceId(device), "mia", "child-8-12", RequestKind.DNS, Verdict.ALLOW, Reason.DEFAULT, host=host
    )


def test_names_beyond_the_bound_of_a_domain_count_under_it() -> None:
    buffer = _Buffer(100_000, numbers_batches=False)
    buffer.add([seen(f"n{number}.example.co.uk") for number in range(MOST_PER_DOMAIN)])
    assert len(buffer.take().observations) == MOST_PER_DOMAIN
    for _ in range(2):
        buffer.add([seen(f"more{number}.example.co.uk") for number in range(5_000)])
        buffer.add([seen("n7.example.co.uk"), seen("more1.example.co.uk", "phone"), seen("www.example.org")])
        stored = [(each.host, each.device, each.count) for each in buffer.take().observations]
        assert stored == [
            ("example.co.uk", "tablet", 5_000),
            ("n7.example.co.uk", "tablet", 1),
            ("more1.example.co.uk", "phone", 1),
            ("www.example.org", "tablet", 1),
        ]


def test_names_of_many_domains_count_under_the_last_label() -> None:
    quotas = NameQuotas()
    for number in range(MOST_PER_DEVICE):
        assert quotas.bounded(seen(f"d{number}.com")).host == f"d{number}.com"
    assert quotas.bounded(seen("another.com")).host == "com"
    assert quotas.bounded(seen("d5.com")).host == "d5.com"
    assert quotas.bounded(seen("another.com", "phone")).host == "another.com"
    assert quotas.bounded(seen("another.com", when=20_001 * DAY)).host == "another.com"
    assert quotas.bounded(seen("")).host == ""
