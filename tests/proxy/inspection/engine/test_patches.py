"""Refusal of versions of mitmproxy and h11 whose internals differ from those that Hedgerow was built on."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from h11 import _receivebuffer
from mitmproxy import connection
from mitmproxy.proxy.layers import http as layers
from mitmproxy.proxy.layers.http import _http2
from small_internet.running import StartFailure, network_section, running_hedgerow
from small_internet.whole import SmallInternet

from hedgerow.proxy.inspection.engine import patches

ROOT = Path(__file__).parents[4]


def test_the_pinned_versions_are_installed_and_pass() -> None:
    patches.check()
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {f"{name}=={version}" for name, version in patches.TESTED_VERSIONS.items()} <= set(dependencies)


def removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(layers.HttpLayer, "register_connection")


def other_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_connection(self: Any, event: Any) -> None: ...

    monkeypatch.setattr(layers.HttpLayer, "get_connection", get_connection)


def other_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    class ReceiveBuffer:
        def __init__(self) -> None:
            self._data = bytearray()

        def maybe_extract_lines(self) -> None: ...

    monkeypatch.setattr(_receivebuffer, "ReceiveBuffer", ReceiveBuffer)


def other_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle_h2_event(self: Any, event: Any) -> str:
        return "broken"

    monkeypatch.setattr(_http2.Http2Client, "handle_h2_event", handle_h2_event)


def other_default(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Server:
        id: str
        address: str
        port: int

    monkeypatch.setattr(connection, "Server", Server)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (removed, "HttpLayer.register_connection is missing"),
        (other_signature, "HttpLayer.get_connection takes (self, event) instead of (self, event, reuse)"),
        (other_default, "Server has no defaults of id address port"),
        (other_attribute, "ReceiveBuffer has no attribute _multiple_lines_search"),
        (other_text, "Http2Client.handle_h2_event does not say 'Received unexpected HTTP/2 response.'"),
    ],
)
def test_a_difference_is_named(monkeypatch: pytest.MonkeyPatch, change: Any, difference: str) -> None:
    change(monkeypatch)
    with pytest.raises(patches.IncompatibleLibraryError) as caught:
        patches.check()
    assert difference in str(caught.value)
    assert "mitmproxy==12.3.1 h11==0.16.0" in str(caught.value)


def test_hedgerow_does_not_start_without_one_of_them(net: SmallInternet, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import h11._readers\ndel h11._readers.ChunkedReader\n")
    with (
        pytest.raises(StartFailure) as caught,
        running_hedgerow(network_section(net), environment={**os.environ, "PYTHONPATH": str(tmp_path)}),
    ):
        pass
    assert caught.value.status == 2
    assert "h11._readers:ChunkedReader.__call__ is missing" in caught.value.stderr
