"""Refusal of versions of h2, hpack and aioquic whose internals differ from those that Hedgerow was built on."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import h2.connection
import h2.stream
import hpack.hpack
import pytest

from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.dns.transports import open_encrypted_server
from hedgerow.internals import AIOQUIC_VERSIONS, H2_VERSIONS, IncompatibleLibraryError, check_aioquic, check_h2
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

ROOT = Path(__file__).parents[1]
H2 = "h2==4.4.1 hpack==4.2.0"


def test_pinned_versions_are_installed_and_pass() -> None:
    check_h2("serve")
    check_aioquic()
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {f"{name}=={version}" for name, version in (H2_VERSIONS | AIOQUIC_VERSIONS).items()} <= set(dependencies)


def removed_of_hpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(hpack.hpack.Decoder, "_assert_valid_table_size")


def other_signature_of_h2(monkeypatch: pytest.MonkeyPatch) -> None:
    def receive_headers(self: Any, headers: Any, end_stream: bool) -> None: ...

    monkeypatch.setattr(h2.stream.H2Stream, "receive_headers", receive_headers)


def other_attribute_of_h2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h2.connection, "H2Connection", type("H2Connection", (), {}))


@pytest.mark.parametrize(
    ("transport", "change", "difference", "wanted"),
    [
        ("doh", removed_of_hpack, "Decoder._assert_valid_table_size is missing", H2),
        ("doh", other_signature_of_h2, "H2Stream.receive_headers takes (self, headers, end_stream) instead of", H2),
        ("doh", other_attribute_of_h2, "H2Connection has no attribute _frame_dispatch_table", H2),
    ],
)
def test_a_transport_is_not_served_with_another_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, transport: str, change: Any, difference: str, wanted: str
) -> None:
    change(monkeypatch)
    frontend: Any = object.__new__(EncryptedFrontend)
    with pytest.raises(IncompatibleLibraryError) as caught:
        open_encrypted_server(ENCRYPTED_TRANSPORTS[transport], frontend, tmp_path, tmp_path)
    assert difference in str(caught.value)
    assert wanted in str(caught.value)
