"""Protections of devices from what was seen of them."""

import pytest

from hedgerow.dashboards.protections import IDLE_AFTER_S, protections_by_device
from hedgerow.journal.database import open_journal
from hedgerow.journal.messages import ProtectionSeen
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.sightings import ProtectionRow
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import Device, DeviceId

NOW = 1_780_000_000.0
TABLET = DeviceId("mia-tablet")
LONG_AGO = NOW - IDLE_AFTER_S - 1
DNS, PROXY, GATEWAY, CERTIFICATE, REFUSED = Protection


def states(seen, *, trusts_ca=True, never_inspect=False, has_gateway=True):
    device = Device(TABLET, "child-8-12", trusts_ca=trusts_ca, never_inspect=never_inspect)
    rows = [ProtectionRow(TABLET, protection, at) for protection, at in seen.items()]
    found = protections_by_device([device], rows, has_gateway=has_gateway)[TABLET]
    return [each.state.value for each in (found.dns, found.proxy, found.certificate, found.gateway)], found.is_connected


@pytest.mark.parametrize(
    ("seen", "policy", "expected"),
    [
        ({}, {}, (["never", "never", "never", "never"], False)),
        ({}, {"trusts_ca": False, "has_gateway": False}, (["never", "never", "off", "off"], False)),
        ({DNS: NOW}, {}, (["live", "never", "never", "never"], False)),
        ({DNS: NOW, PROXY: LONG_AGO}, {}, (["live", "idle", "never", "never"], False)),
        ({DNS: LONG_AGO, PROXY: LONG_AGO}, {}, (["live", "live", "never", "never"], True)),
        ({DNS: NOW, GATEWAY: NOW}, {}, (["live", "never", "never", "live"], True)),
        ({PROXY: NOW, CERTIFICATE: NOW}, {}, (["never", "live", "live", "never"], True)),
        ({PROXY: NOW, CERTIFICATE: NOW}, {"trusts_ca": False}, (["never", "live", "off", "never"], True)),
        ({PROXY: NOW, CERTIFICATE: NOW}, {"never_inspect": True}, (["never", "live", "off", "never"], True)),
        ({PROXY: NOW, REFUSED: NOW}, {}, (["never", "live", "refused", "never"], True)),
        ({PROXY: NOW, REFUSED: NOW, CERTIFICATE: LONG_AGO}, {}, (["never", "live", "refused", "never"], True)),
        ({PROXY: NOW, REFUSED: NOW, CERTIFICATE: NOW - 60}, {}, (["never", "live", "live", "never"], True)),
    ],
)
def test_states(seen, policy, expected):
    assert states(seen, **policy) == expected


def test_the_journal_keeps_the_last_use_of_each_protection(tmp_path):
    store = open_journal(tmp_path / "journal.sqlite")
    recorder, reader = Recorder(store), JournalReader(store)
    for when, protection in ((NOW, DNS), (NOW + 300, PROXY), (NOW + 600, DNS)):
        recorder.add([ProtectionSeen(when, TABLET, protection)])
        recorder.flush()
    recorder.add([ProtectionSeen(NOW + 10, TABLET, PROXY)])
    recorder.flush()
    assert set(reader.protections([TABLET])) == {
        ProtectionRow(TABLET, DNS, NOW + 600),
        ProtectionRow(TABLET, PROXY, NOW + 300),
    }
    assert reader.devices(NOW) == (), "a protection alone is no sighting"
    store.dispose()
