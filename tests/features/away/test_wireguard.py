"""The tunnel home: its keys, and its configuration as `wg` takes it."""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from hedgerow.features.away.wireguard import (
    PeerActivity,
    TunnelSecrets,
    key_text,
    new_private_key,
    public_key_of,
    render_config,
)

needs_wg = pytest.mark.skipif(
    shutil.which("wg", path="/usr/sbin:/usr/bin:/bin") is None, reason="wireguard-tools is not installed"
)


def test_secrets_survive_their_file(tmp_path: Path) -> None:
    secrets, path = TunnelSecrets.new(), tmp_path / "secrets"
    assert TunnelSecrets.load(path) is None
    path.write_bytes(secrets.as_file())
    assert TunnelSecrets.load(path) == secrets
    assert key_text(secrets.private) not in repr(secrets)


@pytest.mark.parametrize("content", [b"", b"AAAA\n", b"not base64!\nAAAA\n", key_text(bytes(32)).encode()])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secrets").write_bytes(content)
    with pytest.raises(ValueError, match=r".+"):
        TunnelSecrets.load(tmp_path / "secrets")


def test_each_device_has_a_preshared_key_of_its_own() -> None:
    secrets = TunnelSecrets.new()
    first, second = (public_key_of(new_private_key()) for _ in range(2))
    assert secrets.preshared_key(first) == secrets.preshared_key(first) != secrets.preshared_key(second)
    assert TunnelSecrets.new().preshared_key(first) != secrets.preshared_key(first)


@needs_wg
def test_keys_are_those_of_wireguard() -> None:
    private = new_private_key()
    made = subprocess.run(["wg", "pubkey"], input=key_text(private), capture_output=True, text=True, check=True).stdout
    assert made.strip() == public_key_of(private)


def test_only_a_devices_own_addresses_may_send() -> None:
    secrets, key = TunnelSecrets.new(), public_key_of(new_private_key())
    lines = render_config(secrets, 51820, [(key, (ip_network("10.87.214.2"), ip_network("fd00::2")))]).splitlines()
    assert lines[:3] == ["[Interface]", f"PrivateKey = {key_text(secrets.private)}", "ListenPort = 51820"]
    assert lines[3:5] == ["[Peer]", f"PublicKey = {key}"]
    assert lines[-1] == "AllowedIPs = 10.87.214.2/32, fd00::2/128"


def test_a_device_is_connected_for_three_minutes_after_a_handshake() -> None:
    assert PeerActivity(1000.0).is_connected(1179.0)
    assert not PeerActivity(1000.0).is_connected(1180.0)
    assert not PeerActivity().is_connected(1000.0)
