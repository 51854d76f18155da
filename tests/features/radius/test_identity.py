"""What names the user of a report: the device's own claim, or what the RADIUS server has confirmed."""

from __future__ import annotations

import pytest

from hedgerow.features.radius.accounting import person_of
from hedgerow.features.radius.protocol import Accounting, AccountingStatus
from hedgerow.features.radius.settings import RADIUS, Identity, RadiusSettings
from hedgerow.policies.reading.load import parse_policy

PEOPLE = ("mia", "ana")
CLAIM = Accounting(AccountingStatus.START, "ana", "10.9.0.5", None, class_name="pupil-7", chargeable_identity="MIA")
OF_LAST_YEAR = "network: {radius: {clients: [192.168.1.3]}}\npeople: {mia: {age: 9}}\n"


def settings(identity: Identity | None, **users: str) -> RadiusSettings:
    return RadiusSettings((), "127.0.0.1", 1813, identity, users)


@pytest.mark.parametrize(
    ("chosen", "person"),
    [
        (settings("chargeable-user-identity"), "mia"),
        (settings("class"), None),
        (settings("class", **{"pupil-7": "mia"}), "mia"),
        (settings("class", ana="ana"), None),
        (settings("user-name"), "ana"),
        (settings(None), "mia"),
    ],
    ids=["confirmed", "unknown class", "class by the policy", "the claim is not asked", "trusted", "confirmed first"],
)
def test_a_pupil_who_types_a_teachers_name(chosen: RadiusSettings, person: str | None) -> None:
    assert person_of(CLAIM, chosen, PEOPLE) == person


def test_a_policy_of_last_year_goes_on_with_a_warning() -> None:
    policy = parse_policy(OF_LAST_YEAR.encode(), None)
    assert person_of(Accounting(AccountingStatus.START, "mia", "", None), settings(None), policy.people) == "mia"
    assert any("User-Name" in each for each in RADIUS.warnings(policy))
    chosen = parse_policy(OF_LAST_YEAR.replace("]}", "], identity: user-name}").encode(), None)
    assert not [*RADIUS.warnings(chosen)]
