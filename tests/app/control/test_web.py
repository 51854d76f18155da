"""Refusal of grants and codes for illegal material, which they would not open."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hedgerow.app.control.access import identify_device
from hedgerow.app.control.web import WebControl
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.formats.sealed import hash_expression
from hedgerow.blocklists.sources import Source
from hedgerow.dashboards.control import InvalidInput
from hedgerow.policies.model import GrantDuration
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets

STRANGER = "02:00:00:00:00:09"
MACS = {"192.168.1.5": "02:00:00:00:00:05", "192.168.1.9": STRANGER, "fd00::9": STRANGER}


@pytest.fixture
def control(tmp_path: Path) -> WebControl:
    texts = {
        "hotline": "bad.example\nwrong.example\n",
        "sealed": hash_expression("sealed.example/") + "\n",
        "own": "@@||wrong.example^\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    compile_generation([Source(name, "illegal", tmp_path / name) for name in texts], tmp_path / "generation")
    policy = parse_policy(b"people: {mia: {age: 9, devices: [192.168.1.9]}}", None)
    ledger = SimpleNamespace(
        request=lambda _id: SimpleNamespace(host="bad.example", device="192.168.1.9", note="", chore="")
    )
    publisher: Any = SimpleNamespace(
        view=LoadedSnapshot(Snapshot(1, 0.0, policy, tmp_path / "generation")), ledger=ledger
    )
    neighbours: Any = SimpleNamespace(mac_of=MACS.get, entries=lambda: MACS)
    return WebControl(*cast(Any, (None, publisher, None, None, neighbours, None, None)))


@pytest.mark.parametrize("subject", ["illegal", "bad.example", "www.bad.example", "bad.example/page", "sealed.example"])
def test_illegal_material_is_refused(control: WebControl, subject: str) -> None:
    with pytest.raises(InvalidInput, match=r"can't be|cannot be"):
        control.check_subject(subject)


@pytest.mark.parametrize("subject", ["good.example", "wrong.example", "games", "youtube", "example.org/bad.example"])
def test_other_subjects_are_accepted(control: WebControl, subject: str) -> None:
    """Including a site for which the home's own list has an exception."""
    assert control.check_subject(subject) == subject


def test_a_request_for_an_illegal_site_is_refused(control: WebControl) -> None:
    with pytest.raises(InvalidInput, match=r"bad\.example is on a list of illegal material"):
        asyncio.run(control.approve(1, GrantDuration.HOUR, "ana"))


def test_an_address_is_explained_for_the_device_that_has_it_now(control: WebControl) -> None:
    """The policy knows this one by its MAC address only."""
    policy = parse_policy(
        b"network: {lan: [192.168.1.0/24]}\ndevices: {tv: {mac: '02:00:00:00:00:05', profile: adult}}", None
    )
    control._publisher.view = LoadedSnapshot(replace(control._view().snapshot, policy=policy))
    explained = asyncio.run(control.explain("192.168.1.5", "good.example"))
    assert {(each.device, each.profile) for each in explained} == {("tv", "adult")}


@pytest.mark.parametrize(
    ("given", "known_as"),
    [
        ("tablet", "tablet"),
        ("192.168.1.5", "tablet"),
        ("192.168.1.9", STRANGER),
        ("fd00::9", STRANGER),
        ("02-00-00-00-00-09", STRANGER),
        ("192.168.1.10", "192.168.1.10"),
        ("unknown", "unknown"),
        ("", None),
        (None, None),
    ],
)
def test_a_device_is_identified_by_its_name_or_its_addresses(
    control: WebControl, given: str | None, known_as: str | None
) -> None:
    """A pause for an IP address must hold for the device, which DNS and proxy know by its MAC address."""
    policy = parse_policy(
        b"network: {lan: [192.168.1.0/24, 'fd00::/64']}\ndevices: {tablet: {mac: '02:00:00:00:00:05'}}", None
    )
    assert identify_device(Rulesets(policy, (), (), control._view().catalogue), given, MACS.get) == known_as
