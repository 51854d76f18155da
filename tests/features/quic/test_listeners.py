"""Refusal of another aioquic than the one that the transports were built on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection

from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.features.quic.listeners import open_doh3, open_doq
from hedgerow.internals import IncompatibleLibraryError
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS


def removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(QuicConnection, "_write_stream_limits")


def other_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def initialize(self: Any, peer_cid: bytes, version: int) -> None: ...

    monkeypatch.setattr(QuicConnection, "_initialize", initialize)


@pytest.mark.parametrize("opened", [open_doq, open_doh3])
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (removed, "QuicConnection._write_stream_limits is missing"),
        (other_signature, "QuicConnection._initialize takes (self, peer_cid, version) instead of (self, peer_cid)"),
    ],
)
def test_a_transport_is_not_served_with_another_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opened: Callable[..., object], change: Any, difference: str
) -> None:
    change(monkeypatch)
    frontend: Any = object.__new__(EncryptedFrontend)
    with pytest.raises(IncompatibleLibraryError) as caught:
        opened(ENCRYPTED_TRANSPORTS["doq"], frontend, tmp_path, tmp_path)
    assert difference in str(caught.value)
    assert "aioquic==1.2.0" in str(caught.value)
