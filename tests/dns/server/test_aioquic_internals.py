"""Refusal of versions of aioquic whose internals differ from those that Hedgerow was built on."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection

from hedgerow.dns.server import aioquic_internals
from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.dns.transports import open_encrypted_server
from hedgerow.internals import IncompatibleLibraryError
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

ROOT = Path(__file__).parents[3]


def test_pinned_version_is_installed_and_passes() -> None:
    aioquic_internals.check()
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {f"{name}=={version}" for name, version in aioquic_internals.TESTED_VERSIONS.items()} <= set(dependencies)


def removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(QuicConnection, "_write_stream_limits")


def other_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def initialize(self: Any, peer_cid: bytes, version: int) -> None: ...

    monkeypatch.setattr(QuicConnection, "_initialize", initialize)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (removed, "QuicConnection._write_stream_limits is missing"),
        (other_signature, "QuicConnection._initialize takes (self, peer_cid, version) instead of (self, peer_cid)"),
    ],
)
def test_doq_is_not_served_with_another_aioquic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Any, difference: str) -> None:
    change(monkeypatch)
    frontend: Any = object.__new__(EncryptedFrontend)
    with pytest.raises(IncompatibleLibraryError) as caught:
        open_encrypted_server(ENCRYPTED_TRANSPORTS["doq"], frontend, tmp_path, tmp_path)
    assert difference in str(caught.value)
    assert "aioquic==1.2.0" in str(caught.value)
