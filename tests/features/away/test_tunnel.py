"""The tunnel home as control knows it: this machine's keys, the use that devices make of it, and notices."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Collection
from pathlib import Path

import pytest
from web_server import view_of

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.words.languages import language
from hedgerow.features.away.tunnel import OFF_S, TunnelService, TunnelWatch
from hedgerow.features.away.wireguard import PeerActivity, new_private_key, public_key_of
from hedgerow.policies.model import DeviceId, Policy
from hedgerow.policies.reading.load import parse_policy

MAC, NOON = "02:00:00:00:00:01", 1_800_014_400.0
KEYS = [public_key_of(new_private_key()) for _ in range(2)]


def policy(person: str = "age: 9", network: str = "tunnel: {endpoint: home.example}", bedtime: str = "") -> Policy:
    tunnels = [f"tunnel: {{key: '{key}', number: {number}}}" for number, key in enumerate(KEYS, 2)]
    text = f"""
network: {{timezone: UTC, {network}}}
people:
  mia: {{{person}, devices: [phone]{bedtime}}}
  ana: {{profile: adult, devices: [laptop]}}
devices:
  phone: {{mac: "{MAC}", {tunnels[0]}}}
  laptop: {{mac: "02:00:00:00:00:02", {tunnels[1]}}}
"""
    return parse_policy(text.encode(), None)


def service(tmp_path: Path, current: Policy, *, gateway: bool = True) -> TunnelService:
    nowhere = Endpoint("127.0.0.1", 1)
    settings = Settings(tmp_path, None, nowhere, nowhere, nowhere)
    if gateway:
        settings.gateway_file.touch()
    return TunnelService(settings, lambda: current)


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    first, second = (service(tmp_path, policy()).home() for _ in range(2))
    assert first.public_key == second.public_key
    assert first.preshared_key(KEYS[0]) == second.preshared_key(KEYS[0])
    file = tmp_path / "tunnel" / "secrets"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_no_tunnel_without_a_gateway_or_an_endpoint(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="gateway"):
        service(tmp_path, policy(), gateway=False).home()
    with pytest.raises(InvalidInput, match="endpoint"):
        service(tmp_path, parse_policy(b"", None)).home()
    assert not (tmp_path / "tunnel").exists()


def test_damaged_keys_are_not_replaced(tmp_path: Path) -> None:
    """All devices would be locked out by new ones."""
    file = tmp_path / "tunnel" / "secrets"
    file.parent.mkdir()
    file.write_text("half")
    with pytest.raises(InvalidInput, match="keys"):
        service(tmp_path, policy()).home()
    assert file.read_text() == "half"


def test_levels_of_the_gateways_process_are_a_devices_activity(tmp_path: Path) -> None:
    current = policy()
    tunnel, phone = service(tmp_path, current), current.devices[DeviceId("phone")]
    assert tunnel.activity(phone) == PeerActivity()
    for what, value in (("handshake", 1000.0), ("received", 5.0), ("sent", 7.0), ("unknown", 1.0)):
        tunnel.note(KEYS[0], what, value)
    assert tunnel.activity(phone) == PeerActivity(1000.0, 5, 7)
    tunnel.note(KEYS[0], "handshake", 0.0)
    assert tunnel.activity(phone).handshake is None


def notices(tmp_path: Path, current: Policy, *steps: tuple[float, str], connected: float | None = None) -> list[str]:
    """Return the texts of the last step's notices. Each step is an instant, and what answers at home then."""
    tunnel = service(tmp_path, current)
    if connected is not None:
        tunnel.note(KEYS[0], "handshake", connected)
    at_home = ""

    async def answering(macs: Collection[str], _addresses: Collection[str]) -> set[str]:
        return {at_home} & set(macs)

    watch, found = TunnelWatch(tunnel, lambda: view_of(current), lambda _notices: None, answering), []
    for now, at_home in steps:  # noqa: B007  read by the function above
        found = asyncio.run(watch.step(now))
    return [each.text(language("en")) for each in found]


HOUR_LATER = NOON + OFF_S


def test_a_childs_device_that_is_out_without_its_tunnel_for_an_hour(tmp_path: Path) -> None:
    (text,) = notices(tmp_path, policy(), (NOON, ""), (HOUR_LATER, ""))
    assert text.startswith("mia (phone): not at home")
    assert notices(tmp_path, policy(), (NOON, ""), (HOUR_LATER - 1, "")) == []


def test_no_notice_of_a_device_at_home_or_in_its_tunnel(tmp_path: Path) -> None:
    assert notices(tmp_path, policy(), (NOON, ""), (HOUR_LATER, MAC)) == []
    assert notices(tmp_path, policy(), (NOON, ""), (HOUR_LATER, ""), connected=HOUR_LATER - 60) == []
    assert notices(tmp_path, policy(), (NOON, ""), (NOON + 60, MAC), (HOUR_LATER, "")) == [], "the hour begins again"


def test_no_notice_while_the_device_has_no_internet_anyway(tmp_path: Path) -> None:
    assert notices(tmp_path, policy(bedtime=", bedtime: '00:00-23:59'"), (NOON, ""), (HOUR_LATER, "")) == []


def test_no_notice_of_an_adults_device(tmp_path: Path) -> None:
    assert notices(tmp_path, policy(person="profile: adult"), (NOON, ""), (HOUR_LATER, "")) == []
