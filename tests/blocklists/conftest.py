"""A machine at home and everything else, and an authority that both trust."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from forward_proxy import ForwardProxy, forward_proxy
from lab.two_sides import NEIGHBOUR, PUBLIC, TwoSides, two_sides
from small_internet.authority import Authority

PROXY_PORT = 8888
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(scope="session")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoSides]:
    with two_sides(tmp_path_factory.mktemp("sides")) as made:
        yield made


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority(tmp_path)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, str(made.root))
    return made


@pytest.fixture
def proxy(sides: TwoSides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForwardProxy]:
    """A proxy that wants a password, named by the environment. Only it knows names of the internet."""
    names = {"publisher.example": PUBLIC, "other.example": PUBLIC, "turned.example": NEIGHBOUR}
    sides.name(mirror_lan=NEIGHBOUR, nas=NEIGHBOUR, lists_ours_example=NEIGHBOUR)

    def start(words: object) -> subprocess.Popen[bytes]:
        return sides.run(lambda: subprocess.Popen(words), at_home=False)  # type: ignore[call-overload]

    with forward_proxy(tmp_path, NEIGHBOUR, PROXY_PORT, names, wants_password=True, start=start) as made:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        for name in ("http_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, made.url)
        yield made
