"""The preset file of a prepared disk: what it may say, and what a torn or wrong one does not change."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hedgerow.app.cli import make_cli
from hedgerow.features.wifi.preset import MAX_OCTETS, PresetError, PresetFile, parse_preset

KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))).decode()


def test_all_keys_as_editors_of_windows_write_them() -> None:
    text = f"\ufeff# ours\r\ncountry = gb\r\n\r\nHostname=Attic\r\nwifi = Mia & Leo\r\nadmin-key = {KEY} ana@desk\r\n"
    assert parse_preset(text.encode()) == PresetFile(
        country="GB", hostname="attic", wifi="Mia & Leo", admin_key=f"{KEY} ana@desk"
    )
    assert parse_preset(b"") == PresetFile()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"country = England", "line 1: country: 'England' is not a country's two-letter code"),
        (b"\ncountry", "line 2: 'country' is not KEY = VALUE"),
        (b"land = GB", "line 1: unknown key 'land': there are country, hostname, wifi, admin-key"),
        (b"country = GB\ncountry = PT", "line 2: country is there twice"),
        (b"hostname = my box", "line 1: hostname: 'my box' is not a name"),
        (b"hostname = localhost", "line 1: hostname: 'localhost' is not a name"),
        (b"wifi = ", "line 1: wifi: a name has 1 to 32 octets"),
        (b"admin-key = ssh-ed25519 AAAA", "line 1: admin-key: the key is cut off"),
        (f"admin-key = {KEY[:-8]}".encode(), "line 1: admin-key: the key is cut off"),
        (b"admin-key = -----BEGIN OPENSSH PRIVATE KEY-----", "this is a private key"),
        (b'admin-key = command="x" ssh-ed25519 AAAA', "not a public key of OpenSSH"),
        (b"country = GB\n\0\0\0\0", "the file is damaged"),
        ("country = GB".encode("utf-16"), "save it as plain text"),
        (b"#" * (MAX_OCTETS + 1), "more than"),
    ],
)
def test_a_mistake_is_named_with_its_line(data: bytes, problem: str) -> None:
    with pytest.raises(PresetError) as raised:
        parse_preset(data)
    assert problem in str(raised.value)


@given(st.binary(max_size=300))
def test_any_octets_are_taken_or_refused(data: bytes) -> None:
    with contextlib.suppress(PresetError):
        parse_preset(data)


def test_the_command_changes_the_policy_or_nothing(tmp_path: Path) -> None:
    policy, file = tmp_path / "hedgerow.yaml", tmp_path / "hedgerow.txt"
    policy.write_text("# ours\nnetwork:\n  unknown_devices: child-8-12  # guests\n")

    def take(text: str) -> tuple[int, str]:
        file.write_text(text)
        words = ["wifi", "preset", str(file), "--policy", str(policy), "--json"]
        done = CliRunner().invoke(make_cli("wifi"), words)
        return done.exit_code, done.output

    status, said = take("country = GB\nwifi = Children\nhostname = attic\n")
    assert (status, json.loads(said)) == (0, {"hostname": "attic", "admin_key": ""})
    taken = policy.read_text()
    assert "# guests" in taken
    assert "country: GB" in taken
    assert "name: Children" in taken
    status, said = take("country = PT\nwifi = \n")
    assert (status, policy.read_text()) == (1, taken)
    assert "hedgerow.txt: line 2: wifi" in said
    policy.write_text("people: [\n")
    status, _ = take("country = PT\n")
    assert status != 0
    assert policy.read_text() == "people: [\n"
