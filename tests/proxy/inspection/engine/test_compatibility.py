"""Refusal of versions of mitmproxy whose parts differ from those that our subclasses rely on."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import connection
from mitmproxy.proxy.layers import http as layers
from small_internet.running import StartFailure, network_section, running_hedgerow
from small_internet.whole import SmallInternet

from hedgerow.proxy.inspection.engine import compatibility

ROOT = Path(__file__).parents[4]


def test_the_pinned_versions_are_installed_and_pass() -> None:
    compatibility.check()
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {f"{name}=={version}" for name, version in compatibility.TESTED_VERSIONS.items()} <= set(dependencies)


def removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(layers.HttpLayer, "register_connection")


def other_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_connection(self: Any, event: Any) -> None: ...

    monkeypatch.setattr(layers.HttpLayer, "get_connection", get_connection)


def other_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    class HttpStream(layers.HttpStream):
        pass

    monkeypatch.setattr(layers, "HttpStream", type("HttpStream", (), {}))


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
        (other_attribute, "HttpStream has no attribute request_body_buf"),
    ],
)
def test_a_difference_is_named(monkeypatch: pytest.MonkeyPatch, change: Any, difference: str) -> None:
    change(monkeypatch)
    with pytest.raises(compatibility.IncompatibleLibraryError) as caught:
        compatibility.check()
    assert difference in str(caught.value)
    assert "mitmproxy==12.3.1" in str(caught.value)


def test_hedgerow_does_not_start_without_one_of_them(net: SmallInternet, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import mitmproxy.proxy.layers.http as http\ndel http.HttpLayer.register_connection\n"
    )
    with (
        pytest.raises(StartFailure) as caught,
        running_hedgerow(network_section(net), environment={**os.environ, "PYTHONPATH": str(tmp_path)}),
    ):
        pass
    assert caught.value.status == 2
    assert "HttpLayer.register_connection is missing" in caught.value.stderr
