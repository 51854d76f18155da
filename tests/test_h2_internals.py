"""Refusal of versions of h2 and hpack whose internals differ from those that Hedgerow was built on."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import h2.connection
import h2.stream
import hpack.hpack
import pytest

from hedgerow import h2_internals
from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.dns.transports import open_encrypted_server
from hedgerow.internals import IncompatibleLibraryError
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

ROOT = Path(__file__).parents[1]


def test_pinned_versions_are_installed_and_pass() -> None:
    h2_internals.check("serve")
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {f"{name}=={version}" for name, version in h2_internals.TESTED_VERSIONS.items()} <= set(dependencies)


def removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(hpack.hpack.Decoder, "_update_encoding_context")


def other_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def receive_headers(self: Any, headers: Any, end_stream: bool) -> None: ...

    monkeypatch.setattr(h2.stream.H2Stream, "receive_headers", receive_headers)


def other_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h2.connection, "H2Connection", type("H2Connection", (), {}))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (removed, "Decoder._update_encoding_context is missing"),
        (other_signature, "H2Stream.receive_headers takes (self, headers, end_stream) instead of"),
        (other_attribute, "H2Connection has no attribute _closed_streams"),
    ],
)
def test_doh_is_not_served_with_another_h2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Any, difference: str) -> None:
    change(monkeypatch)
    frontend: Any = object.__new__(EncryptedFrontend)
    with pytest.raises(IncompatibleLibraryError) as caught:
        open_encrypted_server(ENCRYPTED_TRANSPORTS["doh"], frontend, tmp_path, tmp_path)
    assert difference in str(caught.value)
    assert "h2==4.4.1 hpack==4.2.0" in str(caught.value)
